"""The root key in a token: it never leaves, a wrapped key opens in its own place only (I3), and a token that comes back is used again."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.softhsm import MODULE, PIN, SoftHSM
from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError
from vault.keys import pkcs11
from vault.keys.pkcs11 import Pkcs11RootKey, open_uri

MATERIAL = bytes(range(32))
CONTEXT = b"acme/data/1"


async def test_what_was_wrapped_unwraps_in_its_context(softhsm_provider: Pkcs11RootKey) -> None:
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    assert await softhsm_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL
    await softhsm_provider.health()


async def test_a_wrapped_key_has_the_documented_form_and_hides_the_material(softhsm_provider: Pkcs11RootKey) -> None:
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    assert wrapped[:2] == b"\x00\x01"
    assert len(wrapped) == 2 + 88
    assert MATERIAL not in wrapped


async def test_wrapping_twice_gives_different_bytes(softhsm_provider: Pkcs11RootKey) -> None:
    first, second = [await softhsm_provider.wrap(MATERIAL, context=CONTEXT) for _ in range(2)]

    assert first != second


@pytest.mark.parametrize("other", [b"", b"globex/data/1", b"acme/index/1", b"acme/data/2", b"acme/data/1 ", b"acme/data/"])
async def test_another_context_is_refused(softhsm_provider: Pkcs11RootKey, other: bytes) -> None:
    """I3."""
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await softhsm_provider.unwrap(wrapped, context=other)


async def test_every_flipped_bit_is_refused(softhsm_provider: Pkcs11RootKey) -> None:
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    for bit in range(len(wrapped) * 8):
        damaged = bytearray(wrapped)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CiphertextInvalidError) as raised:
            await softhsm_provider.unwrap(bytes(damaged), context=CONTEXT)

    assert raised.value.__cause__ is None
    await softhsm_provider.health()


async def test_every_other_length_is_refused(softhsm_provider: Pkcs11RootKey) -> None:
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    for damaged in [*(wrapped[:length] for length in range(len(wrapped))), wrapped + b"\0", b"\0" + wrapped, wrapped + bytes(8)]:
        with pytest.raises(CiphertextInvalidError):
            await softhsm_provider.unwrap(damaged, context=CONTEXT)


# --- versions


async def test_the_newest_version_wraps_and_every_version_unwraps(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    """Rotation, without a new provider: old wrapped keys stay readable while new ones appear."""
    old = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    assert softhsm.add_version() == 2
    new = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    assert new[:2] == b"\x00\x02"
    for provider in (softhsm_provider, softhsm.provider()):
        assert await provider.unwrap(old, context=CONTEXT) == await provider.unwrap(new, context=CONTEXT) == MATERIAL
    assert softhsm_provider.describe() == f"PKCS#11 token {softhsm.label}, key root, version 2"


async def test_a_version_made_in_another_process_is_used_at_once(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    await softhsm_provider.health()

    softhsm.generate(name=b"\x01\x00")

    assert (await softhsm_provider.wrap(MATERIAL, context=CONTEXT))[:2] == b"\x01\x00"


async def test_a_provider_that_only_reads_finds_a_new_version(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    reader = softhsm.provider()
    await reader.unwrap(await softhsm_provider.wrap(MATERIAL, context=CONTEXT), context=CONTEXT)

    softhsm.add_version()

    assert await reader.unwrap(await softhsm_provider.wrap(MATERIAL, context=CONTEXT), context=CONTEXT) == MATERIAL


async def test_another_root_key_of_the_same_token_unwraps_nothing(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    softhsm.add_version(label="other root")
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await softhsm.provider(label="other root").unwrap(wrapped, context=CONTEXT)


async def test_the_last_possible_version_is_the_last(softhsm: SoftHSM) -> None:
    softhsm.generate(name=b"\xff\xff")

    with pytest.raises(FailedPreconditionError) as raised:
        softhsm.add_version()

    assert raised.value.reason == "ROOT_KEY_EXISTS"


async def test_two_who_make_the_same_version_at_once_both_give_up(softhsm: SoftHSM, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two keys of one version would stop every vault."""
    seen = iter([[], [b"\0\1", b"\0\1"]])
    with monkeypatch.context() as patch:
        patch.setattr(pkcs11, "_ids", lambda *_: next(seen))
        with pytest.raises(FailedPreconditionError) as raised:
            softhsm.add_version()

    assert raised.value.reason == "ROOT_KEY_EXISTS"
    with pytest.raises(KeyUnavailableError):
        await softhsm.provider().health()
    assert softhsm.add_version() == 1


