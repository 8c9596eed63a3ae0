"""A catalogue that breaks a rule does not load, and the refusal names file, line and rule.

The line is that of the offending key; of the value where there is no key (list items); of what lacks a key if one is missing.
"""

import re
import shutil
from pathlib import Path

import pytest

import vault.catalogue
from vault.catalogue.loader import CatalogueError, load
from vault.catalogue.model import Catalogue, FieldType, Operation, Sensitivity, Storage
from vault.errors import InvalidArgumentError

PACKAGED = Path(vault.catalogue.__file__).parent
RETENTION = "{days: 1, event: created, text: {he: א, en: a}, reason: {he: א, en: a}}"
MAPPED = (PACKAGED / "categories/number-mapping.yaml").read_text()
RETAINED = MAPPED[MAPPED.index("retention:") : MAPPED.index("grants:")]
HEAD = (PACKAGED / "catalogue.yaml").read_text()
OPERATOR = HEAD[HEAD.index("operator:") : HEAD.index("# A2:")]
ORGANISATION = HEAD[HEAD.index("organisation:") : HEAD.index("products:")]
RISKS = HEAD[HEAD.index("  risks:") : HEAD.index("products:")]
CALLS, MESSAGES, MAPPING = "categories/call-detail.yaml", "categories/outgoing-message.yaml", "categories/number-mapping.yaml"
RECORDING, USAGE, PREFERENCE = "categories/call-recording.yaml", "categories/app-usage.yaml", "categories/marketing-preference.yaml"
VISITOR, LOGS, EVENTS = "categories/site-visitor.yaml", "categories/system-log.yaml", "categories/audit-event.yaml"
CASES = "categories/complaint-case.yaml"
CLOSED = "  closed_at:\n    type: timestamp\n    storage: clear\n"
FILES = (CALLS, MESSAGES, MAPPING, RECORDING, USAGE, PREFERENCE, VISITOR, LOGS, EVENTS, CASES)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small catalogue that loads: some categories of the packaged ones."""
    (tmp_path / "categories").mkdir()
    for name in ("catalogue.yaml", "never-stored.yaml", "purposes.yaml", "roles.yaml", *FILES):
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
    assert {f"categories/{name}.yaml" for name in load(folder).categories} == set(FILES)


# rule, file, what is replaced, by what, and a text that starts on the line to be named.
BROKEN = [
    ("unknown-key", CALLS, "court_class: T", "court_class: T\ncolour: blue", "colour"),
    ("unknown-key", CALLS, "    type: id\n", "    type: id\n    colour: blue\n", "colour"),
    ("missing-key", CALLS, "court_class: T\n", "", "name: call-detail"),
    ("missing-key", CALLS, "    purposes: [customer-report]\n", "", "operations: [reveal, find, list]\n    roles: [reporting]"),
    ("missing-key", CALLS, '{he: "הצד המחייג", en: "The calling party"}', '{en: "The calling party"}', '{en: "The calling party"}'),
    ("contract-end", CALLS, "kept_for: [ENQUIRY, AUTHORITY_OR_CLAIM]\n", "", "name: call-detail"),
    ("contract-end", CALLS, "on_contract_end: kept", "on_contract_end: erased", "kept_for: [ENQUIRY, AUTHORITY_OR_CLAIM]"),
    ("unknown-value", CALLS, "on_contract_end: kept", "on_contract_end: forgotten", "on_contract_end: forgotten"),
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
    ("retention", CASES, "ended_field: closed_at\n", "", "name: complaint-case"),
    ("retention", CALLS, "occur_field: start_at\n", "occur_field: start_at\nended_field: start_at\n", "ended_field"),
    ("unknown-field", CASES, "ended_field: closed_at\n", "ended_field: case_no\n", "ended_field"),
    ("storage", CASES, CLOSED, CLOSED.replace("clear", "encrypted\n    party: subject\n    mask: hidden"), "ended_field"),
    ("retention", CALLS, "  event: occurred\n", "  event: validity-ended\n", "name: call-detail"),
    ("interval", CALLS, "court_class: T", "court_class: T\nrequires_as_of: true", "requires_as_of"),
    ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [third-party]", "recipients: [third-party]"),  # A1
    ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [internal, third-party]", "recipients: [internal, third-party]"),
    ("recipient", CALLS, "recipients: [internal, tenant]", "recipients: [affiliate]", "recipients: [affiliate]"),  # A2
    ("recipient", CALLS, "roles: [reporting]", "roles: [reporting, affiliate-service]", "recipients: [internal, tenant]"),
    ("recipient", CALLS, "affiliate: true", "affiliate: false", "recipients: [affiliate]"),
    ("never-stored", CALLS, "  route_ip:\n", "  card_number:\n", "card_number:"),  # L40
    ("never-stored", CALLS, "  route_ip:\n", "  device_sms:\n", "device_sms:"),  # C00
    ("never-stored", CALLS, "name: call-detail", "name: device-sms", "name: device-sms"),
    ("alias", CALLS, "products: [star", "products: &lines [star", "products"),
    ("alias", CALLS, "name: call-detail", "name: !!str call-detail", "name"),
    ("syntax", CALLS, "code: C15", "code: [C15", "title:"),
    ("syntax", CALLS, "code: C15", "---\ncode: C15", "---"),
    ("missing-key", CALLS, "title: {", "# {", "name: call-detail"),  # P2.2-notice
    ("missing-key", CALLS, "source: {", "# {", "name: call-detail"),
    ("missing-key", CALLS, "towards: {", "# {", "name: call-detail"),  # P1.8-role
    ("unknown-value", PREFERENCE, "held_as: register", "held_as: drawer", "held_as: drawer"),
    ("register", PREFERENCE, "  - operations: [list]", "  - operations: [list, create]", "operations: [list, create]"),
    ("register", PREFERENCE, "  - operations: [erase]", "  - operations: [delete]", "operations: [delete]"),
    ("unknown-value", USAGE, "minors: guardian", "minors: ignored", "minors: ignored"),
    ("minors", LOGS, "requirements: [", "minors: guardian\nrequirements: [", "minors: guardian"),
    ("type", RECORDING, "service_only: true", "service_only: always", "service_only: always"),
    ("mask", CALLS, "mask: hidden", "mask: shown", "mask: shown"),  # L40
    (
        "view",
        CALLS,
        "purposes: [service-delivery, billing]\n    view: masked",
        "purposes: [service-delivery, billing]\n    view: full",
        "view: full",
    ),
    ("search", MESSAGES, "  - operations: [reveal, list]", "  - operations: [reveal, find, list]", "operations: [reveal, find, list]"),
    ("search", MESSAGES, "  - operations: [reveal, list]", "  - operations: [resolve]", "operations: [resolve]"),
    ("court", RECORDING, "court_class: none\n", "court_class: none\ncourt_if_named: true\n", "court_if_named"),
    ("unknown-value", CALLS, "court_class: T", "court_class: X", "court_class: X"),
    ("unknown-value", PREFERENCE, "    court_class: S\n", "    court_class: X\n", "court_class: X"),
    ("rows", USAGE, "    field: kind\n", "    field: device_model\n", "field: device_model"),
    ("rows", USAGE, "    field: kind\n", "    field: nothing\n", "field: nothing"),
    ("unknown-value", USAGE, "    values: [CALL, SMS]\n", "    values: [CALL, LETTER]\n", "values: [CALL, LETTER]"),
    ("rows", USAGE, "affiliate: false", "affiliate: true", "affiliate: true\n    on_erasure"),
    (
        "rows",
        USAGE,
        "rows:\n",
        "rows:\n  - {name: more, field: kind, values: [SMS], description: {he: א, en: a}}\n",
        "# P3.5-reg: what regulation obliges to keep is kept as call detail is.\n  - name: calls".partition("\n")[2],
    ),
    ("rows", "categories/site-visitor.yaml", "account_terms: terms_version", "account_terms: ip", "account_terms: ip"),
    ("rows", "categories/site-visitor.yaml", "account_terms: terms_version", "account_terms: nothing", "account_terms: nothing"),
    ("empty", CALLS, "affiliate: true", "rows: []\naffiliate: true", "rows: []"),
    ("retention", LOGS, "    affiliate: true\n", f"    affiliate: true\n    retention: {RETENTION}\n", "rows:"),
    ("missing-key", USAGE, "  - name: calls\n    field: kind\n", "  - name: calls\n", "name: calls"),
    ("recipient", USAGE, "    affiliate: true\n", "", "recipients: [affiliate]"),  # P3.6-aff
    ("pattern", VISITOR, "  phone:\n    type: phone\n", "  phone:\n    type: phone\n    pattern: '[0-9]'\n", "pattern: '[0-9]'"),
    ("pattern", VISITOR, "    max_bytes: 20000\n", "    max_bytes: 20000\n    pattern: '(['\n", "pattern: '(['"),
    ("reason", VISITOR, "TERMS_VERSION_REQUIRED", "terms please", "missing_reason"),
    ("reason", VISITOR, "    max_bytes: 20000\n", "    max_bytes: 20000\n    missing_reason: A_B\n", "missing_reason: A_B"),
    ("reason", MESSAGES, "EMAIL_BODY_NOT_COLLECTED", "no mail", "refused:"),
    ("values", MESSAGES, "refused: {EMAIL:", "refused: {SMS:", "refused: {SMS:"),
    ("values", CALLS, "type: integer\n", "type: integer\n    refused: {1: A_B}\n", "refused: {1"),
    ("scrub", CALLS, "type: integer\n", "type: integer\n    scrub: true\n", "scrub: true"),
    ("retention", CALLS, "type: integer\n", "type: integer\n    keep_days: 3\n", "keep_days: 3"),
    ("retention", CALLS, "index: virtual-number\n", "index: virtual-number\n    keep_days: 3\n", "keep_days: 3"),
    ("range", VISITOR, "keep_days: 30", "keep_days: 0", "keep_days: 0"),
    ("party", USAGE, "    named_by_caller: true\n", "    named_by_caller: true\n    optional: true\n", "optional: true"),
    ("party", USAGE, "    index: phone\n", "    index: phone\n    required: true\n", "optional: true"),
    (
        "storage",
        VISITOR,
        "type: date\n    storage: encrypted\n    party: subject\n",
        "type: date\n    storage: clear\n",
        "storage: clear",
    ),  # L12
    ("retention", RECORDING, "  latest_days: 1\n", "", "retention:"),  # P3.4-rec
    ("retention", CALLS, "  restricted_days: 2557\n", "  restricted_days: 2557\n  latest_days: 1\n", "latest_days: 1"),
    ("retention", EVENTS, "  days: 731\n", "  days: 730\n", "days: 730"),  # L4
    ("retention", CALLS, "  restricted_days: 2557\n", "  restricted_days: 2557\n  afterwards: erased\n", "afterwards"),
    ("retention", RECORDING, "  latest_days: 1\n", "  latest_days: 1\n  afterwards: tokenised\n", "afterwards"),
    ("type", "catalogue.yaml", 'version: "2026.1"', "version: latest", "version: latest"),
    ("type", "catalogue.yaml", "access_sha256: ", "access_sha256: x # ", "access_sha256: x"),
    ("missing-key", "catalogue.yaml", "access_sha256: ", "# ", 'version: "2026.1"'),
    ("type", "catalogue.yaml", "guards_sha256: ", "guards_sha256: x # ", "guards_sha256: x"),
    # P1.1-identity, L1: without the operator, its offices and the day of the review nothing starts.
    ("missing-key", "catalogue.yaml", OPERATOR, "", 'version: "2026.1"'),
    ("missing-key", "catalogue.yaml", ORGANISATION, "", 'version: "2026.1"'),
    ("missing-key", "catalogue.yaml", "  definition_reviewed: ", "  # ", "organisation:"),
    ("missing-key", "catalogue.yaml", "    contact: ", "    # ", "  database_manager:"),
    ("type", "catalogue.yaml", '"2026-11-01"', '"2026-11-31"', "definition_reviewed: "),
    ("type", "catalogue.yaml", '"2026-11-01"', "November", "definition_reviewed: "),
    ("unknown-key", "catalogue.yaml", "  definition_reviewed: ", "  motto: none\n  definition_reviewed: ", "  motto: "),
    ("empty", "catalogue.yaml", RISKS, "  risks: []\n", "  risks: []"),
]


@pytest.mark.parametrize(("rule", "file", "old", "new", "at"), BROKEN)
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
    facts = {
        c.code: (c.name, c.responsibility.value, c.court_class.value, c.shared_with_affiliate, c.operating_entity, c.held_as.value)
        for c in catalogue.categories.values()
    }

    assert facts == {
        "C01": ("end-customer-contact", "processor", "S", "part", "cellact-ltd", "record"),
        "C02": ("list-membership", "processor", "S", "no", "cellact-ltd", "record"),
        "C03": ("list-profile", "processor", "C", "no", "cellact-ltd", "record"),
        "C04": ("list-file", "processor", "C", "no", "cellact-ltd", "record"),
        "C05": ("message-metadata", "processor", "T", "part", "cellact-ltd", "record"),
        "C06": ("outgoing-message", "processor", "C", "no", "cellact-ltd", "record"),
        "C07": ("incoming-message", "processor", "C", "no", "cellact-ltd", "record"),
        "C08": ("interaction-event", "processor", "T", "no", "cellact-ltd", "record"),
        "C09": ("email-template", "processor", "C", "no", "cellact-ltd", "record"),
        "C10": ("fax", "processor", "C", "part", "cellact-ltd", "record"),
        "C11": ("system-log", "processor", "T", "part", "cellact-ltd", "record"),
        "C12": ("business-account", "controller", "S", "whole", "cellact-ltd", "record"),
        "C13": ("billing-record", "controller", "S", "part", "cellact-ltd", "record"),
        "C14": ("payment-card", "controller", "none", "no", "cellact-ltd", "record"),
        "C15": ("call-detail", "controller", "T", "whole", "cellact-comm", "record"),
        "C16": ("number-mapping", "controller", "S", "whole", "cellact-ltd", "record"),
        "C17": ("app-usage", "controller", "T", "part", "cellact-ltd", "record"),
        "C18": ("app-purchase", "controller", "S", "no", "cellact-ltd", "record"),
        "C19": ("app-diagnostics", "controller", "S", "no", "cellact-ltd", "record"),
        "C20": ("site-visitor", "controller", "S", "no", "cellact-ltd", "record"),
        "C21": ("call-recording", "processor", "none", "no", "cellact-ltd", "record"),
        "C22": ("guardian-consent", "controller", "S", "no", "cellact-ltd", "register"),
        "C23": ("access-credential", "controller", "none", "no", "cellact-ltd", "record"),
        "C24": ("former-customer-contact", "controller", "S", "no", "cellact-ltd", "record"),
        "C25": ("usage-report", "controller", "T", "part", "cellact-ltd", "record"),
        "C26": ("marketing-preference", "controller", "none", "no", "cellact-ltd", "register"),
        "C27": ("consent-and-instruction", "controller", "C", "no", "cellact-ltd", "register"),
        "C28": ("complaint-case", "controller", "C", "no", "cellact-ltd", "record"),
        "C29": ("legal-order", "controller", "none", "no", "cellact-ltd", "register"),
        "C30": ("audit-event", "controller", "none", "no", "cellact-ltd", "register"),
        "C31": ("staff-authorisation", "controller", "none", "no", "cellact-ltd", "register"),
    }


def test_the_periods_and_outcomes_are_those_of_the_policy(catalogue: Catalogue) -> None:
    """§2B: days, days restricted, event, outcome of an erasure and of the contract's end."""
    facts = {
        (c.code, level.name if level else ""): (
            *((found := level.retention if level else c.retention_at("")).days, found.restricted_days, found.event.value),
            *(c.on_erasure.value, c.on_contract_end.value),
        )
        for c in catalogue.categories.values()
        for level in (c.levels.values() or [None])
    }

    assert facts == {
        ("C01", ""): (30, 0, "unlisted", "forwarded", "erased"),
        ("C02", ""): (30, 0, "contract-ended", "forwarded", "erased"),
        ("C03", ""): (30, 0, "contract-ended", "erased", "erased"),
        ("C04", ""): (30, 0, "occurred", "erased", "erased"),
        ("C05", ""): (365, 2557, "occurred", "tokenised", "tokenised"),
        ("C06", "system-log"): (7, 0, "occurred", "erased", "expires"),
        ("C06", "report"): (90, 0, "occurred", "erased", "expires"),
        ("C06", "system-file"): (180, 0, "occurred", "erased", "expires"),
        ("C07", "system-log"): (7, 0, "occurred", "forwarded", "expires"),
        ("C07", "report"): (365, 0, "occurred", "forwarded", "expires"),
        ("C07", "system-file"): (180, 0, "occurred", "forwarded", "expires"),
        ("C08", ""): (365, 0, "occurred", "erased", "expires"),
        ("C09", ""): (30, 0, "ended", "erased", "erased"),
        ("C10", "system-log"): (7, 0, "occurred", "erased", "expires"),
        ("C10", "report"): (90, 0, "occurred", "erased", "expires"),
        ("C10", "system-file"): (180, 0, "occurred", "erased", "expires"),
        ("C11", "system-log"): (7, 0, "occurred", "tokenised", "expires"),
        ("C12", ""): (2557, 0, "contract-ended", "restricted", "converted"),
        ("C13", ""): (2557, 0, "tax-year-ended", "restricted", "kept"),
        ("C14", ""): (396, 0, "ended", "erased", "expires"),
        ("C15", ""): (365, 2557, "occurred", "restricted", "kept"),
        ("C16", ""): (2557, 0, "validity-ended", "restricted", "kept"),
        ("C17", ""): (180, 0, "occurred", "erased", "unaffected"),
        ("C18", ""): (2557, 0, "tax-year-ended", "restricted", "kept"),
        ("C19", ""): (90, 0, "occurred", "erased", "erased"),
        ("C20", ""): (731, 0, "occurred", "erased", "unaffected"),
        ("C21", ""): (0, 0, "delivered", "erased", "destroyed"),
        ("C22", ""): (2557, 0, "ended", "restricted", "unaffected"),
        ("C23", ""): (1, 0, "ended", "erased", "destroyed"),
        ("C24", ""): (0, 0, "removal-asked", "erased", "unaffected"),
        ("C25", ""): (2557, 0, "created", "tokenised", "kept"),
        ("C26", ""): (2557, 0, "ended", "erased", "kept"),
        ("C27", ""): (2557, 0, "ended", "restricted", "kept"),
        ("C28", ""): (2557, 0, "ended", "restricted", "kept"),
        ("C29", ""): (2557, 0, "ended", "restricted", "kept"),
        ("C30", ""): (731, 0, "created", "tokenised", "kept"),
        ("C31", ""): (2557, 0, "ended", "restricted", "unaffected"),
    }
    assert {
        c.code: sorted(level.name for level in c.levels.values() if not level.retained) for c in catalogue.categories.values() if c.levels
    } == {
        "C06": ["report"],
        "C07": [],
        "C10": ["report"],
        "C11": [],
    }
    assert all(c.levels["system-log"].retention.ceiling_days == 14 for c in catalogue.categories.values() if c.levels)


