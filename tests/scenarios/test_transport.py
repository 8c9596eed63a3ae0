"""Where a tenant lets data come unencrypted to an edge service: signed for, for a year, marked, and never to the vault (P3.7-optout, A11)."""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sqlalchemy import select

from tests.builders import at, contact, create, entry_of, record, rows, subject_of
from tests.imports import end, header, imported, not_imported, some
from tests.serving import Serving
from vault.store import tables
from vault.v1.resources_pb2 import Tenant, TransportPolicy
from vault.v1.tenant_service_pb2 import UpdateTenantRequest
from vault.v1.vault_service_pb2 import CreateRecordRequest, ImportRecordsRequest, RecordInput


def policy(served: Serving, service: str = "FTP", *, days: float = 364, ago: float = 1, **changes: object) -> TransportPolicy:
    signed: datetime = served.clock() - timedelta(days=ago)
    given = {
        "plaintext_allowed": True,
        "signer": "head-of-it",
        "risk_text_version": "2026.1",
        "sign_time": at(signed),
        "expire_time": at(signed + timedelta(days=days)),
        **changes,
    }
    return TransportPolicy(edge_service=service, **given)  # type: ignore[arg-type]


def change(*policies: TransportPolicy) -> UpdateTenantRequest:
    tenant = Tenant(name="tenants/acme", transport_policies=policies)
    return UpdateTenantRequest(tenant=tenant, update_mask=FieldMask(paths=["transport_policies"]))


def by(channel: str, ingress: str) -> ImportRecordsRequest:
    return header(channel=channel, ingress=ingress, repeat=f"{channel} {ingress}")


def list_file(subject: str, channel: str, ingress: str) -> RecordInput:
    fields: dict[str, str | bytes] = {"sha256": "a" * 64, "channel": channel, "ingress": ingress, "body": b"phone\n0502345678\n"}
    return record("list-file", fields, subject=subject)


async def ingresses(served: Serving) -> list[str]:
    async with served.vault.database.read() as connection:
        return sorted((await connection.execute(select(tables.imports.c.ingress))).scalars())


async def test_a_file_that_came_unencrypted_is_taken_only_by_a_channel_that_was_signed_for(served: Serving) -> None:
    """P3.2.1-channels, P3.7-optout."""
    await served.create_tenants()
    app, admin = served.service("acme-app"), served.service("acme-admin")
    row = some({"phone": "050-2345678"})

    async def refused(message: ImportRecordsRequest) -> tuple[str, str]:
        error = await not_imported(app, message, row, end(1))
        return error.code.name, error.reason

    before = await refused(by("FTP", "PLAINTEXT"))
    await imported(app, by("FTP", "TLS"), row, end(1))
    await imported(app, by("SFTP", ""), row, end(1))
    set_ = (await admin.call(admin.tenants.UpdateTenant, change(policy(served)))).tenant
    await imported(app, by("FTP", "PLAINTEXT"), row, end(1))

    assert before == ("FAILED_PRECONDITION", "PLAINTEXT_CHANNEL_FORBIDDEN")
    assert [(item.edge_service, item.plaintext_allowed, item.signer) for item in set_.transport_policies] == [("FTP", True, "head-of-it")]
    assert await refused(by("WEB", "PLAINTEXT")) == ("FAILED_PRECONDITION", "PLAINTEXT_CHANNEL_FORBIDDEN")
    assert await refused(by("FTP", "CARRIER PIGEON")) == ("INVALID_ARGUMENT", "FIELD_INVALID")
    assert await ingresses(served) == ["PLAINTEXT", "TLS", "TLS"]
    served.clock.offset = timedelta(days=364)
    assert (await refused(by("FTP", "PLAINTEXT")))[1] == "PLAINTEXT_CHANNEL_FORBIDDEN"


@pytest.mark.parametrize(("first", "then"), [("TLS", "PLAINTEXT"), ("PLAINTEXT", "TLS")])
async def test_a_file_whose_rest_came_unencrypted_is_marked_so(served: Serving, first: str, then: str) -> None:
    """P3.7-optout, A11: the mark is kept so that the risk can be measured."""
    await served.create_tenants()
    app, admin = served.service("acme-app"), served.service("acme-admin")
    await admin.call(admin.tenants.UpdateTenant, change(policy(served)))
    rows_ = [some({"phone": f"050-234567{n}"}, start=n) for n in (1, 2)]

    cut = await not_imported(app, header(channel="FTP", ingress=first), rows_[0], end(2))
    await imported(app, header(channel="FTP", ingress=then), *rows_, end(2))

    assert cut.reason == "IMPORT_INCOMPLETE"
    assert await ingresses(served) == ["PLAINTEXT"]


