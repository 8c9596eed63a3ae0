"""A sealed copy of a root key file, and shares of the key that opens it. Pure: no file is written, nothing is printed.

The copy may lie anywhere; the shares go to people, each on paper and none beside another. Some of them (the threshold) together with the copy
give the root key back. Fewer tell nothing about it, nor does the copy alone.

- Recovery file: canonical JSON, `{"format": "pii-vault-recovery/1", "nonce", "sealed", "set", "shares", "threshold"}` and a line end. `sealed` is
  the root key file under AES-256-GCM with a fresh random key; the other members are its AAD. `set` is the SLIP-39 identifier.
- Shares: SLIP-39 mnemonics of that key, one group, no passphrase, 33 words each; other programs read them, too. Source: SLIP-0039.
- What is sealed is always of the form without a passphrase: one that is forgotten is among the losses that shares are for.
"""

import base64
import binascii
import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import shamir_mnemonic
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from shamir_mnemonic import MnemonicError, Share
from shamir_mnemonic.wordlist import WORD_INDEX_MAP

from vault.errors import FailedPreconditionError, InvalidArgumentError
from vault.keys import local

_FORMAT = "pii-vault-recovery/1"
_KEY_BYTES, _NONCE_BYTES = 32, 12
_WORDS = 33  # SLIP-0039: 4 of header, 26 of value, 3 of checksum
_MIN_THRESHOLD, _MAX_SHARES = 2, 16  # SLIP-0039 has 4 bits for a share's number
# A root key file with the most versions it can have is smaller.
_MAX_BYTES = 16 << 20


def split(path: Path, threshold: int, shares: int, *, passphrase: bytes | None = None) -> tuple[bytes, list[str]]:
    """Seal a root key file under a fresh key, and split that key.

    Args:
        path: the root key file.
        threshold: how many shares are needed to restore it.
        shares: how many there are.
        passphrase: what protects the root key file, if anything does; not needed to restore.
    Returns:
        content of the recovery file, and the shares.
    Raises:
        InvalidArgumentError: RECOVERY_SHARES_INVALID, not 2 ≤ threshold ≤ shares ≤ 16.
        KeyUnavailableError: KEYS_UNAVAILABLE, the root key file cannot be read.
        FailedPreconditionError: ROOT_KEY_INVALID, it is not a root key file, others may read it, or this is not its passphrase.
    """
    if not _MIN_THRESHOLD <= threshold <= shares <= _MAX_SHARES:
        raise InvalidArgumentError("RECOVERY_SHARES_INVALID", f"it must be {_MIN_THRESHOLD} ≤ threshold ≤ shares ≤ {_MAX_SHARES}")
    content = local.content_of(local.read(path, passphrase).keys, None)
    key, nonce = secrets.token_bytes(_KEY_BYTES), secrets.token_bytes(_NONCE_BYTES)
    [mnemonics] = shamir_mnemonic.generate_mnemonics(1, [(threshold, shares)], key)
    head = {
        "format": _FORMAT,
        "nonce": base64.b64encode(nonce).decode(),
        "set": Share.from_mnemonic(mnemonics[0]).identifier,
        "shares": shares,
        "threshold": threshold,
    }
    sealed = AESGCM(key).encrypt(nonce, content, _canonical(head))
    recovery_file = _canonical({**head, "sealed": base64.b64encode(sealed).decode()}) + b"\n"
    # Otherwise a copy that does not open would be found out on the day it is needed, when nobody can make another one.
    if restore(recovery_file, mnemonics[-threshold:]) != content:
        raise FailedPreconditionError("RECOVERY_FILE_INVALID", "the recovery file does not open with its shares")
    return recovery_file, mnemonics


def restore(recovery_file: bytes, mnemonics: Sequence[str]) -> bytes:
    """Open a recovery file with shares of its key.

    Args:
        recovery_file: its content.
        mnemonics: at least as many different shares as its threshold; case and white space do not matter.
    Returns:
        content of a root key file without a passphrase, `pii-vault-root-key/1`, with every version.
    Raises:
        FailedPreconditionError: RECOVERY_FILE_INVALID, it is damaged.
        InvalidArgumentError: RECOVERY_SHARES_INVALID, there are too few, one is mistyped or belongs to another recovery file. Shares are named by
            their place, counted from 1.
    """
    head, nonce, sealed = _parsed(recovery_file)
    key = _key([_share(number, mnemonic) for number, mnemonic in enumerate(mnemonics, 1)], head["set"], head["threshold"])
    try:
        content = AESGCM(key).decrypt(nonce, sealed, _canonical(head))
    except InvalidTag:
        raise FailedPreconditionError("RECOVERY_FILE_INVALID", "the recovery file is damaged, or not the one of these shares") from None
    return content


def _share(number: int, mnemonic: str) -> Share:
    """One share; words are never repeated in an error, they are secret."""
    words = mnemonic.lower().split()
    unknown = [str(place) for place, word in enumerate(words, 1) if word not in WORD_INDEX_MAP]
    if unknown:
        raise _refusal(f"share {number}: no share has such a word at place {', '.join(unknown[:5])}")
    if len(words) != _WORDS:
        raise _refusal(f"share {number} has {len(words)} words and should have {_WORDS}")
    try:
        return Share.from_mnemonic(" ".join(words))
    except MnemonicError:
        raise _refusal(f"share {number} is mistyped: a word is not the one that was written, or in another place") from None


def _key(given: Sequence[Share], identifier: int, threshold: int) -> bytes:
    for number, share in enumerate(given, 1):
        if share.identifier != identifier or share.member_threshold != threshold:
            raise _refusal(f"share {number} belongs to another recovery file")
    # The same share twice counts once. More than the threshold are not needed, and SLIP-39 wants exactly as many.
    chosen = list({share.index: share for share in given}.values())[:threshold]
    if len(chosen) < threshold:
        raise _refusal(f"{threshold} different shares are needed, there are {len(chosen)}")
    try:
        key: bytes = shamir_mnemonic.combine_mnemonics([share.mnemonic() for share in chosen])
    except MnemonicError:
        key = b""
    if len(key) != _KEY_BYTES:
        raise _refusal("the shares do not belong together, at least one is of another recovery file")
    return key


def _parsed(recovery_file: bytes) -> tuple[dict[str, Any], bytes, bytes]:
    try:
        head = json.loads(recovery_file) if len(recovery_file) <= _MAX_BYTES else {}
        sealed, nonce = _decoded(head.pop("sealed")), _decoded(head["nonce"])
        sound = (
            head["format"] == _FORMAT and head.keys() == {"format", "nonce", "set", "shares", "threshold"} and len(nonce) == _NONCE_BYTES
        )
        sound = sound and all(type(head[name]) is int for name in ("set", "shares", "threshold"))
        sound = sound and _MIN_THRESHOLD <= head["threshold"] <= head["shares"] <= _MAX_SHARES
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error):
        sound = False
    if not sound:
        raise FailedPreconditionError("RECOVERY_FILE_INVALID", f"the recovery file is not of the form {_FORMAT}")
    return head, nonce, sealed


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _decoded(text: str) -> bytes:
    """Bytes of a base64 text in its one spelling: of several, one would be a change that nobody finds."""
    value = base64.b64decode(text, validate=True)
    if base64.b64encode(value).decode() != text:
        raise binascii.Error
    return value


def _refusal(message: str) -> InvalidArgumentError:
    return InvalidArgumentError("RECOVERY_SHARES_INVALID", message)