def test_some_records_are_kept_for_another_time_than_their_category(catalogue: Catalogue) -> None:
    """§2B: calls of the second number and voice messages as call detail; visitors without an account shorter; audit of orders and erasures longer."""
    usage, visitor, events = (catalogue.category(name) for name in ("app-usage", "site-visitor", "audit-event"))
    message = catalogue.category("message-metadata")

    for channel, afterwards in (("VOICE", "restricted"), ("SMS", "tokenised")):
        kept = message.retention_at("", {"channel": channel})
        assert (kept.days, kept.restricted_days, kept.afterwards) == (365, 2557, afterwards)
    assert [usage.retention_at("", {"kind": kind}).days for kind in ("CALL", "SMS", "ACTION")] == [365, 365, 180]
    assert [usage.retention_at("", {"kind": kind}).restricted_days for kind in ("CALL", "SMS", "ACTION")] == [2557, 2557, 0]
    assert [visitor.retention_at("", {"is_subscriber": said}).days for said in ("yes", "no")] == [731, 365]
    assert [events.retention_at("", {"kind": kind}).days for kind in ("ACCESS", "ORDER")] == [731, 2557]
    assert {f"{c.code}.{f.name}": f.keep_days for c in catalogue.categories.values() for f in c.fields.values() if f.keep_days} == {
        "C08.ip": 30,
        "C17.ip": 180,
        "C17.cookie": 180,
        "C17.device_model": 180,
        "C17.network": 180,
        "C20.ip": 30,
    }


