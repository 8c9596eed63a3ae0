"""The root key in a file: what it wraps opens in its own place only (I3), and a file that is not exactly right stops the start."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError, VaultError
from vault.keys import local
from vault.keys.local import LocalRootKey
from vault.keys.open import open_provider

MATERIAL = bytes(range(32))
CONTEXT = b"acme/data/1"
ONE, TWO = base64.b64encode(b"1" * 32).decode(), base64.b64encode(b"2" * 32).decode()
FORMAT = "pii-vault-root-key/1"


def written(path: Path, content: object, *, mode: int = 0o600) -> Path:
    """A key file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    path.chmod(mode)
    return path


def key_file(path: Path, **versions: str) -> Path:
    return written(path, {"format": FORMAT, "keys": {name.removeprefix("v"): key for name, key in versions.items()}})


@pytest.fixture
def root(tmp_path: Path) -> LocalRootKey:
    return LocalRootKey(key_file(tmp_path / "root.key", v1=ONE))


# --- wrapping


async def test_what_was_wrapped_unwraps_in_its_context(root: LocalRootKey) -> None:
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    assert await root.unwrap(wrapped, context=CONTEXT) == MATERIAL


@settings(deadline=None)
@given(material=st.binary(min_size=32, max_size=32), context=st.binary(max_size=100))
async def test_unwrapping_undoes_wrapping(material: bytes, context: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = LocalRootKey(key_file(tmp_path_factory.getbasetemp() / "any.key", v1=ONE))

    wrapped = await root.wrap(material, context=context)

    assert await root.unwrap(wrapped, context=context) == material


async def test_a_wrapped_key_has_the_documented_form_and_hides_the_material(root: LocalRootKey) -> None:
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    assert wrapped[:2] == b"\x00\x01"
    assert len(wrapped) == 2 + 12 + 32 + 16
    assert MATERIAL not in wrapped


async def test_wrapping_twice_gives_different_bytes(root: LocalRootKey) -> None:
    first, second = [await root.wrap(MATERIAL, context=CONTEXT) for _ in range(2)]

    assert first != second


@pytest.mark.parametrize("other", [b"", b"globex/data/1", b"acme/index/1", b"acme/data/2", b"acme/data/1 ", b"acme/data/"])
async def test_another_context_is_refused(root: LocalRootKey, other: bytes) -> None:
    """I3: the key of one tenant, purpose or version does not pass for another's."""
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError) as raised:
        await root.unwrap(wrapped, context=other)

    assert raised.value.reason == "CIPHERTEXT_INVALID"


async def test_every_flipped_bit_is_refused(root: LocalRootKey) -> None:
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    for bit in range(len(wrapped) * 8):
        damaged = bytearray(wrapped)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CiphertextInvalidError):
            await root.unwrap(bytes(damaged), context=CONTEXT)


async def test_every_other_length_is_refused(root: LocalRootKey) -> None:
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    for damaged in [*(wrapped[:length] for length in range(len(wrapped))), wrapped + b"\0", b"\0" + wrapped]:
        with pytest.raises(CiphertextInvalidError):
            await root.unwrap(damaged, context=CONTEXT)


async def test_another_root_key_unwraps_nothing(root: LocalRootKey, tmp_path: Path) -> None:
    stranger = LocalRootKey(key_file(tmp_path / "other.key", v1=TWO))
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError) as raised:
        await stranger.unwrap(wrapped, context=CONTEXT)

    assert raised.value.__suppress_context__, "a cause would carry ciphertext along"


# --- versions


async def test_the_newest_version_wraps_and_every_version_unwraps(root: LocalRootKey, tmp_path: Path) -> None:
    """Rotation: old wrapped keys stay readable while new ones appear."""
    old = await root.wrap(MATERIAL, context=CONTEXT)

    rotated = LocalRootKey(key_file(tmp_path / "rotated.key", v1=ONE, v2=TWO))
    new = await rotated.wrap(MATERIAL, context=CONTEXT)

    assert new[:2] == b"\x00\x02"
    assert await rotated.unwrap(old, context=CONTEXT) == await rotated.unwrap(new, context=CONTEXT) == MATERIAL


async def test_versions_are_ordered_as_numbers(tmp_path: Path) -> None:
    root = LocalRootKey(key_file(tmp_path / "root.key", v9=ONE, v10=TWO))

    assert (await root.wrap(MATERIAL, context=CONTEXT))[:2] == b"\x00\x0a"
    assert root.describe() == "local file root.key, version 10"


async def test_a_version_that_was_removed_unwraps_nothing(root: LocalRootKey, tmp_path: Path) -> None:
    old = await root.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await LocalRootKey(key_file(tmp_path / "only-two.key", v2=TWO)).unwrap(old, context=CONTEXT)


async def test_a_version_may_not_pass_for_another(tmp_path: Path) -> None:
    """The same key under two versions is still two versions: nothing is accepted that was not written so."""
    root = LocalRootKey(key_file(tmp_path / "root.key", v1=ONE, v2=TWO))
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await root.unwrap(b"\x00\x01" + wrapped[2:], context=CONTEXT)


# --- the file


