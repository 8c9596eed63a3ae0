"""`pii-vault audit verify-database`: every log of a database, or of a copy of one, checked without the vault and without its help.

Beside it what an administrator of the database runs: `audit prune`, and `audit privileges`.
"""

import asyncio
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress

from vault.audit.checkpoint import NoteVerifier
from vault.audit.pruning import FLOOR, check_floor
from vault.audit.verify import Verdict, verify_dump
from vault.cli.auditing import IN_WORDS, HandOvers, Key, losses_in_words, published_in, restores_in, said, successors
from vault.cli.session import SESSION, reported, say, show

# The worst comes last.
_WORSE = (0, 3, 2, 1)


def verify_database(
    database_url: Annotated[
        str,
        typer.Option(
            "--database-url", help="SQLite file or PostgreSQL database; an account that may read is enough.", envvar="VAULT_DATABASE_URL",
            show_default=False,
        ),
    ],
    key: Key,
    log: Annotated[list[str] | None, typer.Option(help="Log to check: tenant id, or system; repeatable. All unless told.")] = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder that checkpoints and restore notes are published to, a folder for each log: finds what was cut off.")
    ] = None,
    hand_overs: HandOvers = None,
) -> None:  # fmt: skip
    """Verify logs straight from a database, read only.

    Exit code 0: all intact and complete; 1: one is not intact; 2: one is not proved complete; 3: complete but for what restores from backup lost.
    """
    with reported():
        from vault.store.audit_dump import reading  # noqa: PLC0415 - who verifies a dump needs no database

        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        trusted = successors(verifier, hand_overs)
        verdicts = []
        with reading(database_url) as reader, _progress() as progress:
            sizes = reader.sizes()
            for name in log or sorted(sizes.keys() | _published_logs(checkpoints)):
                lines = _counted(reader.lines(name, origin=f"{verifier.name}/{name}"), progress, name, sizes.get(name, 0))
                folder = checkpoints / name if checkpoints else None
                verdicts.append(
                    verify_dump(lines, verifier, log=name, outside=published_in(folder), restores=restores_in(folder), successors=trusted)
                )
        worst = max((verdict.exit_code for verdict in verdicts), key=_WORSE.index, default=2)
        _show(verdicts, worst)
    if worst:
        raise typer.Exit(worst)


def prune(
    config: Annotated[Path, typer.Option(help="Configuration file.", envvar="PII_VAULT_CONFIG")] = Path("vault.yaml"),
    days: Annotated[int, typer.Option(help="Keep what is younger than this many days; 730 at least.")] = FLOOR.days,
    log: Annotated[list[str] | None, typer.Option(help="Log to prune; repeatable. All unless told.")] = None,
) -> None:
    """Remove entries whose retention is over; their hashes stay. For the pruning role: give its VAULT_DATABASE_URL."""
    with reported():
        from vault import config as configuration  # noqa: PLC0415
        from vault import server  # noqa: PLC0415

        kept_for = check_floor(timedelta(days=min(days, 36_500)))
        show({"removed": asyncio.run(server.prune(configuration.load(config), log or [], kept_for=kept_for))})


def privileges(
    service: Annotated[str, typer.Option(help="PostgreSQL role of the serving vault.")] = "vault_service",
    pruning: Annotated[str, typer.Option(help="Role that removes what is old enough.")] = "vault_pruning",
    auditor: Annotated[str, typer.Option(help="Role that reads evidence.")] = "vault_auditor",
) -> None:
    """Print the statements that give three PostgreSQL roles what they need and no more."""
    with reported():
        from vault.store.privileges import statements  # noqa: PLC0415

        lines = statements(service=service, pruning=pruning, auditor=auditor)
        if SESSION.json:
            show({"statements": lines})
        for line in lines:
            say(line)


def _show(verdicts: list[Verdict], worst: int) -> None:
    if SESSION.json:
        show({"verdict": IN_WORDS[worst], "logs": [said(verdict) for verdict in verdicts]})
        return
    for verdict in verdicts:
        bad = "" if verdict.first_bad_index is None else f", first bad index {verdict.first_bad_index}"
        problem = f": {verdict.problem}" if verdict.problem else ""
        say(f"{verdict.log}: {verdict.entries} entries, {IN_WORDS[verdict.exit_code]}{problem}{bad}")
        for loss in losses_in_words(verdict):
            say(f"  {loss}")
    say(IN_WORDS[worst])


def _published_logs(folder: Path | None) -> set[str]:
    """Logs that were published once: one that is not in the database any more is missed too."""
    return {path.parent.name for path in folder.glob("*/*.checkpoint")} if folder else set()


def _progress() -> Progress:
    return Progress(console=SESSION.err, transient=True, disable=SESSION.json or not SESSION.err.is_terminal)


def _counted(lines: Iterable[str], progress: Progress, log: str, total: int) -> Iterator[str]:
    task = progress.add_task(log, total=total)
    for count, line in enumerate(lines):
        if not count % 1000:
            progress.update(task, completed=count)
        yield line
    progress.update(task, completed=total)
