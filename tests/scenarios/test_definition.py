"""The database definition document: what regulation 2 wants said, in each language and from the policy bundle alone (L1, L37, P2.2-notice)."""

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

import vault.catalogue
from tests.serving import Serving
from vault.catalogue.loader import CatalogueError, load
from vault.policy import bundle
from vault.policy.changes import changes
from vault.v1.operations_service_pb2 import GetDatabaseDefinitionRequest, GetDatabaseDefinitionResponse

CATALOGUE = load()
ORGANISATION = CATALOGUE.organisation


async def defined(served: Serving, language: str = "", who: str = "operator") -> GetDatabaseDefinitionResponse:
    caller = served.service(who)
    return await caller.call(caller.operations.GetDatabaseDefinition, GetDatabaseDefinitionRequest(language=language))


def section(document: str, code: str) -> str:
    """What the document says of one category."""
    _, _, rest = document.partition(f"\n### {code} ")
    return rest.partition("\n### ")[0]


@pytest.mark.parametrize("language", ["he", "en"])
async def test_the_document_says_who_keeps_the_database_and_what_the_law_wants_said(served: Serving, language: str) -> None:
    """P1.1-identity, L1."""
    answer = await defined(served, language)

    said = [
        *(CATALOGUE.operator.name, CATALOGUE.affiliate.name, ORGANISATION.operator_address, ORGANISATION.affiliate_address),
        *(ORGANISATION.database_manager.office, ORGANISATION.security_officer.office, ORGANISATION.privacy_officer.office),
        ORGANISATION.transfers,
        *(text for holder in ORGANISATION.holders for text in (holder.name, holder.processing)),
        *(text for risk in ORGANISATION.risks for text in (risk.risk, risk.measure)),
        *(purpose.description for purpose in CATALOGUE.purposes.values()),
        *CATALOGUE.never_stored.names.values(),
    ]
    assert [text.en for text in said if getattr(text, language) not in answer.document] == []
    assert answer.policy_version == CATALOGUE.policy_version
    assert f"`{CATALOGUE.policy_version}`" in answer.document
    assert ORGANISATION.definition_reviewed.isoformat() in answer.document


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("organisation:\n", "organization:\n", "unknown-key"),
        ("  database_manager:\n", "  somebody:\n", "unknown-key"),
        ("    contact: info@cellact.com\n", "", "missing-key"),
        ('definition_reviewed: "2026-11-01"', 'definition_reviewed: "lately"', "type"),
        ('definition_reviewed: "2026-11-01"', 'definition_reviewed: "2026-02-30"', "type"),
    ],
)
def test_a_vault_that_cannot_say_who_answers_for_it_does_not_start(tmp_path: Path, old: str, new: str, rule: str) -> None:
    """P1.1-identity, L1."""
    folder = tmp_path / "catalogue"
    shutil.copytree(Path(vault.catalogue.__file__).parent, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    head = folder / "catalogue.yaml"
    text = head.read_text(encoding="utf-8")
    assert old in text
    head.write_text(text.replace(old, new, 1), encoding="utf-8")

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert (caught.value.reason, caught.value.metadata["rule"], caught.value.metadata["file"]) == (
        "CATALOGUE_INVALID",
        rule,
        "catalogue.yaml",
    )


def test_what_the_definition_says_is_part_of_what_is_compared_between_bundles(tmp_path: Path) -> None:
    written = tmp_path / "bundle"
    bundle.write(written)
    head = written / "catalogue" / "catalogue.yaml"
    said = ORGANISATION.definition_reviewed.isoformat()
    head.write_text(head.read_text(encoding="utf-8").replace(f'"{said}"', '"2027-11-01"'), encoding="utf-8")

    found = [str(change) for change in changes(bundle.load(), bundle.load(written))]

    assert found == [f"organisation definition: definition_reviewed was {said}, is 2027-11-01"]


@pytest.mark.parametrize("language", ["he", "en"])
async def test_every_category_has_purpose_source_people_times_and_fields(served: Serving, language: str) -> None:
    """P2.2-notice, L12, L37: in each language, from the bundle alone."""
    document = (await defined(served, language)).document

    for category in CATALOGUE.categories.values():
        told = section(document, category.code)
        kept = [category.retention, *(level.retention for level in category.levels.values()), *(row.retention for row in category.rows)]
        texts = [category.title, category.description, category.notice, category.source, category.data_subject, category.towards]
        texts += [text for retention in kept if retention for text in (retention.text, retention.reason)]
        texts += [field.description for field in category.fields.values()]
        texts += [note for note in (category.erasure_note, category.contract_end_note) if note]
        assert [text.en for text in texts if getattr(text, language) not in told] == [], category.name
        assert [name for name in category.fields if f"(`{name}`)" not in told] == [], category.name
    assert ("highly sensitive" if language == "en" else "בעל רגישות מיוחדת") in section(document, "C17")


async def test_the_document_is_in_hebrew_unless_told_and_in_no_other_language(served: Serving) -> None:
    operator = served.service("operator")

    refused = await operator.refused(operator.operations.GetDatabaseDefinition, GetDatabaseDefinitionRequest(language="fr"))

    assert (await defined(served)).document == (await defined(served, "he", "auditor")).document
    assert (refused.code.name, refused.reason) == ("INVALID_ARGUMENT", "FIELD_INVALID")


async def test_a_definition_that_was_not_looked_through_for_twelve_months_is_stale(served: Serving) -> None:
    """L1: what readiness makes of it is told in test_readiness.py."""
    until_reviewed = ORGANISATION.definition_reviewed - served.clock().date()
    served.clock.offset = until_reviewed + timedelta(days=365)
    fresh = await defined(served)
    served.clock.offset = until_reviewed + timedelta(days=367)

    stale = await defined(served)

    assert (fresh.stale, stale.stale) == (False, True)
