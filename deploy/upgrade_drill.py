"""The upgrade drill: `make upgrade-drill`. A database is migrated by this version while the previous one serves it, and nothing is lost.

The previous version is a commit, by default the last one whose newest migration was another, taken out of git; both are real processes, on a SQLite
file and on a PostgreSQL of its own. If the newest migration lets code of before serve, the two serve side by side; else the old one must say
NOT_SERVING. With `--additive` the new version is the previous one with one more migration, which only adds. Each step is one line; a step that does
not come out as it must ends the drill with exit code 1.
"""

import argparse
import asyncio
import io
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import text

from deploy.demo.demo import Demo, DemoError
from deploy.demo.vault_process import VaultProcess
from deploy.restore_drill import CATEGORY, PURPOSE, database_of, must
from vault.store.database import Database

ROOT = Path(__file__).resolve().parents[1]
_VERSIONS = Path("vault", "store", "migrations", "versions")
# A vault looks at its health every five seconds.
_LOOKED = timedelta(seconds=11)
_ADDITION = '''"""An addition."""

import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "{revision}", "{mine}", None, None
oldest_code = "{mine}"


def upgrade() -> None:
    op.create_table("drills", sa.Column("tenant_id", sa.Text(), nullable=False), sa.PrimaryKeyConstraint("tenant_id"))
    op.add_column("records", sa.Column("drill", sa.Text(), nullable=True))
    op.add_column("subjects", sa.Column("drill", sa.Text(), nullable=False, server_default=""))
'''


def main() -> int:
    """0 if nothing was lost, on either database."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--previous", help="commit of the version that serves")
    parser.add_argument("--additive", action="store_true", help="the new version is the previous one and an addition")
    options = parser.parse_args()
    home = Path(".drill").resolve()
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    commit = options.previous or ("HEAD" if options.additive else _with_another_schema())
    with TemporaryDirectory(prefix="pii-vault-drill-") as work:
        old, new = Path(work, "old"), ROOT
        _take(commit, old)
        if options.additive:
            new = Path(work, "new")
            shutil.copytree(old, new)
            _add(new)
        for kind in ("SQLite", "PostgreSQL"):
            print(f"--- {kind}, from {_newest(old)} to {_newest(new)}", flush=True)
            try:
                with database_of(kind) as url:
                    drill(home / kind.lower(), url, old, new)
            except DemoError as error:
                print(f"     not as it must be: {error}", file=sys.stderr)
                return 1
    print("Nothing was lost, on either database.")
    return 0


def drill(home: Path, url: str, old: Path, new: Path) -> None:
    """People, a migration under them, people of whoever serves on, and everybody read back."""
    vault = VaultProcess.create(home, tenants=("acme",), database_url=url, tree=old)
    alone, url = not url, url or f"sqlite+aiosqlite:///{home / 'vault.db'}"
    before, story = Demo(home, old), Demo(home, new)
    people: dict[str, str] = {}
    with vault:
        before.run("operator", "tenant", "create", "acme")
        _add_person(before, people)
        _add_person(before, people)
        story.say(f"The old version serves {_newest(old)}; {len(people)} people are known.")
        story.run("", "migrate", "--config", str(home / "vault.yaml"))
        oldest = _oldest_code(url)
        story.say(f"The new version migrates to {_newest(new)} meanwhile. The database says: code of {oldest} and later may serve.")
        if oldest <= _newest(old):
            _side_by_side(story, before, people, new, alone=alone)
        else:
            _until(lambda: _health(before) == 1, "the old version says NOT_SERVING")
            story.say("The old version is none of those. It says NOT_SERVING.")
    with VaultProcess(home, new):
        _all_there(story, people)
        _add_person(story, people)
        _all_there(story, people)
        story.say(f"The old version stops, the new one starts: all {len(people)} are there, one of them added just now.")
        must(bool(story.run("operator", "operations", "readiness")["ready"]), "the new version is ready")
        for log in ("acme", "system"):
            dump = str(home / f"{log}.log")
            story.run("auditor", "audit", "dump", log, "-o", dump)
            verified = story.exit_code("audit", "verify", dump, "--log", log, "--key", str(home / "verifier.txt"))
            must(verified == 0, f"the audit log {log} is what was written")
        story.say("Their audit log and the system's are intact and complete: pii-vault audit verify.")


def _side_by_side(story: Demo, before: Demo, people: dict[str, str], new: Path, *, alone: bool) -> None:
    """Both serve what both wrote; of a SQLite file there is one process at a time."""
    beside = story.home.with_name(f"{story.home.name}-beside")
    with ExitStack() as running:
        if not alone:
            shutil.copytree(story.home, beside, ignore=shutil.ignore_patterns("checkpoints"))
            (beside / "checkpoints").symlink_to(story.home / "checkpoints")
            running.enter_context(VaultProcess(beside, new))
        # As long as it takes to notice something.
        time.sleep(_LOOKED.total_seconds())
        _add_person(before, people)
        if not alone:
            _add_person(Demo(beside, new), people)
            _all_there(Demo(beside, new), people)
        _all_there(before, people)
        ready = before.run("operator", "operations", "readiness")
        must(ready["ready"] and "SCHEMA_NEWER" in ready["findings"] and _health(before) == 0, "the old version serves on")
    both = "it serves on" if alone else "both serve, side by side"
    story.say(f"The old version is one of those: {both}, and {len(people)} people are shown. Readiness of the old one says SCHEMA_NEWER.")


def _with_another_schema() -> str:
    """The last commit whose newest migration is not this version's."""
    for line in _git("rev-list", "--first-parent", "HEAD").decode().split():
        names = _git("ls-tree", "--name-only", line, f"{_VERSIONS}/").decode().split()
        if max(Path(name).name for name in names if name.endswith(".py"))[:4] != _newest(ROOT):
            return line
    raise SystemExit("no commit has another newest migration")


def _take(commit: str, folder: Path) -> None:
    """The source of a commit."""
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", commit, "vault"))) as archive:
        archive.extractall(folder, filter="data")


def _add(tree: Path) -> None:
    """One more migration, which only adds."""
    mine = _newest(tree)
    revision = f"{int(mine) + 1:04}"
    (tree / _VERSIONS / f"{revision}_drill.py").write_text(_ADDITION.format(revision=revision, mine=mine))


def _newest(tree: Path) -> str:
    return max(path.name[:4] for path in (tree / _VERSIONS).glob("[0-9]*.py"))


def _oldest_code(url: str) -> str:
    async def read() -> str:
        database = Database(url, pool_size=1)
        try:
            async with database.read() as connection:
                return str((await connection.execute(text("SELECT oldest_code FROM schema_compatibility"))).scalar_one())
        finally:
            await database.close()

    return asyncio.run(read())


def _add_person(story: Demo, people: dict[str, str]) -> None:
    phone = f"+97250234567{len(people)}"
    record = story.run("acme-app", "put", "-t", "acme", *CATEGORY, f"phone={phone}")["record"]["name"]
    people[str(record)] = phone


def _all_there(story: Demo, people: dict[str, str]) -> None:
    for record, phone in people.items():
        shown = story.run("acme-app", "reveal", record, "--full", "--field", "phone", *PURPOSE)["record"]["fields"]["phone"]["text"]
        must(shown == phone, "everybody is who they were")


def _health(story: Demo) -> int:
    return story.exit_code("--client", str(story.home / "clients" / "operator"), "health")


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 3 * _LOOKED.total_seconds()
    while not holds():
        must(time.monotonic() < deadline, what)


def _git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], check=True, capture_output=True, cwd=ROOT).stdout


if __name__ == "__main__":
    sys.exit(main())