def test_only_a_part_of_some_categories_is_the_affiliates(catalogue: Catalogue) -> None:
    """P3.6-aff, §2B."""
    usage, accounts, lists = (catalogue.category(name) for name in ("app-usage", "business-account", "list-profile"))

    assert [usage.is_for_affiliate({"kind": kind}) for kind in ("CALL", "ACTION")] == [True, False]
    assert not usage.is_for_affiliate({})
    assert accounts.is_for_affiliate({})
    assert not lists.is_for_affiliate({"kind": "CALL"})


def test_an_order_reaches_fields_by_their_own_class(catalogue: Catalogue) -> None:
    """§2B: of a card the last four digits, of sign-in data the user name and its last use, of a message all but what it says (A19)."""

    def covered(name: str, court_class: str) -> set[str]:
        return {field.name for field in catalogue.category(name).fields.values() if field.court_class == court_class}

    assert covered("payment-card", "S") == {"last4"}
    assert covered("access-credential", "S") == {"username", "last_used_at"}
    assert covered("marketing-preference", "S") == {"basis", "source", "text_version", "at"}
    assert covered("incoming-message", "C") == {"body"}
    assert covered("fax", "C") == {"body"}
    assert covered("call-recording", "none") == catalogue.category("call-recording").fields.keys()
    assert {c.code for c in catalogue.categories.values() if c.court_if_named} == {"C03", "C04", "C27", "C28"}


