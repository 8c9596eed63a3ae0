"""Reads the catalogue from its files and refuses a bad one.

Files: `catalogue.yaml` (version, legal entities, what the database definition says, products), `roles.yaml`, `purposes.yaml`, `never-stored.yaml`,
and one file per category in `categories/`, named after it. They are part of the package; a deployment may name a directory of its own.

Rules:
- Everything must be listed where it belongs: an unknown key, name, type or level is refused, with file and line.
- The digest covers every file, so that a policy version stands for one content.
- Files are read at every load; what the same bytes said before is not worked out again, for a catalogue cannot be changed.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from datetime import date
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from types import MappingProxyType

from vault.catalogue.category_file import CONTENT_LEVELS, Known, read_category, read_description
from vault.catalogue.document import CatalogueError, Node, parse
from vault.catalogue.model import (
    Catalogue,
    Category,
    ConsentBasis,
    Description,
    Entity,
    Holder,
    NeverStored,
    Officer,
    Organisation,
    Purpose,
    Risk,
    Role,
)

__all__ = ["CatalogueError", "load"]

_CATEGORIES = "categories"
_SINGLE_FILES = ("catalogue.yaml", "never-stored.yaml", "purposes.yaml", "roles.yaml")
_VERSION = re.compile(r"[0-9]{4}\.[0-9]{1,4}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Catalogues in use at a time: the packaged one, and two that are compared.
_MEMORY = 3


def load(path: Path | None = None) -> Catalogue:
    """Read a catalogue.

    Args:
        path: directory of the files; the packaged ones if None.
    Raises:
        CatalogueError: CATALOGUE_INVALID, naming file, line and rule.
    """
    return _catalogue(tuple(_read(path if path is not None else resources.files("vault.catalogue")).items()))


@functools.lru_cache(_MEMORY)
def _catalogue(files: tuple[tuple[str, bytes], ...]) -> Catalogue:
    contents = dict(files)
    nodes = {file: parse(_decode(content, file), file) for file, content in contents.items()}
    head = nodes["catalogue.yaml"].record(
        ["version", "guards_sha256", "access_sha256", "operator", "affiliate", "organisation", "products"]
    )
    never_stored = _never_stored(nodes["never-stored.yaml"])
    operator, affiliate = _entity(head["operator"]), _entity(head["affiliate"])
    if operator.id == affiliate.id:
        head["affiliate"].entries()["id"].fail("duplicate-name", "operator and affiliate are two entities")
    known = Known(
        products={name: read_description(node) for name, node in head["products"].named_entries().items()},
        roles=_roles(nodes["roles.yaml"]),
        purposes=_purposes(nodes["purposes.yaml"]),
        entities=frozenset({operator.id, affiliate.id}),
        never_stored=never_stored,
    )
    return Catalogue(
        version=_matching(head["version"], _VERSION, "a version is year.number"),
        digest=_digest(contents),
        guards_sha256=_matching(head["guards_sha256"], _SHA256, "a digest is 64 hex characters"),
        access_sha256=_matching(head["access_sha256"], _SHA256, "a digest is 64 hex characters"),
        operator=operator,
        affiliate=affiliate,
        organisation=_organisation(head["organisation"]),
        products=MappingProxyType(dict(known.products)),
        roles=known.roles,
        purposes=known.purposes,
        categories=_categories({file: node for file, node in nodes.items() if file not in _SINGLE_FILES}, known),
        never_stored=never_stored,
    )


def _read(base: Traversable) -> dict[str, bytes]:
    """Contents by file name relative to the catalogue, sorted."""
    names = list(_SINGLE_FILES)
    try:
        found = [entry.name for entry in base.joinpath(_CATEGORIES).iterdir()]
        names += [f"{_CATEGORIES}/{name}" for name in found if name.endswith(".yaml")]
        return {name: base.joinpath(*name.split("/")).read_bytes() for name in sorted(names)}
    except OSError as error:
        file = Path(error.filename).name if isinstance(error.filename, str | Path) else _CATEGORIES
        raise CatalogueError("missing-file", "the file cannot be read", file=file) from None


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise CatalogueError("syntax", "the file is not UTF-8", file=file) from None


def _digest(contents: Mapping[str, bytes]) -> str:
    """SHA-256 over name and content of each file, length-prefixed so that no two sets of files read alike."""
    digest = hashlib.sha256()
    for name, content in sorted(contents.items()):
        for part in (name.encode(), content):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()


def _matching(node: Node, pattern: re.Pattern[str], rule: str) -> str:
    text = node.text()
    if not pattern.fullmatch(text):
        node.fail("type", rule)
    return text


def _entity(node: Node) -> Entity:
    record = node.record(["id", "name"])
    return Entity(record["id"].name(), read_description(record["name"]))


def _organisation(node: Node) -> Organisation:
    offices = ("database_manager", "security_officer", "privacy_officer")
    addresses = ("operator_address", "affiliate_address", "transfers")
    record = node.record(["definition_reviewed", *addresses, *offices, "holders", "risks"])
    officers = {name: _officer(record[name]) for name in offices}
    texts = {name: read_description(record[name]) for name in addresses}
    if not record["risks"].items():
        record["risks"].fail("empty", "at least one risk is needed")
    return Organisation(
        definition_reviewed=_day(record["definition_reviewed"]),
        operator_address=texts["operator_address"],
        affiliate_address=texts["affiliate_address"],
        database_manager=officers["database_manager"],
        security_officer=officers["security_officer"],
        privacy_officer=officers["privacy_officer"],
        transfers=texts["transfers"],
        holders=tuple(Holder(*_pair(item, "name", "processing")) for item in record["holders"].items()),
        risks=tuple(Risk(*_pair(item, "risk", "measure")) for item in record["risks"].items()),
    )


def _officer(node: Node) -> Officer:
    record = node.record(["office", "contact"])
    return Officer(read_description(record["office"]), record["contact"].text())


def _pair(node: Node, first: str, second: str) -> tuple[Description, Description]:
    record = node.record([first, second])
    return read_description(record[first]), read_description(record[second])


def _day(node: Node) -> date:
    text = _matching(node, _DAY, "a day is written like 2026-11-01")
    try:
        return date.fromisoformat(text)
    except ValueError:
        node.fail("type", "there is no such day")


def _roles(node: Node) -> Mapping[str, Role]:
    found: dict[str, Role] = {}
    codes: set[str] = set()
    for name, entry in node.named_entries().items():
        record = entry.record(["code", "description"], ["on_request", "other_entity", "for_jobs"])
        found[name] = Role(
            name=name,
            code=_new_code(record["code"], codes),
            on_request="on_request" in record and record["on_request"].flag(),
            other_entity="other_entity" in record and record["other_entity"].flag(),
            for_jobs="for_jobs" in record and record["for_jobs"].flag(),
            description=read_description(record["description"]),
        )
    return MappingProxyType(found)


def _purposes(node: Node) -> Mapping[str, Purpose]:
    found: dict[str, Purpose] = {}
    codes: set[str] = set()
    for name, entry in node.named_entries().items():
        record = entry.record(["code", "basis", "requirement", "description"], ["contract_levels"])
        found[name] = Purpose(
            name=name,
            code=_new_code(record["code"], codes),
            basis=record["basis"].choice(ConsentBasis),
            contract_levels=frozenset(record["contract_levels"].names(CONTENT_LEVELS, what="level") if "contract_levels" in record else ()),
            requirement=record["requirement"].text(),
            description=read_description(record["description"]),
        )
    return MappingProxyType(found)


def _never_stored(node: Node) -> NeverStored:
    record = node.record(["names", "card_fields"])
    names: dict[str, Description] = {name: read_description(text) for name, text in record["names"].named_entries().items()}
    for item in record["card_fields"].items():
        if not item.text().isalnum():
            item.fail("name", "a card field is written in letters and digits only")
    return NeverStored(MappingProxyType(names), frozenset(record["card_fields"].some_names()))


def _categories(nodes: Mapping[str, Node], known: Known) -> Mapping[str, Category]:
    found: dict[str, Category] = {}
    codes: set[str] = set()
    for file, node in nodes.items():
        category = read_category(node, known)
        entries = node.entries()
        if file != f"{_CATEGORIES}/{category.name}.yaml":
            entries["name"].fail("name", f"category '{category.name}' is not in a file of its name")
        _new_code(entries["code"], codes)
        found[category.name] = category
    if not found:
        raise CatalogueError("missing-file", "there is no category", file=_CATEGORIES)
    return MappingProxyType(dict(sorted(found.items(), key=lambda item: item[1].code)))


def _new_code(node: Node, taken: set[str]) -> str:
    code = node.text()
    if code in taken:
        node.fail("duplicate-code", f"code '{code}' appears twice")
    taken.add(code)
    return code
