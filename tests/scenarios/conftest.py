"""A root key in a real OpenBao, for scenarios."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests.openbao import OpenBao, OpenBaoUnavailableError, Root, running_openbao


@pytest.fixture(scope="session")
def openbao_server() -> Iterator[OpenBao]:
    """A real OpenBao, started when the first test of this process asks for it."""
    try:
        with running_openbao(Path(mkdtemp(prefix="pii-vault-bao-"))) as server:
            yield server
    except OpenBaoUnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def openbao(openbao_server: OpenBao) -> Iterator[OpenBao]:
    """The server, whole again after the test."""
    yield openbao_server
    openbao_server.repair()


@pytest.fixture
def root(openbao: OpenBao) -> Root:
    """A key of the test's own."""
    return openbao.new_root()


@pytest.fixture
def root_uri(openbao: OpenBao, root: Root, tmp_path: Path) -> str:
    """Its URI, with a token in a file."""
    return token_uri(openbao, root, tmp_path)


def token_uri(openbao: OpenBao, root: Root, folder: Path) -> str:
    """The URI of a key for a vault that has a new token for it, in a file of this folder."""
    file = folder / "token"
    file.write_text(openbao.token(root) + "\n")
    file.chmod(0o600)
    return openbao.uri(root, auth="token", token_file=file)
