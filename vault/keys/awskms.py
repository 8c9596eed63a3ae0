"""The root key in AWS KMS.

URI: `awskms:///arn:aws:kms:REGION:ACCOUNT:key/ID`, or `awskms:///alias/NAME?region=REGION`; a parameter `endpoint=https://…` may follow (http on
loopback only, for tests). Credentials come from the AWS credential chain and from nowhere else.

- Wrapped key: the CiphertextBlob as KMS gives it; it names its key version itself.
- The context is KMS's encryption context, so that IAM policies and CloudTrail know the tenant: `tenant`, the part before the first slash, and `key`,
  the whole. Both are percent-encoded where they are not plain ASCII.
- Decrypt names the key: KMS would otherwise open a ciphertext under any key that the caller may use.
- An alias must stay with its key: wrapped keys of before do not unwrap under another one. KMS rotates below the key, nothing changes here.
"""

import ipaddress
import logging
import re
import secrets
import threading
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError

from vault.errors import CiphertextInvalidError, FailedPreconditionError, KeyUnavailableError
from vault.keys import reading
from vault.keys.blocking import CONNECT_SECONDS, READ_SECONDS, Blocking

_FORM = "awskms:///KEY?region=…, where KEY is an ARN or alias/NAME"
_KEY_BYTES = 32
_MAX_CIPHERTEXT_BYTES = 6144  # AWS KMS API reference, Decrypt
_ATTEMPTS = 2
# Descriptions of the service, read once: a client of its own for each root key costs 0.3 MB and 6 ms then, not 8 MB and 150 ms.
_DESCRIPTIONS = Loader()
_ARN = re.compile(r"arn:aws[a-z-]*:kms:(?P<region>[a-z0-9-]+):\d{12}:(?P<name>(key|alias)/[A-Za-z0-9/_-]+)")
_ALIAS = re.compile(r"alias/[A-Za-z0-9/_-]+")
_REGION = re.compile(r"[a-z]{2}[a-z0-9-]{1,30}")

_WORDS = {
    "DisabledException": "the root key is disabled in AWS KMS",
    "KMSInvalidStateException": "the root key is in a state that AWS KMS does not use: pending deletion, import or creation",
    "NotFoundException": "AWS KMS has no such key in this region",
    "KeyUnavailableException": "the root key is not available in AWS KMS at the moment",
    "InvalidKeyUsageException": "the root key is not a symmetric key for encryption",
    "ThrottlingException": "AWS KMS throttles",
    "LimitExceededException": "AWS KMS throttles",
    "AccessDeniedException": "AWS does not allow this principal to use the root key",
    "UnrecognizedClientException": "AWS does not know these credentials",
    "InvalidClientTokenId": "AWS does not know these credentials",
    "InvalidSignatureException": "AWS refuses the signature: wrong credentials, or a clock that is off",
    "ExpiredTokenException": "the AWS credentials have expired",
}


