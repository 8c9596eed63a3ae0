"""A root key in a real OpenBao: what it wraps, how the vault logs in, and what each thing that goes wrong there looks like (design §9)."""

import asyncio
import base64
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography.x509 import DNSName, IPAddress
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.certificates import DAY, Authority
from tests.openbao import MOUNT, OpenBao, Root, TokenReviews, answering
from vault.cli import development
from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError, VaultError
from vault.keys.open import open_provider
from vault.keys.openbao import OpenBaoRootKey
from vault.keys.provider import RootKeyProvider

MATERIAL = bytes(range(32))
CONTEXT = b"acme/data/1"
HOUR = 3600
# What a caller waits at most, and some time for a machine that is busy.
PATIENCE_SECONDS = 15


def secret_file(path: Path, secret: str, *, mode: int = 0o600) -> Path:
    path.write_text(secret + "\n")
    path.chmod(mode)
    return path


class Clock:
    """A clock that a test turns."""

    def __init__(self, provider: RootKeyProvider) -> None:
        assert isinstance(provider, OpenBaoRootKey)
        self.now = 0.0
        self.session = provider._session
        provider._session._clock = lambda: self.now

    @property
    def token(self) -> str:
        """The token that the provider has at present."""
        return str(self.session._adapter.token)


def token_provider(openbao: OpenBao, root: Root, path: Path, **options: object) -> RootKeyProvider:
    """A provider with a plain token in a file."""
    return open_provider(openbao.uri(root, auth="token", token_file=secret_file(path, openbao.token(root, **options))))


async def refusal(call: Awaitable[object]) -> str:
    """What an unavailable key service is called."""
    with pytest.raises(KeyUnavailableError) as raised:
        await call
    assert raised.value.reason == "KEYS_UNAVAILABLE"
    assert raised.value.__context__ is None or raised.value.__suppress_context__
    return raised.value.message


