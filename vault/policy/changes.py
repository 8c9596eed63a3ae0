"""What is different between two bundles, in words.

- Grants are compared by what they allow, not by how they are grouped: moving a role from one grant to another is no change, and a change says who
  may do what now, or may not any more.
- Guards are compared as Cedar reads them: remarks and line breaks are no change.

Pure. The order is that of a reader: what there is, what it is like, who may do what, what stands in the way, who may call what.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from itertools import product
from re import Pattern
from typing import Protocol, TypeVar

import cedarpy

from vault.catalogue.category_file import RELEASING
from vault.catalogue.fields import Description, NeverStored
from vault.catalogue.model import Category, Operation, View
from vault.policy.bundle import Bundle

_Thing = TypeVar("_Thing")
# Parts of a category that are compared by themselves.
_APART = frozenset({"fields", "grants", "levels", "parties", "rows", "never_stored"})


@dataclass(frozen=True, slots=True)
class Change:
    """One difference: which part of the bundle, the name of the thing, and what became of it."""

    part: str
    name: str
    what: str

    def __str__(self) -> str:
        return f"{self.part} {self.name}: {self.what}"


class _Named(Protocol):
    @property
    def name(self) -> str: ...


def changes(old: Bundle, new: Bundle) -> list[Change]:
    """Every difference, in words."""
    before, after = old.catalogue, new.catalogue
    found: list[Change] = []
    if before.version != after.version:
        found.append(Change("bundle", "version", f"was {before.version}, is {after.version}"))
    for part, these, those in (
        ("product", before.products, after.products),
        ("never stored", before.never_stored.names, after.never_stored.names),
        ("card field", dict.fromkeys(before.never_stored.card_fields, ""), dict.fromkeys(after.never_stored.card_fields, "")),
        ("entity", {e.id: e for e in (before.operator, before.affiliate)}, {e.id: e for e in (after.operator, after.affiliate)}),
        ("purpose", before.purposes, after.purposes),
        ("role", before.roles, after.roles),
    ):
        found += _compared(part, these, those, _attributes)
    found += _compared("category", before.categories, after.categories, _attributes)
    for name in sorted(before.categories.keys() & after.categories.keys()):
        found += _category(before.categories[name], after.categories[name])
    found += _compared("guard", _guards(old), _guards(new), lambda *_: iter(["has other conditions, order or words"]))
    if old.source.schema != new.source.schema:
        found.append(Change("guards", "schema", "what guards may ask about is written otherwise"))
    found += _compared("method", old.access, new.access, _attributes)
    return found


def _category(old: Category, new: Category) -> Iterator[Change]:
    for part, these, those in (
        ("party", _by_name(old.parties), _by_name(new.parties)),
        ("field", old.fields, new.fields),
        ("level", old.levels, new.levels),
        ("rows", _by_name(old.rows), _by_name(new.rows)),
    ):
        for change in _compared(part, these, those, _attributes):
            yield Change(part, f"{new.name}.{change.name}", change.what)
    yield from _grants(old, new)


def _by_name(things: tuple[_Named, ...]) -> dict[str, object]:
    return {thing.name: thing for thing in things}


def _compared(
    part: str, old: Mapping[str, _Thing], new: Mapping[str, _Thing], differences: Callable[[_Thing, _Thing], Iterator[str]]
) -> list[Change]:
    """What was added, removed and changed, by name."""
    found = [Change(part, name, "removed") for name in sorted(old.keys() - new.keys())]
    found += [Change(part, name, "added") for name in sorted(new.keys() - old.keys())]
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            found += [Change(part, name, what) for what in differences(old[name], new[name])]
    return found


def _attributes(old: object, new: object, inside: str = "") -> Iterator[str]:
    """Each attribute that differs, as it was and as it is."""
    if isinstance(old, Description) or not is_dataclass(old) or not is_dataclass(new):
        yield f"{inside or 'text'} was {_word(old)}, is {_word(new)}"
        return
    for attribute in fields(old):
        if attribute.name in _APART and not inside and isinstance(old, Category):
            continue
        was, now = getattr(old, attribute.name), getattr(new, attribute.name)
        if was != now:
            yield from _attributes(was, now, f"{inside}.{attribute.name}".lstrip("."))


def _word(value: object) -> str:  # noqa: C901, PLR0911 - one line for each kind of value
    match value:
        case None | "" | ():
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case Enum():
            return str(value.value)
        case Description():
            return f"“{value.en}” / “{value.he}”"
        case Pattern():
            return f"'{value.pattern}'"
        case frozenset():
            return ", ".join(sorted(map(_word, value))) or "nothing"
        case tuple():
            return ", ".join(map(_word, value))
        case Mapping():
            return ", ".join(f"{key} {_word(item)}" for key, item in value.items()) or "nothing"
        case NeverStored():
            return "another list"
        case _ if is_dataclass(value):
            return ", ".join(
                f"{field.name} {_word(getattr(value, field.name))}" for field in fields(value) if field.name not in {"text", "reason"}
            )
        case _:
            return str(value)


@dataclass(frozen=True, slots=True, order=True)
class _Permission:
    """What one role may do for one purpose: the smallest thing that a grant gives."""

    role: str
    purpose: str
    level: str
    view: str
    recipient: str


def _grants(old: Category, new: Category) -> Iterator[Change]:
    before, after = _permissions(old), _permissions(new)
    for words, these, those in (("no longer may", before, after), ("now may", after, before)):
        lost = {permission: operations - those.get(permission, set()) for permission, operations in these.items()}
        for permission in [permission for permission in lost if permission.view == View.MASKED]:
            # Where both views change, the most of it says all.
            lost[permission] = lost[permission] - lost.get(replace(permission, view=View.FULL.value), set())
        together: dict[tuple[str, str, str, str, frozenset[Operation]], set[str]] = defaultdict(set)
        for permission, operations in lost.items():
            key = (permission.role, permission.purpose, permission.level, permission.view, frozenset(operations))
            if operations:
                together[key].add(permission.recipient)
        for (role, purpose, level, view, changed), recipients in sorted(together.items(), key=lambda item: item[0][:4]):
            where = f" at {level}" if level else ""
            shown = f", {view} view, to {', '.join(sorted(recipients))}" if view else ""
            yield Change("grant", new.name, f"{role} {words} {', '.join(sorted(changed))}{where} for {purpose}{shown}")


def _permissions(category: Category) -> dict[_Permission, set[Operation]]:
    found: dict[_Permission, set[Operation]] = defaultdict(set)
    for grant in category.grants:
        # A grant of the full view gives the masked one with it; where nothing leaves there is neither view nor recipient.
        views = tuple(View) if grant.view is View.FULL else (View.MASKED,)
        for role, purpose, level in product(grant.roles, grant.purposes, grant.levels or [""]):
            found[_Permission(role, purpose, level, "", "")] |= grant.operations - RELEASING
            for view, recipient in product(views, grant.recipients):
                found[_Permission(role, purpose, level, view.value, recipient.value)] |= grant.operations & RELEASING
    return found


def _guards(bundle: Bundle) -> dict[str, str]:
    """Each guard as Cedar reads it."""
    policies = json.loads(cedarpy.policies_to_json_str(bundle.source.guards))["staticPolicies"]
    return {policy["annotations"]["id"].removeprefix("guard:"): json.dumps(policy, sort_keys=True) for policy in policies.values()}
