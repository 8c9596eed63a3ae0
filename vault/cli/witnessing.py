"""`pii-vault audit witness`: an independent process that cosigns checkpoints of a vault, if its logs only grew since it saw them last.

Rules:
- It trusts neither the vault nor its database: it keeps what it saw in a folder of its own, wants the operator's signature, and a proof of growth.
- It never signs two logs that contradict each other, nor a shorter one after a longer one. After a restore from backup somebody has to give it the
  published note; then it wants growth from what the note says, and from whatever it signed itself below that.
- It holds its own key and no other secret; it reads as an auditor and sees no entry.
"""

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from vault.audit.check import verify_consistency
from vault.audit.checkpoint import Checkpoint, NoteVerifier, open_checkpoint, read_checkpoint
from vault.audit.cosignature import Witness, cosign
from vault.audit.restore import open_restores, shared_sizes
from vault.cli.auditing import HandOvers, Key, Restores, parent, restores_in, successors
from vault.cli.session import reported, say, show, vault
from vault.client import VaultClient
from vault.errors import DataLossError, InvalidArgumentError, VaultError
from vault.operations.sink import checkpoint_name
from vault.v1.audit_service_pb2 import GetCheckpointRequest, GetConsistencyProofRequest

_KEY, _VERIFIER = "witness.key", "witness.txt"
Growth = Callable[[str, int, int], Sequence[bytes]]


def witness(
    log: Annotated[list[str], typer.Argument(help="Logs to watch: tenant ids, or system.", show_default=False)],
    home: Annotated[Path, typer.Option(help="Folder of the witness: its key, and what it saw.", show_default=False)],
    name: Annotated[str, typer.Option(help="Name that it signs as.", show_default=False)],
    key: Key,
    hand_overs: HandOvers = None,
    restores: Restores = None,
    every: Annotated[int, typer.Option(help="Seconds between two looks; 0 for one look.", min=0)] = 0,
) -> None:
    """Cosign the logs' checkpoints if they only grew. Exit code 1: one did not; it is never signed again without your doing."""
    with reported(), vault() as client:
        verifier = NoteVerifier.parse(key.read_text(encoding="utf-8", errors="replace"))
        signer = _signer(home, name)
        while True:
            keys = [verifier, *successors(verifier, hand_overs)]
            cosigned = [_look(client, home, signer, keys, item, restores) for item in log]
            if not every:
                show({"cosigned": [str(path) for path in cosigned]})
                return
            say(f"cosigned {len(cosigned)} logs")
            time.sleep(every)


def witnessed(
    home: Path,
    signer: Witness,
    keys: Sequence[NoteVerifier],
    note: str,
    *,
    log: str,
    growth: Growth,
    now: datetime,
    restores: Sequence[str] = (),
) -> Path:
    """Cosign a checkpoint that continues what was seen; where it was put.

    Raises:
        DataLossError: NOTE_INVALID, CHECKPOINT_INVALID, PROOF_INVALID; nothing was signed.
    """
    checkpoint = _opened(note, keys)
    if checkpoint.origin != f"{keys[0].name}/{log}":
        raise DataLossError("CHECKPOINT_INVALID", "the checkpoint is of another log")
    folder = home / log
    for seen in _to_continue(folder, checkpoint, keys, restores):
        if checkpoint.size < seen.size:
            raise DataLossError("PROOF_INVALID", "the log is shorter than it was")
        hashes = growth(log, seen.size, checkpoint.size) if checkpoint.size > seen.size else []
        verify_consistency(first=seen.size, second=checkpoint.size, first_root=seen.root, second_root=checkpoint.root, hashes=list(hashes))
    signed = cosign(note, signer, seconds=int(now.timestamp()))
    folder.mkdir(parents=True, exist_ok=True)
    # What was seen is kept before the signature leaves: a crash in between forgets a signature, never a promise.
    _replace(folder / "latest", signed)
    path = home / checkpoint_name(log, checkpoint.size, checkpoint.restore)
    _replace(path, signed)
    return path


def _to_continue(folder: Path, checkpoint: Checkpoint, keys: Sequence[NoteVerifier], restores: Sequence[str]) -> list[Checkpoint]:
    """Heads that are not empty and that a checkpoint has to continue: what was seen last or, after a restore, what that left.

    Raises:
        DataLossError: NOTE_INVALID, a note does not hold; PROOF_INVALID, there is none, or the log forgot a restore.
    """
    if not (folder / "latest").exists():
        return []
    seen = read_checkpoint((folder / "latest").read_text(encoding="utf-8"))
    if seen.restore == checkpoint.restore:
        return [seen] if seen.size else []
    if seen.restore > checkpoint.restore:
        raise DataLossError("PROOF_INVALID", "the log does not know of a restore that it went through")
    known = open_restores(restores, keys, origin=checkpoint.origin)
    if checkpoint.restore not in known:
        raise DataLossError("PROOF_INVALID", "the log was restored from a backup; give the published restore note")
    shared = shared_sizes(known, checkpoint.restore)
    own = [read_checkpoint(path.read_text(encoding="utf-8")) for path in folder.glob("*.checkpoint")]
    left = [head for head in own if 0 < head.size <= shared[head.restore]]
    began = known[checkpoint.restore].head()
    return [*([began] if began.size else []), *([max(left, key=lambda head: head.size)] if left else [])]


def _look(client: VaultClient, home: Path, signer: Witness, keys: Sequence[NoteVerifier], log: str, restores: Path | None) -> Path:
    def growth(name: str, first: int, second: int) -> Sequence[bytes]:
        request = GetConsistencyProofRequest(parent=parent(name), from_size=first, to_size=second)
        return client.call(client.audit.GetConsistencyProof, request).hashes

    note = client.call(client.audit.GetCheckpoint, GetCheckpointRequest(parent=parent(log))).checkpoint
    notes = restores_in(restores / log if restores else None)
    return witnessed(home, signer, keys, note, log=log, growth=growth, now=datetime.now(UTC), restores=notes)


def _opened(note: str, keys: Sequence[NoteVerifier]) -> Checkpoint:
    for trusted in keys[:-1]:
        try:
            return open_checkpoint(note, trusted)
        except VaultError:
            continue
    return open_checkpoint(note, keys[-1])


def _signer(home: Path, name: str) -> Witness:
    """The witness's key; made at its first start, with the verifier key beside it for everybody."""
    path = home / _KEY
    if not path.exists():
        home.mkdir(parents=True, exist_ok=True)
        fresh = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(fresh)
    loaded = load_pem_private_key(path.read_bytes(), None)
    if not isinstance(loaded, Ed25519PrivateKey) or not name or name.split() != [name] or "+" in name:
        raise InvalidArgumentError("VERIFIER_KEY_INVALID", "the witness has no Ed25519 key, or a name of more than one word")
    signer = Witness(name, loaded)
    (home / _VERIFIER).write_text(signer.verifier().text() + "\n", encoding="utf-8")
    return signer


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(path)
