"""Which provider a URI opens: ours by their schemes, somebody else's by an entry point, and nothing by guessing."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vault.errors import FailedPreconditionError
from vault.keys import local
from vault.keys.conformance import check
from vault.keys.open import open_provider

Install = Callable[..., None]
GUEST = """
from pathlib import Path
from vault.keys.local import LocalRootKey

def open_uri(uri):
    return LocalRootKey(Path(uri.partition(":")[2]))
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a distribution with one module that provides root keys."""
    monkeypatch.syspath_prepend(tmp_path / "site")

    def install(distribution: str, scheme: str, module: str, source: str | None) -> None:
        folder = tmp_path / "site" / f"{distribution}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[pii_vault.key_providers]\n{scheme} = {module}:open_uri\n")
        if source is not None:
            (tmp_path / "site" / f"{module}.py").write_text(source)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def refusal(uri: str) -> FailedPreconditionError:
    with pytest.raises(FailedPreconditionError) as raised:
        open_provider(uri)
    return raised.value


async def test_a_provider_of_another_distribution_is_opened_and_conforms(install: Install, tmp_path: Path) -> None:
    install("guest-keys", "guest", "guest_keys", GUEST)
    local.create(tmp_path / "root.key")

    provider = open_provider(f"guest:{tmp_path}/root.key")

    assert all(finding.passed for finding in await check(provider))


def test_an_unknown_scheme_is_refused_with_the_ones_that_are_known(install: Install) -> None:
    install("guest-keys", "guest", "guest_keys", GUEST)

    error = refusal("gcpkms:projects/x?token=secret")

    assert error.reason == "KEYS_URI_UNKNOWN"
    assert "awskms, guest, local, openbao, pkcs11, vault" in error.message
    assert "secret" not in error.message


def test_a_scheme_is_written_in_any_case(tmp_path: Path) -> None:
    """RFC 3986 §3.1."""
    local.create(tmp_path / "root.key")

    assert open_provider(f"LOCAL:{tmp_path}/root.key").describe() == "local file root.key, version 1"


def test_nobody_takes_the_place_of_another_provider(install: Install, tmp_path: Path) -> None:
    """Harm: any package that is installed along with another one would be handed the tenants' keys."""
    local.create(tmp_path / "root.key")
    install("guest-keys", "local", "guest_keys", GUEST)

    error = refusal(f"local:{tmp_path}/root.key")

    assert error.reason == "KEYS_URI_UNKNOWN"
    assert "more than one" in error.message


@pytest.mark.parametrize(
    ("uri", "ours", "needed", "extra"),
    [
        ("openbao://host/mount/key?auth=token&token_file=/token", "vault.keys.openbao", "hvac", "pii-vault[openbao]"),
        ("vault://host/mount/key?auth=token&token_file=/token", "vault.keys.openbao", "hvac", "pii-vault[openbao]"),
        ("pkcs11:token=x", "vault.keys.pkcs11", "pkcs11", "pii-vault[pkcs11]"),
        ("awskms:///alias/x", "vault.keys.awskms", "botocore", "pii-vault[aws]"),
    ],
)
def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, uri: str, ours: str, needed: str, extra: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == needed or name == ours]:
        monkeypatch.delitem(sys.modules, name)
    # What importing does when there is no such module.
    monkeypatch.setitem(sys.modules, needed, None)

    error = refusal(uri)

    assert error.reason == "KEYS_PROVIDER_MISSING"
    assert extra in error.message


@pytest.mark.parametrize(
    ("source", "named"),
    [
        (None, "module 'guest_broken' is missing"),
        ("import no_such_module", "module 'no_such_module' is missing"),
        ("from vault.keys import nothing_like_it", "'vault.keys' is missing or broken"),
        ("", "incomplete"),
    ],
    ids=["no module", "no module below it", "nothing of that name", "no function"],
)
def test_a_provider_that_cannot_be_loaded_is_missing(install: Install, source: str | None, named: str) -> None:
    install("guest-keys", "guest", "guest_broken", source)

    error = refusal("guest:x")

    assert error.reason == "KEYS_PROVIDER_MISSING"
    assert named in error.message


@pytest.mark.parametrize("uri", ["", ":", "root.key", "/root.key", "openbao", "://", "lo cal:/x", "http://[::1", "\0:"])
def test_what_has_no_scheme_is_refused(uri: str) -> None:
    assert refusal(uri).reason == "KEYS_URI_UNKNOWN"