# --- a key that is not as it must be


BAD_KEYS: dict[str, dict[str, object]] = {
    "may leave the token": {"template": "{Attribute.EXTRACTABLE: True}"},
    "may be read": {"template": "{Attribute.SENSITIVE: False}"},
    "is no AES-256 key": {"bits": 128},
    "may not wrap and unwrap": {"capabilities": "ENCRYPT DECRYPT"},
    "an id that is no version": {"name": b"\1"},
    "twice": {},
}


@pytest.mark.parametrize(("words", "key"), BAD_KEYS.items(), ids=BAD_KEYS.keys())
async def test_a_key_that_is_not_as_it_must_be_is_not_used(softhsm: SoftHSM, words: str, key: dict[str, object]) -> None:
    """Fail closed: beside a good version, too."""
    softhsm.generate(name=b"\0\1" if not key else b"\0\2")
    softhsm.generate(**{"name": b"\0\1", **key})  # type: ignore[arg-type]

    with pytest.raises(KeyUnavailableError) as raised:
        await softhsm.provider().wrap(MATERIAL, context=CONTEXT)

    assert words.replace("may be read", "may leave the token") in raised.value.message


async def test_a_token_without_a_root_key_is_unavailable_until_there_is_one(softhsm: SoftHSM) -> None:
    provider = softhsm.provider()
    with pytest.raises(KeyUnavailableError) as raised:
        await provider.wrap(MATERIAL, context=CONTEXT)
    assert "no root key" in raised.value.message

    softhsm.add_version()

    await provider.health()


async def test_a_root_key_that_was_deleted_is_unavailable_until_it_is_restored(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    """Not damage: whoever restores the token from its backup has everything again."""
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)
    softhsm.back_up()

    softhsm.delete_keys()
    for _ in range(2):
        with pytest.raises(KeyUnavailableError) as raised:
            await softhsm_provider.unwrap(wrapped, context=CONTEXT)
    softhsm.restore()

    assert "no root key" in raised.value.message
    assert await softhsm_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


# --- a token that is not there


async def test_a_token_that_is_removed_is_unavailable_and_is_used_again_when_it_is_back(
    softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey
) -> None:
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)

    softhsm.remove()
    for _ in range(2):
        with pytest.raises(KeyUnavailableError) as raised:
            await softhsm_provider.unwrap(wrapped, context=CONTEXT)
        with pytest.raises(KeyUnavailableError):
            await softhsm_provider.wrap(MATERIAL, context=CONTEXT)
    softhsm.put_back()

    assert "the token is not there" in raised.value.message
    assert await softhsm_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL
    assert (await softhsm_provider.wrap(MATERIAL, context=CONTEXT))[:2] == b"\x00\x01"


async def test_a_token_that_comes_late_is_used(softhsm: SoftHSM) -> None:
    softhsm.add_version()
    softhsm.remove()
    provider = softhsm.provider()
    with pytest.raises(KeyUnavailableError):
        await provider.health()

    softhsm.put_back()

    await provider.health()


