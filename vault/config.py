"""The configuration of a vault: one YAML file, every key overridable by environment (`VAULT_LISTEN`, `VAULT_TLS__CERTIFICATE`, …).

Rules:
- An unknown key, a missing file or a value out of range stops the start and names the key, never the value.
- Paths are relative to the configuration file, those in the environment too.
- Nothing here weakens a promise: there is no switch for encryption, TLS, client certificates or the audit log.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict, SettingsError

from vault.errors import FailedPreconditionError
from vault.names import TENANT_ID
from vault.operations.webhook import HOST
from vault.store.database import BACKENDS, is_database_url, shown_url

_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?")
_SPIFFE = re.compile(r"spiffe://[a-z0-9.-]+(?:/[A-Za-z0-9._-]+)+")
_LISTEN = re.compile(r"(?P<host>[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_ENVIRONMENT_KEY = re.compile(r'for field "([a-z_.]+)"')
_URI = re.compile(r"[a-z][a-z0-9+.-]*:")
_PASSWORD = re.compile(r"(?<=[?&]password=)[^&]*")
# Keys whose value is a path, or a URI that holds one.
_PATHS = (
    ("tls", "certificate"),
    ("tls", "private_key"),
    ("tls", "client_ca"),
    ("signing_key",),
    ("checkpoints", "directory"),
    ("orders", "certificate"),
    ("orders", "private_key"),
    ("orders", "timestamp_root"),
    ("erasure_ledger",),
    ("telemetry", "otlp_ca"),
    ("oidc", "jwks"),
    ("notification_ca",),
    ("keys_uri",),
    ("keys_url",),
    ("database_url",),
)

Algorithm = Literal["ES256", "ES384", "ES512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"]
Seconds = Annotated[int, Field(gt=0, le=86_400)]
Records = Annotated[int, Field(ge=0)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Tls(_Section):
    """Certificate of the server and the authority whose client certificates it takes."""

    certificate: Path
    private_key: Path
    client_ca: Path


class Principal(_Section):
    """What a service may do: roles, tenants, products (all unless given), releases an hour, in all and by purpose, carrying people's tokens."""

    roles: frozenset[str] = frozenset()
    tenants: frozenset[str] | Literal["*"] = frozenset()
    products: frozenset[str] | None = Field(default=None, min_length=1)
    carries_people: bool = False
    hourly_releases: int | None = Field(default=None, ge=0)
    hourly_releases_for: Mapping[str, Records] = {}

    @field_validator("tenants")
    @classmethod
    def _tenants(cls, value: frozenset[str] | Literal["*"]) -> frozenset[str] | Literal["*"]:
        if value != "*" and not all(TENANT_ID.fullmatch(tenant) for tenant in value):
            msg = "a tenant id is malformed"
            raise ValueError(msg)
        return value


class Oidc(_Section):
    """Access tokens of people: who issues them, for whom, and how they are checked."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks: str = Field(min_length=1)
    algorithms: tuple[Algorithm, ...] = Field(default=("ES256",), min_length=1)
    leeway_seconds: int = Field(default=30, ge=0, le=120)
    refresh_seconds: Seconds = 300
    employee_claim: str = Field(default="employee_id", min_length=1)
    roles_claim: str = Field(default="roles", min_length=1)
    tenants_claim: str = Field(default="tenants", min_length=1)
    products_claim: str = Field(default="products", min_length=1)
    device_claim: str = Field(default="device_managed", min_length=1)
    managed_devices_only: bool = False
    hourly_releases: int = Field(default=1000, ge=0)
    hourly_releases_for: Mapping[str, Records] = {}

    @field_validator("jwks")
    @classmethod
    def _jwks(cls, value: str) -> str:
        if "://" in value and not _is_private(value):
            msg = "neither a file nor an https address without a password; plain http serves on this machine only"
            raise ValueError(msg)
        return value


class Checkpoints(_Section):
    """Where signed checkpoints of the audit logs go, and how often; who puts a trusted time to them."""

    directory: Path
    interval_seconds: Seconds = 60
    object_store: str = Field(default="", pattern=r"^(s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9._/-]*)?)?$")
    object_store_endpoint: str = ""
    timestamp_url: str = ""

    @field_validator("object_store_endpoint", "timestamp_url")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        if value and not _is_private(value):
            msg = "neither an https address without a password nor one on this machine"
            raise ValueError(msg)
        return value


class Orders(_Section):
    """What is laid over the manifest of a court-order package beside the operator's signature: a CMS signature, a time stamp."""

    certificate: Path | None = None
    private_key: Path | None = None
    timestamp_url: str = ""
    timestamp_root: Path | None = None

    @field_validator("timestamp_url")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        if value and not _is_private(value):
            msg = "neither an https address without a password nor one on this machine"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _pairs(self) -> "Orders":
        if (self.certificate is None) != (self.private_key is None) or bool(self.timestamp_url) != (self.timestamp_root is not None):
            msg = "certificate goes with private_key, timestamp_url with timestamp_root"
            raise ValueError(msg)
        return self


