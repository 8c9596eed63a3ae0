"""The Python client: speaks gRPC with the generated stubs, like everyone else."""

from vault.client.client import Connection, VaultClient
from vault.client.errors import CallError, Receipt

__all__ = ["CallError", "Connection", "Receipt", "VaultClient"]
