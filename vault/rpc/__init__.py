"""The only place that knows gRPC and the generated messages: servicers, conversion, interceptors, status."""
