"""What a tenant says about content levels holds for what is stored from then on, and takes away what is stored already (P3.2-lvl-*)."""

from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import event
from typer import BadParameter

from tests.builders import contact, create, entries, incoming, outgoing, record, subject_of
from tests.faults import quiet
from tests.serving import Caller, Serving
from vault.cli import tenants as commands
from vault.client.errors import CallError
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.resources_pb2 import ContentLevel, Record, Tenant
from vault.v1.tenant_service_pb2 import GetTenantRequest, ListTenantsRequest, UpdateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest, GetRecordRequest, RecordInput


def level(name: str, *, on: bool = True, days: int = 0, channel: str = "") -> ContentLevel:
    return ContentLevel(level=name, enabled=on, retention_days=days, channel=channel)


def change(*levels: ContentLevel, etag: str = "") -> UpdateTenantRequest:
    tenant = Tenant(name="tenants/acme", content_levels=levels, etag=etag)
    return UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=["content_levels"]))


async def choose(served: Serving, *levels: ContentLevel) -> Tenant:
    admin = served.service("acme-admin")
    return (await admin.call(admin.tenants.UpdateTenant, change(*levels))).tenant


def sent(served: Serving, person: str, at: str, *, channel: str = "SMS") -> RecordInput:
    """A message that was sent just now."""
    item = outgoing(person, at)
    item.fields["submitted_at"].text = served.clock().isoformat()
    item.fields["channel"].text = channel
    return item


async def not_stored(engine: Caller, item: RecordInput) -> CallError:
    return await engine.refused(engine.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=item))


async def sweep(served: Serving) -> dict[str, int]:
    operator = served.service("operator")
    answer = await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))
    return dict(answer.erased_counts)


async def left(served: Serving, items: list[Record]) -> list[bool]:
    """Which of the records are there still."""
    support = served.service("legal-officer")
    found = []
    for item in items:
        try:
            await support.call(support.records.GetRecord, GetRecordRequest(name=item.name))
            found.append(True)
        except CallError as error:
            found.append(error.reason != "RECORD_NOT_FOUND")
    return found


async def person_of(served: Serving) -> str:
    await served.create_tenants()
    return subject_of((await create(served.service("acme-app"), contact())).name)


async def test_reports_keep_content_from_when_the_customer_asks_for_it(served: Serving) -> None:
    """P3.2-lvl-rep: later bodies are kept, earlier ones are not brought back."""
    person, engine = await person_of(served), served.service("engine")
    before = await not_stored(engine, sent(served, person, "report"))

    tenant = await choose(served, level("report"))
    kept = await create(engine, sent(served, person, "report"))

    assert (before.code.name, before.reason) == ("FAILED_PRECONDITION", "CONTENT_NOT_RETAINED")
    assert [(item.level, item.enabled) for item in tenant.content_levels] == [("report", True)]
    assert kept.expire_time.ToDatetime() - kept.occur_time.ToDatetime() == timedelta(days=90)
    assert (await entries(served))[-2].operation == "update-tenant"
    assert b'"fields":["content_levels"]' in (await entries(served))[-2].content


async def test_switching_reports_off_takes_their_content_away_and_no_other(served: Serving) -> None:
    """P3.2-lvl-rep-off: the next sweep leaves none; system files are unaffected; switching on brings nothing back."""
    person, engine = await person_of(served), served.service("engine")
    await choose(served, level("report"))
    reported = await create(engine, sent(served, person, "report"))
    filed = await create(engine, sent(served, person, "system-file"))

    await choose(served)
    erased = await sweep(served)
    await choose(served, level("report"))

    assert erased == {"outgoing-message": 1}
    assert await left(served, [reported, filed]) == [False, True]
    assert [(e.operation, e.category) for e in await entries(served)].count(("retain", "outgoing-message")) == 1
    assert await sweep(served) == {}


async def test_system_files_hold_no_content_if_the_customer_says_so(served: Serving) -> None:
    """P3.2-lvl-files-off."""
    person, engine = await person_of(served), served.service("engine")
    filed = await create(engine, sent(served, person, "system-file"))

    await choose(served, level("system-file", on=False))
    refused = await not_stored(engine, sent(served, person, "system-file"))
    erased = await sweep(served)

    assert refused.reason == "CONTENT_NOT_RETAINED"
    assert erased == {"outgoing-message": 1}
    assert await left(served, [filed]) == [False]


async def test_a_channel_goes_before_every_channel(served: Serving) -> None:
    """P3.2-lvl-files-off: optionally per channel."""
    person, engine = await person_of(served), served.service("engine")
    text, voice = [await create(engine, sent(served, person, "system-file", channel=channel)) for channel in ("SMS", "VOICE")]

    await choose(served, level("system-file", on=False), level("system-file", channel="VOICE", days=10))
    refused = await not_stored(engine, sent(served, person, "system-file"))
    kept = await create(engine, sent(served, person, "system-file", channel="VOICE"))
    erased = await sweep(served)

    assert refused.reason == "CONTENT_NOT_RETAINED"
    assert kept.expire_time.ToDatetime() - kept.occur_time.ToDatetime() == timedelta(days=10)
    assert erased == {"outgoing-message": 1}
    assert await left(served, [text, voice, kept]) == [False, True, True]


