"""The root key in a file: what it wraps opens in its own place only (I3), and a file that is not exactly right stops the start."""

import asyncio
import base64
import json
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
FORMAT, PROTECTED = "pii-vault-root-key/1", "pii-vault-root-key/2"
PASSPHRASE = b"correct horse battery staple"


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
    "a third format": {"format": "pii-vault-root-key/3", "keys": {"1": ONE}},
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


# --- a passphrase


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key file under the passphrase, to read and not to change."""
    path = tmp_path_factory.mktemp("protected") / "root.key"
    local.create(path, PASSPHRASE)
    return path


def passphrase_file(path: Path, content: bytes, *, mode: int = 0o600) -> Path:
    path.write_bytes(content)
    path.chmod(mode)
    return path


async def test_a_protected_file_is_opened_by_its_passphrase(protected: Path) -> None:
    root = LocalRootKey(protected, PASSPHRASE)

    wrapped = await root.wrap(MATERIAL, context=CONTEXT)

    assert await LocalRootKey(protected, PASSPHRASE).unwrap(wrapped, context=CONTEXT) == MATERIAL


def test_a_protected_file_has_the_documented_form(protected: Path) -> None:
    """Parameters: RFC 9106 §4, second recommended option."""
    content = json.loads(protected.read_text())

    salt = base64.b64decode(content["kdf"].pop("salt"))
    assert stat.S_IMODE(protected.stat().st_mode) == 0o600
    assert content["format"] == PROTECTED
    assert content["kdf"] == {"name": "argon2id", "memory_kib": 64 * 1024, "iterations": 3, "lanes": 4}
    assert len(salt) == 16
    assert len(base64.b64decode(content["keys"]["1"])) == 12 + 32 + 16


def test_the_file_opens_with_argon2id_and_aes_gcm_alone(protected: Path) -> None:
    """Recovery needs no code of ours."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

    content = json.loads(protected.read_text())
    salt, sealed = base64.b64decode(content["kdf"]["salt"]), base64.b64decode(content["keys"]["1"])

    key = Argon2id(salt=salt, length=32, iterations=3, lanes=4, memory_cost=64 * 1024).derive(PASSPHRASE)

    assert len(AESGCM(key).decrypt(sealed[:12], sealed[12:], b"pii-vault-root-key/2/1")) == 32


@pytest.mark.parametrize("wrong", [b"wrong", PASSPHRASE + b" ", PASSPHRASE.upper(), b"", None], ids=repr)
def test_another_passphrase_is_refused(protected: Path, wrong: bytes | None) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        LocalRootKey(protected, wrong)

    assert raised.value.reason == "ROOT_KEY_INVALID"
    assert raised.value.__context__ is None or raised.value.__suppress_context__


def test_a_passphrase_for_a_file_without_one_is_refused(tmp_path: Path) -> None:
    """Whoever names one believes the file to be protected."""
    with pytest.raises(FailedPreconditionError) as raised:
        LocalRootKey(key_file(tmp_path / "root.key", v1=ONE), PASSPHRASE)

    assert raised.value.reason == "ROOT_KEY_INVALID"


