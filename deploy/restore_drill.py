"""The restore drill: `make restore-drill`. A backup from before an erasure is restored, and nobody comes back.

On a SQLite file, with a copy of it, and on a PostgreSQL of its own, with `pg_dump` and `pg_restore`; each vault is a real one, in a folder that is
made anew each time, and everything goes through the `pii-vault` command. Each step is one line; a step that does not come out as it must ends the
drill with exit code 1.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.postgres import running_postgres
from deploy import backup
from deploy.demo.demo import SAMPLES, WHY, Demo, DemoError
from deploy.demo.vault_process import VaultProcess, command

CATEGORY = ("--category", "end-customer-contact")
PURPOSE = ("--purpose", "service-delivery", "--reason", WHY)
DANA, NOA = "+972502345670", "+972502345671"


def main() -> int:
    """0 if nobody came back, on either database."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".drill").resolve()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    for kind in ("SQLite", "PostgreSQL"):
        print(f"--- {kind}", flush=True)
        try:
            with database_of(kind) as url:
                drill(home / kind.lower(), url)
        except DemoError as error:
            print(f"     not as it must be: {error}", file=sys.stderr)
            return 1
    print("Nobody came back, on either database.")
    return 0


def drill(home: Path, url: str) -> None:
    """People, a backup, an erasure, a restore, a replay."""
    vault = VaultProcess.create(home, tenants=("acme",), database_url=url)
    url = url or f"sqlite+aiosqlite:///{home / 'vault.db'}"
    story, file = Demo(home), home / "backup"
    with vault:
        story.run("operator", "tenant", "create", "acme")
        erased, kept = (_put(story, phone) for phone in (DANA, NOA))
        story.say("The vault serves; two people are known.")
        backup.back_up(url, file)
        story.say(f"A backup of the database: {file.stat().st_size} bytes. Its erasure ledger is elsewhere: {home.name}-erasure-ledger.")
        _erase(story, erased)
        story.refused("acme-app", "RECORD_NOT_FOUND", *_reveal(erased))
        story.say("One of them is erased: asked for, approved, certified. The next reveal finds nothing.")
        again = _put(story, DANA)
        story.say("Their number is added again, as somebody new.")
    newer = backup.rows_of(url, "acme", _person(again))
    backup.restore(url, file)
    backup.put_rows(url, newer)
    story.say(
        "The vault stops. The backup takes the place of the database; what came after it is carried over. The erased person is back in it."
    )
    with vault:
        for record in (erased, kept, again):
            _unavailable(story, record)
        must(story.exit_code("--client", str(home / "clients" / "operator"), "operations", "readiness") == 1, "readiness says no")
        story.say("The vault starts, and serves nothing: every reveal is refused with RESTORE_PENDING, readiness says no.")
        replayed = story.run("operator", "operations", "replay-erasures")
        must(int(replayed["replayed_count"]) == 1, "one erasure is replayed")
        story.say(f"The operator replays the ledger: {replayed['replayed_count']} erasure, retention, a look at everybody.")
        story.refused("acme-app", "RECORD_NOT_FOUND", *_reveal(erased))
        must(_phone(story, kept) == NOA, "who was not erased is there")
        must(_phone(story, again) == DANA, "who was added again is there")
        story.say("The erased person is gone again: RECORD_NOT_FOUND. The other one, and who was added again, are as they were.")
        must(bool(story.run("operator", "operations", "readiness")["ready"]), "the vault is ready")
        must(int(story.run("operator", "operations", "replay-erasures")["replayed_count"]) == 0, "a second replay has nothing to do")
        story.say("The vault is ready; a second replay has nothing to do.")


@contextmanager
def database_of(kind: str) -> Iterator[str]:
    """Address of an empty database; none for the file that `init` makes."""
    if kind == "SQLite":
        yield ""
        return
    # Not below the home, which is closed to the account that runs the server.
    with TemporaryDirectory(prefix="pii-vault-drill-") as work:
        Path(work).chmod(0o755)
        with running_postgres(Path(work)) as url:
            yield url.render_as_string(hide_password=False)


def _put(story: Demo, phone: str) -> str:
    return str(story.run("acme-app", "put", "-t", "acme", *CATEGORY, f"phone={phone}")["record"]["name"])


def _erase(story: Demo, record: str) -> None:
    subject = record.rsplit("/records/", 1)[0]
    digest = story.run("acme-admin", "erase", "preview", subject, "--reason", WHY)["preview_digest"]
    erasure = story.run("acme-admin", "erase", "request", subject, "--preview-digest", digest, "--reason", WHY)["erasure"]["name"]
    for officer in ("tamar", "ruth"):
        story.run("", "dev", "sign-in", str(story.home), officer, "--role", "privacy-officer")
    story.run("tamar", "tenant", "register-nda", "ruth", str(SAMPLES / "order.pdf"), "--signed", "2026-01-01", "--until", "2036-01-01")
    done = story.run("ruth", "erase", "approve", erasure, "--reason", WHY)["erasure"]
    must(done["state"] == "ERASURE_STATE_COMPLETE", "the erasure is complete")


def _reveal(record: str) -> tuple[str, ...]:
    return ("reveal", record, "--full", "--field", "phone", *PURPOSE)


def _phone(story: Demo, record: str) -> str:
    return str(story.run("acme-app", *_reveal(record))["record"]["fields"]["phone"]["text"])


def _unavailable(story: Demo, record: str) -> None:
    """A reveal that is refused because the database is older than the ledger; it could not be served, and is no refusal to be recorded."""
    client = ["--client", str(story.home / "clients" / "acme-app")]
    done = subprocess.run([*command(), "--json", *client, *_reveal(record)], capture_output=True, text=True, check=False)
    must(done.returncode == 1 and json.loads(done.stderr)["error"]["reason"] == "RESTORE_PENDING", "a reveal is refused")


def _person(record: str) -> str:
    return record.split("/")[3]


def must(holds: bool, what: str) -> None:
    """End the drill unless something is as it must be."""
    if not holds:
        raise DemoError(what)


if __name__ == "__main__":
    sys.exit(main())
