"""Incidents, role grants and agreements on the command line, on a real vault process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.commands import Commands, commands

HAPPENED = ("--summary", "somebody reads what they should not")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        for employee, role in (
            ("sara", "security-investigator"),
            ("fred", "fraud-investigator"),
            ("olga", "privacy-officer"),
            ("abel", "auditor"),
            ("lea", "legal-officer"),
        ):
            started.sign_in(employee, role)
        yield started


def later(hours: int) -> str:
    return (datetime.now(UTC) + timedelta(hours=hours)).isoformat()


def test_a_suspicion_of_fraud_is_opened_approved_listed_and_closed(cli: Commands) -> None:
    """P3.6-fraud."""
    subject = cli.put_contact("050-2345611").rpartition("/records/")[0]

    opened = cli.answer(
        "fred", "access", "open-incident", "-t", "acme", "--kind", "fraud", *HAPPENED, "--subject", subject, "--until", later(24)
    )["incident"]
    own = cli.error("fred", "access", "approve-incident", opened["name"])
    approved = cli.answer("olga", "access", "approve-incident", opened["name"])["incident"]
    listed = cli.answer("abel", "access", "incidents", "-t", "acme")["incidents"]
    closed = cli.answer("sara", "access", "close-incident", opened["name"])["incident"]

    assert opened["state"] == "INCIDENT_STATE_OPENED"
    assert opened["subjects"] == [subject]
    assert own["reason"] == "ROLE_NOT_ALLOWED"
    assert (approved["state"], approved["approved_by"]) == ("INCIDENT_STATE_ACTIVE", "people/olga")
    assert approved in listed
    assert closed["state"] == "INCIDENT_STATE_CLOSED"


def test_a_security_incident_is_reviewed_by_somebody_else(cli: Commands) -> None:
    """P3.6-sectech."""
    opened = cli.answer("sara", "access", "open-incident", "-t", "acme", "--kind", "security", *HAPPENED)["incident"]

    reviewed = cli.answer("abel", "access", "review-incident", opened["name"], "--finding", "nothing was read that was not needed")
    again = cli.error("abel", "access", "review-incident", opened["name"], "--finding", "nothing was read that was not needed")

    assert opened["authority_due_time"]
    assert reviewed["incident"]["review_time"]
    assert again["reason"] == "INCIDENT_REVIEWED"
    assert again["hint"]


def test_an_incident_without_sense_is_refused_with_advice(cli: Commands) -> None:
    """A30, P3.6-fraud."""
    open_one = ("access", "open-incident", "-t", "acme")

    with_number = cli.error("sara", *open_one, "--kind", "security", "--summary", "the phone 050-2345678 was read")
    too_long = cli.error("sara", *open_one, "--kind", "security", *HAPPENED, "--until", later(80))
    nobody = cli.error("fred", *open_one, "--kind", "fraud", *HAPPENED)
    missing = cli.error("sara", "access", "close-incident", f"tenants/acme/incidents/{'a' * 26}")
    usage = cli.run("sara", *open_one, "--kind", "curiosity", *HAPPENED)

    refused = [with_number, too_long, nobody, missing]
    assert [error["reason"] for error in refused] == ["PII_IN_JUSTIFICATION", "FIELD_INVALID", "FIELD_REQUIRED", "INCIDENT_NOT_FOUND"]
    assert all(error["hint"] for error in refused)
    assert usage.code == 2


def test_a_role_is_granted_attested_and_revoked(cli: Commands) -> None:
    """L2, L16, P3.6-no3p."""
    cli.answer("sara", "access", "grant-role", "nina", "legal-officer", "--until", later(24))

    unknown = cli.error("sara", "access", "grant-role", "nina", "partner")
    conflict = cli.error("sara", "access", "grant-role", "nina", "privacy-officer")
    listed = cli.answer("abel", "access", "role-grants")
    stale = cli.error("abel", "access", "review", "0" * 64)
    cli.answer("abel", "access", "review", listed["list_digest"])
    cli.answer("olga", "access", "revoke-role", "nina", "legal-officer")
    [hers] = cli.answer("abel", "access", "role-grants", "--employee", "nina")["grants"]

    assert [error["reason"] for error in (unknown, conflict, stale)] == ["UNKNOWN_ROLE", "ROLE_CONFLICT", "LIST_STALE"]
    assert all(error["hint"] for error in (unknown, conflict, stale))
    assert hers["attest_time"]
    assert hers["revoke_time"]


def test_an_agreement_is_registered_and_listed(cli: Commands, tmp_path: Path) -> None:
    """L7."""
    document = tmp_path / "agreement.pdf"
    document.write_bytes(b"signed")
    register = ("access", "register-agreement", "-t", "acme", "affiliate", document, "--signed", "2026-01-01", "--until", "2036-01-01")

    registered = cli.answer("olga", *register, "--purpose", "service-delivery")["agreement"]
    unknown = cli.error("olga", *register, "--purpose", "curiosity")
    listed = cli.answer("acme-admin", "access", "agreements", "-t", "acme")["agreements"]

    assert (registered["party"], registered["purposes"]) == ("affiliate", ["service-delivery"])
    assert unknown["reason"] == "UNKNOWN_PURPOSE"
    assert registered in listed
    assert cli.error("fred", "access", "agreements", "-t", "acme")["reason"] == "ROLE_NOT_ALLOWED"


def test_a_hold_is_placed_listed_and_released(cli: Commands, tmp_path: Path) -> None:
    """§5.4 step 2, A29."""
    subject = cli.put_contact("050-2345677").rpartition("/records/")[0]
    document = tmp_path / "agreement.pdf"
    document.write_bytes(b"signed")
    cli.answer("olga", "tenant", "register-nda", "lea", document, "--signed", "2026-01-01", "--until", "2036-01-01")
    why = ("-r", "CASE-17", "--reason", "the police will ask a court")
    letter = ("order", "hold", "-t", "acme", "--kind", "preservation", *why)
    number = ("--identifier", "phone=050-2345677", "--category", "end-customer-contact")

    by_name = cli.answer("lea", *letter, "--subject", subject)["hold"]
    by_number = cli.answer("lea", *letter, *number, "--from", "2026-03-01", "--to", "2026-03-08")["hold"]
    no_period = cli.error("lea", *letter, *number)
    listed = cli.answer("abel", "order", "holds", "-t", "acme")["holds"]
    released = cli.answer("lea", "order", "release-hold", by_name["name"], "--kind", "preservation", *why)["hold"]
    unknown = cli.error("lea", "order", "release-hold", f"tenants/acme/holds/{'a' * 26}", "--kind", "preservation", *why)

    assert by_name["subjects"] == by_number["subjects"] == [subject]
    assert no_period["reason"] == "FIELD_REQUIRED"
    assert {hold["name"] for hold in listed} == {by_name["name"], by_number["name"]}
    assert released["released_by"] == "people/lea"
    assert unknown["reason"] == "HOLD_NOT_FOUND"
    assert unknown["hint"]
