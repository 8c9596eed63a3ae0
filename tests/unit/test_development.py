"""A home for development: everything in it or nothing, nobody else's eyes, and nobody's certificate lost."""

import json
import stat
from pathlib import Path

import jwt
import pytest
from cryptography import x509

from vault.cli import development
from vault.config import load
from vault.errors import FailedPreconditionError, InvalidArgumentError, VaultError

SQLITE = "sqlite+aiosqlite:///vault.db"


def make(home: Path, *tenants: str, listen: str = "localhost:8443", database_url: str = SQLITE) -> Path:
    development.create(home, tenants=tenants or ("acme",), listen=listen, database_url=database_url)
    return home


def names_in(certificate: Path) -> list[str]:
    found = x509.load_pem_x509_certificate(certificate.read_bytes())
    return [str(name.value) for name in found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value]


# --- init


def test_a_home_is_for_its_owner_only(tmp_path: Path) -> None:
    home = make(tmp_path / "home")

    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_a_home_that_others_could_read_is_closed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o755)

    make(home)

    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def test_what_holds_a_secret_is_for_its_owner_only(tmp_path: Path) -> None:
    """The configuration too: a URL of a database may hold a password."""
    home = make(tmp_path / "home", database_url="postgresql+asyncpg://vault:hunter2@host/vault")
    development.sign_in(home, "dana", roles=["auditor"], tenants=["*"])

    secret = [
        path for path in home.rglob("*") if path.is_file() and any(word in path.read_text() for word in ("PRIVATE", '"keys": {', "hunter2"))
    ]
    secret += list(home.rglob("token.jwt"))

    assert {path.name for path in secret} == {
        *("root.key", "signing.key", "issuer.key", "ca.key", "server.key", "private-key.pem", "token.jwt", "vault.yaml")
    }
    assert {path.name for path in secret if stat.S_IMODE(path.stat().st_mode) != 0o600} == set()


def test_every_service_gets_a_certificate_with_its_own_name(tmp_path: Path) -> None:
    home = make(tmp_path / "home", "acme", "globex")

    named = {folder.name: names_in(folder / "certificate.pem") for folder in (home / "clients").iterdir()}

    assert {"acme-app", "globex-admin", "operator", "auditor", "desk"} <= named.keys()
    assert all(names == [f"spiffe://{development.TRUST_DOMAIN}/{name}"] for name, names in named.items())
    assert {name for [name] in named.values()} == load(home / "vault.yaml").principals.keys()


def test_a_tenant_that_is_named_twice_is_one(tmp_path: Path) -> None:
    """Harm: it ended in a stack trace, and left half a home that `init` would not touch again."""
    home = make(tmp_path / "home", "acme", "acme")

    assert (home / "clients" / "acme-app").is_dir()
    assert (home / "vault.yaml").is_file()


def test_a_tenant_may_have_the_longest_name_there_is(tmp_path: Path) -> None:
    """Harm: the name of its service did not fit into a certificate's common name, which nothing reads."""
    tenant = "t" * 63

    home = make(tmp_path / "home", tenant)

    assert names_in(home / "clients" / f"{tenant}-admin" / "certificate.pem") == [f"spiffe://{development.TRUST_DOMAIN}/{tenant}-admin"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"listen": "8443"}, "CONFIG_INVALID"),
        ({"listen": "localhost:8443\nregion: US"}, "CONFIG_INVALID"),
        ({"listen": "https://localhost:8443"}, "CONFIG_INVALID"),
        ({"database_url": "mysql://localhost/vault"}, "CONFIG_INVALID"),
        ({"database_url": "vault.db"}, "CONFIG_INVALID"),
    ],
    ids=str,
)
def test_a_mistake_leaves_no_home_behind(tmp_path: Path, arguments: dict[str, str], reason: str) -> None:
    """Harm: the home was made first and refused afterwards, so that the corrected command was refused as well."""
    with pytest.raises(VaultError) as raised:
        make(tmp_path / "home", **arguments)

    assert raised.value.reason == reason
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tenant", ["", "Acme", "system", "a/b", "../acme", "t" * 64])
def test_a_malformed_tenant_leaves_no_home_behind(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        development.create(tmp_path / "home", tenants=["acme", tenant], listen="localhost:8443", database_url=SQLITE)

    assert raised.value.reason == "NAME_INVALID"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_empty_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    tmp_path.chmod(0o755)

    with pytest.raises(FailedPreconditionError) as raised:
        make(tmp_path)

    assert raised.value.reason == "HOME_EXISTS"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


# --- sign-in


def test_a_person_goes_through_the_desk_with_a_token_of_their_own(tmp_path: Path) -> None:
    home = make(tmp_path / "home")

    folder = development.sign_in(home, "dana", roles=["auditor"], tenants=["acme"])

    claims = jwt.decode((folder / "token.jwt").read_text(), options={"verify_signature": False})
    kid = json.loads((home / "jwks.json").read_text())["keys"][0]["kid"]
    assert names_in(folder / "certificate.pem") == [f"spiffe://{development.TRUST_DOMAIN}/desk"]
    assert (claims["employee_id"], claims["roles"], claims["tenants"], claims["amr"]) == ("dana", ["auditor"], ["acme"], ["pwd", "mfa"])
    assert jwt.get_unverified_header((folder / "token.jwt").read_text())["kid"] == kid


def test_a_person_may_sign_in_again(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    development.sign_in(home, "dana", roles=["auditor"], tenants=["*"])

    folder = development.sign_in(home, "dana", roles=["legal-officer"], tenants=["*"])

    assert jwt.decode((folder / "token.jwt").read_text(), options={"verify_signature": False})["roles"] == ["legal-officer"]


@pytest.mark.parametrize("service", ["operator", "acme-app", "desk"])
def test_a_person_does_not_take_the_place_of_a_service(tmp_path: Path, service: str) -> None:
    """Harm: signing in as `operator` overwrote the operator's certificate and key with the desk's."""
    home = make(tmp_path / "home")
    before = (home / "clients" / service / "certificate.pem").read_bytes()

    with pytest.raises(InvalidArgumentError) as raised:
        development.sign_in(home, service, roles=["auditor"], tenants=["*"])

    assert (raised.value.reason, raised.value.field) == ("FIELD_INVALID", "employee")
    assert (home / "clients" / service / "certificate.pem").read_bytes() == before
    assert not (home / "clients" / service / "token.jwt").exists()


@pytest.mark.parametrize("employee", ["", ".", "..", "../dana", "a/b", "-dana", "dana levi", "דנה", "x" * 65, "dana\n", "dana\0"])
def test_a_name_that_the_vault_would_not_take_is_refused(employee: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        development.check_employee(employee)

    assert raised.value.reason == "FIELD_INVALID"


@pytest.mark.parametrize("employee", ["dana", "D.L-7_x", "7", "x" * 64])
def test_a_name_that_the_vault_takes_is_taken(employee: str) -> None:
    assert development.check_employee(employee) == employee


@pytest.mark.parametrize("spoil", ["issuer.key", "jwks.json", "clients/desk/private-key.pem"])
def test_what_is_not_a_home_is_refused(tmp_path: Path, spoil: str) -> None:
    home = make(tmp_path / "home")
    (home / spoil).write_text("garbage")
    if spoil.startswith("clients"):
        (home / spoil).unlink()

    with pytest.raises(FailedPreconditionError) as raised:
        development.sign_in(home, "dana", roles=["auditor"], tenants=["*"])

    assert raised.value.reason == "HOME_INVALID"
