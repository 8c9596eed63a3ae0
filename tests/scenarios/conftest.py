"""A root key in a real OpenBao, for scenarios."""

from pathlib import Path

import pytest

from tests.openbao import OpenBao, Root, openbao, openbao_server, root  # noqa: F401 - fixtures


@pytest.fixture
def root_uri(openbao: OpenBao, root: Root, tmp_path: Path) -> str:  # noqa: F811 - the fixture
    """Its URI, with a token in a file."""
    return token_uri(openbao, root, tmp_path)


def token_uri(openbao: OpenBao, root: Root, folder: Path) -> str:  # noqa: F811 - the fixture
    """The URI of a key for a vault that has a new token for it, in a file of this folder."""
    file = folder / "token"
    file.write_text(openbao.token(root) + "\n")
    file.chmod(0o600)
    return openbao.uri(root, auth="token", token_file=file)
