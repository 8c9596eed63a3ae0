"""`pii-vault audit …`: read the log, take a dump of it, and verify a dump offline."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from vault.audit.checkpoint import NoteVerifier
from vault.audit.dump import dump_lines
from vault.audit.succession import trusted_keys
from vault.audit.verify import Verdict, verify_dump
from vault.cli.session import SESSION, plain, reported, say, show, vault
from vault.client import VaultClient
from vault.errors import FailedPreconditionError
from vault.v1.audit_service_pb2 import GetCheckpointRequest, ListAuditEntriesRequest

app = typer.Typer(no_args_is_help=True, help="The audit log: list, checkpoint, dump, verify.")
Log = Annotated[str, typer.Argument(help="Tenant id, or system.", show_default=False)]
Key = Annotated[Path, typer.Option(help="The operator's verifier key, name+id+key.", exists=True, dir_okay=False, show_default=False)]
HandOvers = Annotated[Path | None, typer.Option(help="Folder of published hand-overs: trusts the keys that the given one introduced.")]
Restores = Annotated[
    Path | None,
    typer.Option(help="Folder that checkpoints and restore notes are published to, with a folder for each log: says what restores lost."),
]
_PAGE = 1000


@app.command("list")
def list_(
    log: Log,
    start: Annotated[int, typer.Option(help="First index.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=_PAGE)] = 20,
) -> None:
    """List entries in order."""
    with reported(), vault() as client:
        answer = client.call(client.audit.ListAuditEntries, ListAuditEntriesRequest(parent=parent(log), start_index=start, page_size=limit))
        entries = [plain(entry) for entry in answer.entries]
        for entry in entries:
            entry.pop("content", None)
        if SESSION.json:
            show({"entries": entries, "log_size": answer.log_size})
        for entry in entries:
            say(line(entry))


@app.command()
def checkpoint(log: Log) -> None:
    """Sign the head of a log and print it."""
    with reported(), vault() as client:
        note = client.call(client.audit.GetCheckpoint, GetCheckpointRequest(parent=parent(log))).checkpoint
        show({"checkpoint": note})


@app.command()
def dump(
    log: Log,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
) -> None:
    """Write a log, with a fresh checkpoint, as a file that a stranger can verify; of what was removed after its retention, the hashes."""
    with reported(), vault() as client:
        head = client.call(client.audit.GetCheckpoint, GetCheckpointRequest(parent=parent(log)))
        origin, size = head.checkpoint.split("\n")[:2]
        removal, kept = _removed(client, log)
        entries = _entries(client, log, len(kept), int(size))
        with output.open("w", encoding="utf-8") as out:
            out.writelines(
                dump_lines(
                    log=log,
                    origin=origin,
                    entries=entries,
                    checkpoints=[head.checkpoint],
                    prunings=removal,
                    restores=head.restore_notes,
                    kept=enumerate(kept),
                )
            )
        show({"written": str(output), "entries": int(size), "removed": len(kept)})


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The dump.", exists=True, dir_okay=False)],
    log: Annotated[str, typer.Option(help="Log that it should be of: tenant id, or system.", show_default=False)],
    key: Key,
    checkpoints: Annotated[
        Path | None, typer.Option(help="Folder of published checkpoints and restore notes of this log: finds a tail that was cut off.")
    ] = None,
    hand_overs: HandOvers = None,
) -> None:
    """Verify a dump offline. Exit code 0: intact and complete; 1: not intact; 2: not proved complete; 3: complete but for what restores lost."""
    with reported():
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            verdict = verify_dump(
                lines,
                verifier,
                log=log,
                outside=published_in(checkpoints),
                restores=restores_in(checkpoints),
                successors=successors(verifier, hand_overs),
            )
        show(said(verdict))
        for loss in losses_in_words(verdict):
            say(loss)
        say(IN_WORDS[verdict.exit_code])
    if verdict.exit_code:
        raise typer.Exit(verdict.exit_code)


@app.command()
def successor(
    key: Annotated[Path, typer.Argument(help="A verifier key that is trusted, name+id+key.", exists=True, dir_okay=False)],
    hand_overs: Annotated[Path, typer.Argument(help="Folder of published hand-overs.", exists=True, file_okay=False)],
) -> None:
    """Print the verifier key that signs now, if a chain of hand-overs leads to it from a key that is trusted."""
    with reported():
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        keys = [verifier, *successors(verifier, hand_overs)]
        show({"verifier_key": keys[-1].text(), "hand_overs": len(keys) - 1})


IN_WORDS = {
    0: "intact and complete",
    1: "NOT intact",
    2: "intact, not proved complete",
    3: "intact, complete but for what restores from backup lost",
}


def said(verdict: Verdict) -> dict[str, Any]:
    """A verdict for people and programs."""
    return {
        "log": verdict.log,
        "entries": verdict.entries,
        "pruned": verdict.pruned,
        "intact": verdict.intact,
        "complete": verdict.complete,
        "covered_by_checkpoint": verdict.covered,
        "first_bad_index": verdict.first_bad_index,
        "problem": verdict.problem,
        "lost": [
            {"restore": loss.restore, "start": loss.start, "end": loss.end, "time": loss.time.isoformat(), "incarnation": loss.incarnation}
            for loss in verdict.lost
        ],
    }


def losses_in_words(verdict: Verdict) -> list[str]:
    """What restores lost, a line each."""
    return [
        f"entries {loss.start} to {loss.end - 1} were lost by restore {loss.restore} of {loss.time:%Y-%m-%d %H:%M} UTC, {loss.incarnation}"
        for loss in verdict.lost
    ]


def published_in(folder: Path | None) -> list[str]:
    """The checkpoints that were published to a folder."""
    return _texts(folder, "*.checkpoint")


def restores_in(folder: Path | None) -> list[str]:
    """The notes about restores that were published to a folder."""
    return _texts(folder, "*.restore")


def _texts(folder: Path | None, names: str) -> list[str]:
    published = sorted(folder.glob(names)) if folder else []
    return [path.read_text(encoding="utf-8", errors="surrogateescape") for path in published]


def successors(verifier: NoteVerifier, folder: Path | None) -> list[NoteVerifier]:
    """The keys that took over from a key, by the notes in a folder."""
    notes = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.note"))] if folder else []
    return trusted_keys(verifier, notes)[1:]


def line(entry: Mapping[str, Any]) -> str:
    """Index, time, actor, what was done with which category and why, and how it ended."""
    index, actor = entry["name"].rsplit("/", 1)[-1], entry["actor"].removeprefix("spiffe://")
    done = " ".join(filter(None, (entry["operation"] or entry["method"].rsplit("/", 1)[-1], entry["category"])))
    purpose = f" for {entry['purpose']}" if entry["purpose"] else ""
    reason = f" {entry['reason']}" if entry["reason"] else ""
    return f"{index:>6}  {entry['time'][:19]}  {actor}  {done}{purpose}: {entry['decision']}{reason}"


def _removed(client: VaultClient, log: str) -> tuple[list[str], list[bytes]]:
    """The note about what was removed, if anything was, and its hashes: 32 bytes an entry, and the log is two years old by then."""
    notes, hashes = list[str](), list[bytes]()
    while True:
        request = ListAuditEntriesRequest(parent=parent(log), start_index=len(hashes), page_size=_PAGE, removed=True)
        page = client.call(client.audit.ListAuditEntries, request)
        if not page.removed_hashes:
            return notes, hashes
        notes = [page.removal_note]
        hashes += page.removed_hashes


def _entries(client: VaultClient, log: str, index: int, size: int) -> Iterator[tuple[int, bytes]]:
    while index < size:
        request = ListAuditEntriesRequest(parent=parent(log), start_index=index, page_size=min(_PAGE, size - index))
        page = client.call(client.audit.ListAuditEntries, request).entries
        if not page:
            return
        for entry in page:
            if not entry.name.endswith(f"/{index}"):
                raise FailedPreconditionError("LOG_PRUNED", "entries of the log were removed while it was read")
            yield index, entry.content
            index += 1


def parent(log: str) -> str:
    """Name of a log in requests."""
    return log if log == "system" else f"tenants/{log}"
