"""Clauses about what a tenant decides for itself, how long things are kept, and the document that says so."""

from datetime import timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import asked, at, contact, create, not_revealed, outgoing, profile, record, reveal, subject_of
from tests.faults import quiet
from tests.serving import Caller, Serving, why
from vault.catalogue.fields import Sensitivity
from vault.catalogue.loader import load
from vault.client.errors import CallError
from vault.v1.operations_service_pb2 import GetDatabaseDefinitionRequest, GetReadinessRequest, RunRetentionRequest
from vault.v1.resources_pb2 import ContentLevel, Tenant, TransportPolicy
from vault.v1.tenant_service_pb2 import CloseJobRequest, GetTenantRequest, OpenJobRequest, UpdateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest, RecordInput

DAY = timedelta(days=1)
REPORT = why("customer-report", reason="the customer opened its report")
FAULT = why("technical-fault", "SUP-4711", "the customer reports that a message is missing")


@pytest.fixture
async def served(served: Serving) -> Serving:
    """What is due goes when a test says so: the server's own sweep would be now and then before it."""
    await quiet(served)
    return served


async def settings(admin: Caller, **changed: object) -> UpdateTenantRequest:
    """A request to change what the tenant decides."""
    read = (await admin.call(admin.tenants.GetTenant, GetTenantRequest(name="tenants/acme"))).tenant
    tenant = Tenant(name=read.name, etag=read.etag, **changed)  # type: ignore[arg-type]
    return UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=list(changed)))


async def decide(admin: Caller, **changed: object) -> None:
    await admin.call(admin.tenants.UpdateTenant, await settings(admin, **changed))


async def not_decided(admin: Caller, **changed: object) -> CallError:
    return await admin.refused(admin.tenants.UpdateTenant, await settings(admin, **changed))


async def sweep(served: Serving) -> dict[str, int]:
    """What a sweep erases, per category."""
    operator = served.service("operator")
    answer = await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))
    return dict(answer.erased_counts)


def sent(served: Serving, person: str, level: str) -> RecordInput:
    """A message that was sent just now."""
    message = outgoing(person, level)
    message.fields["submitted_at"].text = served.clock().isoformat()
    return message


async def test_content_for_reports_is_kept_only_while_the_customer_asks_for_it(served: Serving) -> None:
    """P3.2-lvl-rep, P3.2-lvl-rep-off: off, on for what comes later, off again and swept; system files stay."""
    await served.create_tenants()
    admin, engine, reporting = served.service("acme-admin"), served.service("engine"), served.service("reporting")
    person = subject_of((await create(engine, contact())).name)
    wanted = CreateRecordRequest(parent="tenants/acme", record=sent(served, person, "report"))

    before = await engine.refused(engine.records.CreateRecord, wanted)
    await decide(admin, content_levels=[ContentLevel(level="report", enabled=True)])
    kept = (await create(engine, sent(served, person, "report"))).name
    filed = (await create(engine, sent(served, person, "system-file"))).name
    shown = await reveal(reporting, asked(kept, "body", because=REPORT))
    await decide(admin, content_levels=[])
    again = await engine.refused(engine.records.CreateRecord, wanted)
    erased = await sweep(served)

    assert shown.fields["body"].data
    assert [error.reason for error in (before, again)] == ["CONTENT_NOT_RETAINED"] * 2
    assert erased == {"outgoing-message": 1}
    assert (await not_revealed(reporting, asked(kept, "body", because=REPORT))).code.name == "NOT_FOUND"
    assert (await reveal(served.service("support"), asked(filed, "body", because=FAULT))).fields["body"].data


async def test_a_customer_can_forbid_content_in_system_files_and_keep_it_for_less_time_only(served: Serving) -> None:
    """P3.2-lvl-files-off, A7: what exists goes with the sweep; longer than the policy says is refused."""
    await served.create_tenants()
    admin, engine = served.service("acme-admin"), served.service("engine")
    person = subject_of((await create(engine, contact())).name)
    await create(engine, sent(served, person, "system-file"))

    longer = await not_decided(admin, content_levels=[ContentLevel(level="system-file", enabled=True, retention_days=181)])
    await decide(admin, content_levels=[ContentLevel(level="system-file", enabled=False)])
    refused = await engine.refused(
        engine.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=sent(served, person, "system-file"))
    )

    assert longer.code.name == "INVALID_ARGUMENT"
    assert refused.reason == "CONTENT_NOT_RETAINED"
    assert await sweep(served) == {"outgoing-message": 1}


async def test_a_system_log_is_gone_after_a_week_and_not_before(served: Serving) -> None:
    """P3.2-lvl-logs: seven days and a second."""
    await served.create_tenants()
    engine = served.service("engine")
    person = subject_of((await create(engine, contact())).name)
    stored = await create(engine, sent(served, person, "system-log"))

    early = await sweep(served)
    served.clock.offset = timedelta(days=7, seconds=1)
    late = await sweep(served)

    assert (early, late) == ({}, {"outgoing-message": 1})
    assert (await not_revealed(served.service("support"), asked(stored.name, "body", because=FAULT))).code.name == "NOT_FOUND"