def test_traffic_data_and_what_is_under_secrecy_is_highly_sensitive(catalogue: Catalogue) -> None:
    """L12: numbers and addresses of calls are HIGH; what identifies a device is personal at least, and never kept in clear."""
    sealed = {
        name: [f for f in catalogue.category(name).fields.values() if f.storage is not Storage.CLEAR]
        for name in ("call-detail", "app-usage")
    }

    assert {field.sensitivity for fields in sealed.values() for field in fields} == {Sensitivity.HIGH}
    online = [
        f
        for c in catalogue.categories.values()
        for f in c.fields.values()
        if f.name in {"ip", "cookie", "install_id", "route_ip", "ip_allow"}
    ]
    assert len(online) == 7
    assert all(field.storage is not Storage.CLEAR and field.sensitivity is not Sensitivity.OPERATIONAL for field in online)


def test_every_category_says_for_notices_what_it_is_for_and_where_it_comes_from(catalogue: Catalogue) -> None:
    """P2.2-notice, L15: in both languages."""
    hebrew = re.compile("[א-ת]")
    for category in catalogue.categories.values():
        for text in (category.title, category.description, category.notice, category.source, category.data_subject, category.towards):
            assert hebrew.search(text.he), category.name
            assert text.en.isascii(), category.name
        for field in category.fields.values():
            assert hebrew.search(field.description.he), f"{category.name}.{field.name}"


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
        ("list-file", set(), {"file_name", "body"}),
        ("message-metadata", {"recipient_phone", "recipient_email"}, {"sender"}),
        ("interaction-event", set(), {"ip", "user_agent"}),
        ("email-template", set(), {"subject_line", "html", "placeholders"}),
        ("fax", {"from", "to"}, {"body"}),
        ("system-log", set(), {"masked_ids", "err"}),
        ("billing-record", set(), {"lines", "amount", "vat", "bank_ref"}),
        ("payment-card", set(), {"psp_token", "last4", "exp_month", "exp_year", "holder"}),
        ("app-usage", {"peer_number"}, {"ip", "cookie", "device_model", "network"}),
        ("app-purchase", set(), {"order_ref", "amount"}),
        ("app-diagnostics", {"install_id"}, {"os", "browser", "trace"}),
        ("site-visitor", {"phone", "email"}, {"name", "address", "enquiry", "birth_date", "ip"}),
        ("call-recording", set(), {"audio", "delivery_target"}),
        ("access-credential", {"username"}, {"verifier", "api_key_hash", "ssh_pubkey", "ip_allow"}),
        ("former-customer-contact", {"company_name", "phone", "email"}, {"full_name"}),
        ("usage-report", set(), {"aggregates", "rows"}),
        ("complaint-case", set(), {"text", "links"}),
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


