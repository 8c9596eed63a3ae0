"""The desk on the command line: an order from the register to its end, what is due, and what is to be done next."""

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyrage
import pytest

from tests.commands import Commands, commands
from tests.processes import run

SENTENCE = "the registry of the court read it back"


@pytest.fixture
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path) as started:
        for employee, role in (
            ("dana", "legal-officer"),
            ("eli", "legal-officer"),
            ("noa", "legal-approver"),
            ("tamar", "privacy-officer"),
            ("uri", "order-courier"),
        ):
            started.sign_in(employee, role)
        yield started


def local(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def details(**changes: Any) -> dict[str, Any]:
    """An order as somebody types it: on the clock of Jerusalem, in Hebrew."""
    now = datetime.now(UTC)
    return {
        "instrument_type": "COMMS_DATA",
        "court_level": "MAGISTRATE",
        "court_name": "בית משפט השלום בחיפה",
        "case_no": "צ״א 40917-07-26",
        "judge_name": "כב׳ השופטת ל׳ אורן",
        "requesting_body": "משטרת ישראל",
        "call_back": "the registry in our directory",
        "issued_at": local(now - timedelta(days=1)),
        "respond_by": local(now + timedelta(days=3)),
        "scope": {
            "targets": [{"id_type": "PHONE", "value": "050-2345678"}],
            "categories": ["call-detail"],
            "time_from": "2025-10-26T01:30",
            "time_to": "2025-10-31",
        },
        **changes,
    }


def register(cli: Commands, folder: Path, scan: bytes, **changes: Any) -> dict[str, Any]:
    """Register an order with a scan."""
    folder.mkdir(exist_ok=True)
    (folder / "order.json").write_text(json.dumps(details(**changes), ensure_ascii=False), encoding="utf-8")
    (folder / "order.pdf").write_bytes(scan)
    to = ("--recipient", str(pyrage.x25519.Identity.generate().to_public()), "--recipient-body", "police unit", "--verified", "call-back")
    answer: dict[str, Any] = cli.answer(
        "dana", "order", "register", folder / "order.json", "-t", "acme", "--document", folder / "order.pdf", *to
    )["order"]
    return answer


def authenticate(cli: Commands, name: str) -> None:
    cli.answer("eli", "order", "authenticate", name, "--method", "call-back", "--finding", SENTENCE)


def test_the_next_step_is_always_said_and_leads_to_the_end(cli: Commands, tmp_path: Path) -> None:
    order = register(cli, tmp_path / "in", b"scan")
    name, steps = order["name"], []

    def step(who: str) -> list[str]:
        """The command that is said to be next."""
        said = cli.run(who, "order", "show", name).out
        [line] = [line.strip() for line in said.splitlines() if line.strip().startswith("pii-vault ")]
        steps.append(line.split()[2])
        return line.split()[1:]

    cli.answer("eli", *step("eli"), "--method", "call-back", "--finding", SENTENCE)
    scoped = cli.answer("dana", *step("dana"))["order"]
    for who in ("eli", "noa"):
        seen = cli.answer(who, "order", "preview", name)
        assert seen["notes"] == ["START_CAME_TWICE"]
        cli.answer(who, *step(who), "--scope-digest", scoped["scope_digest"])
    cli.answer("dana", *step("dana"))
    cli.answer("noa", *step("noa"))
    cli.answer("uri", *step("dana")[:-1], tmp_path / "package")
    digest = hashlib.sha256((tmp_path / "package").read_bytes()).hexdigest()
    given = {"NAME": "Ori Example", "BADGE": "badge 433-17", "DIGEST": digest}
    cli.answer("uri", *(given.get(word, word) for word in step("dana")))
    closed = cli.answer("dana", *step("dana"))["order"]

    assert steps == ["authenticate", "scope", "approve", "approve", "export", "approve", "download", "deliver", "close"]
    assert closed["state"] == "ORDER_STATE_CLOSED"


def test_an_order_is_shown_in_both_languages_with_what_is_due(cli: Commands, tmp_path: Path) -> None:
    order = register(cli, tmp_path / "in", b"scan", gag="FURTHER_ORDER", privileged_occupation=True)

    shown = cli.run("dana", "order", "show", order["name"]).out
    machine = cli.answer("dana", "order", "show", order["name"])["order"]

    for words in (
        "received",
        "התקבל",
        "answer",
        "מענה",
        "further order",
        "legal-approver, legal-officer, privacy-officer",
        order["scope_digest"],
    ):
        assert words in shown.replace("legal-approver, legal-officer,\n", "legal-approver, legal-officer, ")
    assert "40917" not in shown
    assert [deadline["kind"] for deadline in machine["deadlines"]] == ["DEADLINE_KIND_RESPOND", "DEADLINE_KIND_EXPIRE"]


def test_what_is_due_is_listed_soonest_first_and_what_is_not_is_left_out(cli: Commands, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    soon = register(cli, tmp_path / "a", b"one", respond_by=local(now + timedelta(days=5)))
    late = register(cli, tmp_path / "b", b"two", respond_by=local(now - timedelta(hours=1)))
    register(cli, tmp_path / "c", b"three", respond_by=local(now + timedelta(days=20)))
    rejected = register(cli, tmp_path / "d", b"four")
    cli.answer("eli", "order", "reject", rejected["name"], "--reason", "the letter is a forgery")

    due = cli.answer("dana", "order", "list", "-t", "acme", "--due")["orders"]
    table = cli.run("dana", "order", "list", "-t", "acme", "--due").out
    every = cli.answer("dana", "order", "list", "-t", "acme")["orders"]

    assert [order["name"] for order in due] == [late["name"], soon["name"]]
    assert "LATE" in table
    assert "התקבל" in table
    assert len(every) == 4


def test_the_scope_is_narrowed_from_a_file_and_never_widened(cli: Commands, tmp_path: Path) -> None:
    order = register(cli, tmp_path / "in", b"scan")
    authenticate(cli, order["name"])
    scope, file = details()["scope"], tmp_path / "scope.json"

    file.write_text(json.dumps({**scope, "time_to": "2025-11-01"}))
    wider = cli.error("dana", "order", "scope", order["name"], "--file", file)
    file.write_text(json.dumps({**scope, "time_to": "2025-10-30", "fields": ["calling", "start_at"]}))
    narrower = cli.answer("dana", "order", "scope", order["name"], "--file", file)["order"]
    seen = cli.answer("dana", "order", "preview", order["name"], "--document-to", tmp_path / "scan.pdf")

    assert wider["reason"] == "SCOPE_EXCEEDED"
    assert narrower["state"] == "ORDER_STATE_SCOPED"
    assert seen["scope"]["fields"] == ["calling", "start_at"]
    assert (tmp_path / "scan.pdf").read_bytes() == b"scan"


def test_an_order_is_suspended_resumed_told_of_and_revoked(cli: Commands, tmp_path: Path) -> None:
    name = register(cli, tmp_path / "in", b"scan", gag={"until": local(datetime.now(UTC) + timedelta(days=9)), "from_staff": True})["name"]
    why = ("--reason", "the court wrote to us about it")

    hidden = cli.error("auditor", "order", "show", name)
    waiting = cli.answer("dana", "order", "suspend", name, *why)["order"]
    resumed = cli.answer("dana", "order", "resume", name, *why)["order"]
    told = cli.answer("dana", "order", "end-gag", name, *why)["order"]
    shown = cli.answer("auditor", "order", "show", name)["order"]
    revoked = cli.answer("dana", "order", "revoke", name, *why)["order"]
    early = cli.error("dana", "order", "close", name)

    assert hidden["reason"] == "ORDER_NOT_FOUND"
    assert [order["state"].removeprefix("ORDER_STATE_") for order in (waiting, resumed, revoked)] == ["SUSPENDED", "RECEIVED", "REVOKED"]
    assert told == shown
    assert early["reason"] == "ORDER_REVOKED"


def test_a_letter_without_an_instrument_stays_on_the_register(cli: Commands, tmp_path: Path) -> None:
    """A18: with what little it says."""
    said = {"instrument_type": "NO_INSTRUMENT", "judge_name": "an investigator", "requesting_body": "a station", "scope": None}
    letter = {name: value for name, value in details(**said).items() if name not in {"case_no", "court_name", "court_level", "respond_by"}}
    (tmp_path / "letter.json").write_text(json.dumps(letter))
    (tmp_path / "letter.pdf").write_bytes(b"letter")

    answer = cli.answer("dana", "order", "register", tmp_path / "letter.json", "-t", "acme", "--document", tmp_path / "letter.pdf")

    assert (answer["order"]["state"], answer["order"]["rejection"]) == ("ORDER_STATE_REJECTED", "NO_INSTRUMENT")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"instrument_type": "LETTER"}, "instrument_type"),
        ({"court_level": "HIGHEST"}, "court_level"),
        ({"pages": "four"}, "pages"),
        ({"case_no": 12}, "case_no"),
        ({"scope": [1]}, "scope"),
        ({"scope": {"targets": [{"id_type": "NAME", "value": "noa"}]}}, "scope.targets"),
        ({"scope": {"targets": "050-2345678"}}, "scope"),
    ],
    ids=["type", "level", "pages", "number", "no scope", "target", "no list"],
)
def test_a_file_that_is_no_order_is_refused_before_anything_is_sent(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    file, scan = tmp_path / "order.json", tmp_path / "order.pdf"
    file.write_text(json.dumps(details(**changes)))
    scan.write_bytes(b"scan")

    refused = run("order", "register", file, "-t", "acme", "--document", scan, "--json").error()

    assert (refused["reason"], refused["fields"]) == ("ORDER_FILE_INVALID", [field])


def test_details_are_asked_for_where_no_file_is_given(cli: Commands, tmp_path: Path) -> None:
    """Guided: one question after the other, in both languages."""
    (tmp_path / "order.pdf").write_bytes(b"scan")
    answers = [
        *("COMMS_DATA", "בית משפט השלום בחיפה", "צ״א 40917-07-26", "כב׳ השופטת ל׳ אורן", "משטרת ישראל"),
        *(local(datetime.now(UTC) - timedelta(days=1)), "", "", "", "the registry in our directory"),
        *("PHONE=050-2345678", "call-detail", "2025-10-01", "2025-10-31", "", "n", "n"),
    ]
    to = ("--recipient", str(pyrage.x25519.Identity.generate().to_public()), "--recipient-body", "police unit", "--verified", "call-back")

    finished = cli.run(
        "dana", "order", "register", "-t", "acme", "--document", tmp_path / "order.pdf", *to, typed="\n".join(answers) + "\n"
    )

    assert finished.code == 0, finished.err
    assert "מספר התיק" in finished.out
    assert "next: another person than the registrant" in finished.out
