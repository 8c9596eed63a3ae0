"""Changing and deleting one record: old identifiers lead nowhere, versions guard, nothing is left behind."""

from collections.abc import Mapping

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    NOTHING,
    OTHER_PHONE,
    PHONE,
    asked,
    call_detail,
    contact,
    create,
    entries,
    entry_of,
    find,
    id_of,
    mapping,
    not_revealed,
    profile,
    record,
    reveal,
    rows,
    sought,
    subject_of,
    values,
)
from tests.serving import Serving, why
from vault.store import tables
from vault.v1.vault_service_pb2 import (
    ConfirmDeliveryRequest,
    DeleteRecordRequest,
    GetRecordRequest,
    ListRecordsRequest,
    UpdateRecordRequest,
)

SERVING = why()


def changed(
    name: str, fields: Mapping[str, str | bytes], *, also: tuple[str, ...] = (), etag: str = "", extra: Mapping[str, str] | None = None
) -> UpdateRecordRequest:
    """A request to replace fields, and to remove those of `also`."""
    mask = FieldMask(paths=[*fields, *also, *(["extra"] if extra else [])])
    return UpdateRecordRequest(name=name, fields=values(fields), extra=extra, update_mask=mask, etag=etag, justification=SERVING)


async def test_after_an_update_the_new_number_is_found_and_the_old_one_is_not(served: Serving) -> None:
    """L14: the old index token is gone in the same transaction."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact(PHONE, email="dana@example.com"))

    answer = await app.call(app.records.UpdateRecord, changed(stored.name, {"phone": "050-2345679"}))

    shown = await reveal(app, asked(stored.name, "phone", "email"))
    assert list(await find(app, sought("phone", PHONE))) == []
    assert [match.record for match in await find(app, sought("phone", OTHER_PHONE))] == [stored.name]
    assert {name: value.text for name, value in shown.fields.items()} == {"phone": OTHER_PHONE, "email": "dana@example.com"}
    assert answer.record.etag != stored.etag


async def test_an_update_is_recorded_with_the_names_of_its_fields_and_none_of_their_values(served: Serving) -> None:
    """I2, I6."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact(PHONE))

    answer = await app.call(app.records.UpdateRecord, changed(stored.name, {"phone": OTHER_PHONE}))

    entry = (await entries(served))[-1]
    assert (entry.operation, list(entry.records)) == ("update", [id_of(stored.name)])
    assert answer.receipt.index == 1
    assert b'"fields":["phone"]' in entry.content
    assert OTHER_PHONE[-7:].encode() not in entry.content


async def test_a_field_that_the_mask_names_without_a_value_is_removed(served: Serving) -> None:
    await served.create_tenants()
    app, engine = served.service("acme-app"), served.service("engine")
    stored = await create(app, contact(PHONE, email="dana@example.com", channel="WEB"))
    extras = await create(app, profile(subject_of(stored.name), extra={"colour": "red", "size": "xl"}))

    removed = await app.call(app.records.UpdateRecord, changed(stored.name, {}, also=("email", "channel")))
    await app.call(app.records.UpdateRecord, changed(extras.name, {}, extra={"size": "m"}))

    shown = await reveal(engine, asked(extras.name, "extra", because=await served.job()))
    assert (list(removed.record.field_names), dict(removed.record.metadata)) == (["phone"], {})
    assert list(await find(app, sought("email", "dana@example.com"))) == []
    assert dict(shown.extra) == {"size": "m"}


