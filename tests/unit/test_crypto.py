"""Sealing, wrapping and index tokens: what was sealed once opens for ever, in its own place, and nothing else opens at all (I3, I9, L41, L42).

`tests/vectors/crypto_1.json` holds what format 1 makes. It is opened with `vault.crypto`, and written anew, byte for byte, by the few lines below
that know the documented format and `cryptography`'s primitives and share nothing with `vault.crypto`.
"""

import base64
import hmac
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from vault import crypto
from vault.crypto import DataKey, Place
from vault.errors import CiphertextInvalidError

HEAD, SEALED_LEAST = 29, 29
KEY = DataKey(3, bytes(range(32)))
TENANT_KEY = DataKey(2, bytes(range(32, 64)))
TEXT_KEY = DataKey(258, bytes(range(64, 96)))
HERE = Place("acme", "a" * 26, "b" * 26)
FIELDS = {"phone": b"+972501234567", "name": "נועה".encode()}

# ---- the format once more, from its description ----------------------------------------------------------------------------------------------


def prefixed(*parts: str) -> bytes:
    out = b""
    for part in parts:
        encoded = part.encode("utf-8")
        out += len(encoded).to_bytes(4, "big") + encoded
    return out


def gcm(key: bytes, nonce: bytes, plain: bytes, aad: bytes) -> bytes:
    """Format byte, nonce, ciphertext, tag."""
    encryptor = Cipher(algorithms.AES(key), modes.GCM(nonce)).encryptor()
    encryptor.authenticate_additional_data(aad)
    ciphertext = encryptor.update(plain) + encryptor.finalize()
    return b"\x01" + nonce + ciphertext + encryptor.tag


def field_aad(name: str, *, key: DataKey = KEY, at: Place = HERE) -> bytes:
    return prefixed("pii-vault/field/1", at.tenant, at.subject, at.record, name, str(key.version))


def with_head(frames: bytes, *, key: DataKey = KEY, at: Place = HERE, nonce: bytes = bytes(12)) -> bytes:
    """A part with a tag that fits whatever its frames hold."""
    aad = prefixed("pii-vault/part/1", at.tenant, at.subject, at.record, str(key.version)) + frames
    return gcm(bytes(key.material), nonce, b"", aad) + frames


def frame(name: bytes, sealed: bytes) -> bytes:
    return bytes([len(name)]) + name + len(sealed).to_bytes(4, "big") + sealed


def frames_of(part: bytes) -> dict[str, bytes]:
    found, rest = {}, part[HEAD:]
    while rest:
        name_end = 1 + rest[0]
        size = int.from_bytes(rest[name_end : name_end + 4], "big")
        found[rest[1:name_end].decode()] = rest[name_end + 4 : name_end + 4 + size]
        rest = rest[name_end + 4 + size :]
    return found


def joined(frames: dict[str, bytes]) -> bytes:
    return b"".join(frame(name.encode(), sealed) for name, sealed in frames.items())


def hmac_sha256(key: bytes, content: bytes) -> bytes:
    mac = HMAC(key, hashes.SHA256())
    mac.update(content)
    return mac.finalize()


