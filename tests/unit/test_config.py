"""The configuration: every key explained where people look, every fault named by its key, no value ever repeated (I2)."""

import re
import types
import typing
from collections.abc import Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from vault.cli import development
from vault.config import Principal, Settings, load, redacted
from vault.errors import FailedPreconditionError

SECRET = "hunter2-not-for-print"
PRINCIPAL = "spiffe://example.org/app"
BASE: dict[str, Any] = {
    "name": "vault.example",
    "tls": {"certificate": "server.pem", "private_key": "server.key", "client_ca": "ca.pem"},
    "database_url": "sqlite+aiosqlite:///vault.db",
    "keys_uri": "local:root.key",
    "signing_key": "signing.key",
    "checkpoints": {"directory": "checkpoints"},
    "erasure_ledger": "ledger",
    "principals": {PRINCIPAL: {"roles": ["tenant-app"], "tenants": ["acme"]}},
    "oidc": {"issuer": "https://issuer.example", "audience": "pii-vault", "jwks": "jwks.json"},
    "telemetry": {"otlp_endpoint": "https://collector.example:4317"},
}
GONE = object()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("VAULT_"):
            monkeypatch.delenv(name)


def write(folder: Path, changes: Mapping[str, object] | None = None) -> Path:
    """A configuration file; keys of sections are given with a dot, `GONE` removes one."""
    content: dict[str, Any] = {key: dict(value) if isinstance(value, dict) else value for key, value in BASE.items()}
    for path, value in (changes or {}).items():
        *sections, key = path.split(".")
        section = content
        for name in sections:
            section = section.setdefault(name, {})
        if value is GONE:
            section.pop(key)
        else:
            section[key] = value
    file = folder / "vault.yaml"
    file.write_text(yaml.safe_dump(content))
    return file


def refusal(file: Path) -> FailedPreconditionError:
    with pytest.raises(FailedPreconditionError) as raised:
        load(file)
    assert raised.value.reason == "CONFIG_INVALID"
    error = raised.value
    assert error.__cause__ is None, "a traceback would show the value"
    assert error.__suppress_context__ or error.__context__ is None, "a traceback would show the value"
    return raised.value


# --- the file that `init` writes