async def test_an_update_on_an_older_version_is_refused(served: Serving) -> None:
    """ETAG_MISMATCH: whoever read before somebody else wrote has to read again."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact(PHONE))
    await app.call(app.records.UpdateRecord, changed(stored.name, {"phone": OTHER_PHONE}, etag=stored.etag))

    refused = [
        await app.refused(app.records.UpdateRecord, changed(stored.name, {"phone": PHONE}, etag=stored.etag)),
        await app.refused(app.records.UpdateRecord, changed(stored.name, {"phone": PHONE}, etag="no version at all")),
        await app.refused(app.records.DeleteRecord, DeleteRecordRequest(name=stored.name, etag=stored.etag, justification=SERVING)),
    ]

    shown = await reveal(app, asked(stored.name, "phone"))
    assert [(error.code.name, error.reason) for error in refused] == [("ABORTED", "ETAG_MISMATCH")] * 3
    assert {(await entry_of(served, error)).decision for error in refused} == {"REFUSED"}
    assert shown.fields["phone"].text == OTHER_PHONE


async def test_an_update_is_checked_as_strictly_as_a_new_record(served: Serving) -> None:
    """L40, P3.3-cdr, A29: what may not be stored may not be slipped in later."""
    await served.create_tenants()
    app, num2, engine = served.service("acme-app"), served.service("num2"), served.service("engine")
    stored = await create(app, contact(PHONE))
    extras = await create(app, profile(subject_of(stored.name), first_name="דנה"))
    mapped = await create(num2, mapping("+972732345678", PHONE, begin="2026-01-01T00:00:00Z"))
    before = await rows(served)
    unmasked = changed(stored.name, {"phone": OTHER_PHONE})
    unmasked.update_mask.paths[:] = ["email"]
    attempts = {
        "card in a name": changed(extras.name, {"first_name": "4111 1111 1111 1111"}),
        "card in extra": changed(extras.name, {}, extra={"note": "4111-1111-1111-1111"}),
        "code in extra": changed(extras.name, {}, extra={"cvv": "123"}),
        "unknown field": changed(stored.name, {"shoe_size": "44"}),
        "no usable number": changed(stored.name, {"phone": "12"}),
        "field outside the mask": unmasked,
        "empty value": changed(stored.name, {"phone": ""}),
    }

    refused = {case: (await app.refused(app.records.UpdateRecord, request)).reason for case, request in attempts.items()}
    not_theirs = await engine.refused(engine.records.UpdateRecord, changed(mapped.name, {"valid_to": "2026-02-01T00:00:00Z"}))

    assert refused == {
        "card in a name": "PAN_IN_FREE_FIELD",
        "card in extra": "PAN_IN_FREE_FIELD",
        "code in extra": "SAD_FORBIDDEN",
        "unknown field": "UNKNOWN_FIELD",
        "no usable number": "IDENTIFIER_INVALID",
        "field outside the mask": "FIELD_MASK_REQUIRED",
        "empty value": "FIELD_INVALID",
    }
    assert not_theirs.reason == "ROLE_NOT_ALLOWED"
    assert await rows(served) == before
    assert (await reveal(app, asked(stored.name, "phone"))).fields["phone"].text == PHONE


async def test_a_deleted_record_is_found_and_revealed_no_more(served: Serving) -> None:
    """P3.2.1-owner: members are gone from the index; the person's other records stay."""
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, contact(PHONE))
    kept = await create(app, profile(subject_of(stored.name), first_name="דנה"))

    await app.call(app.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=SERVING))

    shown = await not_revealed(app, asked(stored.name))
    again = await app.refused(app.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=SERVING))
    admin = served.service("acme-admin")
    listed = (await admin.call(admin.records.ListRecords, ListRecordsRequest(parent=subject_of(stored.name)))).records
    assert list(await find(app, sought("phone", PHONE))) == []
    assert [(error.code.name, error.reason) for error in (shown, again)] == [("NOT_FOUND", "RECORD_NOT_FOUND")] * 2
    assert [item.name for item in listed] == [kept.name]
    assert await rows(served, tables.index_entries) == (0,)
    assert [entry.operation for entry in await entries(served)].count("delete") == 2


async def test_a_record_named_under_somebody_else_does_not_exist(served: Serving) -> None:
    """I11: a name leads to a record only with the right person in it."""
    await served.create_tenants()
    app = served.service("acme-app")
    one, other = await create(app, contact(PHONE)), await create(app, contact(OTHER_PHONE))
    crossed = f"{subject_of(one.name)}/records/{id_of(other.name)}"

    refused = [
        await not_revealed(app, asked(crossed)),
        await app.refused(app.records.GetRecord, GetRecordRequest(name=crossed)),
        await app.refused(app.records.UpdateRecord, changed(crossed, {"phone": PHONE})),
        await app.refused(app.records.DeleteRecord, DeleteRecordRequest(name=crossed, justification=SERVING)),
    ]

    assert {(error.code.name, error.reason, error.message) for error in refused} == {("NOT_FOUND", "RECORD_NOT_FOUND", refused[0].message)}
    assert (await reveal(app, asked(other.name, "phone"))).fields["phone"].text == OTHER_PHONE


async def test_a_record_without_its_last_identifier_is_still_its_subjects(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    stored = await create(app, record("end-customer-contact", {"phone": PHONE, "channel": "WEB"}))

    answer = await app.call(app.records.UpdateRecord, changed(stored.name, {}, also=("phone",)))

    assert list(answer.record.field_names) == []
    assert (await reveal(app, asked(stored.name))).fields["channel"].text == "WEB"


async def test_calls_are_nobodys_to_change_or_to_delete_but_the_privacy_officers(served: Serving) -> None:
    """P3.5-reg, P3.3-cdr: call detail stays as it was recorded."""
    await served.create_tenants()
    billing, app = served.service("billing"), served.service("acme-app")
    stored = await create(billing, call_detail())

    refused = [
        await app.refused(app.records.UpdateRecord, changed(stored.name, {"calling": OTHER_PHONE})),
        await app.refused(app.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=SERVING)),
        await billing.refused(billing.records.DeleteRecord, DeleteRecordRequest(name=stored.name, justification=why("billing"))),
    ]

    assert {(error.code.name, error.reason) for error in refused} == {("PERMISSION_DENIED", "ROLE_NOT_ALLOWED")}
    assert len({party.subject for party in stored.parties}) == 3


async def test_only_what_is_transient_is_destroyed_on_delivery(served: Serving) -> None:
    """P3.4-rec: confirming the delivery of anything else changes nothing."""
    await served.create_tenants()
    num2 = served.service("num2")
    stored = await create(num2, mapping("+972732345678", PHONE, begin="2026-01-01T00:00:00Z"))

    refused = await num2.refused(num2.records.ConfirmDelivery, ConfirmDeliveryRequest(name=stored.name))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "NOT_TRANSIENT")
    assert (await entry_of(served, refused)).operation == "confirm-delivery"
    assert await rows(served) != NOTHING
