"""People's rights on the command line, on a real vault process: from the request to the file, and what a refusal says."""

import json
import stat
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.commands import Commands, commands
from vault.v1.vault_service_pb2 import CheckContactableRequest

REASON = ("--reason", "the person asked us in writing")


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        started.sign_in("e-officer", "privacy-officer")
        yield started


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    path = tmp_path / "letter.pdf"
    path.write_bytes(b"signed by hand")
    return path


def subject_with(cli: Commands, phone: str) -> str:
    return cli.put_contact(phone).rpartition("/records/")[0]


def contactable(cli: Commands, phone: str) -> bool:
    request = CheckContactableRequest(parent="tenants/acme", kind="phone", value=phone, purpose="own-marketing")
    with cli.vault.client("acme-app") as client:
        return client.call(client.records.CheckContactable, request).contactable


def opened(cli: Commands, subject: str, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = cli.answer(
        "acme-app", "rights", "request", "-t", "acme", "access", "--channel", "letter", "--subject", subject, *options
    )["subject_request"]
    return made


def test_a_consent_is_recorded_and_withdrawn(cli: Commands, evidence: Path) -> None:
    """P1.7-no3p, L26."""
    subject = subject_with(cli, "050-666-0001")

    given = cli.answer("acme-app", "rights", "consent", subject, "third-party:partner", "--evidence", evidence, "--text-version", "1")
    withdrawn = cli.answer("acme-app", "rights", "withdraw", subject, "third-party:partner")
    again = cli.error("acme-app", "rights", "withdraw", subject, "third-party:partner")

    assert given["receipt"]["log"] == withdrawn["receipt"]["log"] == "acme"
    assert again["reason"] == "CONSENT_NOT_FOUND"
    assert again["hint"]


def test_advertising_follows_what_was_chosen(cli: Commands) -> None:
    """P2.9b-mkt-out, A10."""
    subject = subject_with(cli, "050-666-0002")

    cli.answer("acme-app", "rights", "marketing", subject, "in", "--source", "web", "--basis", "explicit-opt-in")
    assert contactable(cli, "050-666-0002")

    cli.answer("acme-app", "rights", "marketing", subject, "out", "--source", "phone")
    assert not contactable(cli, "050-666-0002")

    unfounded = cli.error("acme-app", "rights", "marketing", subject, "in", "--source", "web", "--channel", "sms")
    assert (unfounded["reason"], unfounded["fields"]) == ("FIELD_REQUIRED", ["basis"])


def test_a_restriction_is_lifted_with_a_notice_only(cli: Commands) -> None:
    """L31."""
    subject = subject_with(cli, "050-666-0003")

    restricted = cli.answer("e-officer", "rights", "restrict", subject, *REASON)
    refused = cli.error("e-officer", "rights", "lift", subject, *REASON)
    lifted = cli.answer("e-officer", "rights", "lift", subject, "--notice", "notice-1", *REASON)

    assert restricted["subject"]["state"] == "SUBJECT_STATE_RESTRICTED"
    assert refused["reason"] == "NOTICE_REQUIRED"
    assert lifted["subject"]["state"] == "SUBJECT_STATE_ACTIVE"


def test_an_objection_restricts(cli: Commands) -> None:
    """L34, P2.5-nonsub."""
    subject = subject_with(cli, "050-666-0004")

    cli.answer("acme-app", "rights", "object", subject, "customer-report")

    assert cli.answer("acme-app", "subject", "get", subject)["subject"]["state"] == "SUBJECT_STATE_RESTRICTED"


def test_a_guardian_is_registered_and_withdraws(cli: Commands, evidence: Path) -> None:
    """P2.6-minor."""
    subject = subject_with(cli, "050-666-0005")
    who = ("--name", "Ruth", "--contact", "050-666-9999", "--method", "in-person")

    cli.answer("e-officer", "rights", "guardian", subject, "--evidence", evidence, *who)
    cli.answer("e-officer", "rights", "guardian-withdraw", subject)

    assert cli.answer("acme-app", "subject", "get", subject)["subject"]["state"] == "SUBJECT_STATE_RESTRICTED"


def test_a_request_runs_its_course(cli: Commands, evidence: Path) -> None:
    """P2.7-rights, L28, A26."""
    received = datetime.now(UTC) - timedelta(days=3)
    made = opened(cli, subject_with(cli, "050-666-0006"), "--received", received.isoformat())
    due = datetime.fromisoformat(made["due_time"])
    later = (due + timedelta(days=30)).isoformat()
    extending = ("--until", later, "--reason", "the archive has to be read back first")

    verified = cli.answer("e-officer", "rights", "verify-request", made["name"], "--evidence", evidence)
    extended = cli.answer("e-officer", "rights", "extend-request", made["name"], *extending)
    again = cli.error("e-officer", "rights", "extend-request", made["name"], *extending)
    listed = cli.answer("auditor", "rights", "requests", "-t", "acme")["subject_requests"]
    cli.answer("e-officer", "rights", "close-request", made["name"])

    assert verified["subject_request"]["verify_time"]
    assert datetime.fromisoformat(extended["subject_request"]["due_time"]) == due + timedelta(days=30)
    assert again["reason"] == "ALREADY_EXTENDED"
    assert made["name"] in {request["name"] for request in listed}
    open_now = cli.answer("auditor", "rights", "requests", "-t", "acme")["subject_requests"]
    everything = cli.answer("auditor", "rights", "requests", "-t", "acme", "--closed")["subject_requests"]
    assert made["name"] not in {request["name"] for request in open_now}
    assert made["name"] in {request["name"] for request in everything}


def test_a_persons_data_is_written_to_a_file_of_its_owners(cli: Commands, evidence: Path, tmp_path: Path) -> None:
    """P1.3-gdpr, L13: verified first, then a ZIP that nobody else can read."""
    subject = subject_with(cli, "050-666-0007")
    request = opened(cli, subject)["name"]
    package = tmp_path / "data.zip"
    export = ("rights", "export", subject, "--request", request, "-o", package, *REASON)

    assert cli.error("e-officer", *export)["reason"] == "IDENTITY_NOT_VERIFIED"
    assert not package.exists()

    cli.answer("e-officer", "rights", "verify-request", request, "--evidence", evidence)
    written = cli.answer("e-officer", *export)

    assert cli.error("e-officer", *export)["reason"] == "FILE_EXISTS"
    assert written["size_bytes"] == package.stat().st_size
    assert written["receipt"]["log"] == "acme"
    assert stat.S_IMODE(package.stat().st_mode) == 0o600
    with zipfile.ZipFile(package) as files:
        statement = json.loads(files.read("statement.json"))
    assert [item["tenant"] for item in statement["statements"]] == ["tenants/acme"]
