"""A catalogue that breaks a rule does not load, and the refusal names file, line and rule.

The line is that of the offending key; of the value where there is no key (list items); of what lacks a key if one is missing.
"""

import shutil
from pathlib import Path

import pytest

import vault.catalogue
from vault.catalogue.loader import CatalogueError, load
from vault.catalogue.model import Catalogue, FieldType, Operation, Storage
from vault.errors import InvalidArgumentError

PACKAGED = Path(vault.catalogue.__file__).parent
RETENTION = "{days: 1, event: created, text: {he: א, en: a}, reason: {he: א, en: a}}"
MAPPED = (PACKAGED / "categories/number-mapping.yaml").read_text()
RETAINED = MAPPED[MAPPED.index("retention:") : MAPPED.index("grants:")]
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
        ("unknown-level", MESSAGES, "  report:\n", "  archive:\n", "  archive:"),
        ("unknown-level", MESSAGES, "levels: [system-log]", "levels: [archive]", "levels: [archive]"),
        ("unknown-level", "purposes.yaml", "contract_levels: [system-log]", "contract_levels: [archive]", "contract_levels"),
        ("unknown-value", "purposes.yaml", "basis: ticket\n", "basis: habit\n", "basis: habit"),
        ("duplicate-key", CALLS, "court_class: T", "court_class: T\ncourt_class: S", "court_class: S"),
        (
            "duplicate-key",
            CALLS,
            "  called:\n",
            "  calling:\n",
            "  calling:\n    type: phone\n    storage: indexed\n    index: phone\n    party: called",
        ),
        ("duplicate-key", "roles.yaml", "auditor:", "marketing:", "marketing:\n  code: AUD"),
        ("duplicate-code", "roles.yaml", "code: AUD", "code: DPO", 'code: DPO\n  description: {he: "מבקר"'),
        ("duplicate-code", "purposes.yaml", "code: REG", "code: CRQ", "code: CRQ\n  basis: law"),
        ("duplicate-name", CALLS, "- name: called", "- name: calling", "- name: calling\n    identified_by: [called]"),
        ("duplicate-name", CALLS, "roles: [reporting]", "roles: [reporting, reporting]", "roles: [reporting, reporting]"),
        ("duplicate-name", "catalogue.yaml", "id: cellact-comm", "id: cellact-ltd", 'id: cellact-ltd\n  name: {he: "סלקט תקשורת"'),
        ("name", CALLS, "name: call-detail", "name: call-details", "name: call-details"),
        ("name", CALLS, "name: call-detail", "name: Call Detail", "name: Call Detail"),
        ("name", "roles.yaml", "auditor:", '"a\\"b":', '"a\\"b":'),
        ("name", CALLS, "  cdr_id:", f"  {'a' * 65}:", "aaaaa"),
        ("index", CALLS, "    index: star-number\n", "", "star_number:"),
        ("index", CALLS, "storage: encrypted", "storage: encrypted\n    index: username", "index: username"),
        ("index", CALLS, "index: star-number", "index: email", "index: email"),
        (
            "storage",
            CALLS,
            "type: integer\n    storage: clear",
            "type: phone\n    storage: clear",
            'storage: clear\n    required: true\n    sensitivity: operational\n    description: {he: "משך',
        ),
        (
            "storage",
            CALLS,
            "storage: clear\n    required: true\n    sensitivity: operational",
            "storage: clear\n    sensitivity: high",
            "sensitivity: high",
        ),
        ("storage", CALLS, "type: integer\n    storage: clear", "type: integer\n    storage: clear\n    party: caller", "party: caller"),
        ("missing-key", CALLS, "    mask: hidden\n", "", "star_number:"),
        ("values", CALLS, "    values: [answered, busy, no-answer, failed]\n", "", "status:"),
        ("values", CALLS, "type: integer\n", "type: integer\n    values: [one]\n", "values: [one]"),
        ("limit", CALLS, "    max_bytes: 64\n", "", "route_ip:"),
        ("limit", CALLS, "type: integer\n", "type: integer\n    max_bytes: 3\n", "max_bytes: 3"),
        ("limit", CALLS, "type: integer\n", "type: integer\n    max_keys: 3\n", "max_keys: 3"),
        ("range", MESSAGES, "max_bytes: 1000000", "max_bytes: 0", "max_bytes: 0"),
        ("party", CALLS, "identified_by: [calling]", "identified_by: [called]", "identified_by: [called]"),
        ("party", CALLS, "identified_by: [calling]", "identified_by: [cdr_id]", "identified_by: [cdr_id]"),
        ("party", CALLS, "identified_by: [calling]", "identified_by:\n      - calling\n      - called", "- called\n"),
        ("party", CALLS, "    identified_by: [calling]\n", "", "- name: calling"),
        ("party", CALLS, "identified_by: [calling]", "identified_by: [calling]\n    named_by_caller: true", "named_by_caller"),
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
        ("empty", CALLS, "court_class: T", "levels: {}\ncourt_class: T", "levels"),
        ("retention", MESSAGES, "court_class: C", f"retention: {RETENTION}\ncourt_class: C", "retention: {days: 1"),
        ("retention", MAPPING, RETAINED, "", "name: number-mapping"),
        ("level", MESSAGES, "    levels: [system-log]\n", "", "operations: [reveal, list]\n    roles: [support]"),
        (
            "level",
            CALLS,
            "roles: [reporting]",
            "roles: [reporting]\n    levels: [report]",
            "levels: [report]",
        ),
        ("interval", MAPPING, "valid_to_field: valid_to\n", "", "valid_from_field"),
        ("interval", MAPPING, "valid_from_field: valid_from\n", "", "valid_to_field"),
        ("interval", CALLS, "court_class: T", "court_class: T\nrequires_as_of: true", "requires_as_of"),
        ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [third-party]", "recipients: [third-party]"),  # A1
        ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [affiliate]", "recipients: [affiliate]"),  # A2
        ("recipient", CALLS, "roles: [reporting]", "roles: [reporting, affiliate-service]", "recipients: [internal, tenant]"),
        ("recipient", CALLS, "affiliate: true", "affiliate: false", "recipients: [affiliate]"),
        ("never-stored", CALLS, "  route_ip:\n", "  card_number:\n", "card_number:"),  # L40
        ("never-stored", CALLS, "  route_ip:\n", "  device_sms:\n", "device_sms:"),  # C00
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
    assert (error.metadata["rule"], error.metadata["file"], error.metadata["line"]) == (rule, file, line_of(text, at))


