"""Sealing, opening, receipt."""

import hashlib
import json

import pytest
from pyrage import x25519

from tests.vectors.bundle_2.sample import EXPORT_ID, IDENTITY, RECIPIENT
from vault.bundle.seal import fingerprint, open_sealed, receipt, seal
from vault.errors import DataLossError, InvalidArgumentError


def test_what_is_sealed_opens_with_the_identity() -> None:
    assert open_sealed(seal(b"bytes", RECIPIENT), IDENTITY) == b"bytes"


def test_plaintext_does_not_show_in_the_sealed_bytes() -> None:
    """I2."""
    assert b"+972500000001" not in seal(b"+972500000001" * 10, RECIPIENT)


@pytest.mark.parametrize("key", ["", "age1", RECIPIENT[:-1] + "q", "age1yubikey1qqqq", "ssh-ed25519 AAAA", IDENTITY, RECIPIENT + "\n"])
def test_a_key_that_is_no_age_recipient_is_refused_without_being_repeated(key: str) -> None:
    """N14."""
    for attempt in (lambda: seal(b"", key), lambda: fingerprint(key)):
        with pytest.raises(InvalidArgumentError) as refused:
            attempt()
        assert refused.value.reason == "RECIPIENT_KEY_INVALID"
        assert not key.strip() or key.strip() not in str(refused.value)


def test_an_identity_that_is_none_is_refused_without_being_repeated() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        open_sealed(seal(b"", RECIPIENT), IDENTITY[:-1])

    assert refused.value.reason == "IDENTITY_INVALID"
    assert IDENTITY[:-1] not in str(refused.value)


def test_another_identity_and_a_flipped_bit_do_not_open() -> None:
    sealed = seal(b"bytes", RECIPIENT)
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])

    for data, identity in ((sealed, str(x25519.Identity.generate())), (flipped, IDENTITY), (b"", IDENTITY)):
        with pytest.raises(DataLossError) as refused:
            open_sealed(data, identity)
        assert refused.value.reason == "PACKAGE_INVALID"


def test_fingerprint_is_of_the_canonical_spelling() -> None:
    assert fingerprint(RECIPIENT) == hashlib.sha256(RECIPIENT.encode()).hexdigest() == fingerprint(RECIPIENT.upper())


def test_receipt_says_digest_size_and_key_of_the_sealed_file_and_nothing_else() -> None:
    sealed = seal(b"bytes", RECIPIENT)

    said = receipt(export_id=EXPORT_ID, sealed=sealed, recipient=RECIPIENT)

    assert said == {
        "export_id": EXPORT_ID,
        "sha256": hashlib.sha256(sealed).hexdigest(),
        "size": len(sealed),
        "recipient_fingerprint": fingerprint(RECIPIENT),
    }
    assert RECIPIENT not in json.dumps(said)