def test_a_new_key_file_is_for_its_owner_only_and_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "root.key"

    local.create(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert LocalRootKey(path).describe() == "local file root.key, version 1"


def test_two_new_keys_differ(tmp_path: Path) -> None:
    for name in ("a", "b"):
        local.create(tmp_path / name)

    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_an_existing_key_file_is_never_touched(tmp_path: Path) -> None:
    path = key_file(tmp_path / "root.key", v1=ONE)
    before = path.read_bytes()

    with pytest.raises(FailedPreconditionError) as raised:
        local.create(path)

    assert raised.value.reason == "ROOT_KEY_EXISTS"
    assert path.read_bytes() == before


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610, 0o601, 0o777], ids=oct)
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        LocalRootKey(written(tmp_path / "root.key", {"format": FORMAT, "keys": {"1": ONE}}, mode=mode))

    assert raised.value.reason == "ROOT_KEY_INVALID"
    assert "0600" in raised.value.message


@pytest.mark.parametrize("mode", [0o600, 0o400], ids=oct)
def test_a_key_file_of_its_owner_is_taken(tmp_path: Path, mode: int) -> None:
    root = LocalRootKey(written(tmp_path / "root.key", {"format": FORMAT, "keys": {"1": ONE}}, mode=mode))

    assert root.describe().endswith("version 1")


MALFORMED: dict[str, object] = {
    "nothing": b"",
    "no JSON": b"{",
    "no text": b"\xff\xfe\x00",
    "too deep": b"[" * 100_000,
    "a list": [ONE],
    "a text": ONE,
    "no format": {"keys": {"1": ONE}},
    "another format": {"format": "pii-vault-root-key/2", "keys": {"1": ONE}},
    "no keys": {"format": FORMAT},
    "no key": {"format": FORMAT, "keys": {}},
    "keys in a list": {"format": FORMAT, "keys": [ONE]},
    "a key of 31 bytes": {"format": FORMAT, "keys": {"1": base64.b64encode(bytes(31)).decode()}},
    "a key of 33 bytes": {"format": FORMAT, "keys": {"1": base64.b64encode(bytes(33)).decode()}},
    "an empty key": {"format": FORMAT, "keys": {"1": ""}},
    "a key of 16 bytes beside a good one": {"format": FORMAT, "keys": {"1": ONE, "2": base64.b64encode(bytes(16)).decode()}},
    "no base64": {"format": FORMAT, "keys": {"1": "!" * 44}},
    "base64 with a line break": {"format": FORMAT, "keys": {"1": ONE + "\n"}},
    "a number as key": {"format": FORMAT, "keys": {"1": 5}},
    "null as key": {"format": FORMAT, "keys": {"1": None}},
    "a word as version": {"format": FORMAT, "keys": {"one": ONE}},
    "version 0": {"format": FORMAT, "keys": {"0": ONE}},
    "version -1": {"format": FORMAT, "keys": {"-1": ONE}},
    "version 65536": {"format": FORMAT, "keys": {"65536": ONE}},
    "version 01": {"format": FORMAT, "keys": {"01": ONE}},
    "one version twice": {"format": FORMAT, "keys": {"1": ONE, "01": TWO}},
    "a version in other digits": {"format": FORMAT, "keys": {"\u0661": ONE}},
    "a version with a space": {"format": FORMAT, "keys": {" 1": ONE}},
    "a version with an underscore": {"format": FORMAT, "keys": {"1_0": ONE}},
}


@pytest.mark.parametrize("content", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_key_file_is_refused_without_repeating_it(tmp_path: Path, content: object) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        LocalRootKey(written(tmp_path / "root.key", content))

    assert raised.value.reason == "ROOT_KEY_INVALID"
    assert ONE not in str(raised.value)
    assert raised.value.__context__ is None or raised.value.__suppress_context__


@pytest.mark.parametrize("name", ["missing.key", "", "root.key/below"])
def test_a_key_file_that_cannot_be_read_is_unavailable(tmp_path: Path, name: str) -> None:
    """A volume that is not mounted yet: worth another try, unlike a file that is wrong."""
    key_file(tmp_path / "root.key", v1=ONE)

    with pytest.raises(KeyUnavailableError) as raised:
        LocalRootKey(tmp_path / name)

    assert raised.value.reason == "KEYS_UNAVAILABLE"


async def test_health_says_nothing_when_all_is_well(root: LocalRootKey) -> None:
    await root.health()


def test_nothing_shows_the_key(root: LocalRootKey) -> None:
    shown = [repr(root), str(root), root.describe()]

    assert not [text for text in shown if ONE in text or repr(b"1" * 32)[2:-1] in text]


# --- the URI


def test_a_uri_names_a_key_file(tmp_path: Path) -> None:
    key_file(tmp_path / "root.key", v1=ONE)

    assert open_provider(f"local:{tmp_path}/root.key").describe() == "local file root.key, version 1"


@pytest.mark.parametrize(
    "uri", ["", "root.key", "local:", "local://host/root.key", "awskms:alias/x", "file:///root.key", "LOCAL", "transit:"]
)
def test_another_uri_is_refused(uri: str) -> None:
    """I9."""
    with pytest.raises(VaultError) as raised:
        open_provider(uri)

    assert raised.value.reason == "KEYS_URI_UNKNOWN"


def test_the_stored_form_is_canonical(tmp_path: Path) -> None:
    local.create(tmp_path / "root.key")

    text = (tmp_path / "root.key").read_text()

    content: dict[str, Any] = json.loads(text)
    assert text == json.dumps(content, sort_keys=True)
    assert (content["format"], list(content["keys"])) == (FORMAT, ["1"])
