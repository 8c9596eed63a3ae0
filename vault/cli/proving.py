"""`pii-vault audit prove` and `audit check`: one entry in a file that a stranger checks, offline, with nothing but a public key."""

from pathlib import Path
from typing import Annotated

import typer

from vault.audit.check import check_proof, proof_text
from vault.audit.checkpoint import NoteVerifier, read_checkpoint
from vault.audit.cosignature import WitnessVerifier
from vault.audit.restore import lost_in, open_restores
from vault.cli.auditing import HandOvers, Key, Restores, parent, restores_in, successors
from vault.cli.session import reported, say, show, vault
from vault.errors import InvalidArgumentError
from vault.names import SYSTEM_LOG
from vault.v1.audit_service_pb2 import GetCheckpointRequest, GetInclusionProofRequest, ListAuditEntriesRequest


def prove(
    receipt: Annotated[str, typer.Argument(help="Receipt of a call: log/index.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write.", show_default=False)],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Prove it in this checkpoint, e.g. one that a witness signed; a fresh one unless told.", exists=True)
    ] = None,
) -> None:
    """Write a proof that an entry is in the log: the entry, its place, and a signed head (C2SP tlog-proof)."""
    with reported(), vault() as client:
        log, index = _receipt(receipt)
        if checkpoint is None:
            note = client.call(client.audit.GetCheckpoint, GetCheckpointRequest(parent=parent(log))).checkpoint
        else:
            note = checkpoint.read_text(encoding="utf-8", errors="replace")
        size = read_checkpoint(note).size
        name = f"auditEntries/{index}" if log == SYSTEM_LOG else f"tenants/{log}/auditEntries/{index}"
        hashes = client.call(client.audit.GetInclusionProof, GetInclusionProofRequest(name=name, tree_size=size)).hashes
        request = ListAuditEntriesRequest(parent=parent(log), start_index=index, page_size=1)
        [entry] = client.call(client.audit.ListAuditEntries, request).entries
        output.write_text(proof_text(entry=entry.content, index=index, hashes=hashes, checkpoint=note), encoding="utf-8")
        show({"written": str(output), "log": log, "index": index, "tree_size": size, "hashes": len(hashes)})


def check(
    file: Annotated[Path, typer.Argument(help="The proof.", exists=True, dir_okay=False)],
    key: Key,
    witness: Annotated[
        list[Path] | None,
        typer.Option(help="Verifier key of a witness who has to have signed too; repeatable.", exists=True, dir_okay=False),
    ] = None,
    hand_overs: HandOvers = None,
    restores: Restores = None,
) -> None:
    """Check a proof offline and print what was recorded. Exit code 0: it holds; 1: it does not."""
    with reported():
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        witnesses = [WitnessVerifier.parse(path.read_text(encoding="utf-8", errors="replace")) for path in witness or []]
        text = file.read_bytes().decode("utf-8", errors="replace")
        keys = [verifier, *successors(verifier, hand_overs)]
        proven = check_proof(text, keys, witnesses=witnesses)
        notes = restores_in(restores / proven.log) if restores else []
        known = open_restores(notes, keys, origin=proven.checkpoint.origin)
        lost = lost_in(known, life=proven.checkpoint.restore, index=proven.index) if restores else None
        show(
            {
                "holds": True,
                "log": proven.log,
                "index": proven.index,
                "tree_size": proven.checkpoint.size,
                "cosigned_by": dict(proven.cosigners),
                "lost_in_restore": lost.number if lost else None,
                "entry": proven.entry,
            }
        )
        say("the operator recorded this, and cannot deny or change it")
        if lost:
            say(f"restore {lost.number} of {lost.time:%Y-%m-%d %H:%M} UTC lost it from the log: keep this proof")


def _receipt(text: str) -> tuple[str, int]:
    log, _, index = text.rpartition("/")
    if not log or not (index.isascii() and index.isdecimal()):
        raise InvalidArgumentError("FIELD_INVALID", "a receipt is of the form log/index", field="receipt")
    return log, int(index)
