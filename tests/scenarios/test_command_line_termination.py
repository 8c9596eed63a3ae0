"""The end of a contract on the command line, on a real vault process: from the request to the report that anybody verifies."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.commands import Commands, commands
from tests.processes import wait_until

WHY = ("--reference", "END-1", "--reason", "the customer gave notice in writing")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        started.sign_in("e-operator", "operator")
        started.sign_in("e-second", "privacy-officer")
        yield started


def state(cli: Commands, tenant: str) -> str:
    return str(cli.answer("auditor", "tenant", "termination-report", tenant)["termination"]["state"])


def test_a_contract_is_ended_and_its_data_taken(cli: Commands, tmp_path: Path) -> None:
    """P3.8, L36: by two people; the customer has thirty days."""
    phones = ["+972502340001", "+972502340002"]
    for phone in phones:
        cli.put_contact(phone)
    early = cli.error("auditor", "tenant", "termination-report", "acme")
    effective = datetime.now(UTC).isoformat()
    asked = cli.answer("e-operator", "tenant", "terminate", "acme", "--effective", effective, *WHY)
    own = cli.error("e-operator", "tenant", "approve-termination", "acme", "--effective", effective, *WHY)
    approved = cli.answer("e-second", "tenant", "approve-termination", "acme", "--effective", effective, *WHY)
    until = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    wait_until(lambda: state(cli, "acme") == "TERMINATION_STATE_GRACE", "closed")
    request = cli.answer("acme-admin", "tenant", "open-request", "acme", "--operation", "export", "--until", until)
    folder, reason = tmp_path / "data", "the customer takes its data"
    taking = ("tenant", "return-export", "acme", "--request", request["customer_request"]["name"], "--reason", reason, "-o", folder)

    taken = cli.answer("acme-admin", *taking)
    again = cli.error("acme-admin", *taking)
    refused = cli.error("acme-app", "put", "-t", "acme", "--category", "end-customer-contact", f"phone={phones[0]}")

    assert early["reason"] == "TERMINATION_NOT_FOUND"
    assert asked["termination"]["state"] == "TERMINATION_STATE_REQUESTED"
    assert own["reason"] == "SEPARATION_OF_DUTIES"
    assert approved["termination"]["approver"] == "people/e-second"
    assert taken["counts"] == {"end-customer-contact": 2}
    lines = [json.loads(line) for line in (folder / "end-customer-contact.jsonl").read_text().splitlines()]
    assert {line["phone"] for line in lines} == set(phones)
    assert folder.stat().st_mode & 0o077 == 0
    assert again["reason"] == "FILE_EXISTS"
    assert (refused["reason"], bool(refused["hint"])) == ("TENANT_TERMINATED", True)


def test_the_report_is_fetched_and_verified_by_anybody(cli: Commands, tmp_path: Path) -> None:
    """L36: of a contract that ended a day ago, with a day of grace."""
    cli.create_tenant("initech")
    effective = (datetime.now(UTC) - timedelta(days=1, seconds=5)).isoformat()
    cli.answer("e-operator", "tenant", "terminate", "initech", "--effective", effective, "--grace-days", "1", "--by-operator", *WHY)
    cli.answer("e-second", "tenant", "approve-termination", "initech", "--effective", effective, *WHY)
    report, key = tmp_path / "report.txt", cli.home / "verifier.txt"
    wait_until(lambda: state(cli, "initech") == "TERMINATION_STATE_COMPLETE", "complete")

    told = cli.answer("auditor", "tenant", "termination-report", "initech", "-o", report)
    said = cli.answer("auditor", "tenant", "verify-termination", report, "--key", key)
    report.write_text(report.read_text().replace('"asked_by": "OPERATOR"', '"asked_by": "CUSTOMER"'))
    forged = cli.error("auditor", "tenant", "verify-termination", report, "--key", key)

    assert told["termination"]["asked_by"] == "TERMINATION_PARTY_OPERATOR"
    assert (said["tenant"], said["asked_by"], said["categories"], said["return_time"]) == ("tenants/initech", "OPERATOR", {}, "")
    assert forged["reason"] == "NOTE_INVALID"


def test_surplus_is_told(cli: Commands) -> None:
    """A21."""
    assert cli.answer("globex-admin", "tenant", "surplus", "globex") == {"lists": [], "former_contacts_due": "0"}
