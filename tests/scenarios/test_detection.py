"""What the vault sees in its own log and opens an incident for, with its clock (L5, L39)."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from sqlalchemy import update

from tests.builders import asked, contact, create, subject_of
from tests.rotating import all_rows, drop_cached, put
from tests.scenarios.test_metrics import points
from tests.scenarios.test_subject_export import exported, given_officer, visitor
from tests.serving import Serving, serving, why
from vault.errors import ResourceExhaustedError
from vault.operations import checkpoint, detect
from vault.operations.meters import Meters
from vault.operations.upkeep import share_budgets, upkeep_caller
from vault.store.incidents import use_incident
from vault.store.tables import audit_heads, record_parts, tenant_keys
from vault.telemetry import meter_provider
from vault.v1.access_service_pb2 import (
    INCIDENT_KIND_SECURITY,
    INCIDENT_STATE_CLOSED,
    CloseIncidentRequest,
    Incident,
    ListIncidentsRequest,
    OpenIncidentRequest,
    PlantHoneySubjectRequest,
)
from vault.v1.audit_service_pb2 import QueryAuditEntriesRequest

ACME, APP = "tenants/acme", "spiffe://pii-vault.localhost/acme-app"


async def seen(served: Serving, parent: str = ACME) -> dict[str, Incident]:
    """Incidents that the vault opened, by trigger; after it has looked at everything."""
    await detect.detect(served.vault, detect.Detector(), upkeep_caller())
    auditor = served.service("auditor")
    answer = await auditor.call(auditor.access.ListIncidents, ListIncidentsRequest(parent=parent))
    return {item.trigger: item for item in answer.incidents if item.trigger}


async def refusals(served: Serving, count: int) -> None:
    support = served.person("e-7", "support")
    name = f"{ACME}/subjects/{'a' * 26}/records/{'b' * 26}"
    for _ in range(count):
        await support.refused(support.records.RevealRecord, asked(name, because=why("marketing")))


async def test_fifty_denials_of_one_actor_in_five_minutes_are_an_incident_with_its_clock(served: Serving) -> None:
    """L5: actor, window, affected counts, report due."""
    await served.create_tenants()
    await refusals(served, 49)
    before = await seen(served)

    await refusals(served, 1)
    after = await seen(served)
    await refusals(served, 5)
    later = await seen(served)

    incident = after["denial-burst"]
    assert before == {}
    assert (incident.principal, incident.severity, incident.opened_by) == ("people/e-7", "severe", "upkeep")
    assert incident.record_count >= 50
    assert incident.window_start_time.ToDatetime() < incident.create_time.ToDatetime()
    assert incident.authority_due_time.ToDatetime() - incident.create_time.ToDatetime() == timedelta(hours=24)
    assert incident.gdpr_due_time.ToDatetime() - incident.create_time.ToDatetime() == timedelta(hours=72)
    assert later.keys() == {"denial-burst"}


async def test_denials_that_are_spread_out_are_none(served: Serving) -> None:
    await served.create_tenants()
    await refusals(served, 30)
    served.clock.offset += timedelta(minutes=6)
    await refusals(served, 30)

    assert await seen(served) == {}


async def test_a_planted_person_alarms_and_the_tenants_log_does_not_tell_who_is_planted(served: Serving) -> None:
    await served.create_tenants()
    app, officer = served.service("acme-app"), served.person("e-1", "security-investigator")
    honey, other = await create(app, contact()), await create(app, contact("+972502345681"))
    subject = honey.name.split("/records/")[0]
    receipt = (await officer.call(officer.access.PlantHoneySubject, PlantHoneySubjectRequest(subject=subject))).receipt
    await app.call(app.records.RevealRecord, asked(other.name))
    quiet = await seen(served)

    await app.call(app.records.RevealRecord, asked(honey.name))
    alarmed = await seen(served)

    admin = served.service("acme-admin")
    own = await admin.call(admin.audit.QueryAuditEntries, QueryAuditEntriesRequest(parent=ACME, operation="plant-honey"))
    assert quiet == {}
    assert alarmed["honey-record"].principal.endswith("/acme-app")
    assert receipt.log == "system"
    assert list(own.entries) == []


async def test_a_planted_person_who_is_handed_out_as_a_persons_own_data_alarms(served: Serving) -> None:
    """Whoever forges a request of somebody reads as much as whoever reveals."""
    officer = await given_officer(served)
    subject = subject_of((await create(served.service("acme-app"), visitor())).name)
    investigator = served.person("e-1", "security-investigator")
    await investigator.call(investigator.access.PlantHoneySubject, PlantHoneySubjectRequest(subject=subject))

    await exported(officer, subject)

    assert (await seen(served))["honey-record"].principal == "people/e-officer"


async def test_a_person_who_is_not_there_cannot_be_planted(served: Serving) -> None:
    await served.create_tenants()
    officer = served.person("e-1", "security-investigator")

    refused = await officer.refused(officer.access.PlantHoneySubject, PlantHoneySubjectRequest(subject=f"{ACME}/subjects/{'a' * 26}"))

    assert refused.reason == "SUBJECT_NOT_FOUND"


async def test_a_ciphertext_that_somebody_wrote_into_is_an_incident(served: Serving) -> None:
    """Design §9: refused, and an incident."""
    await served.create_tenants()
    app = served.service("acme-app")
    record = await create(app, contact())
    [part] = await all_rows(served, record_parts)
    await put(served, record_parts, part, sealed=part.sealed[:-1] + bytes([part.sealed[-1] ^ 1]))

    refused = await app.refused(app.records.RevealRecord, asked(record.name))

    incident = (await seen(served))["damaged-data"]
    assert refused.reason == "CIPHERTEXT_INVALID"
    assert (incident.principal, incident.record_count, incident.subject_count) == (ACME, 1, 1)


async def test_an_alarm_of_a_tenant_whose_keys_do_not_open_is_an_incident_of_the_system(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    record = await create(app, contact())
    for row in await all_rows(served, tenant_keys):
        if row.tenant_id == "acme":
            await put(served, tenant_keys, row, wrapped=bytes(len(row.wrapped)))
    await drop_cached(served)
    refused = await app.refused(app.records.RevealRecord, asked(record.name))

    own, of_system = await seen(served), await seen(served, "system")

    assert refused.reason == "CIPHERTEXT_INVALID"
    assert own == {}
    assert of_system["damaged-data"].principal == ACME
    officer = served.person("e-1", "security-investigator")
    closing = CloseIncidentRequest(name=of_system["damaged-data"].name)
    closed = await officer.call(officer.access.CloseIncident, closing)
    assert closed.incident.state == INCIDENT_STATE_CLOSED
    assert closed.receipt.log == "system"
    nobody = await app.refused(app.access.CloseIncident, closing)
    assert nobody.reason == "ROLE_NOT_ALLOWED"


async def test_a_log_that_was_written_into_is_an_incident(served: Serving) -> None:
    await served.create_tenants()
    await create(served.service("acme-app"), contact())
    async with served.vault.database.write() as connection:
        await connection.execute(
            update(audit_heads).where(audit_heads.c.tenant_id == "acme").values(frontier=(1).to_bytes(8) + bytes(32), size=1)
        )

    reader = InMemoryMetricReader()
    watched = replace(served.vault, meters=Meters(meter_provider("test", reader)))

    broken = await checkpoint.check_logs(served.vault)
    await detect.check_broken(watched, upkeep_caller(), broken)
    await detect.check_broken(watched, upkeep_caller(), broken)

    assert {key: value for key, value in points(reader) if key[0] == "pii_vault.incidents"} == {
        ("pii_vault.incidents", str({"trigger": "chain-break"})): 1
    }
    assert broken == ["acme"]
    assert (await seen(served))["chain-break"].principal == "logs/acme"


async def test_a_use_of_an_incident_that_nobody_reviewed_in_time_is_one_itself(served: Serving) -> None:
    await served.create_tenants()
    investigator = served.person("e-2", "security-investigator")
    opening = OpenIncidentRequest(parent=ACME, kind=INCIDENT_KIND_SECURITY, summary="somebody signed in from two places")
    incident = (await investigator.call(investigator.access.OpenIncident, opening)).incident
    async with served.vault.database.write() as connection:
        await use_incident(connection, "acme", incident.name.rsplit("/", 1)[-1], served.clock())
    before = await seen(served)
    served.clock.offset += timedelta(days=5)

    after, again = await seen(served), await seen(served)

    assert before == {}
    assert after["unreviewed-incident"].principal == incident.name
    assert again.keys() == after.keys()


async def test_what_is_a_bulk_read_is_configured(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    async with serving(home_template, tmp_path / "home", migrated_url, bulk_records=5) as served:
        await served.create_tenants()
        app = served.service("acme-app")
        record = await create(app, contact())
        for _ in range(4):
            await app.call(app.records.RevealRecord, asked(record.name))
        before = await seen(served)

        await app.call(app.records.RevealRecord, asked(record.name))

        assert before == {}
        assert (await seen(served))["bulk-read"].record_count == 5


async def test_a_spent_budget_for_a_purpose_is_refused_and_seen(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    """Another purpose is refused for what it is, and not for the budget."""
    principals = yaml.safe_load((home_template / "vault.yaml").read_text())["principals"]
    principals[APP] |= {"hourly_releases_for": {"service-delivery": 2}}
    async with serving(home_template, tmp_path / "home", migrated_url, principals=principals) as served:
        await served.create_tenants()
        app = served.service("acme-app")
        record = await create(app, contact())
        for _ in range(2):
            await app.call(app.records.RevealRecord, asked(record.name))

        refused = await app.refused(app.records.RevealRecord, asked(record.name))
        elsewhere = await app.refused(app.records.RevealRecord, asked(record.name, because=why("own-marketing")))

        assert (refused.reason, elsewhere.reason) == ("RELEASE_BUDGET_EXCEEDED", "PURPOSE_NOT_ALLOWED")
        assert (await seen(served))["budget-exceeded"].principal == APP


@pytest.mark.parametrize("database_kind", ["postgres"], indirect=True)
async def test_a_budget_is_shared_by_replicas(served: Serving, migrated_url: str) -> None:
    """A stolen account is not released its budget once for each worker."""
    await served.create_tenants()
    thief = replace(upkeep_caller(), principal=APP, hourly_releases=10, hourly_releases_for={"support": 8})
    async with serving(served.home, served.home, migrated_url) as other:
        other.clock.offset = served.clock.offset
        served.vault.budgets.spend(thief, 7, purpose="support")
        await share_budgets(served.vault, "one")
        other.vault.budgets.spend(replace(thief, principal="people/somebody"), 1, purpose="support")
        await share_budgets(other.vault, "two")

        for records, purpose in ((2, "support"), (4, "billing")):
            with pytest.raises(ResourceExhaustedError):
                other.vault.budgets.spend(thief, records, purpose=purpose)
        other.vault.budgets.spend(thief, 1, purpose="support")
        other.vault.budgets.spend(thief, 2, purpose="billing")
