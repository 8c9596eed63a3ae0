"""The `pii-vault` command: speaks gRPC with the generated stubs, like everyone else; its verifiers need no server."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command; the base install has its name and not what it is made of."""
    try:
        from vault.cli.app import main as run  # noqa: PLC0415 - see above
    except ModuleNotFoundError as missing:
        sys.exit(f"EXTRA_MISSING: the command needs pii-vault[cli]; '{missing.name}' is not installed")
    run()
