"""A catalogue that breaks a rule does not load, and the refusal names file, line and rule."""

import shutil
from pathlib import Path

import pytest

import vault.catalogue
from vault.catalogue.loader import CatalogueError, load
from vault.catalogue.model import Catalogue, FieldType, Operation, Storage
from vault.errors import InvalidArgumentError

PACKAGED = Path(vault.catalogue.__file__).parent
CALLS, MESSAGES, MAPPING = "categories/call-detail.yaml", "categories/outgoing-message.yaml", "categories/number-mapping.yaml"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small catalogue that loads: three categories of the packaged ones."""
    (tmp_path / "categories").mkdir()
    for name in ("catalogue.yaml", "never-stored.yaml", "purposes.yaml", "roles.yaml", CALLS, MESSAGES, MAPPING):
        shutil.copy(PACKAGED / name, tmp_path / name)
    return tmp_path


def change(folder: Path, file: str, old: str, new: str) -> str:
    text = (folder / file).read_text()
    assert old in text
    changed = text.replace(old, new, 1)
    (folder / file).write_text(changed)
    return changed


def line_of(text: str, marker: str) -> str:
    return str(text[: text.index(marker)].count("\n") + 1)


def test_an_unchanged_copy_loads(folder: Path) -> None:
    assert set(load(folder).categories) == {"call-detail", "number-mapping", "outgoing-message"}


# rule, file, what is replaced, by what, and a text that starts on the line to be named.
@pytest.mark.parametrize(
    ("rule", "file", "old", "new", "at"),
    [
        ("unknown-key", CALLS, "court_class: T", "court_class: T\ncolour: blue", "colour"),
        ("unknown-key", CALLS, "    type: id\n", "    type: id\n    colour: blue\n", "colour"),
        ("missing-key", CALLS, "court_class: T\n", "", "name: call-detail"),
        ("missing-key", CALLS, "    purposes: [customer-report]\n", "", "operations: [reveal, find, list]\n    roles: [reporting]"),
        ("missing-key", CALLS, '{he: "הצד המחייג", en: "The calling party"}', '{en: "The calling party"}', '{en: "The calling party"}'),
        ("unknown-purpose", CALLS, "purposes: [customer-report]", "purposes: [curiosity]", "purposes: [curiosity]"),
        ("unknown-role", CALLS, "roles: [reporting]", "roles: [partner]", "roles: [partner]"),
        ("unknown-operation", CALLS, "operations: [create]", "operations: [copy]", "operations: [copy]"),
        ("unknown-recipient", CALLS, "recipients: [internal, tenant]", "recipients: [friends]", "recipients: [friends]"),
        ("unknown-product", CALLS, "products: [star,", "products: [fax,", "products: [fax"),
        ("unknown-entity", CALLS, "operating_entity: cellact-comm", "operating_entity: other-ltd", "operating_entity"),
        ("unknown-value", CALLS, "type: integer", "type: decimal", "type: decimal"),
        ("unknown-value", CALLS, "storage: clear", "storage: plain", "storage: plain"),
        ("unknown-value", CALLS, "index: star-number", "index: fax-number", "index: fax-number"),
        ("unknown-value", CALLS, "role: controller", "role: owner", "role: owner"),
        ("unknown-value", CALLS, "mask: hidden", "mask: blurred", "mask: blurred"),
        ("unknown-party", CALLS, "party: calling", "party: operator", "party: operator"),
        ("unknown-field", CALLS, "occur_field: start_at", "occur_field: status", "occur_field"),
        ("unknown-level", MESSAGES, "  report:\n", "  archive:\n", "# P3.2-lvl-rep: not kept"),
        ("unknown-level", MESSAGES, "levels: [system-log]", "levels: [archive]", "levels: [archive]"),
        ("unknown-level", "purposes.yaml", "contract_levels: [system-log]", "contract_levels: [archive]", "contract_levels"),
        ("unknown-value", "purposes.yaml", "basis: ticket\n", "basis: habit\n", "basis: habit"),
        ("duplicate-key", CALLS, "court_class: T", "court_class: T\ncourt_class: S", "court_class: S"),
        ("duplicate-key", CALLS, "  called:\n", "  calling:\n", "  calling:\n    type: phone\n    storage: indexed\n    index: phone\n    party: called"),
        ("duplicate-key", "roles.yaml", "auditor:", "marketing:", "marketing:\n  code: AUD"),
        ("duplicate-code", CALLS, "code: C15", "code: C06", "code: C15"),
        ("duplicate-code", "roles.yaml", "code: AUD", "code: DPO", "code: DPO\n  description: {he: \"מבקר\""),
        ("duplicate-code", "purposes.yaml", "code: REG", "code: CRQ", 'code: CRQ\n  basis: law'),
        ("duplicate-name", CALLS, "- name: called", "- name: calling", "- name: calling\n    identified_by: [called]"),
        ("duplicate-name", CALLS, "roles: [reporting]", "roles: [reporting, reporting]", "roles: [reporting, reporting]"),
        ("duplicate-name", "catalogue.yaml", "id: cellact-comm", "id: cellact-ltd", "id: cellact-ltd\n  name: {he: \"סלקט תקשורת\""),
        ("name", CALLS, "name: call-detail", "name: call-details", "name: call-details"),
        ("name", CALLS, "name: call-detail", "name: Call Detail", "name: Call Detail"),
        ("name", "roles.yaml", "auditor:", '"a\\"b":', "  code: AUD"),
        ("index", CALLS, "    index: star-number\n", "", "type: star-number"),
        ("index", CALLS, "index: star-number", "index: phone", "type: star-number\n    storage: indexed\n    index"),
        ("storage", CALLS, "type: integer\n    storage: clear", "type: phone\n    storage: clear", "type: phone\n    storage: clear"),
        ("storage", CALLS, "storage: clear\n    required: true\n    sensitivity: operational", "storage: clear\n    sensitivity: high", "storage: clear\n    sensitivity: high"),
        ("storage", CALLS, "type: integer\n    storage: clear", "type: integer\n    storage: clear\n    party: called", "type: integer"),
        ("missing-key", CALLS, "    mask: hidden\n", "", "type: star-number"),
        ("values", CALLS, "    values: [answered, busy, no-answer, failed]\n", "", "type: enum"),
        ("values", CALLS, "type: integer\n", "type: integer\n    values: [one]\n", "type: integer"),
        ("limit", CALLS, "    max_bytes: 64\n", "", "type: text"),
        ("limit", CALLS, "type: integer\n", "type: integer\n    max_keys: 3\n", "type: integer"),
        ("range", MESSAGES, "max_bytes: 1000000", "max_bytes: 0", "max_bytes: 0"),
        ("party", CALLS, "identified_by: [calling]", "identified_by: [called]", "- name: calling"),
        ("party", CALLS, "identified_by: [calling]", "identified_by: [cdr_id]", "- name: calling"),
        ("party", CALLS, "    identified_by: [calling]\n", "", "- name: calling"),
        ("party", CALLS, "identified_by: [calling]", "identified_by: [calling]\n    named_by_caller: true", "- name: calling"),
        ("range", CALLS, "days: 365", "days: -1", "days: -1"),
        ("type", CALLS, "days: 365", "days: long", "days: long"),
        ("type", CALLS, "days: 365", "days: 1e3", "days: 1e3"),
        ("type", CALLS, "affiliate: true", "affiliate: yes", "affiliate: yes"),
        ("type", CALLS, "products: [star, sip, router, pbx]", "products: star", "products: star"),
        ("type", CALLS, "name: call-detail", "name: []", "name: []"),
        ("type", CALLS, "code: C15", 'code: ""', "code:"),
        ("empty", CALLS, "products: [star, sip, router, pbx]", "products: []", "products"),
        ("retention", CALLS, "restricted_days: 2557", "restricted_days: 100", "restricted_days"),
        ("retention", MESSAGES, "days: 7\n", "days: 15\n", "days: 15"),  # A6
        ("retention", CALLS, CALLS and "court_class: T", "levels: {}\ncourt_class: T", "levels"),
        ("level", MESSAGES, "    levels: [system-log]\n", "", "operations: [reveal, list]\n    roles: [support]"),
        ("level", CALLS, "roles: [reporting]", "roles: [reporting]\n    levels: [report]", "operations: [reveal, find, list]\n    roles: [reporting]"),
        ("interval", MAPPING, "valid_to_field: valid_to\n", "", "name: number-mapping"),
        ("interval", CALLS, "court_class: T", "court_class: T\nrequires_as_of: true", "requires_as_of"),
        ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [third-party]", "recipients: [third-party]"),  # A1
        ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [affiliate]", "recipients: [affiliate]"),  # A2
        ("recipient", CALLS, "roles: [reporting]", "roles: [reporting, affiliate-service]", "recipients: [internal, tenant]"),
        ("recipient", CALLS, "affiliate: true", "affiliate: false", "recipients: [affiliate]"),
        ("never-stored", CALLS, "  route_ip:\n", "  card_number:\n", "type: text"),  # L40
        ("never-stored", CALLS, "  route_ip:\n", "  device_sms:\n", "type: text"),  # C00
        ("never-stored", CALLS, "name: call-detail", "name: device-sms", "name: device-sms"),
        ("alias", CALLS, "products: [star", "products: &lines [star", "products"),
        ("alias", CALLS, "name: call-detail", "name: !!str call-detail", "name"),
        ("syntax", CALLS, "code: C15", "code: [C15", "description:"),
        ("syntax", CALLS, "code: C15", "---\ncode: C15", "---"),
        ("type", "catalogue.yaml", 'version: "2026.1"', "version: latest", "version: latest"),
        ("type", "catalogue.yaml", "guards_sha256: ", "guards_sha256: x # ", "guards_sha256: x"),
    ],
)
def test_a_broken_rule_is_refused_with_file_and_line(folder: Path, rule: str, file: str, old: str, new: str, at: str) -> None:
    text = change(folder, file, old, new)

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    error = caught.value
    assert error.reason == "CATALOGUE_INVALID"
    if not (rule == "duplicate-code" and file == CALLS):
        assert (error.metadata["rule"], error.metadata["file"], error.metadata["line"]) == (rule, file, line_of(text, at))
    assert error.metadata["rule"] == rule