async def test_replies_and_faxes_are_of_one_channel_without_naming_it(served: Serving) -> None:
    """P3.2-lvl-files-off."""
    await served.create_tenants()
    engine = served.service("engine")
    fields: dict[str, str | bytes] = {
        "fax_id": "f-1",
        "from": "+972732345678",
        "to": "+972502345678",
        "leg": "PLATFORM",
        "sent_at": "2026-11-20T08:00:00Z",
        "body": b"x",
    }
    await choose(served, level("system-file", on=False, channel="FAX"), level("report", on=False, channel="SMS"))

    refused = [
        await not_stored(engine, record("fax", fields, level="system-file")),
        await not_stored(engine, incoming("report")),
    ]
    await create(engine, incoming("system-file"))

    assert [error.reason for error in refused] == ["CONTENT_NOT_RETAINED"] * 2


async def test_the_system_log_may_be_kept_for_less_and_never_for_more(served: Serving) -> None:
    """P3.2-lvl-logs, A6, A7: seven days; fourteen are the ceiling, and only the bundle may go up to it."""
    person, engine, admin = await person_of(served), served.service("engine"), served.service("acme-admin")
    wrong = {
        "thirty days": level("system-log", days=30),
        "above the catalogue": level("system-log", days=8),
        "files for ever": level("system-file", days=181),
        "switched off": level("system-log", on=False),
        "below zero": level("report", days=-1),
        "no such level": level("archive"),
        "no such channel": level("report", channel="PIGEON"),
    }

    refused = {case: (await admin.refused(admin.tenants.UpdateTenant, change(item))).reason for case, item in wrong.items()}
    twice = await admin.refused(admin.tenants.UpdateTenant, change(level("report"), level("report", on=False)))
    await choose(served, level("system-log", days=2))
    kept = await create(engine, sent(served, person, "system-log"))

    assert refused == {
        "thirty days": "RETENTION_ABOVE_CEILING",
        "above the catalogue": "RETENTION_ABOVE_CEILING",
        "files for ever": "RETENTION_ABOVE_CEILING",
        "switched off": "FIELD_INVALID",
        "below zero": "FIELD_INVALID",
        "no such level": "LEVEL_INVALID",
        "no such channel": "FIELD_INVALID",
    }
    assert twice.reason == "FIELD_INVALID"
    assert kept.expire_time.ToDatetime() - kept.occur_time.ToDatetime() == timedelta(days=2)


async def test_settings_are_replaced_whole_shown_and_guarded(served: Serving) -> None:
    await served.create_tenants()
    admin, operator = served.service("acme-admin"), served.service("operator")
    first = await choose(served, level("report"), level("system-file", days=30))

    second = await choose(served, level("system-file", days=20, channel="SMS"))
    stale = await admin.refused(admin.tenants.UpdateTenant, change(etag=first.etag))
    shown = (await admin.call(admin.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))).tenant
    listed = (await operator.call(operator.tenants.ListTenants, ListTenantsRequest())).tenants

    assert len(first.content_levels) == 2
    assert list(shown.content_levels) == list(second.content_levels) == [level("system-file", days=20, channel="SMS")]
    assert [list(item.content_levels) for item in listed] == [list(second.content_levels), []]
    assert stale.reason == "ETAG_MISMATCH"


@pytest.mark.parametrize("etag", ["0", "999999999999", "9" * 30, "9" * 5000, "one"])
async def test_a_version_that_never_was_is_no_version(served: Serving, etag: str) -> None:
    await served.create_tenants()
    admin = served.service("acme-admin")

    refused = await admin.refused(admin.tenants.UpdateTenant, change(level("report"), etag=etag))

    assert (refused.code.name, refused.reason) == ("ABORTED", "ETAG_MISMATCH")


@pytest.mark.parametrize("said", ["0", "-1", "1e3", "99999999999", "9" * 5000, "long", ""])
def test_the_command_line_takes_only_days_that_can_be_kept(said: str) -> None:
    """P3.2-lvl-rep: no days at all is not the catalogue's ninety."""
    with pytest.raises(BadParameter, match="a number of days from 1"):
        commands.levels("acme", [f"report={said}"])


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_storing_costs_no_query_for_a_tenant_without_settings(served: Serving) -> None:
    """They are remembered with the version of the tenant."""
    person, engine = await person_of(served), served.service("engine")
    await quiet(served)
    asked: list[str] = []
    event.listen(served.vault.database.engine.sync_engine, "before_cursor_execute", lambda *given: asked.append(given[2]))

    for _ in range(2):
        await create(engine, sent(served, person, "system-file"))

    assert [statement for statement in asked if "content_levels" in statement] == []
    await choose(served, level("report"))
    await create(engine, sent(served, person, "report"))
    assert any("content_levels" in statement and statement.startswith("SELECT") for statement in asked)
