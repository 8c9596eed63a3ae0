"""The signature of a witness: that it saw a log of a size, with a root, at a time, and that the log had only grown since it saw it last.

Source: C2SP tlog-cosignature, cosignature/v1 (Ed25519, algorithm byte 0x04). What is signed is `cosignature/v1`, `time` and the seconds, then the
checkpoint; the signature line holds key id (4) | seconds (8, big endian) | signature (64). Pure: no clock; the time is given.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from vault.audit.armour import unarmoured
from vault.audit.checkpoint import read_checkpoint
from vault.errors import DataLossError, InvalidArgumentError

_COSIGNATURE = b"\x04"
_ID_BYTES, _TIME_BYTES, _SIGNATURE_BYTES = 4, 8, 64
_DASH = "— "


@dataclass(frozen=True, slots=True)
class WitnessVerifier:
    """Name and public key that cosignatures are checked against."""

    name: str
    key: Ed25519PublicKey

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name ‖ 0x0A ‖ 0x04 ‖ public key)."""
        return hashlib.sha256(self.name.encode() + b"\n" + _COSIGNATURE + self.key.public_bytes_raw()).digest()[:_ID_BYTES]

    def text(self) -> str:
        """The verifier key as text: `name+hex(key id)+base64(0x04 ‖ public key)`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_COSIGNATURE + self.key.public_bytes_raw()).decode()}"

    @staticmethod
    def parse(text: str) -> "WitnessVerifier":
        """Inverse of `text`.

        Raises:
            InvalidArgumentError: VERIFIER_KEY_INVALID.
        """
        try:
            name, key_id, encoded = text.strip().split("+", 2)
            material = unarmoured(encoded)
            verifier = WitnessVerifier(name, Ed25519PublicKey.from_public_bytes(material[1:]))
            sound = material[:1] == _COSIGNATURE and verifier.key_id.hex() == key_id and bool(name) and name.split() == [name]
        except (ValueError, binascii.Error):
            sound = False
        if not sound:
            raise InvalidArgumentError("VERIFIER_KEY_INVALID", "the witness's key is not of the form name+id+key")
        return verifier


@dataclass(frozen=True, slots=True)
class Witness:
    """Name and private key of a witness."""

    name: str
    key: Ed25519PrivateKey = field(repr=False)

    def verifier(self) -> WitnessVerifier:
        """What a stranger needs to check its cosignatures."""
        return WitnessVerifier(self.name, self.key.public_key())


def cosign(note: str, witness: Witness, *, seconds: int) -> str:
    """The note with one more signature line.

    Raises:
        DataLossError: CHECKPOINT_INVALID, the note is no checkpoint.
    """
    read_checkpoint(note)
    signature = witness.key.sign(_message(note, seconds))
    line = base64.b64encode(witness.verifier().key_id + seconds.to_bytes(_TIME_BYTES) + signature).decode()
    return f"{note}{_DASH}{witness.name} {line}\n"


def cosigned_at(note: str, verifier: WitnessVerifier) -> int | None:
    """When a witness saw the checkpoint, in seconds of Unix time; None if it did not sign it.

    Raises:
        DataLossError: NOTE_INVALID, there is a line of that witness that does not hold.
    """
    for line in note.partition("\n\n")[2].split("\n"):
        name, _, encoded = line.removeprefix(_DASH).partition(" ")
        if not line.startswith(_DASH) or name != verifier.name:
            continue
        try:
            signed = unarmoured(encoded)
        except (binascii.Error, ValueError):
            raise DataLossError("NOTE_INVALID", "a signature line of the note is damaged") from None
        if signed[:_ID_BYTES] != verifier.key_id or len(signed) != _ID_BYTES + _TIME_BYTES + _SIGNATURE_BYTES:
            continue
        seconds = int.from_bytes(signed[_ID_BYTES : _ID_BYTES + _TIME_BYTES])
        try:
            verifier.key.verify(signed[_ID_BYTES + _TIME_BYTES :], _message(note, seconds))
        except InvalidSignature:
            raise DataLossError("NOTE_INVALID", "the cosignature of the witness is wrong") from None
        return seconds
    return None


def _message(note: str, seconds: int) -> bytes:
    body = note.partition("\n\n")[0] + "\n"
    return f"cosignature/v1\ntime {seconds}\n{body}".encode()