@pytest.mark.parametrize(
    "name",
    [
        *("cvv", "CVV2", "cvv_number", "card-cvc", "Security Code", "card_verification_value", "pin", "PIN code", "pinBlock", "pin number"),
        *("track", "track_1", "Track 2 data", "magnetic stripe", "card number", "PAN"),
        *("קוד אבטחה", "קוד האבטחה", "3 ספרות בגב", "קוד סודי", "קוד פין", "פס מגנטי", "מספר כרטיס אשראי"),
    ],
)
def test_names_of_card_secrets_are_refused_however_they_are_spelled(catalogue: Catalogue, name: str) -> None:
    """L40, PCI DSS 3.3.1: as a field and as a key of free-form data."""
    assert catalogue.never_stored.is_card_secret(name)
    with pytest.raises(InvalidArgumentError) as caught:
        catalogue.category("site-visitor").check_fields({name: "123"}, partial=True)

    assert caught.value.reason == "SAD_FORBIDDEN"


@pytest.mark.parametrize("name", ["company", "pinned", "tracking_number", "card_type", "panel", "קוד לקוח", "כרטיסייה"])
def test_names_that_only_look_like_card_secrets_are_let_through(catalogue: Catalogue, name: str) -> None:
    assert not catalogue.never_stored.is_card_secret(name)