class AwsKmsRootKey:
    """A provider whose root key is in AWS KMS.

    Args:
        key: ARN, or `alias/NAME`.
        region: where the key is.
        endpoint: other than the region's own.
    """

    def __init__(self, key: str, *, region: str, endpoint: str | None = None) -> None:
        self._key = key
        self._region = region
        self._endpoint = endpoint
        self._blocking = Blocking("awskms")
        self._lock = threading.Lock()
        self._client: Any = None

    async def wrap(self, material: bytes, *, context: bytes) -> bytes:
        """Encrypt; KMS chooses the key version."""
        return await self._blocking.run(lambda: self._encrypt(material, context))

    async def unwrap(self, wrapped: bytes, *, context: bytes) -> bytes:
        """Decrypt, under this very key."""
        if not 0 < len(wrapped) <= _MAX_CIPHERTEXT_BYTES:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key")
        material = await self._blocking.run(lambda: self._decrypt(wrapped, context))
        if len(material) != _KEY_BYTES:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key")
        return material

    def describe(self) -> str:
        """Key and region, without the account's number."""
        return f"AWS KMS {self._key.rsplit(':', 1)[-1]} in {self._region}"

    async def health(self) -> None:
        """Wrap and unwrap once."""
        probe = secrets.token_bytes(_KEY_BYTES)
        if await self.unwrap(await self.wrap(probe, context=b"health"), context=b"health") != probe:
            raise KeyUnavailableError("the root key does not unwrap what it wrapped")

    def _encrypt(self, material: bytes, context: bytes) -> bytes:
        wrapped = self._call("encrypt", "CiphertextBlob", Plaintext=material, EncryptionContext=_encryption_context(context))
        if not 0 < len(wrapped) <= _MAX_CIPHERTEXT_BYTES:
            raise KeyUnavailableError("what answers at the address of AWS KMS is not AWS KMS")
        return wrapped

    def _decrypt(self, wrapped: bytes, context: bytes) -> bytes:
        with suppress(_AccessDeniedError):
            return self._decrypt_once(wrapped, context)
        # Said of a principal that may not use the root key, and of a ciphertext under a key that nobody here knows. If the root key does its work
        # for this very context now, and still not with this ciphertext, the ciphertext is damaged.
        self._decrypt_once(self._encrypt(bytes(_KEY_BYTES), context), context)
        try:
            return self._decrypt_once(wrapped, context)
        except _AccessDeniedError:
            raise CiphertextInvalidError("a tenant key does not unwrap under this root key") from None

    def _decrypt_once(self, wrapped: bytes, context: bytes) -> bytes:
        return self._call("decrypt", "Plaintext", CiphertextBlob=wrapped, EncryptionContext=_encryption_context(context))

    def _call(self, operation: str, wanted: str, **parameters: Any) -> bytes:
        """One call of KMS on the root key.

        Raises:
            CiphertextInvalidError: KMS says so.
            KeyUnavailableError: everything else that fails.
        """
        try:
            answer = getattr(self._opened(), operation)(KeyId=self._key, **parameters)
            return bytes(answer[wanted])
        except ClientError as error:
            raise _from_answer(str(error.response.get("Error", {}).get("Code", ""))) from None
        except (NoCredentialsError, PartialCredentialsError):
            # A client remembers that there were none.
            self._client = None
            raise KeyUnavailableError("there are no AWS credentials") from None
        except BotoCoreError as error:
            # Its text holds addresses and sometimes answers of proxies; its name says enough.
            raise KeyUnavailableError(f"AWS KMS cannot be reached: {type(error).__name__}") from None
        except (ResponseParserError, KeyError, TypeError, ValueError, AttributeError):
            raise KeyUnavailableError("what answers at the address of AWS KMS is not AWS KMS") from None

    def _opened(self) -> Any:
        """The client; making it may ask for credentials over the network, so that it is made in a thread of `Blocking`."""
        with self._lock:
            if self._client is None:
                config = Config(
                    # Two attempts share what one caller waits for.
                    connect_timeout=CONNECT_SECONDS / _ATTEMPTS,
                    read_timeout=READ_SECONDS / _ATTEMPTS,
                    retries={"total_max_attempts": _ATTEMPTS, "mode": "standard"},
                    # The URI alone says where key material goes, no AWS_ENDPOINT_URL of the environment.
                    ignore_configured_endpoint_urls=True,
                )
                # Its debug messages hold requests and answers whole, tenant keys in the clear among them.
                logging.getLogger("botocore").setLevel(logging.WARNING)
                session = botocore.session.get_session()
                session.register_component("data_loader", _DESCRIPTIONS)
                # `verify` stays unset: certificates are checked, against a company's own bundle if AWS_CA_BUNDLE names one.
                self._client = session.create_client("kms", region_name=self._region, endpoint_url=self._endpoint, config=config)
            return self._client


class _AccessDeniedError(KeyUnavailableError):
    """AWS says AccessDeniedException, which has two meanings for Decrypt."""


def open_uri(uri: str) -> AwsKmsRootKey:
    """The provider that a URI names; AWS is asked when the key is first needed.

    Raises:
        FailedPreconditionError: KEYS_URI_UNKNOWN.
    """
    parts = reading.split(uri, form=_FORM)
    if parts.scheme != "awskms" or parts.netloc:
        raise _refusal("it begins with awskms:///")
    options = reading.parameters(parts.query, known={"region", "endpoint"})
    key = unquote(parts.path).removeprefix("/")
    region = options.get("region")
    if arn := _ARN.fullmatch(key):
        if region not in (None, arn["region"]):
            raise _refusal("the region is the ARN's")
        region = arn["region"]
    elif not _ALIAS.fullmatch(key):
        raise _refusal("an ARN of a key or an alias, or alias/NAME")
    if region is None or not _REGION.fullmatch(region):
        raise _refusal("an alias needs region=")
    endpoint = options.get("endpoint")
    if endpoint is not None and not _is_trusted(endpoint):
        raise _refusal("the endpoint is an https address without path, user or parameters")
    return AwsKmsRootKey(key, region=region, endpoint=endpoint)


def _is_trusted(endpoint: str) -> bool:
    """Whether key material may go there: https, or http that does not leave the machine."""
    try:
        parts = urlsplit(endpoint)
        host, _ = parts.hostname, parts.port  # a port that is none raises
        if not host or parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            return False
        return parts.scheme == "https" or (parts.scheme == "http" and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def _encryption_context(context: bytes) -> dict[str, str]:
    whole = quote(context, safe="/")
    return {"tenant": whole.partition("/")[0], "key": whole}


def _from_answer(code: str) -> CiphertextInvalidError | KeyUnavailableError:
    """KMS's refusal in words; its own message may hold account numbers."""
    if code in ("InvalidCiphertextException", "IncorrectKeyException"):
        return CiphertextInvalidError("a tenant key does not unwrap under this root key")
    if code == "AccessDeniedException":
        return _AccessDeniedError(_WORDS[code])
    return KeyUnavailableError(_WORDS.get(code, f"AWS KMS fails with {code if re.fullmatch('[A-Za-z0-9]{1,60}', code) else 'an error'}"))


def _refusal(rule: str) -> FailedPreconditionError:
    return FailedPreconditionError("KEYS_URI_UNKNOWN", f"the root key is named by a URI of the form {_FORM}: {rule}")