async def until_it_unwraps(provider: RootKeyProvider, wrapped: bytes) -> bytes:
    """Poll with a deadline: a connection of before may be found dead first."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return await provider.unwrap(wrapped, context=CONTEXT)
        except KeyUnavailableError:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


# --- wrapping


async def test_what_was_wrapped_unwraps(openbao_provider: RootKeyProvider) -> None:
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    assert wrapped.startswith(b"vault:v1:")
    assert await openbao_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_swapped_contexts_are_refused(openbao_provider: RootKeyProvider) -> None:
    """I3."""
    ours, theirs = [await openbao_provider.wrap(MATERIAL, context=context) for context in (b"acme/data/1", b"globex/data/1")]

    for wrapped, context in ((ours, b"globex/data/1"), (theirs, b"acme/data/1")):
        with pytest.raises(CiphertextInvalidError):
            await openbao_provider.unwrap(wrapped, context=context)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda wrapped: wrapped.replace(b":v1:", b":v0:"),
        lambda wrapped: wrapped.replace(b":v1:", b":v01:"),
        lambda wrapped: wrapped[:30] + b"\n" + wrapped[30:],
        lambda wrapped: wrapped + b"\n",
        lambda wrapped: wrapped + b"=",
        lambda wrapped: wrapped.replace(b":v1:", b":v+1:"),
    ],
    ids=["version 0", "version 01", "line break", "line end", "padding", "version +1"],
)
async def test_a_wrapped_key_has_one_spelling(openbao_provider: RootKeyProvider, spelled: Callable[[bytes], bytes]) -> None:
    """Harm: the engine opens version 0 and 01 as 1 and skips line breaks, so that damage went unnoticed."""
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await openbao_provider.unwrap(spelled(wrapped), context=CONTEXT)


async def test_the_key_of_another_deployment_unwraps_nothing(openbao: OpenBao, openbao_provider: RootKeyProvider, tmp_path: Path) -> None:
    other = token_provider(openbao, openbao.new_root(), tmp_path / "other")
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError) as raised:
        await other.unwrap(wrapped, context=CONTEXT)

    assert raised.value.reason == "CIPHERTEXT_INVALID"
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
async def test_what_is_not_a_key_is_refused(openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider, length: int) -> None:
    """Whoever may use the key can encrypt anything under it."""
    body = {"plaintext": base64.b64encode(bytes(length)).decode(), "associated_data": base64.b64encode(CONTEXT).decode()}
    foreign = openbao.admin.secrets.transit.encrypt_data(root.key, mount_point=MOUNT, **body)["data"]["ciphertext"]

    with pytest.raises(CiphertextInvalidError):
        await openbao_provider.unwrap(foreign.encode(), context=CONTEXT)


async def test_a_rotated_key_wraps_anew_and_unwraps_what_is_old(openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider) -> None:
    old = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    openbao.rotate(root)
    new = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    assert new.startswith(b"vault:v2:")
    assert await openbao_provider.unwrap(old, context=CONTEXT) == await openbao_provider.unwrap(new, context=CONTEXT) == MATERIAL


async def test_health_says_nothing_when_all_is_well(openbao_provider: RootKeyProvider) -> None:
    await openbao_provider.health()


@pytest.mark.parametrize(("scheme", "name"), [("openbao", "OpenBao"), ("vault", "HashiCorp Vault")])
async def test_both_schemes_speak_to_it(openbao: OpenBao, root: Root, tmp_path: Path, scheme: str, name: str) -> None:
    file = secret_file(tmp_path / "token", openbao.token(root))
    provider = open_provider(openbao.uri(root, scheme=scheme, auth="token", token_file=file))

    await provider.health()

    assert provider.describe() == f"{name} transit key pii-vault/{root.key} at 127.0.0.1:{openbao.port}"


# --- logging in


async def test_a_service_account_logs_in(openbao: OpenBao, root: Root, token_reviews: TokenReviews, tmp_path: Path) -> None:
    role = token_reviews.join(openbao, root)
    # As the kubelet projects it.
    jwt_file = secret_file(tmp_path / "jwt", token_reviews.token(), mode=0o644)

    await open_provider(openbao.uri(root, auth="kubernetes", role=role, jwt_file=jwt_file)).health()


async def test_a_service_account_that_is_not_known_is_refused(
    openbao: OpenBao, root: Root, token_reviews: TokenReviews, tmp_path: Path
) -> None:
    role = token_reviews.join(openbao, root)
    token = token_reviews.token()
    token_reviews.accepted.clear()
    provider = open_provider(openbao.uri(root, auth="kubernetes", role=role, jwt_file=secret_file(tmp_path / "jwt", token)))

    said = await refusal(provider.health())

    assert "refuses the credentials" in said


@pytest.mark.parametrize("wrong", ["role_id", "secret_id", "auth_mount"])
async def test_a_wrong_app_role_is_refused(openbao: OpenBao, root: Root, tmp_path: Path, wrong: str) -> None:
    role_id, secret_id = openbao.app_role(root)
    file = secret_file(tmp_path / "secret-id", "wrong" if wrong == "secret_id" else secret_id)
    mount = "elsewhere" if wrong == "auth_mount" else "approle"
    role_id = "wrong" if wrong == "role_id" else role_id

    said = await refusal(open_provider(openbao.uri(root, auth="approle", role_id=role_id, secret_id_file=file, auth_mount=mount)).health())

    assert "refuses the credentials" in said


async def test_a_wrong_token_is_refused(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    provider = open_provider(openbao.uri(root, auth="token", token_file=secret_file(tmp_path / "token", "s.wrong")))

    assert "refuses the credentials" in await refusal(provider.health())


async def test_a_token_for_another_key_is_refused(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    """The policy lets the vault use its own key only."""
    file = secret_file(tmp_path / "token", openbao.token(openbao.new_root()))

    assert "forbids them the key" in await refusal(open_provider(openbao.uri(root, auth="token", token_file=file)).health())


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604], ids=oct)
async def test_a_secret_that_others_may_read_is_refused(openbao: OpenBao, root: Root, tmp_path: Path, mode: int) -> None:
    file = secret_file(tmp_path / "token", openbao.token(root), mode=mode)

    assert "0600" in await refusal(open_provider(openbao.uri(root, auth="token", token_file=file)).health())


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines", b"\xff\xfe", "תו".encode(), b"a\0b", b"x" * 100_000])
async def test_a_file_that_holds_no_secret_is_refused(openbao: OpenBao, root: Root, tmp_path: Path, content: bytes) -> None:
    file = secret_file(tmp_path / "token", "")
    file.write_bytes(content)

    assert "file with" in await refusal(open_provider(openbao.uri(root, auth="token", token_file=file)).health())


async def test_a_secret_that_is_not_there_yet_is_waited_for(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    provider = open_provider(openbao.uri(root, auth="token", token_file=tmp_path / "token"))
    assert "cannot be read" in await refusal(provider.health())

    secret_file(tmp_path / "token", openbao.token(root))

    await provider.health()


async def test_a_replaced_secret_is_picked_up(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    """A token that another program renews and writes into its file."""
    provider = token_provider(openbao, root, tmp_path / "token")
    await provider.health()
    openbao.admin.auth.token.revoke((tmp_path / "token").read_text().strip())
    assert "refuses the credentials" in await refusal(provider.wrap(MATERIAL, context=CONTEXT))

    secret_file(tmp_path / "token", openbao.token(root))

    await provider.health()


async def test_nothing_of_the_environment_is_used(openbao: OpenBao, root: Root, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a token that may do more, nor a proxy that would see the tunnel, nor another address or authority."""
    for name in ("VAULT_TOKEN", "BAO_TOKEN"):
        monkeypatch.setenv(name, openbao.admin.token)
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "VAULT_ADDR"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "VAULT_CACERT"):
        monkeypatch.setenv(name, "/missing.pem")
    wrong = open_provider(openbao.uri(root, auth="token", token_file=secret_file(tmp_path / "wrong", "s.wrong")))

    await token_provider(openbao, root, tmp_path / "right").health()

    assert "refuses the credentials" in await refusal(wrong.health())