def keys_of(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every key of a model and of the sections in it; principals are named by their services."""
    for name, field in model.model_fields.items():
        is_union = typing.get_origin(field.annotation) is types.UnionType
        options = typing.get_args(field.annotation) if is_union else (field.annotation,)
        sections = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        yield prefix + name
        for section in sections:
            yield from keys_of(section, f"{prefix}{name}.")


def explained_in_template() -> dict[str, str]:
    """The comment that stands above each key of the template: in its paragraph, directly or above its neighbours. A key may be commented out."""
    explained: dict[str, str] = {}
    section, comment = "", ""
    for line in template().splitlines():
        key = re.fullmatch(r"(?P<indent> *)(?P<off># )?(?P<name>[a-z_]+):(?: .*)?", line)
        if not line.strip():
            comment = ""
        elif key and (not key["off"] or key["indent"]):
            name = f"{section}.{key['name']}" if key["indent"] else key["name"]
            section = section if key["indent"] else key["name"]
            explained[name] = comment
        elif line.lstrip().startswith("#"):
            comment = line.strip()
    return explained


def template() -> str:
    return resources.files("vault.cli").joinpath("vault.yaml.template").read_text(encoding="utf-8")


def test_every_key_is_in_the_template_and_none_besides() -> None:
    assert sorted(explained_in_template()) == sorted(keys_of(Settings))


def test_every_key_of_the_template_has_a_comment_above_it() -> None:
    """A section is explained by what is in it."""
    explained = explained_in_template()
    sections = {key.partition(".")[0] for key in explained if "." in key}

    assert {key for key, comment in explained.items() if not comment} - sections == set()


def test_what_a_principal_may_say_is_explained_above_the_principals() -> None:
    [comment] = re.findall(r"((?:^#.*\n)+)principals:", template(), re.MULTILINE)

    assert [name for name in Principal.model_fields if name not in comment] == []


def test_what_the_template_shows_for_optional_keys_is_the_default(tmp_path: Path) -> None:
    """Whoever deletes a line of the file changes nothing."""
    development.create(tmp_path / "home", tenants=["acme"], listen="127.0.0.1:8443", database_url="sqlite+aiosqlite:///vault.db")
    written = load(tmp_path / "home" / "vault.yaml")

    minimal = load(write(tmp_path, {"telemetry": GONE}))

    for name, field in Settings.model_fields.items():
        if not field.is_required() and name != "oidc":
            assert getattr(written, name) == getattr(minimal, name), name
    assert written.oidc is not None
    assert minimal.oidc is not None
    for name, field in type(written.oidc).model_fields.items():
        if not field.is_required():
            assert getattr(written.oidc, name) == getattr(minimal.oidc, name), name


# --- faults


@pytest.mark.parametrize(
    "key",
    [
        "surprise",
        "tls.surprise",
        "checkpoints.surprise",
        "oidc.surprise",
        "telemetry.surprise",
        "orders.surprise",
        "principals.spiffe://example.org/app.surprise",
    ],
)
def test_an_unknown_key_is_named(tmp_path: Path, key: str) -> None:
    """I9."""
    *_, name = key.rpartition("surprise")[1:2]
    path = {"principals.spiffe://example.org/app.surprise": {"principals": {PRINCIPAL: {name: SECRET}}}}.get(key, {key: SECRET})

    refused = refusal(write(tmp_path, path))

    assert key in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "tls",
        "tls.certificate",
        "tls.private_key",
        "tls.client_ca",
        "database_url",
        "keys_uri",
        "signing_key",
        "erasure_ledger",
        "checkpoints",
        "checkpoints.directory",
        "principals",
        "oidc.issuer",
        "oidc.audience",
        "oidc.jwks",
    ],
)
def test_a_missing_key_is_named(tmp_path: Path, key: str) -> None:
    assert f"{key}: " in refusal(write(tmp_path, {key: GONE})).message


def test_every_key_at_fault_is_named_at_once(tmp_path: Path) -> None:
    refused = refusal(write(tmp_path, {"name": GONE, "batch_size": 0, "oidc.issuer": "", "surprise": 1}))

    assert [key for key in ("name: ", "batch_size: ", "oidc.issuer: ", "surprise: ") if key not in refused.message] == []


# What wants a text of any kind: another one cannot be of the wrong type.
TEXTS = frozenset(
    {
        *(
            "name",
            "keys_uri",
            "signing_key",
            "tls.certificate",
            "tls.private_key",
            "tls.client_ca",
            "checkpoints.directory",
            "erasure_ledger",
        ),
        *("oidc.issuer", "oidc.audience", "oidc.jwks", "oidc.employee_claim", "oidc.roles_claim", "oidc.tenants_claim"),
        *("oidc.products_claim", "oidc.device_claim"),
        *("telemetry.otlp_ca", "notification_ca"),
        *("orders.certificate", "orders.private_key", "orders.timestamp_root"),
    }
)
WRONG: dict[str, object] = {"mapping": {"surprise": SECRET}, "list": [SECRET, [SECRET]], "text": SECRET}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param(key, value, id=f"{key}-{kind}")
        for key in sorted(keys_of(Settings))
        for kind, value in WRONG.items()
        if not (kind == "text" and key in TEXTS)
    ],
)
def test_a_value_of_the_wrong_type_is_named_by_its_key_and_never_repeated(tmp_path: Path, key: str, value: object) -> None:
    """Harm: a section that was no mapping was taken for absent, so that `oidc: …` mistyped locked everybody out without a word."""
    refused = refusal(write(tmp_path, {key: value}))

    assert f"{key}: " in refused.message or f"{key}." in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "Vault Example"),
        ("name", "vault_example"),
        ("name", "-vault"),
        ("name", ""),
        ("name", "v" * 64),
        ("listen", "8443"),
        ("listen", "localhost"),
        ("listen", "localhost:65536"),
        ("listen", "localhost:-1"),
        ("listen", "unix:/run/vault.sock"),
        ("listen", "https://localhost:8443"),
        ("listen", "localhost:8443\n"),
        ("database_url", "vault.db"),
        ("database_url", "sqlite:///vault.db"),
        ("database_url", "postgresql://localhost/vault"),
        ("database_url", "postgresql+psycopg://localhost/vault"),
        ("database_url", "mysql+aiomysql://localhost/vault"),
        ("database_url", ""),
        ("database_pool_size", 0),
        ("database_pool_size", 65),
        ("database_pool_size", 1.5),
        ("key_cache_seconds", 0),
        ("key_cache_seconds", -1),
        ("key_cache_seconds", 86_401),
        ("checkpoints.interval_seconds", 0),
        ("region", "il"),
        ("region", "ISR"),
        ("region", ""),
        ("region", "IL\n"),
        ("batch_size", 0),
        ("batch_size", 1001),
        ("grace_seconds", 0),
        ("oidc.issuer", ""),
        ("oidc.audience", ""),
        ("oidc.jwks", ""),
        ("oidc.algorithms", []),
        ("oidc.algorithms", ["none"]),
        ("oidc.algorithms", ["HS256"]),
        ("oidc.algorithms", ["ES256", "HS512"]),
        ("oidc.algorithms", ["es256"]),
        ("oidc.leeway_seconds", -1),
        ("oidc.leeway_seconds", 121),
        ("oidc.refresh_seconds", 0),
        ("oidc.employee_claim", ""),
        ("telemetry.log_level", "trace"),
        ("telemetry.log_level", "DEBUG"),
    ],
)
def test_a_value_out_of_range_is_named_by_its_key(tmp_path: Path, key: str, value: object) -> None:
    assert f"{key}" in refusal(write(tmp_path, {key: value})).message


@pytest.mark.parametrize(
    "url",
    [
        "http://issuer.example/keys",
        "http://127.0.0.1.example/keys",
        "http://127.0.0.2/keys",
        "http://localhost.example/keys",
        "http://localhost@issuer.example/keys",
        "HTTP://issuer.example/keys",
        "ftp://localhost/keys",
        "file:///etc/passwd",
        "data://,{}",
        f"https://user:{SECRET}@issuer.example/keys",
        f"https://{SECRET}@issuer.example/keys",
        f"https://[{SECRET}]/keys",
        f"http://localhost:{SECRET}/keys",
    ],
)
def test_keys_of_the_issuer_come_from_a_file_by_https_or_from_this_machine(tmp_path: Path, url: str) -> None:
    refused = refusal(write(tmp_path, {"oidc.jwks": url}))

    assert "oidc.jwks: " in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize(
    "url", ["https://issuer.example/keys", "http://127.0.0.1:8080/keys", "http://localhost/keys", "http://[::1]:8080/keys"]
)
def test_an_address_of_keys_that_may_be(tmp_path: Path, url: str) -> None:
    settings = load(write(tmp_path, {"oidc.jwks": url}))

    assert settings.oidc is not None
    assert settings.oidc.jwks == url


@pytest.mark.parametrize(
    "url",
    [
        "http://collector.example:4317",
        "collector.example:4317",
        "grpc://localhost:4317",
        "http://localhost.example:4317",
        f"https://user:{SECRET}@collector.example:4317",
        f"https://[{SECRET}]:4317",
        f"http://localhost:{SECRET}",
    ],
)
def test_traces_leave_this_machine_only_by_https(tmp_path: Path, url: str) -> None:
    refused = refusal(write(tmp_path, {"telemetry.otlp_endpoint": url}))

    assert "telemetry" in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize("url", ["", "https://collector.example:4317", "http://127.0.0.1:4317", "http://localhost:4317"])
def test_an_address_for_traces_that_may_be(tmp_path: Path, url: str) -> None:
    assert load(write(tmp_path, {"telemetry.otlp_endpoint": url})).telemetry.otlp_endpoint == url


@pytest.mark.parametrize("url", ["http://tsa.example", "tsa.example", f"https://user:{SECRET}@tsa.example"])
def test_a_time_authority_is_asked_only_by_https(tmp_path: Path, url: str) -> None:
    refused = refusal(write(tmp_path, {"orders.timestamp_url": url, "orders.timestamp_root": "tsa.pem"}))

    assert "orders.timestamp_url: " in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize("key", ["certificate", "private_key", "timestamp_root"])
def test_half_of_what_packages_are_countersigned_with_is_refused(tmp_path: Path, key: str) -> None:
    """I9: a vault that was to have its packages stamped must not go on without."""
    assert "orders: " in refusal(write(tmp_path, {f"orders.{key}": "file.pem"})).message


@pytest.mark.parametrize(
    "name",
    [
        "app",
        "https://example.org/app",
        "spiffe://",
        "spiffe://example.org",
        "spiffe://example.org/",
        "spiffe://example.org/app/",
        "spiffe://example.org//app",
        "spiffe://Example.org/app",
        "spiffe://example.org:443/app",
        "spiffe://user@example.org/app",
        "spiffe://example.org/app?x=1",
        "spiffe://example.org/app#x",
        "spiffe://example.org/a b",
        "spiffe://example.org/app\n",
        "spiffe://example.org/%61pp",
        "",
    ],
)
def test_a_principal_is_named_by_a_spiffe_id(tmp_path: Path, name: str) -> None:
    assert "principals: " in refusal(write(tmp_path, {"principals": {name: {}}})).message


@pytest.mark.parametrize(
    "principal",
    [
        {"tenants": ["Acme"]},
        {"tenants": ["*"]},
        {"tenants": ["acme", "*"]},
        {"tenants": "acme"},
        {"tenants": ["../acme"]},
        {"roles": "operator"},
        {"carries_people": "perhaps"},
        {"tenants": None},
        SECRET,
        None,
    ],
    ids=str,
)
def test_what_a_principal_may_do_is_checked(tmp_path: Path, principal: object) -> None:
    """I9: a star in a list is not every tenant."""
    refused = refusal(write(tmp_path, {"principals": {PRINCIPAL: principal}}))

    assert "principals" in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+asyncpg://vault:{SECRET}",
        f"postgresql+asyncpg://{SECRET}:port/vault",
        f"postgresql+asyncpg://vault:pass/{SECRET}@host:x/vault",
        f"postgresql+asyncpg://host:{SECRET}/vault",
        f"mysql://vault:{SECRET}@host/vault",
        SECRET,
    ],
)
def test_a_database_url_at_fault_is_never_repeated(tmp_path: Path, url: str) -> None:
    """Harm: a password with a slash in it was read as a port, and the error quoted it."""
    refused = refusal(write(tmp_path, {"database_url": url}))

    assert "database_url: " in refused.message
    assert SECRET not in refused.message


@pytest.mark.parametrize(
    "content",
    [b"", b"- a\n- b\n", b"text", b"a: [", b"\xff\xfe", b"a: !!python/object:os.system {}", b"1: 2\n", b"on: off\n", b"? [a, b]\n: c\n"],
)
def test_a_file_that_is_no_mapping_of_names_is_refused(tmp_path: Path, content: bytes) -> None:
    """Harm: `on: …`, which YAML 1.1 reads as a boolean, ended in a stack trace."""
    file = tmp_path / "vault.yaml"
    file.write_bytes(content)

    refusal(file)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, name: str) -> None:
    assert "cannot be read" in refusal(tmp_path / name).message


# --- the environment


@pytest.mark.parametrize(
    ("name", "value", "path", "wanted"),
    [
        ("VAULT_LISTEN", "0.0.0.0:443", "listen", "0.0.0.0:443"),
        ("VAULT_DATABASE_POOL_SIZE", "3", "database_pool_size", 3),
        ("VAULT_TLS__CERTIFICATE", "/etc/vault/server.pem", "tls.certificate", Path("/etc/vault/server.pem")),
        ("VAULT_CHECKPOINTS__INTERVAL_SECONDS", "5", "checkpoints.interval_seconds", 5),
        ("VAULT_OIDC__AUDIENCE", "other", "oidc.audience", "other"),
        ("VAULT_OIDC__ALGORITHMS", '["RS256","EdDSA"]', "oidc.algorithms", ("RS256", "EdDSA")),
        ("VAULT_TELEMETRY__LOG_LEVEL", "debug", "telemetry.log_level", "debug"),
        ("VAULT_PRINCIPALS", '{"spiffe://example.org/b": {"roles": ["auditor"], "tenants": "*"}}', "principals", None),
    ],
)
def test_the_environment_stands_above_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, path: str, wanted: object
) -> None:
    monkeypatch.setenv(name, value)

    settings = load(write(tmp_path))

    found: Any = settings
    for key in path.split("."):
        found = getattr(found, key)
    if path == "principals":
        assert found["spiffe://example.org/b"] == Principal(roles=frozenset({"auditor"}), tenants="*")
    else:
        assert found == wanted
    assert settings.tls.private_key == tmp_path / "server.key", "what is not overridden stays"


def test_the_environment_can_give_what_the_file_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_DATABASE_URL", f"postgresql+asyncpg://vault:{SECRET}@host/vault")
    monkeypatch.setenv("VAULT_CHECKPOINTS__DIRECTORY", "/var/checkpoints")

    settings = load(write(tmp_path, {"database_url": GONE, "checkpoints": GONE}))

    assert settings.checkpoints.directory == Path("/var/checkpoints")
    assert settings.database_url.get_secret_value().endswith("@host/vault")


@pytest.mark.parametrize(
    ("name", "value", "key"),
    [
        ("VAULT_LISTEN", SECRET, "listen"),
        ("VAULT_BATCH_SIZE", SECRET, "batch_size"),
        ("VAULT_DATABASE_URL", SECRET, "database_url"),
        ("VAULT_TLS__SURPRISE", SECRET, "tls.surprise"),
        ("VAULT_TLS", SECRET, "tls"),
        ("VAULT_TLS", f'["{SECRET}"]', "tls"),
        ("VAULT_PRINCIPALS", SECRET, "principals"),
        ("VAULT_OIDC__ALGORITHMS", SECRET, "oidc"),
        ("VAULT_OIDC__ALGORITHMS", f'["{SECRET}"]', "oidc.algorithms"),
        ("VAULT_TELEMETRY__LOG_LEVEL", SECRET, "telemetry.log_level"),
    ],
)
def test_a_fault_in_the_environment_is_named_by_its_key_and_never_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, key: str
) -> None:
    """Harm: a variable that should hold JSON and did not ended in a stack trace that quoted it."""
    monkeypatch.setenv(name, value)

    refused = refusal(write(tmp_path))

    assert key in refused.message
    assert SECRET not in refused.message


# --- paths


def test_paths_are_relative_to_the_file_wherever_the_process_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    file = write(tmp_path, {"telemetry.otlp_ca": "otlp.pem"})
    monkeypatch.chdir(tmp_path / "elsewhere")

    settings = load(Path("..") / file.name)

    assert settings.tls.certificate == tmp_path / "server.pem"
    assert settings.tls.private_key == tmp_path / "server.key"
    assert settings.tls.client_ca == tmp_path / "ca.pem"
    assert settings.signing_key == tmp_path / "signing.key"
    assert settings.checkpoints.directory == tmp_path / "checkpoints"
    assert settings.erasure_ledger == tmp_path / "ledger"
    assert settings.telemetry.otlp_ca == tmp_path / "otlp.pem"
    assert settings.keys_uri == f"local:{tmp_path}/root.key"
    assert settings.database_url.get_secret_value() == f"sqlite+aiosqlite:///{tmp_path}/vault.db"
    assert settings.oidc is not None
    assert settings.oidc.jwks == f"{tmp_path}/jwks.json"


def test_paths_in_the_environment_are_relative_to_the_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Harm: `init` with VAULT_DATABASE_URL made the schema in the working directory, and `serve` found none."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("VAULT_DATABASE_URL", "sqlite+aiosqlite:///other.db")
    monkeypatch.setenv("VAULT_KEYS_URI", "local:other.key")
    monkeypatch.setenv("VAULT_TLS__CERTIFICATE", "other.pem")
    monkeypatch.setenv("VAULT_OIDC__JWKS", "other.json")

    settings = load(write(tmp_path))

    assert settings.database_url.get_secret_value() == f"sqlite+aiosqlite:///{tmp_path}/other.db"
    assert settings.keys_uri == f"local:{tmp_path}/other.key"
    assert settings.tls.certificate == tmp_path / "other.pem"
    assert settings.oidc is not None
    assert settings.oidc.jwks == f"{tmp_path}/other.json"


def test_absolute_paths_stay(tmp_path: Path) -> None:
    settings = load(
        write(
            tmp_path,
            {
                "tls.certificate": "/etc/server.pem",
                "keys_uri": "local:/etc/root.key",
                "database_url": "sqlite+aiosqlite:////var/vault.db",
                "oidc.jwks": "/etc/jwks.json",
            },
        )
    )

    assert settings.tls.certificate == Path("/etc/server.pem")
    assert settings.keys_uri == "local:/etc/root.key"
    assert settings.database_url.get_secret_value() == "sqlite+aiosqlite:////var/vault.db"
    assert settings.oidc is not None
    assert settings.oidc.jwks == "/etc/jwks.json"


@pytest.mark.parametrize("folder", ["with space", "100%", "50%41", "a#b", "a?b", "שלום"])
def test_a_folder_may_have_any_name(tmp_path: Path, folder: str) -> None:
    """Harm: `%41` in the folder's name became an A, and another file was opened than the one beside the configuration."""
    from sqlalchemy.engine import make_url

    from vault.keys import local
    from vault.keys.open import open_provider

    home = tmp_path / folder
    home.mkdir()
    local.create(home / "root.key")

    settings = load(write(home))

    assert make_url(settings.database_url.get_secret_value()).database == f"{home}/vault.db"
    assert open_provider(settings.keys_uri).describe() == "local file root.key, version 1"


@pytest.mark.parametrize("section", ["oidc", "telemetry"])
def test_an_optional_section_may_be_empty(tmp_path: Path, section: str) -> None:
    """All of its lines are commented out."""
    settings = load(write(tmp_path, {section: None}))

    assert settings.oidc is None or section != "oidc"
    assert settings.telemetry.otlp_endpoint == "" or section != "telemetry"


# --- showing it


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql+asyncpg://vault:{SECRET}@host:5432/vault",
        f"postgresql+asyncpg://host/vault?user=vault&password={SECRET}",
        f"postgresql+asyncpg://vault:{SECRET}@/vault?host=/run/postgresql",
    ],
)
def test_the_settings_in_force_are_shown_without_the_database_password(tmp_path: Path, url: str) -> None:
    settings = load(write(tmp_path, {"database_url": url}))

    shown = redacted(settings)

    assert SECRET not in str(shown)
    assert SECRET not in repr(settings)
    assert shown["database_url"].startswith("postgresql+asyncpg://")
    assert "vault" in shown["database_url"]
    assert set(shown) == set(Settings.model_fields)