async def test_another_tokens_outage_and_return_leave_a_provider_working(
    softhsm_provider: Pkcs11RootKey, softhsm_store: Path, tmp_path: Path
) -> None:
    """The module is initialised again under everybody; old handles then name other things and must not be used."""
    (tmp_path / "other").mkdir()
    other = SoftHSM(softhsm_store, tmp_path / "other")
    other.add_version()
    neighbour = other.provider()
    wrapped, foreign = [await provider.wrap(MATERIAL, context=CONTEXT) for provider in (softhsm_provider, neighbour)]

    other.remove()
    with pytest.raises(KeyUnavailableError):
        await neighbour.unwrap(foreign, context=CONTEXT)
    during = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)
    other.put_back()

    assert await neighbour.unwrap(foreign, context=CONTEXT) == MATERIAL
    for mine in (wrapped, during):
        assert await softhsm_provider.unwrap(mine, context=CONTEXT) == MATERIAL
    with pytest.raises(CiphertextInvalidError):
        await neighbour.unwrap(wrapped, context=CONTEXT)


async def test_a_token_of_another_name_is_not_taken(softhsm: SoftHSM) -> None:
    softhsm.add_version()

    for uri in (softhsm.uri(token="nobody"), softhsm.uri(also=";serial=00"), softhsm.uri(also=";model=Luna")):
        with pytest.raises(KeyUnavailableError) as raised:
            await open_uri(uri).health()
        assert "the token is not there" in raised.value.message
    await open_uri(softhsm.uri(also=";model=SoftHSM%20v2;manufacturer=SoftHSM%20project")).health()


async def test_a_module_that_is_missing_is_unavailable(softhsm: SoftHSM) -> None:
    with pytest.raises(KeyUnavailableError) as raised:
        await open_uri(softhsm.uri().replace("libsofthsm2", "libnothing")).health()

    assert "module" in raised.value.message


async def test_a_token_that_does_not_answer_is_unavailable(softhsm_provider: Pkcs11RootKey) -> None:
    """A call that hangs keeps the module to itself; the others do not hang with it."""
    with pkcs11._module(str(MODULE)).held(), pytest.raises(KeyUnavailableError) as raised:
        await softhsm_provider.health()

    assert "does not answer" in raised.value.message


# --- the PIN


async def test_a_refused_pin_is_not_offered_again_until_its_file_changes(softhsm: SoftHSM) -> None:
    """Tokens lock after a few wrong tries."""
    softhsm.add_version()
    softhsm.provider()._module.forget(pkcs11._parse(softhsm.uri()))
    softhsm.write_pin("not-the-pin")
    provider = softhsm.provider()
    with pytest.raises(KeyUnavailableError) as raised:
        await provider.health()
    assert "refuses the PIN" in raised.value.message
    assert softhsm.was_refused_a_pin()

    softhsm.log_in()
    for again in (provider, provider, softhsm.provider()):
        with pytest.raises(KeyUnavailableError) as raised:
            await again.wrap(MATERIAL, context=CONTEXT)
        assert "not asked again" in raised.value.message
    assert not softhsm.was_refused_a_pin()

    softhsm.write_pin(PIN)
    await provider.health()


async def test_a_wrong_pin_does_not_pass_because_another_provider_is_logged_in(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    await softhsm_provider.health()
    right = softhsm.pin_file
    softhsm.pin_file = right.with_name("wrong")
    softhsm.write_pin("not-the-pin")

    with pytest.raises(KeyUnavailableError) as raised:
        await softhsm.provider().health()

    assert "refuses the PIN" in raised.value.message
    await softhsm_provider.health()


async def test_a_changed_pin_is_read_when_it_is_needed(softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey) -> None:
    await softhsm_provider.health()
    softhsm.change_pin("another-pin")
    softhsm.write_pin("another-pin")

    await softhsm_provider.health()
    await softhsm.provider().health()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda file: file.unlink(), "cannot be read"),
        (lambda file: file.chmod(0o640), "0600"),
        (lambda file: file.chmod(0o604), "0600"),
        (lambda file: file.write_bytes(b""), "empty"),
        (lambda file: file.write_bytes(b"\n"), "empty"),
        (lambda file: file.write_bytes(b"\xff\xfe"), "no PIN"),
        (lambda file: file.write_bytes(b"1" * 100_000), "too large"),
    ],
    ids=["missing", "for the group", "for others", "empty", "one line end", "no text", "too long"],
)
async def test_a_pin_file_that_is_not_right_is_unavailable(softhsm: SoftHSM, spoil: Callable[[Path], object], words: str) -> None:
    provider = softhsm.provider()
    spoil(softhsm.pin_file)

    with pytest.raises(KeyUnavailableError) as raised:
        await provider.health()

    assert words in raised.value.message