def hkdf_sha256(secret: bytes, salt: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 §2.2 and §2.3, word by word."""
    pseudo_random_key = hmac_sha256(salt or bytes(32), secret)
    block, out = b"", b""
    for counter in range(1, -(-size // 32) + 1):
        block = hmac_sha256(pseudo_random_key, block + info + bytes([counter]))
        out += block
    return out[:size]


# ---- what one can do to a ciphertext ---------------------------------------------------------------------------------------------------------


def flips(data: bytes) -> Iterator[bytes]:
    """The data with each single bit changed."""
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)


def wrong_tags(tag: bytes) -> Iterator[bytes]:
    """What the Wycheproof AES-GCM tests do to a tag: bits flipped one by one and together, all of them, none left."""
    yield from flips(tag)
    for pair in ((0, 64), (31, 63), (63, 127)):
        changed = bytearray(tag)
        for bit in pair:
            changed[bit // 8] ^= 1 << bit % 8
        yield bytes(changed)
    yield bytes(byte ^ 0xFF for byte in tag)
    yield bytes(byte ^ 0x80 for byte in tag)
    yield bytes(byte ^ 0x01 for byte in tag)
    yield bytes(16)
    yield b"\xff" * 16


def refused(attempt: Callable[..., object], *arguments: object, **keywords: object) -> None:
    with pytest.raises(CiphertextInvalidError) as caught:
        attempt(*arguments, **keywords)

    assert caught.value.reason == "CIPHERTEXT_INVALID"


def part() -> bytes:
    return crypto.seal_fields(FIELDS, under=KEY, at=HERE)


def open_part(data: bytes, names: frozenset[str] | None = None, *, key: DataKey = KEY, at: Place = HERE) -> dict[str, bytes]:
    return crypto.open_fields(data, names, under=key, at=at)


def wrapped() -> bytes:
    return crypto.wrap_subject_key(KEY, under=TENANT_KEY, tenant="acme", subject="s")


def unwrap(data: bytes) -> DataKey:
    return crypto.unwrap_subject_key(data, version=3, under=TENANT_KEY, tenant="acme", subject="s")


def text() -> bytes:
    return crypto.seal_text(b"a sentence", under=TEXT_KEY, purpose="audit-text", tenant="acme", place="p")


def open_text(data: bytes) -> bytes:
    return crypto.open_text(data, under=TEXT_KEY, purpose="audit-text", tenant="acme", place="p")


SINGLE: list[Any] = [
    pytest.param(part, open_part, 0, id="part"),
    pytest.param(wrapped, unwrap, 0, id="wrapped key"),
    pytest.param(text, open_text, 2, id="text"),
]
sealed_things = pytest.mark.parametrize(("seal", "open_sealed", "format_at"), SINGLE)
Seal: TypeAlias = Callable[[], bytes]
Open: TypeAlias = Callable[[bytes], object]

# ---- golden vectors --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def golden() -> Any:
    return json.loads((Path(__file__).parent.parent / "vectors" / "crypto_1.json").read_text())


def key_of(written: dict[str, Any]) -> DataKey:
    return DataKey(written["version"], bytes.fromhex(written["material"]))


@pytest.mark.parametrize("name", ["part", "part_without_fields"])
def test_a_part_of_format_1_still_opens(golden: Any, name: str) -> None:
    fields = {name: bytes.fromhex(value) for name, value in golden[name]["fields"].items()}

    opened = open_part(bytes.fromhex(golden[name]["sealed"]), key=key_of(golden["subject_key"]), at=Place(**golden["place"]))

    assert opened == fields


@pytest.mark.parametrize("name", ["part", "part_without_fields"])
def test_a_part_of_format_1_has_the_documented_bytes(golden: Any, name: str) -> None:
    sealed, key, at = bytes.fromhex(golden[name]["sealed"]), key_of(golden["subject_key"]), Place(**golden["place"])
    stored = frames_of(sealed)

    frames = b"".join(
        frame(field.encode(), gcm(bytes(key.material), stored[field][1:13], bytes.fromhex(value), field_aad(field, key=key, at=at)))
        for field, value in golden[name]["fields"].items()
    )

    assert sealed == with_head(frames, key=key, at=at, nonce=sealed[1:13])


def test_a_wrapped_key_of_format_1_still_opens(golden: Any) -> None:
    place, subject_key = golden["place"], golden["subject_key"]

    key = crypto.unwrap_subject_key(
        bytes.fromhex(golden["wrapped"]),
        version=subject_key["version"],
        under=key_of(golden["tenant_key"]),
        tenant=place["tenant"],
        subject=place["subject"],
    )

    assert key == key_of(subject_key)


def test_a_wrapped_key_of_format_1_has_the_documented_bytes(golden: Any) -> None:
    sealed_key, place, key, under = bytes.fromhex(golden["wrapped"]), golden["place"], golden["subject_key"], golden["tenant_key"]

    aad = prefixed("pii-vault/subject-key/1", place["tenant"], place["subject"], str(key["version"]), str(under["version"]))

    assert sealed_key == gcm(bytes.fromhex(under["material"]), sealed_key[1:13], bytes.fromhex(key["material"]), aad)
    assert len(sealed_key) == 1 + 12 + 32 + 16


def test_a_text_of_format_1_still_opens(golden: Any) -> None:
    said, tenant = golden["text"], golden["place"]["tenant"]
    sealed = bytes.fromhex(said["sealed"])

    plain = crypto.open_text(sealed, under=key_of(golden["text_key"]), purpose=said["purpose"], tenant=tenant, place=said["place"])

    assert plain == bytes.fromhex(said["plain"])
    assert crypto.text_key_version(sealed) == golden["text_key"]["version"]


def test_a_text_of_format_1_has_the_documented_bytes(golden: Any) -> None:
    said, key = golden["text"], golden["text_key"]
    sealed = bytes.fromhex(said["sealed"])

    aad = prefixed("pii-vault/text/1", golden["place"]["tenant"], said["purpose"], said["place"], str(key["version"]))
    written = gcm(bytes.fromhex(key["material"]), sealed[3:15], bytes.fromhex(said["plain"]), aad)

    assert sealed == key["version"].to_bytes(2, "big") + written


def test_index_keys_and_tokens_stay_what_they_are(golden: Any) -> None:
    root = bytes.fromhex(golden["index_root"])

    for item in golden["index"]:
        key = crypto.derive_index_key(root, tenant=item["tenant"], kind=item["kind"])
        assert (key.hex(), crypto.index_token(key, item["value"]).hex()) == (item["key"], item["token"])


def test_index_keys_and_tokens_have_the_documented_bytes(golden: Any) -> None:
    root = bytes.fromhex(golden["index_root"])

    for item in golden["index"]:
        info = prefixed("pii-vault/index/1", item["tenant"], item["kind"])
        key = HKDF(algorithm=hashes.SHA256(), length=32, salt=None, info=info).derive(root)
        assert key == hkdf_sha256(root, b"", info, 32)
        assert (key.hex(), hmac_sha256(key, item["value"].encode()).hex()) == (item["key"], item["token"])


def test_a_keyed_digest_stays_what_it_is_and_has_the_documented_bytes(golden: Any) -> None:
    known = golden["digest"]
    key, content = bytes.fromhex(known["key"]), bytes.fromhex(known["content"])

    assert crypto.keyed_digest(key, content).hex() == hmac_sha256(key, content).hex() == known["digest"]


# ---- known answers of others -----------------------------------------------------------------------------------------------------------------

GCM_KEY = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308"
GCM_PLAIN = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
GCM_CIPHERTEXT = (
    "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad"
)

# Key, nonce, additional data, plaintext, ciphertext, tag.
NIST = [
    # The GCM specification that SP 800-38D refers to (McGrew and Viega), test cases 13 to 16.
    pytest.param("00" * 32, "00" * 12, "", "", "", "530f8afbc74536b9a963b4f1c4cb738b", id="case 13"),
    pytest.param("00" * 32, "00" * 12, "", "00" * 16, "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919", id="case 14"),
    pytest.param(GCM_KEY, "cafebabefacedbaddecaf888", "", GCM_PLAIN, GCM_CIPHERTEXT, "b094dac5d93471bdec1a502270e3cc6c", id="case 15"),
    pytest.param(
        GCM_KEY,
        "cafebabefacedbaddecaf888",
        "feedfacedeadbeeffeedfacedeadbeefabaddad2",
        GCM_PLAIN[:120],
        GCM_CIPHERTEXT[:120],
        "76fc6ece0f4e1768cddf8853bb2d551b",
        id="case 16",
    ),
    # CAVP gcmEncryptExtIV256.rsp, count 0 of four of its sections with a nonce of 96 and a tag of 128 bits.
    pytest.param(
        "b52c505a37d78eda5dd34f20c22540ea1b58963cf8e5bf8ffa85f9f2492505b4",
        "516c33929df5a3284ff463d7",
        "",
        "",
        "",
        "bdc1ac884d332457a1d2664f168c76f0",
        id="no text, no data",
    ),
    pytest.param(
        "78dc4e0aaf52d935c3c01eea57428f00ca1fd475f5da86a49c8dd73d68c8e223",
        "d79cf22d504cc793c3fb6c8a",
        "b96baa8c1c75a671bfb2d08d06be5f36",
        "",
        "",
        "3e5d486aa2e30b22e040b85723a06e76",
        id="data only",
    ),
    pytest.param(
        "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22",
        "0d18e06c7c725ac9e362e1ce",
        "",
        "2db5168e932556f8089a0622981d017d",
        "fa4362189661d163fcd6a56d8bf0405a",
        "d636ac1bbedd5cc3ee727dc2ab4a9489",
        id="text only",
    ),
    pytest.param(
        "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b",
        "ac93a1a6145299bde902f21a",
        "1e0889016f67601c8ebea4943bc23ad6",
        "2d71bcfa914e4ac045b2aa60955fad24",
        "8995ae2e6df3dbf96fac7b7137bae67f",
        "eca5aa77d51d4a0a14d9c51e1da474ab",
        id="text and data",
    ),
]


@pytest.mark.parametrize(("key", "nonce", "aad", "plain", "ciphertext", "tag"), NIST)
def test_the_cipher_of_a_key_answers_as_nist_says(key: str, nonce: str, aad: str, plain: str, ciphertext: str, tag: str) -> None:
    cipher = DataKey(1, bytes.fromhex(key)).cipher

    sealed = cipher.encrypt(bytes.fromhex(nonce), bytes.fromhex(plain), bytes.fromhex(aad))

    assert sealed.hex() == ciphertext + tag
    assert cipher.decrypt(bytes.fromhex(nonce), sealed, bytes.fromhex(aad)).hex() == plain


@pytest.mark.parametrize(("key", "nonce", "aad", "plain", "ciphertext", "tag"), NIST)
def test_the_format_written_anew_by_these_tests_answers_as_nist_says(
    key: str, nonce: str, aad: str, plain: str, ciphertext: str, tag: str
) -> None:
    sealed = gcm(bytes.fromhex(key), bytes.fromhex(nonce), bytes.fromhex(plain), bytes.fromhex(aad))

    assert sealed.hex() == "01" + nonce + ciphertext + tag


# RFC 5869 appendix A: secret, salt, info, size, output. Case 3, without salt, is how index keys are derived.
@pytest.mark.parametrize(
    ("secret", "salt", "info", "size", "output"),
    [
        (
            "0b" * 22,
            bytes(range(13)).hex(),
            bytes(range(0xF0, 0xFA)).hex(),
            42,
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            82,
            (
                "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
                "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87"
            ),
        ),
        ("0b" * 22, "", "", 42, "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"),
    ],
    ids=["case 1", "case 2", "case 3"],
)
def test_hkdf_answers_as_rfc_5869_says(secret: str, salt: str, info: str, size: int, output: str) -> None:
    arguments = bytes.fromhex(secret), bytes.fromhex(salt), bytes.fromhex(info), size

    assert hkdf_sha256(*arguments).hex() == output
    derived = HKDF(algorithm=hashes.SHA256(), length=size, salt=arguments[1] or None, info=arguments[2]).derive(arguments[0])
    assert derived.hex() == output


# RFC 4231 §4: key, data, HMAC-SHA-256.
RFC_4231 = [
    (b"\x0b" * 20, b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
    (b"Jefe", b"what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
    (b"\xaa" * 20, b"\xdd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
    (bytes(range(1, 26)), b"\xcd" * 50, "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"),
    (
        b"\xaa" * 131,
        b"Test Using Larger Than Block-Size Key - Hash Key First",
        "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
    ),
    (
        b"\xaa" * 131,
        (
            b"This is a test using a larger than block-size key and a larger than block-size data. "
            b"The key needs to be hashed before being used by the HMAC algorithm."
        ),
        "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
    ),
]


@pytest.mark.parametrize(("key", "data", "mac"), RFC_4231)
def test_digests_and_tokens_answer_as_rfc_4231_says(key: bytes, data: bytes, mac: str) -> None:
    assert crypto.keyed_digest(key, data).hex() == mac
    if data.isascii():
        assert crypto.index_token(key, data.decode()).hex() == mac


# ---- laws ------------------------------------------------------------------------------------------------------------------------------------

names = st.text(max_size=60)
field_maps = st.dictionaries(names, st.binary(max_size=200), max_size=8)
places = st.builds(Place, names, names, names)
keys = st.builds(DataKey, st.integers(1, 2**16 - 1), st.binary(min_size=32, max_size=32))


@settings(deadline=None)
@given(values=field_maps, under=keys, at=places)
def test_what_was_sealed_opens_to_the_same(values: dict[str, bytes], under: DataKey, at: Place) -> None:
    sealed = crypto.seal_fields(values, under=under, at=at)

    assert crypto.open_fields(sealed, None, under=under, at=at) == values
    assert crypto.field_names(sealed) == list(values)


@settings(deadline=None)
@given(values=field_maps, asked=st.frozensets(names, max_size=4), more=st.data())
def test_only_the_fields_asked_for_are_opened(values: dict[str, bytes], asked: frozenset[str], more: st.DataObject) -> None:
    wanted = asked | (more.draw(st.frozensets(st.sampled_from(sorted(values)))) if values else frozenset())

    opened = open_part(crypto.seal_fields(values, under=KEY, at=HERE), wanted)

    assert opened == {name: value for name, value in values.items() if name in wanted}


@settings(deadline=None)
@given(key=keys, under=keys, tenant=names, subject=names)
def test_a_wrapped_key_unwraps_to_the_same(key: DataKey, under: DataKey, tenant: str, subject: str) -> None:
    sealed_key = crypto.wrap_subject_key(key, under=under, tenant=tenant, subject=subject)

    assert crypto.unwrap_subject_key(sealed_key, version=key.version, under=under, tenant=tenant, subject=subject) == key


@settings(deadline=None)
@given(plain=st.binary(max_size=600), under=keys, purpose=names, tenant=names, place=names)
def test_a_sealed_text_opens_to_the_same(plain: bytes, under: DataKey, purpose: str, tenant: str, place: str) -> None:
    sealed = crypto.seal_text(plain, under=under, purpose=purpose, tenant=tenant, place=place)

    assert crypto.open_text(sealed, under=under, purpose=purpose, tenant=tenant, place=place) == plain
    assert crypto.text_key_version(sealed) == under.version


@settings(deadline=None)
@given(sealed=st.binary(max_size=300))
def test_bytes_that_nobody_sealed_are_refused(sealed: bytes) -> None:
    for attempt in (open_part, unwrap, open_text):
        refused(attempt, sealed)


@settings(deadline=None)
@given(frames=st.binary(max_size=300))
def test_frames_that_do_not_parse_are_refused_even_under_a_tag_that_fits(frames: bytes) -> None:
    try:
        opened = open_part(with_head(frames))
    except CiphertextInvalidError:
        return

    assert (opened, frames) == ({}, b"")


@settings(deadline=None)
@given(st.lists(st.tuples(names, names, names), min_size=2, max_size=12, unique=True))
def test_tokens_of_different_tenants_kinds_or_values_differ(identifiers: list[tuple[str, str, str]]) -> None:
    root = bytes(range(32))

    tokens = {crypto.index_token(crypto.derive_index_key(root, tenant=tenant, kind=kind), value) for tenant, kind, value in identifiers}

    assert len(tokens) == len(identifiers)


@given(st.binary(min_size=32, max_size=32), st.text())
def test_a_token_is_no_plain_hash_and_is_the_same_every_time(root: bytes, value: str) -> None:
    key = crypto.derive_index_key(root, tenant="acme", kind="phone")

    assert crypto.index_token(key, value) == crypto.index_token(key, value) == hmac.new(key, value.encode(), "sha256").digest()
    assert crypto.index_token(key, value) != crypto.index_token(bytes(byte ^ 1 for byte in key), value)


def test_the_same_value_sealed_twice_shows_no_likeness() -> None:
    first, second = part(), part()

    assert first[1:13] != second[1:13]
    for name, sealed in frames_of(first).items():
        assert sealed[1:] != frames_of(second)[name][1:]
        assert sealed[13:-16] != frames_of(second)[name][13:-16]


# ---- refusals --------------------------------------------------------------------------------------------------------------------------------


@sealed_things
def test_a_flipped_bit_is_refused(seal: Seal, open_sealed: Open, format_at: int) -> None:
    assert format_at in {0, 2}

    for changed in flips(seal()):
        refused(open_sealed, changed)


@pytest.mark.parametrize("asked", [{"phone"}, {"name"}, {"other"}, set()], ids=str)
def test_a_flipped_bit_is_refused_also_where_it_is_not_read(asked: set[str]) -> None:
    """Harm: a renamed or removed field went unnoticed when only others were asked for."""
    for changed in flips(part()):
        refused(open_part, changed, frozenset(asked))


@sealed_things
def test_what_is_cut_short_is_refused_at_every_length(seal: Seal, open_sealed: Open, format_at: int) -> None:
    """Harm: a part cut between two fields opened as a record that never had the second one; cut to nothing, as an empty record."""
    sealed = seal()
    assert len(sealed) > format_at

    for length in range(len(sealed)):
        refused(open_sealed, sealed[:length])


@sealed_things
@pytest.mark.parametrize("more", [b"\x00", b"\x01", bytes(29), b"\x01a\x00\x00\x00\x00"], ids=["0", "1", "zeros", "empty field"])
def test_what_goes_on_after_its_end_is_refused(seal: Seal, open_sealed: Open, format_at: int, more: bytes) -> None:
    assert format_at >= 0

    refused(open_sealed, seal() + more)


@sealed_things
def test_an_unknown_format_is_refused(seal: Seal, open_sealed: Open, format_at: int) -> None:
    """I9."""
    sealed = seal()
    assert sealed[format_at] == 1

    for number in {*range(256)} - {1}:
        changed = sealed[:format_at] + bytes([number]) + sealed[format_at + 1 :]
        refused(open_sealed, changed)


def test_an_unknown_format_of_one_field_is_refused() -> None:
    frames = frames_of(part())

    for number in {*range(256)} - {1}:
        changed = {**frames, "phone": bytes([number]) + frames["phone"][1:]}
        refused(open_part, with_head(joined(changed)))


@sealed_things
def test_a_wrong_tag_is_refused(seal: Seal, open_sealed: Open, format_at: int) -> None:
    sealed = seal()
    assert len(sealed) > format_at + 16

    for tag in wrong_tags(sealed[-16:]):
        refused(open_sealed, sealed[:-16] + tag)


def test_a_wrong_tag_of_a_part_or_of_one_field_is_refused() -> None:
    sealed, frames = part(), frames_of(part())

    for tag in wrong_tags(sealed[13:29]):
        refused(open_part, sealed[:13] + tag + sealed[29:])
    for tag in wrong_tags(frames["name"][-16:]):
        changed = {**frames, "name": frames["name"][:-16] + tag}
        refused(open_part, with_head(joined(changed)))


@pytest.mark.parametrize("size", [0, 1, 4, 8, 12, 15])
def test_a_shortened_tag_is_refused(size: int) -> None:
    """GCM libraries that take short tags can be asked one byte at a time."""
    frames = frames_of(part())
    shortened = {**frames, "name": frames["name"][: len(frames["name"]) - 16 + size]}

    refused(open_part, with_head(joined(shortened)))
    refused(unwrap, wrapped()[: 1 + 12 + 32 + size])
    refused(open_text, text()[: len(text()) - 16 + size])


ELSEWHERE = [Place("globex", HERE.subject, HERE.record), Place("acme", "c" * 26, HERE.record), Place("acme", HERE.subject, "c" * 26)]


@pytest.mark.parametrize("at", ELSEWHERE, ids=["tenant", "subject", "record"])
def test_a_part_of_another_tenant_subject_or_record_is_refused(at: Place) -> None:
    refused(open_part, part(), at=at)


@pytest.mark.parametrize("at", ELSEWHERE, ids=["tenant", "subject", "record"])
def test_a_field_of_another_tenant_subject_or_record_is_refused_even_under_a_tag_that_fits(at: Place) -> None:
    frames = joined(frames_of(crypto.seal_fields(FIELDS, under=KEY, at=at)))

    refused(open_part, with_head(frames))


def test_a_part_under_another_key_or_version_of_it_is_refused() -> None:
    refused(open_part, part(), key=DataKey(4, bytes(KEY.material)))
    refused(open_part, part(), key=DataKey(3, bytes(32)))
    refused(open_part, with_head(joined(frames_of(part())), key=DataKey(4, bytes(KEY.material))), key=DataKey(4, bytes(KEY.material)))


def test_fields_that_change_places_are_refused() -> None:
    frames = frames_of(part())
    swapped = {"phone": frames["name"], "name": frames["phone"]}
    renamed = {"phone": frames["phone"], "nome": frames["name"]}

    for changed in (swapped, renamed):
        refused(open_part, part()[:HEAD] + joined(changed))
        refused(open_part, with_head(joined(changed)))


def test_fields_in_another_order_left_out_or_repeated_are_refused() -> None:
    sealed, frames = part(), frames_of(part())
    phone, name = (frame(key.encode(), value) for key, value in frames.items())

    for changed in (name + phone, phone, name, b"", phone + name + name, phone + phone):
        refused(open_part, sealed[:HEAD] + changed, frozenset({"phone"}))


def test_one_name_twice_is_refused_even_under_a_tag_that_fits() -> None:
    phone = frame(b"phone", frames_of(part())["phone"])

    refused(open_part, with_head(phone + phone))
    refused(crypto.field_names, with_head(phone + phone))


def test_a_field_of_another_version_of_the_part_is_refused() -> None:
    older, newer = part(), crypto.seal_fields({**FIELDS, "phone": b"+972521111111"}, under=KEY, at=HERE)
    mixed = joined({**frames_of(newer), "name": frames_of(older)["name"]})

    refused(open_part, newer[:HEAD] + mixed)
    refused(open_part, older[:HEAD] + mixed)


def test_a_name_that_is_no_text_is_refused() -> None:
    damaged = with_head(frame(b"\xff\xfe", frames_of(part())["phone"]))

    refused(open_part, damaged)
    refused(crypto.field_names, damaged)


@pytest.mark.parametrize("size", [SEALED_LEAST, 100])
def test_names_are_not_read_out_of_damaged_framing(size: int) -> None:
    refused(crypto.field_names, part()[: size - 1])
    refused(crypto.field_names, b"\x02" + part()[1:])
    refused(crypto.field_names, b"")


@pytest.mark.parametrize(
    ("version", "under", "tenant", "subject"),
    [
        (3, TENANT_KEY, "globex", "s"),
        (3, TENANT_KEY, "acme", "t"),
        (4, TENANT_KEY, "acme", "s"),
        (3, DataKey(1, bytes(TENANT_KEY.material)), "acme", "s"),
        (3, DataKey(2, bytes(32)), "acme", "s"),
    ],
    ids=["tenant", "subject", "version", "version of the tenant key", "tenant key"],
)
def test_a_key_wrapped_for_something_else_is_refused(version: int, under: DataKey, tenant: str, subject: str) -> None:
    refused(crypto.unwrap_subject_key, wrapped(), version=version, under=under, tenant=tenant, subject=subject)


@pytest.mark.parametrize(
    ("under", "purpose", "tenant", "place"),
    [
        (TEXT_KEY, "legal-order", "acme", "p"),
        (TEXT_KEY, "audit-text", "globex", "p"),
        (TEXT_KEY, "audit-text", "acme", "q"),
        (DataKey(259, bytes(TEXT_KEY.material)), "audit-text", "acme", "p"),
        (DataKey(258, bytes(32)), "audit-text", "acme", "p"),
    ],
    ids=["purpose", "tenant", "place", "key version", "key"],
)
def test_a_text_sealed_for_something_else_is_refused(under: DataKey, purpose: str, tenant: str, place: str) -> None:
    refused(crypto.open_text, text(), under=under, purpose=purpose, tenant=tenant, place=place)


def test_a_text_that_names_another_key_version_is_refused() -> None:
    """Harm: the two bytes in front were not looked at, so they could be changed without anybody noticing."""
    renumbered = (257).to_bytes(2, "big") + text()[2:]

    refused(open_text, renumbered)
    refused(crypto.open_text, renumbered, under=DataKey(257, bytes(TEXT_KEY.material)), purpose="audit-text", tenant="acme", place="p")


@pytest.mark.parametrize("sealed", [b"", b"\x01"])
def test_the_key_version_of_a_text_too_short_to_name_one_is_refused(sealed: bytes) -> None:
    refused(crypto.text_key_version, sealed)


def test_names_that_read_alike_when_joined_are_different_places() -> None:
    """Without length prefixes tenant `ab` with subject `c` would be tenant `a` with subject `bc`."""
    sealed = crypto.seal_fields(FIELDS, under=KEY, at=Place("ab", "c", "r"))
    sealed_key = crypto.wrap_subject_key(KEY, under=TENANT_KEY, tenant="ab", subject="c")
    said = crypto.seal_text(b"x", under=TEXT_KEY, purpose="c", tenant="ab", place="p")
    root = bytes(32)

    for at in (Place("a", "bc", "r"), Place("abc", "", "r"), Place("ab", "cr", ""), Place("ab", "", "cr")):
        refused(open_part, sealed, at=at)
        refused(open_part, with_head(joined(frames_of(sealed)), at=at), at=at)
    refused(crypto.unwrap_subject_key, sealed_key, version=3, under=TENANT_KEY, tenant="a", subject="bc")
    refused(crypto.open_text, said, under=TEXT_KEY, purpose="bc", tenant="a", place="p")
    refused(crypto.open_text, said, under=TEXT_KEY, purpose="cp", tenant="ab", place="")
    assert crypto.derive_index_key(root, tenant="ab", kind="c") != crypto.derive_index_key(root, tenant="a", kind="bc")


def test_versions_that_read_alike_when_joined_are_different_keys() -> None:
    """Subject key 1 under tenant key 12 is not subject key 11 under tenant key 2."""
    sealed_key = crypto.wrap_subject_key(DataKey(1, bytes(32)), under=DataKey(12, bytes(KEY.material)), tenant="acme", subject="s")

    refused(crypto.unwrap_subject_key, sealed_key, version=11, under=DataKey(2, bytes(KEY.material)), tenant="acme", subject="s")


def test_one_kind_of_ciphertext_is_not_taken_for_another() -> None:
    """The format name in front keeps a wrapped key, a text and a field apart even under one key and one set of names."""
    key = DataKey(1, bytes(KEY.material))
    sealed_key = crypto.wrap_subject_key(key, under=key, tenant="acme", subject="s")
    said = crypto.seal_text(bytes(key.material), under=key, purpose="s", tenant="acme", place="1")

    refused(crypto.open_text, b"\x00\x01" + sealed_key, under=key, purpose="s", tenant="acme", place="1")
    refused(crypto.unwrap_subject_key, said[2:], version=1, under=key, tenant="acme", subject="s")


# ---- keys say nothing ------------------------------------------------------------------------------------------------------------------------


def test_a_key_shows_its_version_and_nothing_else() -> None:
    material = bytes(range(200, 232))
    key = DataKey(7, material)

    shown = [repr(key), str(key), f"{key}", f"{key!r:>80}", repr([key]), repr({"key": key}), repr(HERE)]

    spellings = {material.hex(), repr(material), base64.b64encode(material).decode(), repr(material)[2:10], material.hex()[:8]}
    assert not any(spelling in text for spelling in spellings for text in shown)
    assert repr(key) == str(key) == "<DataKey v7>"


@pytest.mark.parametrize("size", [0, 1, 16, 24, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    """AES-GCM takes 16 and 24 bytes too: a damaged key service would quietly lower the strength of everything."""
    refused(DataKey, 1, bytes(size))


def test_a_wrapped_key_of_another_length_is_refused() -> None:
    aad = prefixed("pii-vault/subject-key/1", "acme", "s", "3", "2")

    refused(unwrap, gcm(bytes(TENANT_KEY.material), bytes(12), bytes(16), aad))


def test_new_keys_are_32_bytes_and_differ() -> None:
    made = {crypto.new_key_material() for _ in range(100)}

    assert {len(key) for key in made} == {32}
    assert len(made) == 100


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: open_part(part(), at=ELSEWHERE[0]),
        lambda: open_part(with_head(frame(b"\xff", bytes(29)))),
        lambda: unwrap(wrapped()[:-16] + bytes(16)),
        lambda: open_text(text()[:-16] + bytes(16)),
    ],
    ids=["part", "name", "wrapped key", "text"],
)
def test_a_refusal_carries_no_other_error_along(attempt: Callable[[], object]) -> None:
    """A traceback of the library's error could hold plaintext or keys."""
    with pytest.raises(CiphertextInvalidError) as caught:
        attempt()

    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert caught.value.metadata == {}
    assert str(caught.value) == "CIPHERTEXT_INVALID: ciphertext failed authentication"