async def test_what_nobody_took_is_gone_after_a_day(served: Serving) -> None:
    """P3.4-rec."""
    await served.create_tenants()
    num2 = served.service("num2")
    person = subject_of((await create(num2, record("app-diagnostics", {"install_id": "i-1", "crashed_at": "2026-11-01T00:00:00Z"}))).name)
    fields: dict[str, str | bytes] = {"rec_id": "r-1", "audio": b"RIFF", "delivery_target": "dana@example.com"}
    name = (await create(num2, record("call-recording", fields, subject=person))).name

    served.clock.offset = timedelta(days=1, seconds=1)
    erased = await sweep(served)

    assert erased["call-recording"] == 1
    assert (await not_revealed(num2, asked(name))).reason == "RECORD_NOT_FOUND"


async def test_encryption_is_left_out_at_the_edge_alone_by_whoever_signed_for_the_risk(served: Serving) -> None:
    """P3.7-optout, A11, P3.2.1-channels: unsigned and for longer than a year it is refused; then files say how they came."""
    await served.create_tenants()
    admin, engine = served.service("acme-admin"), served.service("engine")
    now = served.clock()
    signed = TransportPolicy(edge_service="FTP", plaintext_allowed=True, signer="cto", risk_text_version="2026-01")
    signed.sign_time.CopyFrom(at(now - DAY))
    signed.expire_time.CopyFrom(at(now + 300 * DAY))
    unsigned = TransportPolicy(edge_service="FTP", plaintext_allowed=True)
    endless = TransportPolicy()
    endless.CopyFrom(signed)
    endless.expire_time.CopyFrom(at(now + 400 * DAY))
    fields: dict[str, str | bytes] = {"sha256": "a" * 64, "channel": "FTP", "ingress": "PLAINTEXT", "body": b"0502345678"}
    person = subject_of((await create(engine, contact())).name)
    wanted = record("list-file", fields, subject=person)

    before = await engine.refused(engine.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=wanted))
    refused = [await not_decided(admin, transport_policies=[policy]) for policy in (unsigned, endless)]
    await decide(admin, transport_policies=[signed])
    stored = await create(engine, wanted)

    assert before.reason == "PLAINTEXT_CHANNEL_FORBIDDEN"
    assert refused[0].reason == "RISK_ACK_REQUIRED"
    assert refused[1].code.name == "INVALID_ARGUMENT"
    assert stored.metadata["ingress"] == "PLAINTEXT"


async def test_the_engine_reads_the_list_of_its_job_until_that_is_closed(served: Serving) -> None:
    """P3.5-send."""
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    member = await create(app, contact(list_id="spring"))
    known = await create(app, profile(subject_of(member.name), list_id="spring", first_name="דנה"))
    elsewhere = await create(app, profile(subject_of(member.name), list_id="autumn", first_name="דנה"))
    opening = OpenJobRequest(parent="tenants/acme", list="spring", expire_time=at(served.clock() + DAY))
    job = (await app.call(app.tenants.OpenJob, opening)).job
    for_job = why("service-delivery", job.name)

    shown = await reveal(engine, asked(known.name, "first_name", because=for_job))
    other = await not_revealed(engine, asked(elsewhere.name, because=for_job))
    await app.call(app.tenants.CloseJob, CloseJobRequest(name=job.name))
    closed = await not_revealed(engine, asked(known.name, because=for_job))

    assert shown.fields["first_name"].text == "דנה"
    assert [error.reason for error in (other, closed)] == ["JOB_REQUIRED"] * 2


async def test_the_definition_says_whose_it_is_and_lists_every_category_with_its_time(served: Serving) -> None:
    """L1, L12, L37, P1.1-identity, P2.2-notice: in both languages, under the policy version in force."""
    auditor, catalogue = served.service("auditor"), load()
    written = {
        language: await auditor.call(auditor.operations.GetDatabaseDefinition, GetDatabaseDefinitionRequest(language=language))
        for language in ("he", "en")
    }

    for language, answer in written.items():
        said = [catalogue.operator.name, catalogue.affiliate.name]
        for category in catalogue.categories.values():
            said += [category.title, category.notice, category.source]
            said += [one.text for one in ([level.retention for level in category.levels.values()] or [category.retention_at("")])]
        assert not [text for text in (getattr(one, language) for one in said) if text not in answer.document]
        fields = [field for category in catalogue.categories.values() for field in category.fields.values()]
        tagged = [line for line in answer.document.splitlines() if line.endswith(" |") and "(`" in line]
        high = {"he": "בעל רגישות מיוחדת", "en": "highly sensitive"}[language]
        assert len(tagged) == len(fields)
        assert sum(high in line for line in tagged) == sum(field.sensitivity is Sensitivity.HIGH for field in fields)
        assert (answer.policy_version, answer.stale) == (catalogue.policy_version, False)


async def test_a_definition_that_nobody_looked_at_for_a_year_is_a_finding(served: Serving) -> None:
    """L1."""
    operator = served.service("operator")

    before = (await operator.call(operator.operations.GetReadiness, GetReadinessRequest())).findings
    served.clock.offset = 400 * DAY
    after = (await operator.call(operator.operations.GetReadiness, GetReadinessRequest())).findings

    assert not any("DEFINITION_STALE" in finding for finding in before)
    assert any("DEFINITION_STALE" in finding for finding in after)
