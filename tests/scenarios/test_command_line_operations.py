"""Content levels, edge transport, jobs, retention, definition and readiness on the command line, on a real vault process."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.commands import Commands, commands


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def database_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path_factory.mktemp("vault")) as started:
        yield started


def moment(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


def test_content_levels_are_chosen_and_given_back(cli: Commands) -> None:
    """P3.2-lvl-rep, P3.2-lvl-files-off."""
    chosen = cli.answer("acme-admin", "tenant", "levels", "acme", "report=on", "report/SMS=30", "system-file=off")["tenant"]
    none = cli.answer("acme-admin", "tenant", "levels", "acme")["tenant"]

    assert chosen["content_levels"] == [
        {"level": "report", "channel": "", "enabled": True, "retention_days": 0},
        {"level": "report", "channel": "SMS", "enabled": True, "retention_days": 30},
        {"level": "system-file", "channel": "", "enabled": False, "retention_days": 0},
    ]
    assert none["content_levels"] == []


def test_a_system_log_for_a_month_is_refused_with_advice(cli: Commands) -> None:
    """P3.2-lvl-logs."""
    refused = cli.error("acme-admin", "tenant", "levels", "acme", "system-log=30")
    unclear = cli.run("acme-admin", "tenant", "levels", "acme", "system-log=long")

    assert (refused["reason"], refused["metadata"]["limit"]) == ("RETENTION_ABOVE_CEILING", "7d")
    assert refused["hint"]
    assert unclear.code == 2
    assert "on, off or a number of days" in unclear.err


def test_an_edge_service_is_unencrypted_once_somebody_signed(cli: Commands) -> None:
    """P3.7-optout."""
    signed = ("--signer", "head-of-it", "--risk-text", "2026.1", "--signed", moment(-1), "--until", moment(300))

    refused = cli.error("acme-admin", "tenant", "transport", "acme", "FTP")
    chosen = cli.answer("acme-admin", "tenant", "transport", "acme", "FTP", "WS", *signed)["tenant"]
    none = cli.answer("acme-admin", "tenant", "transport", "acme")["tenant"]

    assert refused["reason"] == "RISK_ACK_REQUIRED"
    assert refused["hint"]
    assert [item["edge_service"] for item in chosen["transport_policies"]] == ["FTP", "WS"]
    assert none["transport_policies"] == []


def test_a_job_is_opened_and_closed(cli: Commands) -> None:
    """P3.5-send."""
    opened = cli.answer("acme-app", "tenant", "open-job", "acme", "--list", "spring", "--until", moment(1))["job"]
    closed = cli.answer("acme-app", "tenant", "close-job", opened["name"])["job"]
    unknown = cli.error("acme-app", "tenant", "close-job", f"tenants/acme/jobs/{'a' * 26}")

    assert opened["list"] == "spring"
    assert closed["close_time"]
    assert unknown["reason"] == "JOB_NOT_FOUND"
    assert unknown["hint"]


def test_retention_is_run_for_one_tenant_and_for_all(cli: Commands) -> None:
    one = cli.answer("operator", "operations", "retention", "-t", "acme")
    every = cli.answer("operator", "operations", "retention")

    assert (one["erased_counts"], every["erased_counts"]) == ({}, {})
    assert every["receipt"]["log"] == "system"


def test_the_definition_is_printed_or_written(cli: Commands, tmp_path: Path) -> None:
    """L1."""
    shown = cli.run("operator", "operations", "definition", "--language", "en")
    written = cli.answer("operator", "operations", "definition", "--output", tmp_path / "definition.md")
    unknown = cli.error("operator", "operations", "definition", "--language", "fr")

    assert shown.out.startswith("# Database definition\n")
    assert "\n### C31 " in shown.out
    assert (tmp_path / "definition.md").read_text(encoding="utf-8").startswith("# הגדרת מאגר המידע\n")
    assert written["policy_version"].startswith("20")
    assert unknown["reason"] == "FIELD_INVALID"


def test_readiness_is_told(cli: Commands) -> None:
    told = cli.answer("operator", "operations", "readiness")
    refused = cli.error("acme-admin", "operations", "readiness")

    assert told["ready"] is True
    assert set(told["findings"]) <= {"DEFINITION_STALE"}
    assert refused["reason"] == "ROLE_NOT_ALLOWED"
