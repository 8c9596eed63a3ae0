"""Signed notes and, in them, the checkpoints of a log.

Sources: C2SP signed-note (Ed25519, algorithm byte 0x01) and C2SP tlog-checkpoint. A note is text: the body, an empty line, and one line per
signature, `— <name> <base64(key id ‖ signature)>`. A hash chain alone misses a log whose tail was cut off; the signed size does not.
A log that was restored from backup says so in an extension line, `restore <number of the note>` (`restore.py`).
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from vault.audit.armour import unarmoured
from vault.errors import DataLossError, InvalidArgumentError

_ED25519 = b"\x01"
_KEY_ID_BYTES = 4
_ROOT_BYTES = 32
_LINES = 3
# Of a number below 2**64.
_DIGITS = 20
_RESTORE = "restore "
_DASH = "— "


@dataclass(frozen=True, slots=True)
class NoteSigner:
    """Name and private key that sign notes."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    def verifier(self) -> "NoteVerifier":
        """What a stranger needs to check the notes."""
        return NoteVerifier(self.name, self.key.public_key())


@dataclass(frozen=True, slots=True)
class NoteVerifier:
    """Name and public key that notes are checked against."""

    name: str
    key: Ed25519PublicKey

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.key.public_bytes_raw()).digest()[:_KEY_ID_BYTES]

    def text(self) -> str:
        """The verifier key as text: `name+hex(key id)+base64(0x01 ‖ public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.key.public_bytes_raw()).decode()}"

    def pem(self) -> bytes:
        """The public key alone, for tools that know nothing of notes."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @staticmethod
    def parse(text: str) -> "NoteVerifier":
        """Inverse of `text`.

        Raises:
            InvalidArgumentError: VERIFIER_KEY_INVALID.
        """
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            material = unarmoured(encoded)
            verifier = NoteVerifier(name, Ed25519PublicKey.from_public_bytes(material[1:]))
            sound = material[:1] == _ED25519 and verifier.key_id.hex() == key_id and _is_name(name)
        except (ValueError, binascii.Error):
            sound = False
        if not sound:
            raise InvalidArgumentError("VERIFIER_KEY_INVALID", "the verifier key is not of the form name+id+key")
        return verifier

    @staticmethod
    def from_pem(name: str, pem: bytes) -> "NoteVerifier":
        """A verifier from a plain public key and the name it is expected to sign as.

        Raises:
            InvalidArgumentError: VERIFIER_KEY_INVALID.
        """
        try:
            key = load_pem_public_key(pem)
        except ValueError:
            key = None
        if not isinstance(key, Ed25519PublicKey):
            raise InvalidArgumentError("VERIFIER_KEY_INVALID", "the file is not an Ed25519 public key in PEM form")
        return NoteVerifier(name, key)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Size and root hash of one log, named by its origin; and the number of its newest restore, 0 if there was none."""

    origin: str
    size: int
    root: bytes
    restore: int = 0

    def body(self) -> str:
        """Origin, decimal size and base64 root, a line each; a fourth line names the restore if there was one."""
        after = f"{_RESTORE}{self.restore}\n" if self.restore else ""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n{after}"


def origin_of(vault_name: str, log: str) -> str:
    """Origin of one log of one vault: pins which log a checkpoint is about."""
    return f"{vault_name}/{log}"


def sign_note(body: str, *signers: NoteSigner) -> str:
    """Sign a text, one line per signer; it must end with a line break and hold no empty line.

    Raises:
        InvalidArgumentError: NOTE_INVALID.
    """
    if not body.endswith("\n") or "\n\n" in body or not all(_is_name(signer.name) for signer in signers):
        raise InvalidArgumentError("NOTE_INVALID", "a note's body ends with one line break and holds no empty line")
    lines = [
        f"{_DASH}{signer.name} {base64.b64encode(signer.verifier().key_id + signer.key.sign(body.encode())).decode()}\n"
        for signer in signers
    ]
    return f"{body}\n{''.join(lines)}"


def open_note(text: str, verifier: NoteVerifier) -> str:
    """The body of a note, if the verifier's key signed exactly it. Signatures by other keys are ignored.

    Raises:
        DataLossError: NOTE_INVALID.
    """
    body, separator, signatures = text.rpartition("\n\n")
    body += "\n"
    is_text = not any("\ud800" <= character <= "\udfff" for character in text)
    if not is_text or not separator or "\n\n" in body or not signatures.endswith("\n"):
        raise DataLossError("NOTE_INVALID", "the text is not a signed note")
    for line in signatures[:-1].split("\n"):
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        try:
            signed = unarmoured(encoded)
        except (binascii.Error, ValueError):
            raise DataLossError("NOTE_INVALID", "a signature line of the note is damaged") from None
        if line.startswith(_DASH) and name == verifier.name and signed[:_KEY_ID_BYTES] == verifier.key_id:
            try:
                verifier.key.verify(signed[_KEY_ID_BYTES:], body.encode())
            except InvalidSignature:
                raise DataLossError("NOTE_INVALID", "the signature of the note is wrong") from None
            return body
    raise DataLossError("NOTE_INVALID", "the note is not signed by this key")


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> str:
    """The checkpoint as a signed note."""
    return sign_note(checkpoint.body(), signer)


def open_checkpoint(text: str, verifier: NoteVerifier) -> Checkpoint:
    """The checkpoint in a note, if the verifier's key signed it.

    Raises:
        DataLossError: NOTE_INVALID or CHECKPOINT_INVALID.
    """
    return _checkpoint(open_note(text, verifier))


def read_checkpoint(text: str) -> Checkpoint:
    """What a note says, **whoever signed it**: for who compares it with what they have, and trusts neither.

    Raises:
        DataLossError: CHECKPOINT_INVALID.
    """
    return _checkpoint(text.partition("\n\n")[0] + "\n")


def _checkpoint(body: str) -> Checkpoint:
    lines = body.split("\n")
    try:
        origin, size, root = lines[0], lines[1], unarmoured(lines[2])
    except (IndexError, binascii.Error, ValueError):
        raise DataLossError("CHECKPOINT_INVALID", "the note is not a checkpoint") from None
    restore = lines[_LINES].removeprefix(_RESTORE) if len(lines) == _LINES + 2 and lines[_LINES].startswith(_RESTORE) else "0"
    if not (_is_count(size) and _is_count(restore)) or len(root) != _ROOT_BYTES:
        raise DataLossError("CHECKPOINT_INVALID", "the note is not a checkpoint")
    checkpoint = Checkpoint(origin, int(size), root, int(restore))
    if checkpoint.body() != body:
        raise DataLossError("CHECKPOINT_INVALID", "the note is not a checkpoint")
    return checkpoint


def _is_count(text: str) -> bool:
    return len(text) <= _DIGITS and text.isascii() and text.isdecimal() and str(int(text)) == text


def _is_name(name: str) -> bool:
    """A key name is one word without plus (C2SP signed-note)."""
    return bool(name) and "+" not in name and not any(c.isspace() for c in name)
