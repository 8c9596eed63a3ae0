"""What in a log is an alarm, entry by entry (L5)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.unit.test_audit_log import NOW, entry
from vault.audit.entry import AuditEntry
from vault.audit.watch import QUIET, Alarm, Watch

HONEY = {"planted"}


def released(operation: str, *, count: int = 1, subject: str = "s", resource: str = "", after: timedelta = timedelta()) -> AuditEntry:
    return replace(entry(0), operation=operation, count=count, subjects=(subject,), resource=resource, time=NOW + after)


def seen(*entries: AuditEntry, bulk_records: int = 100) -> list[Alarm]:
    watch = Watch(bulk_records=bulk_records)
    return [alarm for item in entries for alarm in watch.see(item, honey=HONEY)]


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        ("reveal", ""),
        ("resolve", ""),
        pytest.param("export", "", id="a person's own data"),
        pytest.param("export", "tenants/acme/orders/o/exports/e", id="for an authority"),
    ],
)
def test_however_a_planted_person_is_released_it_is_an_alarm(operation: str, resource: str) -> None:
    [alarm] = seen(released(operation, subject="planted", resource=resource))

    assert (alarm.trigger, alarm.cause, alarm.subjects) == ("honey-record", "spiffe://vault.example/app", 1)


@pytest.mark.parametrize("operation", ["find", "update", "check", "export-subject-data"])
def test_what_releases_nothing_of_a_planted_person_is_none(operation: str) -> None:
    """The entry about an export as a whole stands beside one for each category."""
    assert seen(released(operation, count=1000, subject="planted")) == []


def test_a_customer_that_is_returned_its_data_sets_off_nothing() -> None:
    assert seen(released("export", count=1000, subject="planted", resource="tenants/acme")) == []
    assert {alarm.trigger for alarm in seen(released("export", count=1000, subject="planted", resource="tenants/globex"))} == {
        "bulk-read",
        "honey-record",
    }


@pytest.mark.parametrize(("reason", "alarms"), [("CIPHERTEXT_INVALID", 1), ("KEY_UNKNOWN", 1), ("RECORD_NOT_FOUND", 0)])
def test_what_does_not_open_is_an_alarm_of_its_tenant(reason: str, alarms: int) -> None:
    found = seen(*[replace(released("reveal", after=timedelta(seconds=n)), decision="REFUSED", reason=reason) for n in range(3)])

    assert [(alarm.trigger, alarm.cause) for alarm in found] == [("damaged-data", "tenants/acme")] * alarms


def test_bulk_is_counted_over_whatever_releases_within_an_hour() -> None:
    hour = timedelta(hours=1)
    before = [released("reveal", count=40), released("export", count=30, after=hour / 2)]

    [alarm] = seen(*before, released("resolve", count=30, after=hour - timedelta(seconds=1)))

    assert (alarm.trigger, alarm.records, alarm.start_time) == ("bulk-read", 100, NOW)
    assert seen(*before, released("resolve", count=30, after=hour)) == []


def test_one_cause_is_one_alarm_an_hour() -> None:
    again = [released("reveal", subject="planted", after=after) for after in (timedelta(), QUIET - timedelta(seconds=1), QUIET)]

    assert [alarm.time for alarm in seen(*again)] == [NOW, NOW + QUIET]
