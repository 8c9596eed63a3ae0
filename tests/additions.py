"""Whether code of before can serve what a migration made of a schema, as far as a schema shows it.

A schema is inspected before and after. Everything is a finding but a new table, a new column that may be NULL or has a server default, and a new
index that is not unique. A reference from a new table to an old one is a finding unless it goes or is cleared with what it refers to: old code would
delete in vain. What a migration does to rows, and what they mean, no schema shows: that is for whoever writes the migration.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

_LETS_GO = frozenset({"CASCADE", "SET NULL"})


@dataclass(frozen=True, slots=True)
class Column:
    """What an INSERT, or whoever reads it, depends on."""

    type: str
    nullable: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key."""

    columns: tuple[str, ...]
    table: str
    referred: tuple[str, ...]
    on_delete: str


@dataclass(frozen=True, slots=True)
class Table:
    """What code depends on."""

    columns: Mapping[str, Column]
    primary_key: tuple[str, ...]
    uniques: frozenset[tuple[str | None, ...]]
    checks: frozenset[str]
    references: frozenset[Reference]
    indexes: frozenset[tuple[str | None, ...]]


Shape = Mapping[str, Table]


def shape(connection: Connection) -> Shape:
    """Every table of a database."""
    inspector = inspect(connection)
    columns, keys = inspector.get_multi_columns(), inspector.get_multi_pk_constraint()
    indexes, uniques = inspector.get_multi_indexes(), inspector.get_multi_unique_constraints()
    checks, references = inspector.get_multi_check_constraints(), inspector.get_multi_foreign_keys()
    return {
        place[1]: Table(
            columns={one["name"]: Column(one["type"].compile(connection.dialect), one["nullable"], one["default"]) for one in found},
            primary_key=tuple(keys[place]["constrained_columns"]),
            uniques=frozenset(
                tuple(one["column_names"]) for one in (*uniques.get(place, ()), *(one for one in indexes.get(place, ()) if one["unique"]))
            ),
            checks=frozenset(one["sqltext"] for one in checks.get(place, ())),
            references=frozenset(_reference(one) for one in references.get(place, ())),
            indexes=frozenset(tuple(one["column_names"]) for one in indexes.get(place, ()) if not one["unique"]),
        )
        for place, found in columns.items()
    }


def findings(before: Shape, after: Shape) -> list[str]:
    """What is not an addition, in words; nothing if code of before finds everything as it was."""
    found = [f"table {name} is gone" for name in before.keys() - after.keys()]
    for name in before.keys() & after.keys():
        found += [f"{name}: {words}" for words in _differences(before[name], after[name])]
    for name in after.keys() - before.keys():
        held = {one.table for one in after[name].references if one.on_delete not in _LETS_GO} & before.keys()
        found += [f"table {name} holds rows of {table}" for table in held]
    return sorted(found)


def untrue_claims(connection: Connection, config: Config, *, gone_with_a_person: Collection[str] = ()) -> list[str]:
    """Findings of every migration that says that code of before may serve on.

    Args:
        connection: of a database without a table.
        config: Alembic's, of the migrations.
        gone_with_a_person: tables whose rows an erasure deletes; old code would not.
    """
    config.attributes["connection"] = connection
    scripts = list(ScriptDirectory.from_config(config).walk_revisions())
    claims = {script.revision: str(getattr(script.module, "oldest_code", script.revision)) for script in scripts}
    earlier = {revision: oldest for revision, oldest in claims.items() if oldest < revision}
    shapes = {}
    for revision in sorted({*earlier, *earlier.values()}):
        command.upgrade(config, revision)
        shapes[revision] = shape(connection)
    found = []
    for revision, oldest in earlier.items():
        before, after = shapes[oldest], shapes[revision]
        unerased = (after.keys() - before.keys()) & set(gone_with_a_person)
        words = [*findings(before, after), *(f"old code erases nobody from {table}" for table in sorted(unerased))]
        found += [f"{revision}: {one}" for one in words]
    return found


def _reference(key: Any) -> Reference:
    on_delete = str(key.get("options", {}).get("ondelete", "")).upper()
    return Reference(tuple(key["constrained_columns"]), key["referred_table"], tuple(key["referred_columns"]), on_delete)


def _differences(before: Table, after: Table) -> Iterator[str]:
    for name, column in before.columns.items():
        if name not in after.columns:
            yield f"column {name} is gone"
        elif after.columns[name] != column:
            yield f"column {name} was {column}, is {after.columns[name]}"
    for name in after.columns.keys() - before.columns.keys():
        if not after.columns[name].nullable and after.columns[name].default is None:
            yield f"column {name} must be given"
    if after.primary_key != before.primary_key:
        yield "another primary key"
    for kind, of in _CONSTRAINTS.items():
        yield from (f"new {kind} {item}" for item in of(after) - of(before))
        yield from (f"{kind} {item} is gone" for item in of(before) - of(after))
    yield from (f"index {columns} is gone" for columns in before.indexes - after.indexes)


_CONSTRAINTS: Mapping[str, Callable[[Table], frozenset[Any]]] = {
    "unique": lambda table: table.uniques,
    "check": lambda table: table.checks,
    "reference": lambda table: table.references,
}