def test_two_categories_of_one_code_are_refused_in_the_second_file(folder: Path) -> None:
    change(folder, CALLS, "code: C15", "code: C06")
    text = (folder / MESSAGES).read_text()

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert caught.value.metadata == {"rule": "duplicate-code", "file": MESSAGES, "line": line_of(text, "code: C06")}


def test_a_missing_file_is_refused_by_name(folder: Path) -> None:
    (folder / "roles.yaml").unlink()

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert caught.value.metadata == {"rule": "missing-file", "file": "roles.yaml", "line": "0"}


def test_a_catalogue_without_categories_is_refused(folder: Path) -> None:
    for path in (folder / "categories").iterdir():
        path.unlink()

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert caught.value.metadata["rule"] == "missing-file"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"# nothing\n", b"name: \x01"])
def test_a_file_that_is_no_text_in_yaml_is_refused(folder: Path, content: bytes) -> None:
    (folder / CALLS).write_bytes(content)

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert (caught.value.metadata["rule"], caught.value.metadata["file"]) == ("syntax", CALLS)


def test_the_digest_covers_every_file_and_nothing_else(folder: Path) -> None:
    """I6: a policy version stands for one content."""
    digests = {load(folder).digest}
    (folder / "categories" / "notes.txt").write_text("not part of it")
    assert load(folder).digest in digests

    for file in ("catalogue.yaml", "never-stored.yaml", "purposes.yaml", "roles.yaml", CALLS):
        (folder / file).write_text((folder / file).read_text() + "# one more remark\n")
        digests.add(load(folder).digest)

    assert len(digests) == 6


def test_the_policy_version_names_version_and_digest(catalogue: Catalogue) -> None:
    """P1.2-principles."""
    assert catalogue.policy_version == f"{catalogue.version}+{catalogue.digest[:12]}"


def test_the_packaged_catalogue_is_what_the_policy_lists(catalogue: Catalogue) -> None:
    """§2A: code, operator's role, court class and whether the affiliate may have it."""
    facts = {c.code: (c.name, c.responsibility.value, c.court_class.value, c.affiliate) for c in catalogue.categories.values()}

    assert facts == {
        "C01": ("end-customer-contact", "processor", "S", False),
        "C02": ("list-membership", "processor", "S", False),
        "C03": ("list-profile", "processor", "C", False),
        "C06": ("outgoing-message", "processor", "C", False),
        "C07": ("incoming-message", "processor", "C", False),
        "C12": ("business-account", "controller", "S", True),
        "C15": ("call-detail", "controller", "T", True),
        "C16": ("number-mapping", "controller", "S", True),
    }


def test_every_role_and_purpose_of_the_policy_has_its_code(catalogue: Catalogue) -> None:
    """§0."""
    roles = {role.code for role in catalogue.roles.values()}
    purposes = {purpose.code for purpose in catalogue.purposes.values()}

    assert roles == {
        *("TAPP", "TADM", "ENG", "RPT", "BILL", "AM", "SUP", "CC", "NUM2", "MKT"),
        *("LEG", "LAPP", "DPO", "COURIER", "SEC", "FRD", "AFF", "AUD", "WORK", "SRE"),
    }
    assert purposes == {
        *("SVC", "BIL", "CON", "IDN", "REP", "TEC", "SECI", "FRA"),
        *("CRT", "CLM", "CRQ", "REG", "MKTG", "DSR", "KIT", "AFFS"),
    }