# --- keeping the token


@pytest.fixture
def short_lived(openbao: OpenBao, root: Root, tmp_path: Path) -> RootKeyProvider:
    """An AppRole whose tokens are good for an hour and can be renewed up to four."""
    role_id, secret_id = openbao.app_role(root, token_ttl=f"{HOUR}s", token_max_ttl=f"{4 * HOUR}s")
    return open_provider(openbao.uri(root, auth="approle", role_id=role_id, secret_id_file=secret_file(tmp_path / "secret-id", secret_id)))


async def test_a_token_is_renewed_when_a_third_of_its_lease_is_left(openbao: OpenBao, short_lived: RootKeyProvider) -> None:
    clock = Clock(short_lived)
    await short_lived.health()
    token = clock.token
    before = openbao.admin.auth.token.lookup(token)["data"]

    clock.now = 0.5 * HOUR
    await short_lived.health()
    early = openbao.admin.auth.token.lookup(token)["data"]
    clock.now = 0.7 * HOUR
    await short_lived.health()
    late = openbao.admin.auth.token.lookup(token)["data"]

    assert clock.token == token
    assert [data.get("last_renewal_time") is not None for data in (before, early, late)] == [False, False, True]


async def test_a_token_that_cannot_be_renewed_is_replaced(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    role_id, secret_id = openbao.app_role(root, token_type="batch", token_ttl=f"{HOUR}s")
    file = secret_file(tmp_path / "secret-id", secret_id)
    provider = open_provider(openbao.uri(root, auth="approle", role_id=role_id, secret_id_file=file))
    clock = Clock(provider)
    await provider.health()
    token = clock.token

    clock.now = 0.7 * HOUR
    await provider.health()

    assert clock.token != token


async def test_a_token_at_its_last_is_replaced(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    """Renewing gives it no more than the rest of its longest life."""
    role_id, secret_id = openbao.app_role(root, token_ttl=f"{HOUR}s", token_max_ttl=f"{HOUR}s")
    file = secret_file(tmp_path / "secret-id", secret_id)
    provider = open_provider(openbao.uri(root, auth="approle", role_id=role_id, secret_id_file=file))
    clock = Clock(provider)
    await provider.health()
    token = clock.token
    openbao.admin.adapter.post(f"/v1/auth/approle/role/{root.policy}", json={"token_ttl": "60s", "token_max_ttl": "60s"})
    assert openbao.admin.auth.token.lookup(token)["data"]["ttl"] > 60

    clock.now = 0.7 * HOUR
    await provider.health()

    assert clock.token != token


async def test_a_token_is_used_to_its_end_when_no_other_is_to_be_had(short_lived: RootKeyProvider, openbao: OpenBao, root: Root) -> None:
    clock = Clock(short_lived)
    await short_lived.health()
    openbao.admin.auth.approle.delete_role(root.policy)
    openbao.admin.sys.create_or_update_policy(root.policy, openbao.policy(root, renewal=False))

    clock.now = 0.9 * HOUR
    await short_lived.health()

    clock.now = 1.1 * HOUR
    assert "refuses the credentials" in await refusal(short_lived.wrap(MATERIAL, context=CONTEXT))


async def test_a_plain_token_is_renewed_too(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    provider = token_provider(openbao, root, tmp_path / "token", ttl=f"{HOUR}s")
    clock = Clock(provider)
    await provider.health()

    clock.now = 0.7 * HOUR
    await provider.health()

    assert clock.session._ends is not None
    assert clock.session._ends > 1.5 * HOUR


@pytest.mark.parametrize("options", [{"type": "batch"}, {"renewable": False}], ids=str)
async def test_a_plain_token_that_cannot_be_renewed_is_used_as_it_is(
    openbao: OpenBao, root: Root, tmp_path: Path, options: dict[str, object]
) -> None:
    provider = token_provider(openbao, root, tmp_path / "token", ttl=f"{HOUR}s", **options)
    clock = Clock(provider)
    await provider.health()

    clock.now = 0.9 * HOUR

    await provider.health()


async def test_a_token_revoked_under_its_feet_is_replaced_once(openbao: OpenBao, openbao_provider: RootKeyProvider) -> None:
    clock = Clock(openbao_provider)
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    before = clock.token
    openbao.revoke_app_role_tokens()

    unwrapped = await asyncio.gather(*(openbao_provider.unwrap(wrapped, context=CONTEXT) for _ in range(16)))

    assert set(unwrapped) == {MATERIAL}
    assert clock.token != before
    assert openbao.app_role_tokens() == 1, "of many callers one logs in"


async def test_a_key_that_is_forbidden_is_not_logged_in_for_again_and_again(
    openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider
) -> None:
    """Harm: each call left a token behind at the key service, until it had millions."""
    clock = Clock(openbao_provider)
    await openbao_provider.health()
    openbao.admin.sys.create_or_update_policy(root.policy, openbao.policy(openbao.new_root()))
    openbao.revoke_app_role_tokens()
    for _ in range(5):
        assert "forbids them the key" in await refusal(openbao_provider.wrap(MATERIAL, context=CONTEXT))
    tokens = openbao.app_role_tokens()

    openbao.admin.sys.create_or_update_policy(root.policy, openbao.policy(root))
    await openbao_provider.health()
    openbao.revoke_app_role_tokens()
    clock.now += 60
    await openbao_provider.health()

    assert tokens == 1


# --- outages, and what comes after


async def test_a_server_that_is_down_at_the_start_is_found_later(openbao: OpenBao, openbao_provider: RootKeyProvider) -> None:
    openbao.stop()
    assert "cannot be reached" in await refusal(openbao_provider.health())

    openbao.repair()

    await openbao_provider.health()


async def test_a_server_that_goes_down_is_found_again(openbao: OpenBao, openbao_provider: RootKeyProvider) -> None:
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    openbao.stop()
    assert "cannot be reached" in await refusal(openbao_provider.unwrap(wrapped, context=CONTEXT))

    openbao.repair()

    assert await until_it_unwraps(openbao_provider, wrapped) == MATERIAL


async def test_a_server_that_says_nothing_is_not_waited_for(
    openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider, tmp_path: Path
) -> None:
    """With a connection that is open, and with one that is to be made."""
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    stranger = token_provider(openbao, root, tmp_path / "token")
    started = time.monotonic()

    openbao.pause()
    said = await asyncio.gather(*(refusal(one.unwrap(wrapped, context=CONTEXT)) for one in (openbao_provider, stranger)))
    took = time.monotonic() - started
    openbao.resume()

    assert said == ["the key service does not answer in time"] * 2
    assert took < PATIENCE_SECONDS
    assert [await until_it_unwraps(one, wrapped) for one in (openbao_provider, stranger)] == [MATERIAL] * 2


async def test_a_sealed_server_says_so(openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider, tmp_path: Path) -> None:
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    stranger = token_provider(openbao, root, tmp_path / "token")
    openbao.seal()

    said = [await refusal(one.unwrap(wrapped, context=CONTEXT)) for one in (openbao_provider, stranger)]
    openbao.unseal()

    assert said == ["the key service is sealed"] * 2
    assert await until_it_unwraps(openbao_provider, wrapped) == MATERIAL


async def test_a_throttled_server_says_so(openbao: OpenBao, openbao_provider: RootKeyProvider) -> None:
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    with openbao.throttled():
        said = await refusal(openbao_provider.unwrap(wrapped, context=CONTEXT))

    assert said == "the key service is throttled"
    assert await until_it_unwraps(openbao_provider, wrapped) == MATERIAL


async def test_a_deleted_key_is_missing_and_nothing_is_damaged(openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider) -> None:
    """It may come back from a backup of the key service."""
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    openbao.delete(root)

    assert await refusal(openbao_provider.unwrap(wrapped, context=CONTEXT)) == "there is no such key"
    assert await refusal(openbao_provider.wrap(MATERIAL, context=CONTEXT)) == "there is no such key"
    assert await refusal(openbao_provider.health()) == "there is no such key"


async def test_a_missing_key_is_not_made_by_using_it(openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider) -> None:
    openbao.delete(root)

    await refusal(openbao_provider.wrap(MATERIAL, context=CONTEXT))

    assert root.key not in openbao.admin.secrets.transit.list_keys(mount_point=MOUNT)["data"]["keys"]


async def test_a_disabled_key_works_again_when_it_is_restored(openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider) -> None:
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    openbao.disable(root)
    assert await refusal(openbao_provider.unwrap(wrapped, context=CONTEXT)) == "the key is disabled"
    assert await refusal(openbao_provider.wrap(MATERIAL, context=CONTEXT)) == "the key is disabled"

    openbao.enable(root)

    assert await openbao_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_a_version_that_is_not_allowed_is_missing_and_nothing_is_damaged(
    openbao: OpenBao, root: Root, openbao_provider: RootKeyProvider
) -> None:
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)
    openbao.rotate(root)
    openbao.configure(root, min_decryption_version=2)
    assert "does not allow this version" in await refusal(openbao_provider.unwrap(wrapped, context=CONTEXT))

    openbao.configure(root, min_decryption_version=1)

    assert await openbao_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_a_version_that_is_not_there_yet_is_missing_and_nothing_is_damaged(openbao_provider: RootKeyProvider) -> None:
    """A key service restored from before a rotation, or a standby that has not heard of it."""
    wrapped = await openbao_provider.wrap(MATERIAL, context=CONTEXT)

    said = await refusal(openbao_provider.unwrap(wrapped.replace(b":v1:", b":v2:"), context=CONTEXT))

    assert said == "the key service has no such version of the key"


@pytest.mark.parametrize("options", [{"key_type": "rsa-2048"}, {"key_type": "ed25519"}, {"derived": True}], ids=str)
async def test_a_key_of_another_type_is_refused(openbao: OpenBao, tmp_path: Path, options: dict[str, object]) -> None:
    root = openbao.new_root(**options)

    assert "aes256-gcm96" in await refusal(token_provider(openbao, root, tmp_path / "token").health())


async def test_another_mount_is_missing(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    file = secret_file(tmp_path / "token", openbao.admin.token)
    uri = openbao.uri(root, auth="token", token_file=file).replace(f"/{MOUNT}/", "/elsewhere/")

    assert "no such transit engine" in await refusal(open_provider(uri).health())


async def test_a_certificate_of_a_stranger_is_refused(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    development._Authority.create(tmp_path)
    file = secret_file(tmp_path / "token", openbao.token(root))
    uri = openbao.uri(root, auth="token", token_file=file).replace(str(openbao.ca), str(tmp_path / "ca.pem"))

    assert "no trusted TLS connection" in await refusal(open_provider(uri).health())


@pytest.mark.parametrize("harm", ["expired", "of another name", "for clients"])
async def test_a_certificate_that_is_not_this_server_s_is_refused(openbao: OpenBao, root: Root, tmp_path: Path, harm: str) -> None:
    """Of the right authority, all the same."""
    name = DNSName("elsewhere.example") if harm == "of another name" else IPAddress(ip_address("127.0.0.1"))
    use = ExtendedKeyUsageOID.CLIENT_AUTH if harm == "for clients" else ExtendedKeyUsageOID.SERVER_AUTH
    pair = Authority.of_home(openbao.home).issue(name, ends=-timedelta(minutes=1) if harm == "expired" else DAY, uses=[use])
    pair.save(tmp_path, "server")
    file = secret_file(tmp_path / "token", openbao.token(root))
    with answering(tmp_path, 200, b"{}") as (port, asked):
        uri = openbao.uri(root, auth="token", token_file=file).replace(f":{openbao.port}/", f":{port}/")

        said = await refusal(open_provider(uri).health())

    assert "no trusted TLS connection" in said
    assert asked == []


async def test_a_missing_authority_is_unavailable(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    file = secret_file(tmp_path / "token", openbao.token(root))
    uri = openbao.uri(root, auth="token", token_file=file).replace(str(openbao.ca), str(tmp_path / "missing.pem"))

    await refusal(open_provider(uri).health())


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>"),
        (200, b"[]"),
        (200, b"{}"),
        (200, json.dumps({"data": None}).encode()),
        (200, json.dumps({"data": {"ciphertext": 5}}).encode()),
        (200, json.dumps({"data": {"ciphertext": "vault:v1:AAAA"}}).encode()),
        (204, b""),
        (400, b"<html>"),
        (400, json.dumps({"errors": ["something else"]}).encode()),
        (400, json.dumps({"errors": None}).encode()),
        (400, b"[]"),
        (404, b""),
        (412, b""),
        (429, b"{}"),
        (472, b"{}"),
        (473, b"{}"),
        (500, b"{}"),
        (501, b"{}"),
        (502, b"<html>"),
        (503, b"{}"),
    ],
)
async def test_an_answer_of_something_else_is_unavailable(openbao: OpenBao, root: Root, tmp_path: Path, status: int, body: bytes) -> None:
    """A proxy, a load balancer, a standby: whatever it says, stored keys are not taken for damaged."""
    file = secret_file(tmp_path / "token", "s.token")
    with answering(openbao.home, status, body) as (port, _):
        uri = openbao.uri(root, auth="token", token_file=file).replace(f":{openbao.port}/", f":{port}/")
        provider = open_provider(uri)

        await refusal(provider.wrap(MATERIAL, context=CONTEXT))
        await refusal(provider.unwrap(b"vault:v1:" + b"A" * 80, context=CONTEXT))


async def test_a_redirect_is_not_followed(openbao: OpenBao, root: Root, tmp_path: Path) -> None:
    """Harm: the token would go to wherever the answer points, without TLS if it says so."""
    file = secret_file(tmp_path / "token", "s.token")
    with ExitStack() as servers:
        elsewhere, asked = servers.enter_context(answering(openbao.home, 200, b"{}"))
        port, _ = servers.enter_context(answering(openbao.home, 307, b"", Location=f"https://127.0.0.1:{elsewhere}/v1/there"))
        uri = openbao.uri(root, auth="token", token_file=file).replace(f":{openbao.port}/", f":{port}/")

        await refusal(open_provider(uri).health())

    assert asked == []


# --- what it says


async def test_no_secret_is_in_what_it_says(openbao: OpenBao, root: Root, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in the provider, its errors with their tracebacks, nor the most talkative log of the libraries below."""
    caplog.set_level(logging.DEBUG)
    role_id, secret_id = openbao.app_role(root)
    file = secret_file(tmp_path / "secret-id", secret_id)
    provider = open_provider(openbao.uri(root, auth="approle", role_id=role_id, secret_id_file=file))
    clock = Clock(provider)
    wrapped = await provider.wrap(MATERIAL, context=CONTEXT)
    said = [
        repr(provider),
        str(provider),
        provider.describe(),
        repr(clock.session),
        repr(clock.session._grant),
        repr(clock.session._log_in_with),
    ]

    openbao.seal()
    for call in (
        provider.unwrap(wrapped, context=CONTEXT),
        provider.wrap(MATERIAL, context=CONTEXT),
        provider.unwrap(b"x", context=CONTEXT),
    ):
        with pytest.raises(VaultError) as raised:
            await call
        said += [str(raised.value), repr(raised.value), "".join(traceback.format_exception(raised.value))]
    said.append(caplog.text)

    shown = "\n".join(said)
    assert "encrypt" in caplog.text, "the log is there to be looked at"
    for secret in (clock.token, secret_id, role_id, wrapped.decode(), base64.b64encode(MATERIAL).decode()):
        assert secret not in shown


# --- the URI


TOKEN = "auth=token&token_file=/token"


@pytest.mark.parametrize(
    "rest",
    [
        "",
        f"//?{TOKEN}",
        f"//host?{TOKEN}",
        f"//host/mount?{TOKEN}",
        f"//host/mount/?{TOKEN}",
        f"//host//key?{TOKEN}",
        f"///mount/key?{TOKEN}",
        f"//host/../key?{TOKEN}",
        f"//host/mount/..?{TOKEN}",
        f"//host/mount/%2e%2e/key?{TOKEN}",
        f"//host/mount/a%2Fb%3Fc?{TOKEN}",
        f"//host/mount/k\u00e9y?{TOKEN}",
        f"//user:secret@host/mount/key?{TOKEN}",
        f"//host:0/mount/key?{TOKEN}",
        f"//host:port/mount/key?{TOKEN}",
        f"//host:65536/mount/key?{TOKEN}",
        f"//[::1/mount/key?{TOKEN}",
        f"//host/mount/key?{TOKEN}#there",
        "//host/mount/key",
        "//host/mount/key?auth=token",
        "//host/mount/key?auth=token&token=s.secret",
        "//host/mount/key?auth=password&token_file=/token",
        "//host/mount/key?token_file=/token",
        "//host/mount/key?auth=approle&role_id=r",
        "//host/mount/key?auth=approle&secret_id_file=/s",
        "//host/mount/key?auth=kubernetes",
        "//host/mount/key?auth=kubernetes&role=r&auth_mount=..",
        f"//host/mount/key?{TOKEN}&role=r",
        f"//host/mount/key?{TOKEN}&token_file=/other",
        f"//host/mount/key?{TOKEN}&ca=",
        f"//host/mount/key?{TOKEN}&verify=false",
        f"//host/mount/key?{TOKEN}&",
    ],
)
def test_a_malformed_uri_is_refused_without_repeating_it(rest: str) -> None:
    """I9."""
    with pytest.raises(FailedPreconditionError) as raised:
        open_provider(f"openbao:{rest}")

    assert raised.value.reason == "KEYS_URI_UNKNOWN"
    assert "secret" not in str(raised.value).replace("secret_id_file", "")


@pytest.mark.parametrize(
    ("uri", "described"),
    [
        (f"openbao://host/mount/key?{TOKEN}", "OpenBao transit key mount/key at host:8200"),
        (f"vault://host:1/deep/mount/key?{TOKEN}&namespace=ns", "HashiCorp Vault transit key deep/mount/key at host:1"),
        (f"openbao://[::1]:8200/mount/key?{TOKEN}", "OpenBao transit key mount/key at [::1]:8200"),
        ("openbao://host/mount/key?auth=kubernetes&role=r", "OpenBao transit key mount/key at host:8200"),
    ],
)
def test_a_uri_is_taken_without_connecting(uri: str, described: str) -> None:
    assert open_provider(uri).describe() == described
