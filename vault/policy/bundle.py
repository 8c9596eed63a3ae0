"""A policy bundle: the catalogue, the guards with their schema and the table of methods, read together and checked as one.

A bundle is a folder with `catalogue/` and `policy/` in it, as this package is. The catalogue names the digests of what lies in `policy/`, so that
its own digest stands for every file, and a bundle in which guards or table were changed alone does not load.

Reads files; decides nothing.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from vault.catalogue import loader
from vault.catalogue.document import CatalogueError
from vault.catalogue.model import Catalogue, HeldAs
from vault.policy import access
from vault.policy.access import Access
from vault.policy.compiled import GUARDS_FILE, SCHEMA_FILE, PolicySource
from vault.policy.decide import Policy

CATALOGUE, POLICY = "catalogue", "policy"
# What a catalogue is made of; notes that lie beside the files are no part of it.
_SINGLE = ("catalogue.yaml", "never-stored.yaml", "purposes.yaml", "roles.yaml")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that loads: what it says, and the policy that decides by it."""

    catalogue: Catalogue
    source: PolicySource
    access: Mapping[str, Access]
    policy: Policy

    @property
    def counts(self) -> Mapping[str, int]:
        """How much of everything there is."""
        categories = self.catalogue.categories.values()
        return {
            "categories": len(categories),
            "of them in registers": sum(category.held_as is HeldAs.REGISTER for category in categories),
            "fields": sum(len(category.fields) for category in categories),
            "grants": sum(len(category.grants) for category in categories),
            "guards": len(self.policy.guards),
            "purposes": len(self.catalogue.purposes),
            "roles": len(self.catalogue.roles),
            "methods": len(self.access),
            "never stored": len(self.catalogue.never_stored.names),
        }


def load(path: Path | None = None) -> Bundle:
    """Read a bundle.

    Args:
        path: folder of the bundle; the packaged one if None.
    Raises:
        CatalogueError: CATALOGUE_INVALID, naming file, line and rule; also if guards or table are not those the catalogue names.
        FailedPreconditionError: ACCESS_TABLE_INVALID.
    """
    base = _base(path)
    folder = base.joinpath(POLICY)
    catalogue = loader.load(path / CATALOGUE if path is not None else None)
    source = PolicySource(_text(folder, GUARDS_FILE), _text(folder, SCHEMA_FILE))
    table = _text(folder, access.FILE)
    digest = hashlib.sha256(table.encode()).hexdigest()
    if digest != catalogue.access_sha256:
        raise CatalogueError("access-digest", f"the table has the digest {digest}, not the catalogue's", file=access.FILE)
    methods = access.parse(table)
    _check_roles(methods, catalogue)
    return Bundle(catalogue, source, methods, Policy(catalogue, source))


def write(path: Path) -> list[str]:
    """Write the packaged bundle to a folder, to be changed and compared. The names of the files.

    Raises:
        OSError: the folder cannot be written.
    """
    base, written = _base(None), []
    categories = sorted(entry.name for entry in base.joinpath(CATALOGUE, "categories").iterdir() if entry.name.endswith(".yaml"))
    names = [
        *(f"{CATALOGUE}/{name}" for name in _SINGLE),
        *(f"{CATALOGUE}/categories/{name}" for name in categories),
        *(f"{POLICY}/{name}" for name in (GUARDS_FILE, SCHEMA_FILE, access.FILE)),
    ]
    for name in names:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(base.joinpath(*name.split("/")).read_bytes())
        written.append(name)
    return written


def _base(path: Path | None) -> Traversable:
    return path if path is not None else resources.files("vault")


def _text(folder: Traversable, name: str) -> str:
    try:
        return folder.joinpath(name).read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        raise CatalogueError("missing-file", "the file cannot be read", file=name) from None


def _check_roles(methods: Mapping[str, Access], catalogue: Catalogue) -> None:
    for method, row in methods.items():
        unknown = sorted((row.roles | row.system_log) - catalogue.roles.keys())
        if unknown:
            raise CatalogueError("unknown-role", f"'{unknown[0]}' of {method} is not a known role", file=access.FILE)
