"""How a signing key hands over to the next: a note that both sign, so that a stranger who trusts the old key may trust the new one.

Body: format, vault name, sequence number of the new key, the old and the new verifier key, a line each. Pure; no I/O.
"""

from collections.abc import Iterable

from cryptography.exceptions import InvalidSignature

from vault.audit.checkpoint import NoteSigner, NoteVerifier, open_note, sign_note
from vault.errors import DataLossError, InvalidArgumentError

FORMAT = "pii-vault-signing-key/1"
_LINES = 5


def hand_over(old: NoteSigner, new: NoteSigner, *, sequence: int) -> str:
    """The note by which an old key introduces a new one.

    Raises:
        InvalidArgumentError: NOTE_INVALID, the keys sign under different names or are the same.
    """
    before, after = old.verifier(), new.verifier()
    if before.name != after.name or before.text() == after.text():
        raise InvalidArgumentError("NOTE_INVALID", "a key hands over to another key of the same vault")
    return sign_note("\n".join([FORMAT, before.name, str(sequence), before.text(), after.text()]) + "\n", old, new)


def successor(note: str, trusted: NoteVerifier) -> NoteVerifier:
    """The key that a trusted key introduced.

    Raises:
        DataLossError: NOTE_INVALID, the note is no hand-over by that key, or the new key did not sign it too.
    """
    lines = open_note(note, trusted).split("\n")
    if len(lines) != _LINES + 1 or lines[0] != FORMAT or lines[1] != trusted.name or lines[3] != trusted.text():
        raise DataLossError("NOTE_INVALID", "the note is not a hand-over of this key")
    try:
        new = NoteVerifier.parse(lines[4])
    except InvalidArgumentError:
        raise DataLossError("NOTE_INVALID", "the note introduces no key") from None
    if new.name != trusted.name:
        raise DataLossError("NOTE_INVALID", "the note introduces a key of another vault")
    open_note(note, new)
    return new


def trusted_keys(first: NoteVerifier, notes: Iterable[str]) -> list[NoteVerifier]:
    """Every key that may be trusted by who trusts the first: it, and its successors in order. Notes of other keys are ignored.

    Raises:
        DataLossError: NOTE_INVALID, two notes introduce different successors of one key.
    """
    left, keys = list(notes), [first]
    while True:
        found = {}
        for note in left:
            try:
                new = successor(note, keys[-1])
            except (DataLossError, InvalidSignature):
                continue
            found[new.text()] = new
        if not found:
            return keys
        if len(found) > 1:
            raise DataLossError("NOTE_INVALID", "one key introduced two successors")
        [new] = found.values()
        if new.text() in {key.text() for key in keys}:
            raise DataLossError("NOTE_INVALID", "the keys introduce each other in a circle")
        keys.append(new)
