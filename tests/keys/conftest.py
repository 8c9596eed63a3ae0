"""Root-key providers, each with a real key service behind it."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.aws import aws, aws_provider, local_kms  # noqa: F401 - fixtures
from tests.openbao import OpenBao, Root, TokenReviews, openbao, openbao_server, root  # noqa: F401 - fixtures
from tests.softhsm import softhsm, softhsm_provider, softhsm_store  # noqa: F401 - fixtures
from vault.keys import local
from vault.keys.local import LocalRootKey
from vault.keys.open import open_provider
from vault.keys.provider import RootKeyProvider


@pytest.fixture
def local_provider(tmp_path: Path) -> RootKeyProvider:
    local.create(tmp_path / "root.key")
    return LocalRootKey(tmp_path / "root.key")


@pytest.fixture
def protected_provider(tmp_path: Path) -> RootKeyProvider:
    passphrase = secrets.token_hex(8).encode()
    local.create(tmp_path / "root.key", passphrase)
    return LocalRootKey(tmp_path / "root.key", passphrase)


@pytest.fixture
def openbao_provider(openbao: OpenBao, root: Root, tmp_path: Path) -> RootKeyProvider:  # noqa: F811 - the fixture
    """A provider that logs in as an AppRole."""
    role_id, secret_id = openbao.app_role(root)
    return open_provider(openbao.uri(root, auth="approle", role_id=role_id, secret_id_file=secret_file(tmp_path / "secret-id", secret_id)))


@pytest.fixture
def token_reviews(openbao: OpenBao) -> Iterator[TokenReviews]:  # noqa: F811 - the fixture
    with TokenReviews.running(openbao.home) as reviews:
        yield reviews


def secret_file(path: Path, secret: str, *, mode: int = 0o600) -> Path:
    path.write_text(secret + "\n")
    path.chmod(mode)
    return path