def test_a_pin_file_that_others_may_read_stops_the_start(softhsm: SoftHSM) -> None:
    softhsm.pin_file.chmod(0o644)

    with pytest.raises(FailedPreconditionError) as raised:
        softhsm.provider()

    assert raised.value.reason == "KEYS_PIN_INVALID"


async def test_nothing_shows_the_pin_or_the_material(
    softhsm: SoftHSM, softhsm_provider: Pkcs11RootKey, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrapped = await softhsm_provider.wrap(MATERIAL, context=CONTEXT)
    softhsm.remove()
    with pytest.raises(KeyUnavailableError) as raised:
        await softhsm_provider.unwrap(wrapped, context=CONTEXT)

    shown = " ".join([repr(softhsm_provider), str(softhsm_provider), softhsm_provider.describe(), repr(raised.value), caplog.text])

    assert PIN not in shown
    assert repr(MATERIAL)[2:-1] not in shown
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


# --- the URI


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:",
        "pkcs11:token=a;object=b",
        "pkcs11:token=a?module-path=/m&pin-source=/p",
        "pkcs11:object=b?module-path=/m&pin-source=/p",
        "pkcs11:token=a;object=b?module-path=/m",
        "pkcs11:token=a;object=b?pin-source=/p",
        "pkcs11:token=a;object=b?module-path=m.so&pin-source=/p",
        "pkcs11:token=a;object=b?module-path=/m&pin-source=p",
        "pkcs11:token=a;object=b?module-path=/m&pin-source=%7Ccat%20/p",
        "pkcs11:token=a;object=b?module-path=/m&pin-source=file:p",
        "pkcs11:token=a;object=b?module-path=/m&pin-source=file://host/p",
        "pkcs11:token=a;token=a;object=b?module-path=/m&pin-source=/p",
        "pkcs11:token=;object=b?module-path=/m&pin-source=/p",
        "pkcs11:token=%ff;object=b?module-path=/m&pin-source=/p",
        "pkcs11:token=%00;object=b?module-path=/m&pin-source=/p",
        "pkcs11:token=a;object=b;id=%01?module-path=/m&pin-source=/p",
        "pkcs11:token=a;object=b;type=private?module-path=/m&pin-source=/p",
        "pkcs11:token=a;object=b;x-vendor=1?module-path=/m&pin-source=/p",
        "pkcs11:token=a;object=b;module-path=/m?pin-source=/p",
        "pkcs11:token=a;object=b?module-path=/m&pin-source=/p&token=a",
        "pkcs11:token=a;object=b?module-path=/m&pin-source=/p&",
        "pkcs11:token=a;object;b?module-path=/m&pin-source=/p",
        "other:token=a;object=b?module-path=/m&pin-source=/p",
    ],
)
def test_another_uri_is_refused(uri: str) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        open_uri(uri)

    assert raised.value.reason == "KEYS_URI_UNKNOWN"


def test_a_pin_in_the_uri_is_refused_and_not_repeated() -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        open_uri(f"pkcs11:token=a;object=b?module-path=/m&pin-value={PIN}")

    assert "does not belong in a URI" in raised.value.message
    assert PIN not in str(raised.value)


@pytest.mark.parametrize("pin_source", ["/run/a%20pin", "file:/run/a%20pin", "file:///run/a%20pin"])
def test_values_are_percent_decoded(pin_source: str) -> None:
    address = pkcs11._parse(f"pkcs11:token=My%20token%3b;object=b?module-path=/m&pin-source={pin_source}")

    assert (address.token, address.pin_file) == ("My token;", Path("/run/a pin"))
