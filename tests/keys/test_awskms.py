"""The root key in AWS KMS: a wrapped key opens in its own place and under its own key only (I3), and every outage ends by itself."""

import base64
import json
import logging
import time

import pytest

from tests.aws import ACCOUNT, REGION, SECRET_ACCESS_KEY, LocalKMS
from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError, VaultError
from vault.keys.awskms import AwsKmsRootKey, open_uri

MATERIAL = bytes(range(32))
CONTEXT = b"acme/data/1"
ARN = f"arn:aws:kms:eu-central-1:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"


async def test_what_was_wrapped_unwraps_in_its_context(aws_provider: AwsKmsRootKey) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    assert await aws_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL
    assert MATERIAL not in wrapped
    await aws_provider.health()


async def test_kms_is_told_the_key_and_the_tenant_each_time(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    """The key on Decrypt as well, or KMS would take any; the tenant, so that a policy can tell tenants apart."""
    await aws_provider.unwrap(await aws_provider.wrap(MATERIAL, context=CONTEXT), context=CONTEXT)
    await aws_provider.health()

    assert [request["KeyId"] for request in aws.requests] == ["alias/vault"] * 4
    assert [request["EncryptionContext"] for request in aws.requests] == [
        *[{"tenant": "acme", "key": "acme/data/1"}] * 2,
        *[{"tenant": "health", "key": "health"}] * 2,
    ]


async def test_contexts_that_are_no_ascii_stay_apart(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    contexts = [b"a/\xff", b"a/%FF", b"a/\\xff", "a/ÿ".encode()]

    for context in contexts:
        await aws_provider.wrap(MATERIAL, context=context)

    sent = [request["EncryptionContext"]["key"] for request in aws.requests]
    assert sent == ["a/%FF", "a/%25FF", "a/%5Cxff", "a/%C3%BF"]


@pytest.mark.parametrize("other", [b"", b"globex/data/1", b"acme/index/1", b"acme/data/2", b"acme/data/1 ", b"acme/data/"])
async def test_another_context_is_refused(aws_provider: AwsKmsRootKey, other: bytes) -> None:
    """I3."""
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await aws_provider.unwrap(wrapped, context=other)


async def test_every_flipped_bit_is_refused(aws_provider: AwsKmsRootKey) -> None:
    """In the part that names the key, too, which moto answers with AccessDeniedException: damage, since the key itself is at hand."""
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    # Each bit position, spread over all bytes: each one is a call over HTTP.
    for byte in range(len(wrapped)):
        damaged = bytearray(wrapped)
        damaged[byte] ^= 1 << byte % 8
        with pytest.raises(CiphertextInvalidError) as raised:
            await aws_provider.unwrap(bytes(damaged), context=CONTEXT)

    assert raised.value.__suppress_context__


async def test_every_other_length_is_refused(aws_provider: AwsKmsRootKey) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    for damaged in [
        *(wrapped[:length] for length in range(0, len(wrapped), 7)),
        wrapped[:-1],
        wrapped + b"\0",
        b"\0" + wrapped,
        bytes(7000),
    ]:
        with pytest.raises(CiphertextInvalidError):
            await aws_provider.unwrap(damaged, context=CONTEXT)


async def test_another_keys_ciphertext_is_refused(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    aws.new_key("alias/other")
    wrapped = await open_uri(aws.uri("alias/other")).wrap(MATERIAL, context=CONTEXT)

    with pytest.raises(CiphertextInvalidError):
        await aws_provider.unwrap(wrapped, context=CONTEXT)


async def test_kms_saying_that_the_key_is_another_is_damage(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    """What AWS answers where moto says AccessDeniedException."""
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    with aws.failing("IncorrectKeyException"), pytest.raises(CiphertextInvalidError):
        await aws_provider.unwrap(wrapped, context=CONTEXT)


async def test_a_key_by_its_arn(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    by_arn = open_uri(aws.uri(aws.arn(aws.key_id)))

    assert await by_arn.unwrap(await aws_provider.wrap(MATERIAL, context=CONTEXT), context=CONTEXT) == MATERIAL
    assert by_arn.describe() == f"AWS KMS key/{aws.key_id} in {REGION}"


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
async def test_what_is_no_key_is_refused(aws: LocalKMS, aws_provider: AwsKmsRootKey, length: int) -> None:
    answer = json.dumps({"KeyId": "x", "Plaintext": base64.b64encode(bytes(length)).decode()}).encode()

    with aws.answering(answer), pytest.raises(CiphertextInvalidError):
        await aws_provider.unwrap(b"wrapped", context=CONTEXT)


# --- outages


async def test_a_disabled_key_is_unavailable_until_it_is_enabled(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    aws.disable()
    for call in (aws_provider.health(), aws_provider.wrap(MATERIAL, context=CONTEXT), aws_provider.unwrap(wrapped, context=CONTEXT)):
        with pytest.raises(KeyUnavailableError) as raised:
            await call
        assert "disabled" in raised.value.message
    aws.enable()

    assert await aws_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_a_key_that_waits_for_its_deletion_is_unavailable_until_that_is_cancelled(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    aws.schedule_deletion()
    with pytest.raises(KeyUnavailableError) as raised:
        await aws_provider.unwrap(wrapped, context=CONTEXT)
    aws.cancel_deletion()
    aws.enable()

    assert "pending deletion" in raised.value.message
    assert await aws_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_a_key_that_is_not_there_is_unavailable(aws: LocalKMS) -> None:
    with pytest.raises(KeyUnavailableError) as raised:
        await open_uri(aws.uri("alias/nothing")).wrap(MATERIAL, context=CONTEXT)

    assert "no such key" in raised.value.message


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("ThrottlingException", "throttles"),
        ("AccessDeniedException", "does not allow"),
        ("KeyUnavailableException", "not available"),
        ("KMSInternalException", "KMSInternalException"),
        ("UnrecognizedClientException", "credentials"),
        ("ExpiredTokenException", "expired"),
        ("Not a code: 123456789012", "an error"),
    ],
)
async def test_a_refusal_is_unavailable_in_words_and_ends_by_itself(
    aws: LocalKMS, aws_provider: AwsKmsRootKey, error: str, words: str
) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    with aws.failing(error):
        for call in (aws_provider.wrap(MATERIAL, context=CONTEXT), aws_provider.unwrap(wrapped, context=CONTEXT)):
            with pytest.raises(KeyUnavailableError) as raised:
                await call
            assert words in raised.value.message
            assert ACCOUNT not in str(raised.value)

    assert await aws_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_throttling_is_tried_twice_and_no_more(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    with aws.failing("ThrottlingException"), pytest.raises(KeyUnavailableError):
        await aws_provider.wrap(MATERIAL, context=CONTEXT)

    assert len(aws.requests) == 2


async def test_an_endpoint_that_is_down_is_unavailable_until_it_is_back(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)

    aws.stop()
    with pytest.raises(KeyUnavailableError) as raised:
        await aws_provider.unwrap(wrapped, context=CONTEXT)
    aws.start()

    assert "cannot be reached" in raised.value.message
    assert await aws_provider.unwrap(wrapped, context=CONTEXT) == MATERIAL


async def test_an_endpoint_that_never_answers_is_given_up(aws: LocalKMS, aws_provider: AwsKmsRootKey) -> None:
    wrapped = await aws_provider.wrap(MATERIAL, context=CONTEXT)
    began = time.monotonic()

    with aws.silent(), pytest.raises(KeyUnavailableError) as raised:
        await aws_provider.unwrap(wrapped, context=CONTEXT)

    # It takes 5 s at most; the rest is for a machine that is busy.
    assert time.monotonic() - began < 10
    assert raised.value.reason == "KEYS_UNAVAILABLE"


@pytest.mark.parametrize("body", [b"", b"<html>welcome</html>", b"{}", b'{"Plaintext": 5}', b"[]", b"null"])
async def test_something_else_at_the_address_is_unavailable(aws: LocalKMS, aws_provider: AwsKmsRootKey, body: bytes) -> None:
    """A proxy's page, a portal: not damage."""
    with aws.answering(body), pytest.raises(KeyUnavailableError):
        await aws_provider.unwrap(b"wrapped", context=CONTEXT)


@pytest.mark.parametrize("blob", ["", base64.b64encode(bytes(7000)).decode()], ids=["empty", "too long"])
async def test_what_could_not_be_unwrapped_again_is_not_taken_for_a_wrapped_key(
    aws: LocalKMS, aws_provider: AwsKmsRootKey, blob: str
) -> None:
    with aws.answering(json.dumps({"CiphertextBlob": blob}).encode()), pytest.raises(KeyUnavailableError):
        await aws_provider.wrap(MATERIAL, context=CONTEXT)


async def test_credentials_that_come_late_are_used(aws: LocalKMS, aws_provider: AwsKmsRootKey, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as without:
        without.delenv("AWS_ACCESS_KEY_ID")
        without.delenv("AWS_SECRET_ACCESS_KEY")
        with pytest.raises(KeyUnavailableError) as raised:
            await aws_provider.health()

    assert raised.value.message == "there are no AWS credentials"
    assert not aws.requests
    await aws_provider.health()


async def test_the_environment_does_not_choose_the_address(aws: LocalKMS, monkeypatch: pytest.MonkeyPatch) -> None:
    """Key material goes where the URI says."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint)

    client = open_uri("awskms:///alias/vault?region=eu-central-1")._opened()

    assert client.meta.endpoint_url == "https://kms.eu-central-1.amazonaws.com"
    client.close()


async def test_nothing_shows_credentials_account_or_material(aws: LocalKMS, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    by_arn = open_uri(aws.uri(aws.arn(aws.key_id)))
    wrapped = await by_arn.wrap(MATERIAL, context=CONTEXT)
    errors: list[VaultError] = []
    for error in ("AccessDeniedException", "InvalidCiphertextException", "NotFoundException"):
        with aws.failing(error), pytest.raises(VaultError) as raised:
            await by_arn.unwrap(wrapped, context=CONTEXT)
        errors.append(raised.value)

    shown = " ".join([repr(by_arn), str(by_arn), by_arn.describe(), caplog.text, *map(repr, errors), *map(str, errors)])

    assert not [
        secret for secret in (SECRET_ACCESS_KEY, ACCOUNT, base64.b64encode(MATERIAL).decode(), repr(MATERIAL)[2:-1]) if secret in shown
    ]
    assert all(error.__suppress_context__ for error in errors)


# --- the URI


@pytest.mark.parametrize(
    "uri",
    [
        "awskms:",
        "awskms:///",
        "awskms:///alias/vault",
        "awskms:///alias/?region=eu-central-1",
        "awskms:///1234abcd-12ab-34cd-56ef-1234567890ab?region=eu-central-1",
        "awskms://alias/vault?region=eu-central-1",
        "awskms:///alias/vault?region=",
        "awskms:///alias/vault?region=evil.example/",
        "awskms:///alias/vault?region=eu-central-1&region=eu-west-1",
        "awskms:///alias/vault?region=eu-central-1&aws_secret_access_key=x",
        "awskms:///alias/vault?region=eu-central-1#x",
        "awskms:///alias/vault?region=eu-central-1&endpoint=http://kms.example",
        "awskms:///alias/vault?region=eu-central-1&endpoint=http://localhost:1",
        "awskms:///alias/vault?region=eu-central-1&endpoint=http://127.0.0.1.example",
        "awskms:///alias/vault?region=eu-central-1&endpoint=https://user:pass@kms.example",
        "awskms:///alias/vault?region=eu-central-1&endpoint=https://kms.example/path",
        "awskms:///alias/vault?region=eu-central-1&endpoint=https://kms.example:port",
        "awskms:///alias/vault?region=eu-central-1&endpoint=https://",
        "awskms:///alias/vault?region=eu-central-1&endpoint=",
        f"awskms:///{ARN}?region=eu-west-1",
        f"awskms:///{ARN.replace('kms', 's3')}",
        f"awskms:///{ARN.replace(ACCOUNT, '12')}",
        "awskms:///alias/vault%0a?region=eu-central-1",
        "other:///alias/vault?region=eu-central-1",
    ],
)
def test_another_uri_is_refused(uri: str) -> None:
    with pytest.raises(FailedPreconditionError) as raised:
        open_uri(uri)

    assert raised.value.reason == "KEYS_URI_UNKNOWN"
    assert "pass" not in raised.value.message


@pytest.mark.parametrize(
    ("uri", "described"),
    [
        (f"awskms:///{ARN}", "key/1234abcd-12ab-34cd-56ef-1234567890ab in eu-central-1"),
        (f"awskms:///{ARN}?region=eu-central-1", "key/1234abcd-12ab-34cd-56ef-1234567890ab in eu-central-1"),
        (f"awskms:///arn:aws-us-gov:kms:us-gov-west-1:{ACCOUNT}:alias/vault", "alias/vault in us-gov-west-1"),
        (f"awskms:///arn:aws:kms:eu-central-1:{ACCOUNT}:key/mrk-1234abcd", "key/mrk-1234abcd in eu-central-1"),
        ("awskms:///alias/team/vault?region=eu-central-1", "alias/team/vault in eu-central-1"),
        (
            "awskms:///alias/vault?region=eu-central-1&endpoint=https://vpce-1.kms.eu-central-1.vpce.amazonaws.com",
            "alias/vault in eu-central-1",
        ),
        ("awskms:///alias/vault?region=eu-central-1&endpoint=http://[::1]:4566", "alias/vault in eu-central-1"),
    ],
)
def test_a_uri_names_a_key_and_describes_it_without_the_account(uri: str, described: str) -> None:
    assert open_uri(uri).describe() == f"AWS KMS {described}"