def test_an_empty_passphrase_protects_nothing(tmp_path: Path) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        local.create(tmp_path / "root.key", b"")

    assert raised.value.reason == "ROOT_KEY_INVALID"
    assert not (tmp_path / "root.key").exists()


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "another salt": lambda content: content["kdf"].update(salt=base64.b64encode(bytes(16)).decode()),
    "a short salt": lambda content: content["kdf"].update(salt=base64.b64encode(bytes(15)).decode()),
    "no salt": lambda content: content["kdf"].pop("salt"),
    "another derivation": lambda content: content["kdf"].update(name="argon2i"),
    "more in it": lambda content: content["kdf"].update(secret=""),
    "fewer iterations": lambda content: content["kdf"].update(iterations=1),
    "no iterations": lambda content: content["kdf"].update(iterations=0),
    "endless iterations": lambda content: content["kdf"].update(iterations=1 << 31),
    "iterations in words": lambda content: content["kdf"].update(iterations="3"),
    "true iterations": lambda content: content["kdf"].update(iterations=True),
    "more memory than there is": lambda content: content["kdf"].update(memory_kib=1 << 31),
    "too little memory": lambda content: content["kdf"].update(memory_kib=31),
    "no lanes": lambda content: content["kdf"].update(lanes=0),
    "no kdf": lambda content: content.pop("kdf"),
    "kdf in a list": lambda content: content.update(kdf=[]),
    "a key in clear": lambda content: content["keys"].update({"1": ONE}),
    "the key as another version": lambda content: content.update(keys={"2": content["keys"]["1"]}),
    "the key as a second version": lambda content: content["keys"].update({"2": content["keys"]["1"]}),
    "a damaged key": lambda content: content["keys"].update({"1": base64.b64encode(bytes(60)).decode()}),
    "the first format": lambda content: content.update(format=FORMAT),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_protected_file_is_refused(protected: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(protected.read_text())
    change(content)

    with pytest.raises(FailedPreconditionError) as raised:
        LocalRootKey(written(tmp_path / "root.key", content), PASSPHRASE)

    assert raised.value.reason == "ROOT_KEY_INVALID"


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
async def test_a_uri_names_the_file_of_the_passphrase(protected: Path, tmp_path: Path, end: bytes) -> None:
    file = passphrase_file(tmp_path / "pass phrase+", PASSPHRASE + end)

    await open_provider(f"local:{protected}?passphrase_file={str(file).replace(' ', '%20')}").health()


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n"])
def test_an_empty_passphrase_file_is_refused(protected: Path, tmp_path: Path, content: bytes) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        open_provider(f"local:{protected}?passphrase_file={passphrase_file(tmp_path / 'passphrase', content)}")

    assert raised.value.reason == "ROOT_KEY_INVALID"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620], ids=oct)
def test_a_passphrase_file_that_others_may_touch_is_refused(protected: Path, tmp_path: Path, mode: int) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        open_provider(f"local:{protected}?passphrase_file={passphrase_file(tmp_path / 'passphrase', PASSPHRASE, mode=mode)}")

    assert raised.value.reason == "ROOT_KEY_INVALID"
    assert "0600" in raised.value.message


def test_a_missing_passphrase_file_is_unavailable(protected: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyUnavailableError):
        open_provider(f"local:{protected}?passphrase_file={tmp_path}/missing")


def test_nothing_shows_the_passphrase(protected: Path) -> None:
    root = LocalRootKey(protected, PASSPHRASE)
    file = local.read(protected, PASSPHRASE)

    shown = [repr(root), str(root), root.describe(), repr(file)]

    assert file.protection is not None
    secrets = (PASSPHRASE, file.keys[1], file.protection.key)
    assert not [text for text in shown for secret in secrets if repr(secret)[2:-1] in text]


# --- a new version


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
async def test_a_new_version_wraps_and_the_old_one_still_unwraps(tmp_path: Path, passphrase: bytes | None) -> None:
    path = tmp_path / "root.key"
    local.create(path, passphrase)
    old = await LocalRootKey(path, passphrase).wrap(MATERIAL, context=CONTEXT)

    assert local.add_version(path, passphrase) == 2

    root = LocalRootKey(path, passphrase)
    new = await root.wrap(MATERIAL, context=CONTEXT)
    assert (old[:2], new[:2]) == (b"\x00\x01", b"\x00\x02")
    assert await root.unwrap(old, context=CONTEXT) == await root.unwrap(new, context=CONTEXT) == MATERIAL


def test_a_new_version_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    path = key_file(tmp_path / "root.key", v1=ONE)
    path.chmod(0o400)

    local.add_version(path)

    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert path.read_text() == json.dumps(json.loads(path.read_text()), sort_keys=True)


def test_a_version_that_cannot_be_written_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = key_file(tmp_path / "root.key", v1=ONE)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyUnavailableError):
        local.add_version(path)

    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["root.key"]


def test_a_link_to_the_file_stays_one(tmp_path: Path) -> None:
    path = key_file(tmp_path / "real.key", v1=ONE)
    (tmp_path / "root.key").symlink_to(path)

    local.add_version(tmp_path / "root.key")

    assert (tmp_path / "root.key").is_symlink()
    assert LocalRootKey(path).describe() == "local file real.key, version 2"


