"""A bundle is one thing with one digest; what is different between two of them is said in words; a decision is explained by its rule."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from tests.processes import Finished, run
from vault.catalogue.document import CatalogueError
from vault.catalogue.loader import load as load_catalogue
from vault.policy import access
from vault.policy.bundle import Bundle, load, write
from vault.policy.changes import changes

CALLS, BILLS = "catalogue/categories/call-detail.yaml", "catalogue/categories/billing-record.yaml"
OTHERWISE = "has other conditions, order or words"
LEVELLED = "    levels: [system-file]\n    view: full\n"
GUARDS, SCHEMA, DOORS = "policy/guards.cedar", "policy/schema.cedarschema", "policy/access.yaml"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the packaged bundle."""
    write(tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.fixture(scope="module")
def packaged() -> Bundle:
    return load()


def edit(folder: Path, file: str, old: str, new: str) -> None:
    """Change a file, and what the catalogue says about guards and table, as a reviewed change does."""
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert old in text, old
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    sign(folder)


def sign(folder: Path) -> None:
    head, known = folder / "catalogue" / "catalogue.yaml", load_catalogue(folder / "catalogue")
    guards, schema = (folder / name for name in (GUARDS, SCHEMA))
    text = guards.read_text(encoding="utf-8")
    reviewed = sha256(f"{len(text)}\n{text}{schema.read_text(encoding='utf-8')}".encode()).hexdigest()
    doors = sha256((folder / DOORS).read_bytes()).hexdigest()
    said = head.read_text(encoding="utf-8")
    head.write_text(said.replace(known.guards_sha256, reviewed).replace(known.access_sha256, doors), encoding="utf-8")


def test_a_written_bundle_is_the_packaged_one(folder: Path, packaged: Bundle) -> None:
    assert load(folder).catalogue.policy_version == packaged.catalogue.policy_version
    assert changes(packaged, load(folder)) == []


@pytest.mark.parametrize("file", [CALLS, BILLS, GUARDS, SCHEMA, DOORS, "catalogue/roles.yaml", "catalogue/never-stored.yaml"])
def test_the_digest_covers_every_file(folder: Path, packaged: Bundle, file: str) -> None:
    """I6, P1.2-principles: one remark anywhere is another policy version."""
    remark = "// a remark\n" if file in {GUARDS, SCHEMA} else "# a remark\n"
    (folder / file).write_text((folder / file).read_text(encoding="utf-8") + remark, encoding="utf-8")
    sign(folder)

    assert load(folder).catalogue.digest != packaged.catalogue.digest


@pytest.mark.parametrize(("file", "rule"), [(GUARDS, "guards-digest"), (SCHEMA, "guards-digest"), (DOORS, "access-digest")])
def test_what_was_changed_without_the_catalogue_does_not_load(folder: Path, file: str, rule: str) -> None:
    (folder / file).write_text((folder / file).read_text(encoding="utf-8") + "\n", encoding="utf-8")

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert (caught.value.reason, caught.value.metadata["rule"]) == ("CATALOGUE_INVALID", rule)


def test_a_server_does_not_start_with_another_table_of_methods(folder: Path, packaged: Bundle) -> None:
    edited = folder / DOORS
    edited.write_text(edited.read_text(encoding="utf-8").replace("roles: [operator]", "roles: [operator, marketing]", 1), encoding="utf-8")

    with pytest.raises(CatalogueError, match="digest"):
        access.load(edited, sha256=packaged.catalogue.access_sha256)
    assert access.load(sha256=packaged.catalogue.access_sha256) == packaged.access


def test_a_table_that_names_an_unknown_role_does_not_load(folder: Path) -> None:
    """P3.6-no3p."""
    edit(folder, DOORS, "roles: [operator]", "roles: [operator, partner]")

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert caught.value.metadata["rule"] == "unknown-role"


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / GUARDS).unlink()

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert caught.value.metadata == {"rule": "missing-file", "file": "guards.cedar", "line": "0"}


def without_the_fax(folder: Path) -> None:
    (folder / "catalogue/categories/fax.yaml").unlink()


def regrouped(folder: Path) -> None:
    """The same permissions in two grants instead of one."""
    old = "  - operations: [create]\n    roles: [billing, messaging-engine]\n"
    one, other = (f"  - operations: [create]\n    roles: [{role}]\n" for role in ("billing", "messaging-engine"))
    rest = "    purposes: [service-delivery, billing]\n    view: masked\n"
    edit(folder, CALLS, old + rest, one + rest + other + rest)


