"""Grants and guards as one validated set of Cedar policies.

- Each grant of the catalogue becomes one `permit`, named `grant:{category}:{number}`.
- The guards are written by hand in `guards.cedar`; every one is a `forbid` that carries its reason and its place in the order of checks.
- All of it is validated against `schema.cedarschema`. Cedar skips a policy that fails while it is evaluated, and a skipped `forbid` would
  open a door; a validated set, asked with the types of the schema, has no such failures.

No decisions here: `decide.py` asks them.
"""

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources
from types import MappingProxyType

import cedarpy

from vault.catalogue.document import CatalogueError
from vault.catalogue.model import Catalogue, Category, Grant, View

GUARDS_FILE = "guards.cedar"
SCHEMA_FILE = "schema.cedarschema"
# Sets in use at a time: that of a catalogue, the same with every content level switched on, and two that are compared.
_MEMORY = 4


class RefusalKind(StrEnum):
    """What kind of failure a refusal is; the edge turns it into a status."""

    PERMISSION_DENIED = "permission-denied"
    FAILED_PRECONDITION = "failed-precondition"
    INVALID_ARGUMENT = "invalid-argument"


@dataclass(frozen=True, slots=True)
class Check:
    """One step in the order of checks: what it answers with when it refuses, and when it speaks."""

    id: str
    order: int
    reason: str
    kind: RefusalKind
    message: str


@dataclass(frozen=True, slots=True)
class PolicySource:
    """The text of guards and schema."""

    guards: str
    schema: str

    @property
    def sha256(self) -> str:
        """Digest that the catalogue names, so that a policy version covers the guards too (I6)."""
        return hashlib.sha256(f"{len(self.guards)}\n{self.guards}{self.schema}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class CompiledPolicies:
    """Policies ready to be asked: the parsed set, the guards by id, and every permit's id in the order of the catalogue."""

    policies: cedarpy.PolicySet
    guards: Mapping[str, Check]
    grants: tuple[str, ...]


def packaged_source() -> PolicySource:
    """The guards and the schema of this package."""
    folder = resources.files("vault.policy")
    return PolicySource(*(folder.joinpath(name).read_text(encoding="utf-8") for name in (GUARDS_FILE, SCHEMA_FILE)))


def compile_policies(catalogue: Catalogue, source: PolicySource) -> CompiledPolicies:
    """Compile and validate.

    Raises:
        CatalogueError: CATALOGUE_INVALID, the guards are not those the catalogue names, do not parse, do not fit the schema, or lack an
            annotation.
    """
    if source.sha256 != catalogue.guards_sha256:
        raise CatalogueError("guards-digest", f"guards and schema have the digest {source.sha256}, not the catalogue's", file=GUARDS_FILE)
    granted = {
        grant_id(category, grant): _permit(category, grant) for category in catalogue.categories.values() for grant in category.grants
    }
    policies, guards = _validated(source, "\n".join(granted.values()))
    return CompiledPolicies(policies, guards, tuple(granted))


@functools.lru_cache(_MEMORY)
def _validated(source: PolicySource, grants: str) -> tuple[cedarpy.PolicySet, Mapping[str, Check]]:
    """The set of one text, and its guards; worked out once, for neither can be changed."""
    text = f"{source.guards}\n{grants}"
    try:
        schema = cedarpy.Schema.from_str(source.schema)
        annotations = _annotations(source.guards)
        policies = cedarpy.PolicySet.from_str(text)
    except ValueError:
        raise CatalogueError("cedar-syntax", "guards or schema do not parse", file=GUARDS_FILE) from None
    verdict = cedarpy.validate_policies(text, schema)
    if not verdict.validation_passed:
        raise CatalogueError("cedar-schema", f"{len(verdict.errors)} policies do not fit the schema", file=SCHEMA_FILE)
    return policies, _guards(annotations)


def grant_id(category: Category, grant: Grant) -> str:
    """Name of the rule that a grant becomes."""
    return f"grant:{category.name}:{grant.number}"


def _permit(category: Category, grant: Grant) -> str:
    actions = ", ".join(f'Action::"{operation}"' for operation in sorted(grant.operations))
    roles = ", ".join(f'Role::"{role}"' for role in sorted(grant.roles))
    views = View if grant.view is View.FULL else (View.MASKED,)
    return f"""
@id("{grant_id(category, grant)}")
permit (principal, action in [{actions}], resource == Category::"{category.name}")
when {{
  principal in [{roles}] &&
  {_set(grant.levels or {""})}.contains(context.level) &&
  {_set(grant.purposes)}.contains(context.purpose) &&
  {_set(views)}.contains(context.view) &&
  {_set(grant.recipients)}.contains(context.recipient)
}};"""


def _set(words: Iterable[str]) -> str:
    """A Cedar set literal. Every word comes from the loader, which lets no quote pass; JSON quoting is Cedar's for such words."""
    return json.dumps(sorted(str(word) for word in words))


def _annotations(guards: str) -> list[tuple[str, Mapping[str, str]]]:
    """Effect and annotations of each policy of a text."""
    policies = json.loads(cedarpy.policies_to_json_str(guards))["staticPolicies"]
    return [(policy["effect"], policy.get("annotations", {})) for policy in policies.values()]


def _guards(annotations: Iterable[tuple[str, Mapping[str, str]]]) -> Mapping[str, Check]:
    found: dict[str, Check] = {}
    for effect, notes in annotations:
        name = notes.get("id", "")
        if effect != "forbid" or not name.startswith("guard:"):
            raise CatalogueError("guard", "a guard is a forbid with an id that starts with 'guard:'", file=GUARDS_FILE)
        try:
            guard = Check(name, int(notes["order"]), notes["reason"], RefusalKind(notes["kind"]), notes["message"])
        except (KeyError, ValueError):
            raise CatalogueError("guard", f"'{name}' lacks an order, a reason, a known kind or a message", file=GUARDS_FILE) from None
        if name in found or guard.order in {other.order for other in found.values()}:
            raise CatalogueError("guard", f"'{name}' repeats an id or a place in the order", file=GUARDS_FILE)
        found[name] = guard
    return MappingProxyType(found)
