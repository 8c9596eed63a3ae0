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


def state(cli: Commands) -> str:
    return str(cli.answer("auditor", "tenant", "termination-report", "acme")["termination"]["state"])


def test_a_contract_is_ended_its_data_taken_and_the_report_verified(cli: Commands, tmp_path: Path) -> None:
    """P3.8, L36: with a grace that is over at once, since the moment was a day and some seconds ago."""
    phones = ["+972502340001", "+972502340002"]
    for phone in phones:
        cli.put_contact(phone)
    early = cli.error("auditor", "tenant", "termination-report", "acme")
    effective = (datetime.now(UTC) - timedelta(days=1) + timedelta(seconds=25)).isoformat()
    asked = cli.answer("e-operator", "tenant", "terminate", "acme", "--effective", effective, "--grace-days", "1", *WHY)
    own = cli.error("e-operator", "tenant", "approve-termination", "acme", "--effective", effective, *WHY)
    approved = cli.answer("e-second", "tenant", "approve-termination", "acme", "--effective", effective, *WHY)
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    wait_until(lambda: state(cli) == "TERMINATION_STATE_GRACE", "closed")
    request = cli.answer("acme-admin", "tenant", "open-request", "acme", "--operation", "export", "--until", until)
    name = request["customer_request"]["name"]
    folder = tmp_path / "data"
    taking = ("tenant", "return-export", "acme", "--request", name, "--reason", "the customer takes its data", "-o", folder)

    taken = cli.answer("acme-admin", *taking)
    again = cli.error("acme-admin", *taking)
    refused = cli.error("acme-app", "put", "-t", "acme", "--category", "end-customer-contact", f"phone={phones[0]}")
    wait_until(lambda: state(cli) == "TERMINATION_STATE_COMPLETE", "complete")
    report, key = tmp_path / "report.txt", cli.home / "verifier.txt"
    told = cli.answer("auditor", "tenant", "termination-report", "acme", "-o", report)
    said = cli.answer("auditor", "tenant", "verify-termination", report, "--key", key)
    report.write_text(report.read_text().replace('"erased": 2', '"erased": 3'))
    forged = cli.error("auditor", "tenant", "verify-termination", report, "--key", key)

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
    assert told["counts"]["end-customer-contact"]["erased"] in {2, "2"}
    assert said["categories"]["end-customer-contact"]["erased"] == 2
    assert said["return_time"]
    assert forged["reason"] == "NOTE_INVALID"


def test_surplus_is_told(cli: Commands) -> None:
    """A21."""
    assert cli.answer("globex-admin", "tenant", "surplus", "globex") == {"lists": [], "former_contacts_due": "0"}
