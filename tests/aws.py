"""AWS KMS on loopback: moto's server, with what KMS does and moto does not, and with faults.

moto takes keys that are disabled or wait for their deletion, and stumbles over unknown aliases; here they are refused as the AWS KMS API reference
says, by the state that moto keeps.
"""

import io
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3.session
import pytest
from moto.kms.models import kms_backends
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from moto.moto_server.werkzeug_app import MotoRequestHandler

from vault.keys.awskms import AwsKmsRootKey, open_uri

REGION = "eu-central-1"
ACCOUNT = "123456789012"  # moto's
SECRET_ACCESS_KEY = "dummy-secret-access-key"
_STATES = {"Disabled": "DisabledException", "PendingDeletion": "KMSInvalidStateException"}
_KEY_OPERATIONS = {"TrentService.Encrypt", "TrentService.Decrypt"}


class LocalKMS:
    """The service, an alias with its key, and what may happen to them."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self._error: str | None = None
        self._body: bytes | None = None
        self._may_answer = threading.Event()
        self._may_answer.set()
        self._server: ThreadedMotoServer | None = None
        self._port = 0
        self.start()
        session = boto3.session.Session("dummy", SECRET_ACCESS_KEY)
        self._client = session.client("kms", region_name=REGION, endpoint_url=self.endpoint)
        self.reset()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def uri(self, key: str = "alias/vault") -> str:
        region = "" if key.startswith("arn:") else f"region={REGION}&"
        return f"awskms:///{key}?{region}endpoint={self.endpoint}"

    def arn(self, key_id: str) -> str:
        return f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{key_id}"

    def new_key(self, alias: str) -> str:
        key_id = str(self._client.create_key()["KeyMetadata"]["KeyId"])
        self._client.create_alias(AliasName=alias, TargetKeyId=key_id)
        return key_id

    def disable(self) -> None:
        self._client.disable_key(KeyId=self.key_id)

    def enable(self) -> None:
        self._client.enable_key(KeyId=self.key_id)

    def schedule_deletion(self) -> None:
        self._client.schedule_key_deletion(KeyId=self.key_id, PendingWindowInDays=7)

    def cancel_deletion(self) -> None:
        self._client.cancel_key_deletion(KeyId=self.key_id)

    def start(self) -> None:
        """Serve, at the same port as before."""
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()
        self._port = self._server.get_host_and_port()[1]
        assert self._server._server is not None
        self._server._server.app = self._with_faults(self._server._server.app)

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            assert self._server._server is not None
            self._server._server.server_close()
            self._server = None

    def reset(self) -> None:
        """One new key and no faults."""
        self.requests.clear()
        self._error, self._body = None, None
        self._may_answer.set()
        if self._server is None:
            self.start()
        kms_backends[ACCOUNT][REGION].reset()
        self.key_id = self.new_key("alias/vault")

    def close(self) -> None:
        self._may_answer.set()
        self._client.close()
        self.stop()

    @contextmanager
    def failing(self, error: str) -> Iterator[None]:
        """Every use of a key is answered with this error."""
        self._error = error
        yield
        self._error = None

    @contextmanager
    def answering(self, body: bytes) -> Iterator[None]:
        """Every use of a key is answered with this."""
        self._body = body
        yield
        self._body = None

    @contextmanager
    def silent(self) -> Iterator[None]:
        """No use of a key is answered."""
        self._may_answer.clear()
        yield
        self._may_answer.set()

    def _with_faults(self, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
        def answer(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
            if environ.get("HTTP_X_AMZ_TARGET") not in _KEY_OPERATIONS:
                return application(environ, start_response)
            content = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
            request = json.loads(content)
            self.requests.append(request)
            self._may_answer.wait()
            if error := self._error or self._refusal(request["KeyId"]):
                # As KMS words it: with the account's number.
                body = json.dumps({"__type": error, "message": f"User: arn:aws:iam::{ACCOUNT}:user/vault may not"}).encode()
                start_response("400 Bad Request", [("Content-Type", "application/x-amz-json-1.1")])
                return [body]
            if self._body is not None:
                start_response("200 OK", [("Content-Type", "application/x-amz-json-1.1")])
                return [self._body]
            return application({**environ, "wsgi.input": io.BytesIO(content)}, start_response)

        return answer

    def _refusal(self, key: str) -> str | None:
        backend = kms_backends[ACCOUNT][REGION]
        try:
            return _STATES.get(backend.keys[backend.any_id_to_key_id(key)].key_state)
        except (AttributeError, KeyError):
            return "NotFoundException"


@pytest.fixture(scope="session")
def local_kms() -> Iterator[LocalKMS]:
    """The service of this process; stopping one takes half a second."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            patch.setenv(name, "/dev/null")
        # Its messages would go to standard error, one for each request.
        patch.setattr(MotoRequestHandler, "log", lambda *_: None)
        service = LocalKMS()
        yield service
        service.close()


@pytest.fixture
def aws(local_kms: LocalKMS, monkeypatch: pytest.MonkeyPatch) -> LocalKMS:
    """A KMS with one key, `alias/vault`, and credentials for it in the environment."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "dummy")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY)
    local_kms.reset()
    return local_kms


@pytest.fixture
def aws_provider(aws: LocalKMS) -> AwsKmsRootKey:
    """A provider whose root key is `alias/vault`."""
    return open_uri(aws.uri())
