"""Clauses that the bundle and the forms of records carry alone."""

import shutil
from pathlib import Path

import pytest
import yaml

import vault.catalogue
from vault.catalogue.document import CatalogueError
from vault.catalogue.loader import load
from vault.catalogue.model import ConsentBasis, HeldAs, Operation, Retention
from vault.errors import InvalidArgumentError

PACKAGED = Path(vault.catalogue.__file__).parent
CATALOGUE = load()


@pytest.mark.parametrize("lacking", ["operator", "affiliate"])
def test_a_vault_that_does_not_know_whose_it_is_does_not_start(tmp_path: Path, lacking: str) -> None:
    """P1.1-identity."""
    folder = tmp_path / "catalogue"
    shutil.copytree(PACKAGED, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    said = yaml.safe_load((folder / "catalogue.yaml").read_text(encoding="utf-8"))
    del said[lacking]
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(said, allow_unicode=True, sort_keys=False), encoding="utf-8")

    with pytest.raises(CatalogueError) as caught:
        load(folder)

    assert (caught.value.metadata["rule"], caught.value.metadata["file"]) == ("missing-key", "catalogue.yaml")
    assert (CATALOGUE.operator.id, CATALOGUE.affiliate.id) == ("cellact-ltd", "cellact-comm")


def test_a_reaction_to_a_message_names_the_message_and_its_kind() -> None:
    """P3.2-service: clicks, calls back and tones, each linked to what was sent."""
    fields = CATALOGUE.category("interaction-event").fields

    assert {name for name, field in fields.items() if field.required} == {"event_id", "message_id", "kind", "at"}
    assert set(fields["kind"].values) == {"click", "call-back", "dtmf"}


def test_a_call_says_when_it_began() -> None:
    """A17: without it nothing can be billed, and no order can be bounded in time."""
    calls = CATALOGUE.category("call-detail")

    assert calls.fields["start_at"].required
    assert calls.occur_field == "start_at"


@pytest.mark.parametrize("asked", ["internal-use", "business", "any", "statistics", "partner"])
def test_there_is_no_purpose_for_whatever_may_come(asked: str) -> None:
    """A8, A9: internal use and business purposes are none; whoever says one is refused by name."""
    with pytest.raises(InvalidArgumentError) as caught:
        CATALOGUE.purpose(asked)

    assert caught.value.reason == "UNKNOWN_PURPOSE"


def test_system_files_are_for_faults_security_fraud_claims_and_orders() -> None:
    """A8, P3.2-lvl-files-use: reading content at that level has no other purpose."""
    reading = {Operation.REVEAL, Operation.FIND, Operation.RESOLVE, Operation.EXPORT}
    purposes = {
        CATALOGUE.purpose(purpose).code
        for name in ("outgoing-message", "incoming-message")
        for grant in CATALOGUE.category(name).grants
        if grant.operations & reading and "system-file" in grant.levels
        for purpose in grant.purposes
    }

    assert purposes == {"TEC", "SECI", "FRA", "CLM", "CRT"}


def test_every_purpose_rests_on_a_known_basis_and_every_grant_on_a_purpose() -> None:
    """L26, A3: nothing is processed on no ground."""
    granted = {purpose for category in CATALOGUE.categories.values() for grant in category.grants for purpose in grant.purposes}

    assert granted <= CATALOGUE.purposes.keys()
    assert {purpose.basis for purpose in CATALOGUE.purposes.values()} <= set(ConsentBasis)
    assert all(category.grants for category in CATALOGUE.categories.values())


def test_every_category_says_how_long_it_is_kept_and_why() -> None:
    """L37, A7: a period, the event that it counts from, and the reason in both languages, at every content level."""
    kept: list[Retention] = []
    for category in CATALOGUE.categories.values():
        kept += [level.retention for level in category.levels.values()] or [category.retention_at("")]

    assert len(kept) >= len(CATALOGUE.categories) == 31
    assert all(period.text.he and period.text.en and period.reason.he and period.reason.en for period in kept)


def test_who_answers_for_a_category_is_one_of_the_two_companies() -> None:
    """A27, P3.3-services: calls are the affiliate's, everything else the operator's."""
    answers = {category.code: category.operating_entity for category in CATALOGUE.categories.values()}

    assert {code for code, entity in answers.items() if entity == CATALOGUE.affiliate.id} == {"C15"}
    assert set(answers.values()) == {CATALOGUE.operator.id, CATALOGUE.affiliate.id}


def test_nothing_of_a_person_is_scored_or_profiled() -> None:
    """L34, A13: no category has a field or a purpose for it; adverts and reports of content are off unless somebody asks."""
    names = {field for category in CATALOGUE.categories.values() for field in category.fields} | CATALOGUE.purposes.keys()

    assert not {name for name in names if any(word in name for word in ("score", "profile_of", "segment", "rating", "interest"))}
    assert not CATALOGUE.category("outgoing-message").levels["report"].retained
    assert not CATALOGUE.category("fax").levels["report"].retained


def test_addresses_of_visitors_are_kept_shorter_than_the_rest() -> None:
    """A13: what is collected without asking goes first."""
    visitor = CATALOGUE.category("site-visitor")

    assert visitor.fields["ip"].keep_days == 30
    assert visitor.fields["ip"].keep_days < visitor.retention_at("", {"is_subscriber": "no"}).days


def test_the_target_of_a_recording_travels_and_rests_with_it() -> None:
    """A16: sealed, found by nobody, and nobody's to export."""
    recording = CATALOGUE.category("call-recording")

    assert recording.held_as is HeldAs.RECORD
    assert recording.fields["delivery_target"].index is None
    assert recording.service_only
    assert not {grant.number for grant in recording.grants if Operation.EXPORT in grant.operations}