async def test_a_list_file_says_how_it_came_and_is_refused_alike(served: Serving) -> None:
    """P3.2.1-channels."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), contact())).name)
    engine, admin = served.service("engine"), served.service("acme-admin")
    before = await rows(served)

    refused = await engine.refused(
        engine.records.CreateRecord, CreateRecordRequest(parent="tenants/acme", record=list_file(person, "FTP", "PLAINTEXT"))
    )
    after = await rows(served)
    encrypted = await create(engine, list_file(person, "FTP", "TLS"))
    await admin.call(admin.tenants.UpdateTenant, change(policy(served)))
    plain = await create(engine, list_file(person, "FTP", "PLAINTEXT"))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "PLAINTEXT_CHANNEL_FORBIDDEN")
    assert (await entry_of(served, refused)).decision == "REFUSED"
    assert after == before
    assert [item.metadata["ingress"] for item in (encrypted, plain)] == ["TLS", "PLAINTEXT"]


@pytest.mark.parametrize("lacking", ["signer", "risk_text_version", "sign_time"])
async def test_nobody_lets_data_come_unencrypted_without_signing_for_the_risk(served: Serving, lacking: str) -> None:
    """P3.7-optout."""
    await served.create_tenants()
    admin, wanted = served.service("acme-admin"), policy(served)
    wanted.ClearField(lacking)  # type: ignore[arg-type]

    refused = await admin.refused(admin.tenants.UpdateTenant, change(wanted))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "RISK_ACK_REQUIRED")
    assert (await entry_of(served, refused)).operation == "update-tenant"


async def test_a_choice_is_for_known_edge_services_and_a_year_and_names_nobody(served: Serving) -> None:
    """A11: the vault's own port is none of them."""
    await served.create_tenants()
    admin = served.service("acme-admin")
    wrong = {
        "the vault": [policy(served, "VAULT")],
        "nothing": [policy(served, "")],
        "longer than a year": [policy(served, days=367)],
        "over before it began": [policy(served, days=-1)],
        "no end": [policy(served, expire_time=None)],
        "a name": [policy(served, signer="Dana Levi")],
        "a mailbox": [policy(served, signer="dana@example.com")],
        "a service twice": [policy(served), policy(served)],
    }

    refused = {case: (await admin.refused(admin.tenants.UpdateTenant, change(*given))).reason for case, given in wrong.items()}

    assert refused == dict.fromkeys(wrong, "FIELD_INVALID")


async def test_a_signature_at_the_end_of_the_calendar_lets_nothing_in_before(served: Serving) -> None:
    """P3.7-optout: a choice is in force from its signature on."""
    await served.create_tenants()
    app, admin = served.service("acme-app"), served.service("acme-admin")
    signed = datetime(9999, 6, 1, tzinfo=UTC)
    late = policy(served, sign_time=at(signed), expire_time=at(signed + timedelta(days=1)))

    chosen = (await admin.call(admin.tenants.UpdateTenant, change(late))).tenant
    refused = await not_imported(app, by("FTP", "PLAINTEXT"), some({"phone": "050-2345678"}), end(1))

    assert len(chosen.transport_policies) == 1
    assert refused.reason == "PLAINTEXT_CHANNEL_FORBIDDEN"


async def test_what_is_not_named_is_encrypted_again(served: Serving) -> None:
    await served.create_tenants()
    admin = served.service("acme-admin")
    await admin.call(admin.tenants.UpdateTenant, change(policy(served), policy(served, "WS")))

    left = (await admin.call(admin.tenants.UpdateTenant, change(policy(served, "WS"), policy(served, plaintext_allowed=False)))).tenant
    none = (await admin.call(admin.tenants.UpdateTenant, change())).tenant

    assert [item.edge_service for item in left.transport_policies] == ["WS"]
    assert not none.transport_policies