Edit = Callable[[Path], None]


def at(file: str, old: str, new: str) -> Edit:
    return lambda folder: edit(folder, file, old, new)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (at("catalogue/catalogue.yaml", '"2026.1"', '"2026.2"'), ["bundle version: was 2026.1, is 2026.2"]),
        (without_the_fax, ["category fax: removed"]),
        (regrouped, []),
        (at(GUARDS, "// P1.6b-need.", "// P1.6b-need, once more."), []),
        (at(CALLS, "mask: hidden", "mask: phone"), ["field call-detail.star_number: mask was hidden, is phone"]),
        (
            at(CALLS, "  route_ip:\n", "  route_address:\n"),
            ["field call-detail.route_ip: removed", "field call-detail.route_address: added"],
        ),
        (at(CALLS, "days: 365\n", "days: 300\n"), ["category call-detail: retention.days was 365, is 300"]),
        (
            at(CALLS, "  event: occurred\n", "  event: created\n"),
            ["category call-detail: retention.event was occurred, is created"],
        ),
        (at(CALLS, "on_contract_end: kept", "on_contract_end: expires"), ["category call-detail: on_contract_end was kept, is expires"]),
        (
            at(CALLS, "roles: [reporting]", "roles: [reporting, tenant-admin]"),
            [
                "grant call-detail: tenant-admin now may find, list for customer-report",
                "grant call-detail: tenant-admin now may reveal for customer-report, full view, to internal, tenant",
            ],
        ),
        (
            at(BILLS, "    purposes: [customer-request]\n    view: full\n", "    purposes: [customer-request]\n    view: masked\n"),
            ["grant billing-record: account-manager no longer may reveal for customer-request, full view, to internal, tenant"],
        ),
        (
            at("catalogue/categories/outgoing-message.yaml", "retained: false", "retained: true"),
            ["level outgoing-message.report: retained was no, is yes"],
        ),
        (
            at("catalogue/categories/app-usage.yaml", "    values: [CALL, SMS]\n", "    values: [CALL]\n"),
            ["rows app-usage.calls: values was CALL, SMS, is CALL"],
        ),
        (at("catalogue/purposes.yaml", "basis: ticket\n", "basis: contract\n"), ["purpose contact: basis was ticket, is contract"]),
        (
            at(GUARDS, "unless { context.justified };", "unless { context.justified || context.restricted };"),
            ["guard justification: " + OTHERWISE],
        ),
        (at(GUARDS, '@order("80")', '@order("81")'), ["guard nda: " + OTHERWISE]),
        (
            at(DOORS, "ConfirmDelivery: {roles: [second-number-app]}", "ConfirmDelivery: {roles: [second-number-app, operator]}"),
            ["method /vault.v1.VaultService/ConfirmDelivery: roles was second-number-app, is operator, second-number-app"],
        ),
        (
            at(DOORS, "CreateTenant: {roles: [operator], scope: system}", "CreateTenant: {roles: [operator], scope: system, person: true}"),
            ["method /vault.v1.TenantService/CreateTenant: person was no, is yes"],
        ),
    ],
)
def test_a_change_is_told_in_words(folder: Path, packaged: Bundle, change: Edit, expected: list[str]) -> None:
    change(folder)

    assert [str(found) for found in changes(packaged, load(folder))] == expected


def test_what_was_added_one_way_was_removed_the_other(folder: Path, packaged: Bundle) -> None:
    without_the_fax(folder)
    edit(folder, CALLS, "roles: [reporting]", "roles: [reporting, tenant-admin]")
    other = load(folder)

    there, back = changes(packaged, other), changes(other, packaged)

    turned = {"removed": "added", "now may": "no longer may"}
    assert len(there) == len(back) == 3
    for word, opposite in turned.items():
        assert sum(word in change.what for change in there) == sum(opposite in change.what for change in back) > 0


def policy(*arguments: str | Path) -> Finished:
    return run("policy", *arguments)


def test_the_command_shows_version_digest_and_counts(packaged: Bundle) -> None:
    answer = policy("show", "--json").answer()

    assert answer["version"] == packaged.catalogue.version
    assert answer["digest"] == packaged.catalogue.digest
    assert answer["policy_version"] == packaged.catalogue.policy_version
    assert (answer["counts"]["categories"], answer["counts"]["of_them_in_registers"]) == (31, 6)
    assert answer["counts"]["grants"] == sum(len(category.grants) for category in packaged.catalogue.categories.values())
    assert [category["code"] for category in answer["categories"]] == [f"C{number:02}" for number in range(1, 32)]
    assert "C17  app-usage" in policy("show").out


