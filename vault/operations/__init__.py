"""One file per flow: record, reveal, find, resolve, ingest, erase, order, export, tenant. No gRPC here."""