def test_versions_that_are_added_at_once_are_all_there(tmp_path: Path) -> None:
    """Harm: of two, one was lost, and with it what had been wrapped under it."""
    path = key_file(tmp_path / "root.key", v1=ONE)

    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda _: local.add_version(path), range(8)))

    assert sorted(added) == list(range(2, 10))
    assert LocalRootKey(path).describe().endswith("version 9")


@pytest.mark.parametrize("passphrase", [b"wrong", None])
def test_a_version_is_not_added_under_another_passphrase(protected: Path, passphrase: bytes | None) -> None:
    before = protected.read_bytes()

    with pytest.raises(FailedPreconditionError):
        local.add_version(protected, passphrase)

    assert protected.read_bytes() == before


def test_a_full_file_takes_no_other_version(tmp_path: Path) -> None:
    path = key_file(tmp_path / "root.key", v65535=ONE)

    with pytest.raises(FailedPreconditionError):
        local.add_version(path)

    assert LocalRootKey(path).describe().endswith("version 65535")


def test_no_version_is_added_to_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "root.key", tmp_path / "folder" / "root.key"):
        with pytest.raises(KeyUnavailableError):
            local.add_version(path)

    assert list(tmp_path.iterdir()) == []


# --- a file that changes under a provider that runs


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
async def test_a_new_version_is_taken_in_without_a_restart(tmp_path: Path, passphrase: bytes | None) -> None:
    path = tmp_path / "root.key"
    local.create(path, passphrase)
    wraps, unwraps = LocalRootKey(path, passphrase), LocalRootKey(path, passphrase)
    local.add_version(path, passphrase)

    wrapped = await wraps.wrap(MATERIAL, context=CONTEXT)

    assert wrapped[:2] == b"\x00\x02"
    assert await unwraps.unwrap(wrapped, context=CONTEXT) == MATERIAL
    assert unwraps.describe().endswith("version 2")


async def test_many_that_meet_a_new_version_read_the_file_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of a protected file takes 64 MiB."""
    path = key_file(tmp_path / "root.key", v1=ONE)
    root = LocalRootKey(path)
    local.add_version(path)
    read, readings = local.read, []

    def counted(path: Path, passphrase: bytes | None) -> local.KeyFile:
        readings.append(path)
        return read(path, passphrase)

    monkeypatch.setattr(local, "read", counted)
    await asyncio.gather(*(root.wrap(MATERIAL, context=CONTEXT) for _ in range(16)))

    assert len(readings) == 1


@pytest.mark.parametrize("harm", ["missing", "damaged", "open to others", "empty"])
async def test_a_file_that_is_harmed_stops_wrapping_and_no_unwrapping(tmp_path: Path, harm: str) -> None:
    """And all is well again when the file is."""
    path = key_file(tmp_path / "root.key", v1=ONE)
    root = LocalRootKey(path)
    wrapped = await root.wrap(MATERIAL, context=CONTEXT)
    match harm:
        case "missing":
            path.unlink()
        case "damaged":
            path.write_bytes(b"{")
        case "empty":
            path.write_bytes(b"")
        case _:
            path.chmod(0o644)

    for call in (root.wrap(MATERIAL, context=CONTEXT), root.unwrap(b"\x00\x07" + wrapped[2:], context=CONTEXT), root.health()):
        with pytest.raises(KeyUnavailableError) as raised:
            await call
        assert raised.value.reason == "KEYS_UNAVAILABLE"
    assert await root.unwrap(wrapped, context=CONTEXT) == MATERIAL

    key_file(path, v1=ONE, v2=TWO)
    assert (await root.wrap(MATERIAL, context=CONTEXT))[:2] == b"\x00\x02"


# --- the URI


def test_a_uri_names_a_key_file(tmp_path: Path) -> None:
    key_file(tmp_path / "root.key", v1=ONE)

    assert open_provider(f"local:{tmp_path}/root.key").describe() == "local file root.key, version 1"


@pytest.mark.parametrize(
    "uri",
    ["", "root.key", "local:", "local://host/root.key", "local:/root.key#x", "gcpkms:alias/x", "file:///root.key", "LOCAL", "transit:"],
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