def test_the_command_tells_what_changed_and_ends_accordingly(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert policy("write", old, "--json").answer()["files"] == 38
    assert policy("write", new, "--json").answer()["files"] == 38
    edit(new, CALLS, "days: 365\n", "days: 300\n")

    same, other, told = policy("diff", old, old), policy("diff", old, new), policy("diff", old, new, "--json")

    assert (same.code, same.out) == (0, "no change\n")
    assert other.code == told.code == 1
    assert "category call-detail: retention.days was 365, is 300" in other.out
    assert '"changes": [\n' in told.out
    assert policy("write", old).code == 2


EXPLAIN = ("explain", "--role", "support", "--operation", "reveal", "--category", "outgoing-message", "--level", "system-file", "-p")


@pytest.mark.parametrize(
    ("arguments", "decision", "rule"),
    [
        ((*EXPLAIN, "technical-fault"), "ALLOWED", "grant:outgoing-message:4"),
        ((*EXPLAIN, "technical-fault", "--without", "reference"), "REFUSED", "guard:ticket-or-incident"),
        ((*EXPLAIN, "technical-fault", "--without", "nda"), "REFUSED", "guard:nda"),
        ((*EXPLAIN, "technical-fault", "--without", "nda", "--kind", "service"), "ALLOWED", "grant:outgoing-message:4"),
        ((*EXPLAIN, "technical-fault", "--restricted"), "REFUSED", "guard:restricted"),
        ((*EXPLAIN, "technical-fault", "--recipient", "tenant"), "REFUSED", "default-deny:recipient"),
        ((*EXPLAIN, "technical-fault", "--product", "num2"), "REFUSED", "guard:product-lock"),
        ((*EXPLAIN, "customer-report"), "REFUSED", "default-deny:purpose"),
    ],
)
def test_the_command_explains_a_decision_by_its_rule(arguments: tuple[str, ...], decision: str, rule: str) -> None:
    finished = policy(*arguments)

    assert finished.code == (decision == "REFUSED")
    assert f"decision        {decision}" in finished.out
    assert f"rule            {rule}" in finished.out
    assert "said_by" in finished.out


def test_the_command_explains_the_same_question_under_two_bundles(tmp_path: Path) -> None:
    """P1.2-principles: the same question before and after a new version, both named."""
    old, new = tmp_path / "old", tmp_path / "new"
    write(old)
    write(new)
    edit(new, "catalogue/categories/outgoing-message.yaml", LEVELLED, LEVELLED.replace("full", "masked"))

    finished = policy(*EXPLAIN, "technical-fault", "--view", "full", "--bundle", old, "--bundle", new)

    assert finished.code == 3
    assert load(old).catalogue.policy_version in finished.out
    assert load(new).catalogue.policy_version in finished.out
    assert finished.out.index("ALLOWED") < finished.out.index("VIEW_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (("--category", "device-sms"), "CATEGORY_NOT_COLLECTED"),
        (("--category", "no-such"), "UNKNOWN_CATEGORY"),
        (("--role", "partner"), "UNKNOWN_ROLE"),
        (("-p", "BUSINESS_ANY"), "UNKNOWN_PURPOSE"),
        (("--level", ""), "LEVEL_INVALID"),
    ],
)
def test_a_question_about_what_does_not_exist_is_refused_as_such(changed: tuple[str, ...], reason: str) -> None:
    """Not "not allowed": a misspelt word would pass for an answer."""
    assert policy(*EXPLAIN, "technical-fault", *changed, "--json").error()["reason"] == reason


@pytest.mark.parametrize(
    "changed",
    [("--operation", "copy"), ("--view", "half"), ("--recipient", "friends"), ("--without", "sleep"), ("--kind", "robot")],
)
def test_a_word_that_no_question_knows_is_refused(changed: tuple[str, ...]) -> None:
    assert policy(*EXPLAIN, "technical-fault", *changed).code == 2


def test_a_bundle_that_does_not_load_is_refused_with_file_and_line(folder: Path) -> None:
    text = (folder / CALLS).read_text(encoding="utf-8")
    (folder / CALLS).write_text(text.replace("court_class: T", "court_class: X", 1), encoding="utf-8")

    error = policy("show", folder, "--json").error()

    assert error["reason"] == "CATALOGUE_INVALID"
    assert error["metadata"]["file"] == "categories/call-detail.yaml"
    assert int(error["metadata"]["line"]) > 100
