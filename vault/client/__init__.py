"""The Python client: speaks gRPC with the generated stubs, like everyone else."""
