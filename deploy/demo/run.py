"""A development vault that keeps serving, with commands to paste: `make run`."""

import sys
from pathlib import Path

from deploy.demo.vault_process import VaultProcess

_COMMANDS = """
The vault serves at {address}. In another terminal:

  export PATH="$PWD/.venv/bin:$PATH"
  pii-vault -c {home}/clients/operator tenant create acme
  pii-vault -c {home}/clients/acme-app put -t acme --category end-customer-contact phone=050-2345678
  pii-vault -c {home}/clients/acme-app find 0502345678 -t acme --category end-customer-contact --kind phone \\
      -p service-delivery --reason "sending the order update"
  pii-vault -c {home}/clients/acme-app reveal RECORD -p service-delivery --reason "sending the order update"
  pii-vault -c {home}/clients/auditor audit list acme

It stops with Ctrl-C; the next `make run` goes on with the same data.
"""


def main() -> int:
    """Serve until interrupted."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".run")
    vault = VaultProcess(home) if home.exists() else VaultProcess.create(home, tenants=("acme", "globex"), listen="localhost:8443")
    with vault:
        print(_COMMANDS.format(address=vault.address, home=home), flush=True)
        try:
            return vault.wait()
        except KeyboardInterrupt:
            return 0


if __name__ == "__main__":
    sys.exit(main())