# §2A: `str!` is searchable, `str*` is not, plain is clear.
@pytest.mark.parametrize(
    ("category", "indexed", "encrypted"),
    [
        ("end-customer-contact", {"phone", "email"}, set()),
        ("list-membership", set(), {"list_name"}),
        ("list-profile", set(), {"first_name", "last_name", "address", "extra"}),
        ("outgoing-message", set(), {"body"}),
        ("incoming-message", {"from", "virtual_number"}, {"body"}),
        ("business-account", {"company_name", "company_no", "email", "phone"}, {"full_name", "billing_address"}),
        ("call-detail", {"shadow_number", "star_number", "calling", "called", "route_line"}, {"route_ip"}),
        ("number-mapping", {"real_number", "assigned_number"}, set()),
    ],
)
def test_values_rest_as_the_policy_says(catalogue: Catalogue, category: str, indexed: set[str], encrypted: set[str]) -> None:
    fields = catalogue.category(category).fields.values()

    assert {field.name for field in fields if field.storage is Storage.INDEXED} == indexed
    assert {field.name for field in fields if field.storage is Storage.ENCRYPTED} == encrypted


def test_no_clear_field_can_hold_what_people_write(catalogue: Catalogue) -> None:
    """I2."""
    clear = {field.type for c in catalogue.categories.values() for field in c.fields.values() if field.storage is Storage.CLEAR}

    assert clear <= {FieldType.ID, FieldType.INTEGER, FieldType.TIMESTAMP, FieldType.ENUM}


def test_each_party_of_a_call_is_found_by_its_own_number(catalogue: Catalogue) -> None:
    """P3.3-cdr: either party is searchable, and each is sealed apart."""
    category = catalogue.category("call-detail")

    assert [(party.name, party.identified_by) for party in category.parties] == [
        ("customer", ("shadow_number",)),
        ("calling", ("calling",)),
        ("called", ("called",)),
    ]


def test_retention_is_that_of_the_level(catalogue: Catalogue) -> None:
    """P3.2-lvl-logs, §2B."""
    message, calls = catalogue.category("outgoing-message"), catalogue.category("call-detail")

    assert [message.retention_at(level).days for level in ("system-log", "report", "system-file")] == [7, 90, 180]
    assert (calls.retention_at("").days, calls.retention_at("").restricted_days) == (365, 2557)
    for category, level in ((message, ""), (message, "archive"), (calls, "report")):
        with pytest.raises(InvalidArgumentError) as caught:
            category.retention_at(level)
        assert caught.value.reason == "LEVEL_INVALID"


@pytest.mark.parametrize(
    "name",
    ["DEVICE_CONTACTS", "DEVICE_CALL_LOG", "DEVICE_SMS", "DEVICE_MEDIA", "TEMP_CONTACT", "DND_STATE", "LOCAL_APP_PHONEBOOK", "LOCAL_APP_STATE",
     "RECORDING_EMAIL_LOCAL", "MERGED_EMAIL_BODY", "CARD_PAN", "CARD_CVV", "CARD_TRACK", "CARD_PIN"],
)  # fmt: skip
def test_what_is_never_stored_is_refused_for_that_reason(catalogue: Catalogue, name: str) -> None:
    """C00, P3.4-contacts, P3.4-perm-*, P3.4-local, A20, A25."""
    for spelling in (name, name.lower().replace("_", "-")):
        with pytest.raises(InvalidArgumentError) as caught:
            catalogue.category(spelling)
        assert (caught.value.reason, caught.value.field) == ("CATEGORY_NOT_COLLECTED", "category")


def test_unknown_names_are_refused(catalogue: Catalogue) -> None:
    """P2.4, P3.6-no3p, I9."""
    with pytest.raises(InvalidArgumentError, match="UNKNOWN_CATEGORY"):
        catalogue.category("call_detail")
    with pytest.raises(InvalidArgumentError, match="UNKNOWN_PURPOSE"):
        catalogue.purpose("BUSINESS_ANY")
    with pytest.raises(InvalidArgumentError, match="UNKNOWN_ROLE"):
        catalogue.role("PARTNER")
    assert catalogue.category("call-detail").code == "C15"
    assert catalogue.purpose("billing").code == "BIL"
    assert catalogue.role("auditor").code == "AUD"


def test_nobody_is_granted_what_operators_auditors_and_background_workers_must_not_see(catalogue: Catalogue) -> None:
    """N17."""
    plaintext = {Operation.REVEAL, Operation.RESOLVE, Operation.EXPORT}

    granted = {role for c in catalogue.categories.values() for grant in c.grants if grant.operations & plaintext for role in grant.roles}

    assert not granted & {"operator", "auditor", "upkeep-worker", "legal-approver", "order-courier"}