class Telemetry(_Section):
    """Traces and metrics leave by OTLP when an endpoint is given, metrics also to whoever scrapes them; logs go to standard error.

    Attributes:
        trace_ratio: share of the traces that begin here and are kept.
        access_log: share of the calls that get a line in the log.
        prometheus: host:port at which metrics can be scraped; TLS with a client certificate unless it is this machine's loopback.
    """

    otlp_endpoint: str = ""
    otlp_protocol: Literal["grpc", "http"] = "grpc"
    otlp_ca: Path | None = None
    trace_ratio: float = Field(default=0.01, ge=0, le=1)
    prometheus: str = ""
    access_log: float = Field(default=0.01, ge=0, le=1)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("otlp_endpoint")
    @classmethod
    def _encrypted(cls, value: str) -> str:
        if value and not _is_private(value):
            msg = "an OTLP endpoint outside this machine is an https address without a password"
            raise ValueError(msg)
        return value

    @field_validator("prometheus")
    @classmethod
    def _prometheus(cls, value: str) -> str:
        return _checked_listen(value) if value else value


class Settings(BaseSettings):
    """Every key of the file; `cli/vault.yaml.template` explains each."""

    model_config = SettingsConfigDict(env_prefix="VAULT_", env_nested_delimiter="__", extra="forbid", frozen=True)

    name: str
    listen: str = "127.0.0.1:8443"
    tls: Tls
    database_url: SecretStr
    database_pool_size: int = Field(default=8, ge=1, le=64)
    keys_url: SecretStr | None = None
    keys_uri: str
    root_keys: Mapping[str, str] = {}
    key_cache_seconds: Seconds = 60
    signing_key: Path
    checkpoints: Checkpoints
    erasure_ledger: Path
    backup_retention_days: int = Field(default=35, ge=0, le=3650)
    principals: Mapping[str, Principal]
    oidc: Oidc | None = None
    telemetry: Telemetry = Telemetry()
    orders: Orders = Orders()
    notification_hosts: tuple[str, ...] = ()
    notification_ca: Path | None = None
    region: str = Field(default="IL", pattern=r"^[A-Z]{2}$")
    batch_size: int = Field(default=256, ge=1, le=1000)
    grace_seconds: Seconds = 10
    preservation_days: int = Field(default=30, ge=1, le=365)
    bulk_records: int = Field(default=100_000, ge=1)

    @field_validator("name")
    @classmethod
    def _name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            msg = "the name is not a host name"
            raise ValueError(msg)
        return value

    @field_validator("listen")
    @classmethod
    def _listen(cls, value: str) -> str:
        return _checked_listen(value)

    @field_validator("principals")
    @classmethod
    def _principals(cls, value: Mapping[str, Principal]) -> Mapping[str, Principal]:
        if not all(_SPIFFE.fullmatch(name) for name in value):
            msg = "a principal is not named by a SPIFFE id, spiffe://domain/path"
            raise ValueError(msg)
        return value

    @field_validator("notification_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(HOST.fullmatch(host) for host in value):
            msg = "a host is not of the form host or host:port, in lower case"
            raise ValueError(msg)
        return value

    @field_validator("root_keys")
    @classmethod
    def _root_keys(cls, value: Mapping[str, str]) -> Mapping[str, str]:
        if not all(TENANT_ID.fullmatch(name) for name in value):
            msg = "a name is not of lower-case letters, digits and hyphens"
            raise ValueError(msg)
        if not all(_URI.match(uri) for uri in value.values()):
            msg = "a root key is not named by a URI"
            raise ValueError(msg)
        return value

    @field_validator("database_url", "keys_url")
    @classmethod
    def _database(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            known = is_database_url(value.get_secret_value())
        except ValueError:
            known = False  # whose text quotes what it took for a port, which may be half of a password
        if not known:
            msg = f"not a URL of {' or '.join(BACKENDS)}"
            raise ValueError(msg)
        return value

    @field_validator("keys_url")
    @classmethod
    def _apart(cls, value: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if value is not None and value == info.data.get("database_url"):
            msg = "the database of the data itself; subject keys stand in it or in another one"
            raise ValueError(msg)
        return value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What `load` put together, and nothing else: it reads the environment itself."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def load(path: Path) -> Settings:
    """Read and check a configuration file.

    Raises:
        FailedPreconditionError: CONFIG_INVALID, naming every key at fault and no value.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - both are safe loaders
    except OSError:
        raise _invalid("the configuration file cannot be read") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise _invalid("the configuration file is not YAML") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise _invalid("the configuration file is not a mapping of names")
    try:
        return Settings(**_absolute(_merged(content, EnvSettingsSource(Settings)()), path.resolve().parent))
    except SettingsError as error:
        found = _ENVIRONMENT_KEY.search(str(error))
        raise _invalid(f"{found[1] if found else 'environment'}: the variable in the environment is not JSON") from None
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'file'}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise _invalid("; ".join(sorted(faults))) from None


def redacted(settings: Settings) -> dict[str, Any]:
    """The settings in force, for people: what is secret is hidden, a database password inside its URL too."""
    shown = settings.model_dump(mode="json")
    # A password may stand among the parameters too.
    shown["database_url"] = _PASSWORD.sub("***", shown_url(settings.database_url.get_secret_value()))
    if settings.keys_url is not None:
        shown["keys_url"] = _PASSWORD.sub("***", shown_url(settings.keys_url.get_secret_value()))
    return shown


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, where `above` wins key by key; a section that is there and empty is absent."""
    merged = {key: value for key, value in below.items() if value is not None}
    for key, value in above.items():
        inner = merged.get(key)
        merged[key] = _merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged


def _absolute(content: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The content with every relative path taken from the folder of the file, wherever the process was started."""
    absolute = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    for *sections, key in _PATHS:
        section: Any = absolute
        for name in sections:
            section = section.get(name)
        # A section that is no mapping stays as it is, for the check that names it.
        if isinstance(section, dict) and isinstance(section.get(key), str):
            section[key] = _from(folder, section[key], is_uri=key == "keys_uri")
    if isinstance(absolute.get("root_keys"), dict):
        absolute["root_keys"] = {
            name: _from(folder, uri, is_uri=True) if isinstance(uri, str) else uri for name, uri in absolute["root_keys"].items()
        }
    return absolute


def _from(folder: Path, value: str, *, is_uri: bool = False) -> str:
    """A path, `local:` URI, SQLite URL or JWKS file, made absolute; anything else as it is."""
    for scheme in ("local:", "sqlite+aiosqlite:///"):
        if value.startswith(scheme):
            path = value.removeprefix(scheme)
            # Quoted, so that `%`, `#` and `?` in the name of the folder mean themselves.
            return value if path.startswith("/") else f"{scheme}{quote(str(folder))}/{path}"
    return value if "://" in value or not value or (is_uri and _URI.match(value)) else str(folder / value)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, whatever the network."""
    return host.strip("[]") in _LOOPBACK


def _checked_listen(value: str) -> str:
    found = _LISTEN.fullmatch(value)
    if found is None or int(found["port"]) > 65_535:  # noqa: PLR2004 - the highest port
        msg = "not of the form host:port"
        raise ValueError(msg)
    return value


def _is_private(url: str) -> bool:
    """Whether nobody on the way reads along, and no password stands in the address."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # whose text quotes the address
        return False
    private = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    return private and bool(parts.hostname) and "@" not in parts.netloc


def _invalid(message: str) -> FailedPreconditionError:
    return FailedPreconditionError("CONFIG_INVALID", message)
