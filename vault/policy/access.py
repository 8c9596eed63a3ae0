"""Which roles may call which RPC: the table `access.yaml`, read once.

The table only opens the door to a method; what the caller may then do with which category is `decide`'s. A method that is not in the table is
refused to everyone (I9), and a test walks the descriptors and fails for a method that is missing.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import MappingProxyType

import yaml

from vault.catalogue.document import CatalogueError
from vault.errors import FailedPreconditionError

_LOADER: type[yaml.SafeLoader] | type[yaml.CSafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FILE = "access.yaml"


@dataclass(frozen=True, slots=True)
class Access:
    """One row of the table.

    Attributes:
        roles: roles that may call the method.
        person: whether only a person may call it.
        system: whether the call belongs to no tenant.
        system_log: roles that may name the system log where a tenant is expected.
    """

    roles: frozenset[str]
    person: bool
    system: bool
    system_log: frozenset[str]


def load(path: Path | None = None, *, sha256: str = "") -> Mapping[str, Access]:
    """The table by full method name, `/package.Service/Method`.

    Args:
        path: the file; the packaged one if None.
        sha256: digest that the catalogue names, so that a policy version covers the table too (I6).
    Raises:
        FailedPreconditionError: ACCESS_TABLE_INVALID.
        CatalogueError: CATALOGUE_INVALID, the table is not the one that the catalogue names.
    """
    content = path.read_bytes() if path else resources.files("vault.policy").joinpath(FILE).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if sha256 and found != sha256:
        raise CatalogueError("access-digest", f"the table has the digest {found}, not the catalogue's", file=FILE)
    return parse(content.decode())


@functools.lru_cache(2)
def parse(text: str) -> Mapping[str, Access]:
    """The table from its text; the same text is not parsed again.

    Raises:
        FailedPreconditionError: ACCESS_TABLE_INVALID.
    """
    table: dict[str, Access] = {}
    for service, methods in yaml.load(text, Loader=_LOADER).items():  # noqa: S506 - both are safe loaders
        for method, row in methods.items():
            unknown = row.keys() - {"roles", "person", "scope", "system_log"}
            if unknown or not row.get("roles") or row.get("scope", "system") != "system":
                raise FailedPreconditionError("ACCESS_TABLE_INVALID", f"row {service}/{method} is not of the known form")
            table[f"/{service}/{method}"] = Access(
                roles=frozenset(row["roles"]),
                person=row.get("person", False),
                system="scope" in row,
                system_log=frozenset(row.get("system_log", ())),
            )
    return MappingProxyType(table)
