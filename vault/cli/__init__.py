"""The `pii-vault` command: speaks gRPC with the generated stubs, like everyone else; its verifiers need no server."""

from vault.cli.app import main

__all__ = ["main"]
