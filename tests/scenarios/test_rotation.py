"""Rotating each key: by one call of the operator, in the background, and nobody who stored, reads or searches notices."""

from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import (
    LINE,
    NEVER,
    OTHER_PHONE,
    PHONE,
    SERVING,
    asked,
    at,
    call_detail,
    contact,
    create,
    create_all,
    entry_of,
    erase,
    find,
    id_of,
    mapping,
    reveal,
    rows,
    sought,
    subject_of,
    values,
)
from tests.faults import quiet
from tests.imports import end, header, imported, people
from tests.orders import deliver, order_for, team
from tests.processes import run
from tests.rotating import advanced, all_rows, asked_for, ended, logged, put, remove, rotated, started, versions
from tests.serving import Serving, why
from vault.audit.certificate import verify_certificate
from vault.audit.succession import successor
from vault.cli.keys import _replace_signing_key
from vault.keys import local
from vault.operations import rotate, signing
from vault.operations.upkeep import upkeep_caller
from vault.store import tables
from vault.v1.erasure_service_pb2 import GetErasureCertificateRequest
from vault.v1.operations_service_pb2 import (
    KEY_ROTATION_STATE_COMPLETE,
    KEY_ROTATION_STATE_INCOMPLETE,
    KEY_ROTATION_STATE_RUNNING,
    KeyRotation,
    RotateKeysRequest,
)
from vault.v1.resources_pb2 import VIEW_FULL
from vault.v1.vault_service_pb2 import ResolveIdentifierRequest, UpdateRecordRequest

BILLING = why("billing")
MAIL = "dana@example.com"
KINDS = ("DATA", "INDEX", "TEXT", "LEGAL", "DIGEST", "SUBJECT", "ROOT")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a tenant has stored before the rotation."""

    contact: str
    call: str
    request_id: str

    @property
    def subject(self) -> str:
        return subject_of(self.contact)


async def stocked(served: Serving) -> Stored:
    """A tenant with a bit of everything."""
    await served.create_tenants()
    app, request_id = served.service("acme-app"), str(uuid4())
    name = (await create(app, contact(email=MAIL), request_id=request_id)).name
    call = (await create(served.service("billing"), call_detail())).name
    await create(served.service("num2"), mapping(LINE, OTHER_PHONE, begin="2026-01-01T00:00:00Z"))
    await imported(app, header(), people(0, 5), end(5))
    people_of_orders = await team(served)
    await deliver(served, people_of_orders, order_for(served, people_of_orders))
    return Stored(name, call, request_id)


async def expect_all(served: Serving, stored: Stored) -> None:
    """Everything that was stored is shown, found, resolved, recognised, exported and changed."""
    app, engine, billing = served.service("acme-app"), served.service("engine"), served.service("billing")

    shown = await reveal(app, asked(stored.contact, "phone", "email"))
    assert {name: value.text for name, value in shown.fields.items()} == {"phone": PHONE, "email": MAIL}
    call = await reveal(billing, asked(stored.call, "calling", "called", "shadow_number", because=BILLING))
    assert {name: value.text for name, value in call.fields.items()} == {"calling": PHONE, "called": OTHER_PHONE, "shadow_number": LINE}
    assert [match.record for match in await find(app, sought("phone", PHONE))] == [stored.contact]
    assert [match.record for match in await find(app, sought("email", MAIL))] == [stored.contact]
    assert len(await find(app, sought("phone", "050-2000003"))) == 1
    searched = sought("phone", OTHER_PHONE, category="call-detail", because=BILLING)
    assert [id_of(match.record) for match in await find(billing, searched)] == [id_of(stored.call)]
    resolving = ResolveIdentifierRequest(
        parent="tenants/acme",
        category="number-mapping",
        kind="virtual-number",
        value=LINE,
        as_of=at("2026-02-01T00:00:00Z"),
        justification=SERVING,
        view=VIEW_FULL,
        field_mask=FieldMask(paths=["real_number"]),
    )
    resolved = (await engine.call(engine.records.ResolveIdentifier, resolving)).record
    assert resolved.fields["real_number"].text == OTHER_PHONE

    before = await rows(served)
    assert (await create(app, contact(email=MAIL), request_id=stored.request_id)).name == stored.contact
    await imported(app, header(), people(0, 5), end(5))
    assert await rows(served) == before

    people_of_orders = await team(served)
    again = order_for(served, people_of_orders)
    registrant = people_of_orders.registrant
    assert (await registrant.refused(registrant.legal.RegisterOrder, again)).reason == "ORDER_DUPLICATE"
    package = await deliver(served, people_of_orders, order_for(served, people_of_orders, document=bytes(31) + b"\2"))
    assert dict(package.export.record_counts) == {"call-detail": 1}

    same = [await create(app, contact()), await create(app, contact("", email=MAIL))]
    assert {subject_of(record.name) for record in same} == {stored.subject}
    assert (await rows(served))[0] == before[0]

    request = UpdateRecordRequest(
        name=stored.contact, fields=values({"email": "new@example.com"}), update_mask=FieldMask(paths=["email"]), justification=SERVING
    )
    await app.call(app.records.UpdateRecord, request)
    assert (await reveal(app, asked(stored.contact, "email"))).fields["email"].text == "new@example.com"


async def start(served: Serving, kind: str, stored: Stored) -> KeyRotation:
    """Start a rotation; of the root key, after it has a new version."""
    if kind == "ROOT":
        local.add_version(served.home / "root.key")
    return await started(served, asked_for(kind, subject=stored.subject if kind == "SUBJECT" else ""))


@pytest.mark.parametrize("kind", KINDS)
async def test_everything_stored_before_is_there_after_and_start_and_end_are_on_record(served: Serving, kind: str) -> None:
    stored = await stocked(served)
    log = "system" if kind == "ROOT" else "acme"

    begun = await start(served, kind, stored)
    done = await ended(served, begun.name)

    assert (done.state, done.failed_count, done.done_count) == (KEY_ROTATION_STATE_COMPLETE, 0, done.total_count)
    assert done.HasField("finish_time")
    kept = [entry for entry in await logged(served, log) if entry.resource == done.name]
    subjects = (id_of(stored.subject),) if kind == "SUBJECT" else ()
    expected = [("rotate-keys", f"key:{kind.lower()}", done.total_count, subjects, "ALLOWED")]
    if kind not in {"TEXT", "LEGAL", "DIGEST"}:
        expected.append(("finish-key-rotation", f"key:{kind.lower()}", done.done_count, subjects, "ALLOWED"))
    assert [(entry.operation, entry.rule, entry.count, entry.subjects, entry.decision) for entry in kept] == expected
    await expect_all(served, stored)


@pytest.mark.parametrize("kind", ["DATA", "INDEX", "SUBJECT"])
async def test_the_old_key_and_what_it_made_are_gone_at_the_end(served: Serving, kind: str) -> None:
    """I4: nothing that was copied before opens or finds anything any more."""
    stored = await stocked(served)
    wrapped = {row.wrapped for row in await all_rows(served, tables.subject_keys)}
    tokens = {row.token for table in (tables.index_entries, tables.identities) for row in await all_rows(served, table)}

    await ended(served, (await start(served, kind, stored)).name)

    own = [row for row in await all_rows(served, tables.subject_keys) if row.subject_id == id_of(stored.subject)]
    made = {row.token for table in (tables.index_entries, tables.identities) for row in await all_rows(served, table)}
    match kind:
        case "DATA":
            assert await versions(served, "data") == [2]
            assert {row.tenant_key_version for row in await all_rows(served, tables.subject_keys)} == {2}
            assert not wrapped & {row.wrapped for row in await all_rows(served, tables.subject_keys)}
        case "INDEX":
            assert await versions(served, "index") == [2]
            assert len(made) == len(tokens)
            assert not made & tokens
        case _:
            assert [row.version for row in own] == [2]
            assert {row.key_version for row in await all_rows(served, tables.record_parts) if row.subject_id == own[0].subject_id} == {2}


async def test_the_root_key_rotation_wraps_every_tenants_keys_under_the_newest_version(served: Serving) -> None:
    stored = await stocked(served)
    assert {row.wrapped[:2] for row in await all_rows(served, tables.tenant_keys)} == {b"\0\1"}

    await ended(served, (await start(served, "ROOT", stored)).name)

    assert {row.wrapped[:2] for row in await all_rows(served, tables.tenant_keys)} == {b"\0\2"}
    assert "rewrap-tenant-keys" in {entry.operation for entry in await logged(served, "globex")}


async def test_the_signing_key_hands_over_and_what_was_signed_before_still_verifies(served: Serving) -> None:
    """Certificates of before verify with the old key, those of after with the key that the old one introduced."""
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    old = served.vault.signer.verifier()

    async def certificate(phone: str) -> str:
        erasure = await erase(served, subject_of((await create(app, contact(phone))).name))
        request = GetErasureCertificateRequest(name=erasure.name)
        return (await auditor.call(auditor.erasures.GetErasureCertificate, request)).certificate

    before = await certificate(PHONE)
    operator = served.service("operator")
    unchanged = await operator.refused(operator.operations.RotateKeys, RotateKeysRequest(kind=asked_for("SIGNING").kind))
    _replace_signing_key(served.home / "signing.key")
    answer = await operator.call(operator.operations.RotateKeys, RotateKeysRequest(kind=asked_for("SIGNING").kind))
    after = await certificate(OTHER_PHONE)
    checkpoints = served.home / "checkpoints"
    await signing.publish_hand_overs(served.vault)
    [note] = (checkpoints / "signing-keys").glob("*.note")

    new = successor(note.read_text(), old)
    assert unchanged.reason == "SIGNING_KEY_UNCHANGED"
    assert not answer.HasField("rotation")
    assert verify_certificate(before, old)["state"] == "COMPLETE"
    assert verify_certificate(after, new)["state"] == "COMPLETE"
    assert new.text() == served.vault.signer.verifier().text() != old.text()
    entry = (await logged(served, "system"))[answer.receipt.index]
    assert (entry.operation, entry.rule, entry.resource) == ("rotate-keys", "key:signing", "signingKeys/2")
    (served.home / "old.txt").write_text(old.text() + "\n")
    printed = run("audit", "successor", served.home / "old.txt", checkpoints / "signing-keys", "--json").answer()
    assert printed == {"verifier_key": new.text(), "hand_overs": 1}


# --- what is refused


async def test_of_two_rotations_of_one_key_the_second_is_refused_and_of_different_keys_neither(served: Serving) -> None:
    stored = await stocked(served)
    await quiet(served)
    operator = served.service("operator")
    begun = [await start(served, kind, stored) for kind in ("DATA", "INDEX", "SUBJECT", "ROOT")]

    refused = [
        await operator.refused(operator.operations.RotateKeys, asked_for(kind, subject=stored.subject if kind == "SUBJECT" else ""))
        for kind in ("DATA", "INDEX", "SUBJECT", "ROOT")
    ]
    other = await started(served, asked_for("DATA", tenant="tenants/globex"))
    await advanced(served)

    assert {(error.code, error.reason) for error in refused} == {(grpc.StatusCode.ALREADY_EXISTS, "ROTATION_RUNNING")}
    assert [(await entry_of(served, error)).reason for error in refused] == ["ROTATION_RUNNING"] * 4
    assert {(await ended(served, item.name)).state for item in (*begun, other)} == {KEY_ROTATION_STATE_COMPLETE}
    await expect_all(served, stored)


async def test_what_cannot_be_rotated_is_refused_by_its_reason(served: Serving) -> None:
    await served.create_tenants()
    subject = subject_of((await create(served.service("acme-app"), contact())).name)
    operator = served.service("operator")
    requests = [
        (RotateKeysRequest(tenant="tenants/acme"), "FIELD_REQUIRED"),
        (RotateKeysRequest(tenant="tenants/acme", kind=asked_for("ROOT").kind), "FIELD_INVALID"),
        (RotateKeysRequest(kind=asked_for("DATA").kind), "FIELD_INVALID"),
        (RotateKeysRequest(tenant="tenants/acme", kind=asked_for("SIGNING").kind), "FIELD_INVALID"),
        (asked_for("SUBJECT"), "FIELD_INVALID"),
        (asked_for("DATA", subject=subject), "FIELD_INVALID"),
        (asked_for("SUBJECT", tenant="tenants/globex", subject=subject), "FIELD_INVALID"),
        (asked_for("DATA", root_key="other"), "FIELD_INVALID"),
        (asked_for("DATA", tenant="system"), "FIELD_INVALID"),
        (asked_for("ROOT", root_key="other"), "ROOT_KEY_UNKNOWN"),
        (asked_for("DATA", tenant="tenants/nobody"), "TENANT_NOT_FOUND"),
        (asked_for("SUBJECT", subject=f"tenants/acme/subjects/{NEVER}"), "SUBJECT_NOT_FOUND"),
    ]

    refused = [await operator.refused(operator.operations.RotateKeys, request) for request, _ in requests]

    assert [error.reason for error in refused] == [reason for _, reason in requests]
    assert [(await entry_of(served, error)).reason for error in refused] == [reason for _, reason in requests]
    assert await all_rows(served, tables.key_rotations) == []


async def test_an_erased_persons_key_is_not_rotated_and_an_erasure_ends_a_rotation_under_way(served: Serving) -> None:
    await served.create_tenants()
    await quiet(served)
    app, operator = served.service("acme-app"), served.service("operator")
    subject = subject_of((await create(app, contact())).name)
    begun = await started(served, asked_for("SUBJECT", subject=subject))

    await erase(served, subject)
    await advanced(served)
    refused = await operator.refused(operator.operations.RotateKeys, asked_for("SUBJECT", subject=subject))

    assert (await ended(served, begun.name)).state == KEY_ROTATION_STATE_COMPLETE
    assert refused.reason == "SUBJECT_ERASED"
    assert await all_rows(served, tables.subject_keys) == []


@pytest.mark.parametrize("who", ["acme-admin", "acme-app", "auditor", "privacy-officer", "nobody"])
async def test_nobody_but_the_operator_rotates(served: Serving, who: str) -> None:
    await served.create_tenants()
    caller = served.service(who)

    refused = await caller.refused(caller.operations.RotateKeys, asked_for("DATA"))

    assert refused.code == grpc.StatusCode.PERMISSION_DENIED
    assert (await entry_of(served, refused)).reason == refused.reason
    assert await versions(served, "data") == [1]


# --- what it meets on its way


async def test_parties_of_one_record_who_are_one_person_are_sealed_anew_together(served: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    """Harm: the batch ended between two parts of one record, the second was skipped and its key destroyed."""
    await served.create_tenants()
    monkeypatch.setattr(rotate, "_BATCH", 4)
    billing = served.service("billing")
    calls = [(await create(billing, call_detail(calling=PHONE, called=PHONE, cdr_id=f"c-{n}"))).name for n in range(7)]
    app = served.service("acme-app")
    subject = subject_of((await create(app, contact())).name)

    done = await rotated(served, "SUBJECT", subject=subject)

    assert (done.state, done.done_count) == (KEY_ROTATION_STATE_COMPLETE, 15)
    for call in calls:
        shown = await reveal(billing, asked(call, "calling", "called", because=BILLING))
        assert {value.text for value in shown.fields.values()} == {PHONE}
        assert not shown.erased_parties


async def test_an_identifier_that_two_people_share_stays_with_the_first(served: Serving) -> None:
    """Harm: the new token was bound to nobody, and the next record of the identifier made a person of its own."""
    await served.create_tenants()
    app = served.service("acme-app")
    first = (await create(app, contact(PHONE, email=MAIL))).name
    for n in range(5):
        await create(app, contact(f"+97250234560{n}", email=MAIL))
    before = await rows(served, tables.identities)

    await rotated(served, "INDEX")

    assert await rows(served, tables.identities) == before
    assert subject_of((await create(app, contact("", email=MAIL))).name) == subject_of(first)


@pytest.mark.parametrize("kind", ["DATA", "INDEX"])
async def test_what_is_stored_meanwhile_is_left_alone_and_does_not_delay_the_end(
    served: Serving, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Harm: a rotation read what was stored since its start as well, and writers faster than it kept it from ending."""
    await served.create_tenants()
    monkeypatch.setattr(rotate, "_BATCH", 3)
    app = served.service("acme-app")
    await create_all(app, [contact(f"+97250234560{n}") for n in range(7)])
    await quiet(served)
    rotation = (await started(served, asked_for(kind))).name
    batches = 0

    while await rotate.is_pending(served.vault):
        await create_all(app, [contact(f"+9725023457{batches:02}{n}") for n in range(10)])
        await rotate.advance(served.vault, upkeep_caller())
        batches += 1
        assert batches < 20
    done = await ended(served, rotation)

    assert (done.state, done.done_count, done.total_count) == (KEY_ROTATION_STATE_COMPLETE, 7, 7)


async def test_who_is_met_again_while_the_index_is_made_anew_stays_one_person(served: Serving) -> None:
    """Harm: a list that was imported again meanwhile stood under the new key alone, and the old one's end left its people bound to nobody."""
    await served.create_tenants()
    app = served.service("acme-app")
    await imported(app, header(source_digest=b"\1" * 32), people(0, 5), end(5))
    await quiet(served)
    await started(served, asked_for("INDEX"))

    await imported(app, header(source_digest=b"\2" * 32), people(0, 5), end(5))
    await advanced(served)
    await imported(app, header(source_digest=b"\3" * 32), people(0, 5), end(5))

    assert await rows(served, tables.subjects, tables.identities) == (5, 5)


@pytest.mark.parametrize("kind", ["DATA", "INDEX", "SUBJECT"])
async def test_what_does_not_open_is_counted_and_the_old_key_is_kept_until_it_does(served: Serving, kind: str) -> None:
    """Damage is not made final by a rotation; when it is mended, the next rotation ends well."""
    await served.create_tenants()
    app = served.service("acme-app")
    names = [(await create(app, contact(f"+97250234560{n}"))).name for n in range(3)]
    subject = subject_of(names[0])
    table = tables.subject_keys if kind == "DATA" else tables.record_parts
    column = "wrapped" if kind == "DATA" else "sealed"
    [damaged] = [row for row in await all_rows(served, table) if row.subject_id == id_of(subject)]
    await put(served, table, damaged, **{column: damaged._mapping[column][:-1] + bytes([damaged._mapping[column][-1] ^ 1])})

    first = await rotated(served, kind, subject=subject if kind == "SUBJECT" else "")
    found = await find(app, sought("phone", "+972502345600"))
    await put(served, table, damaged, **{column: damaged._mapping[column]})
    mended = (await reveal(app, asked(names[0], "phone"))).fields["phone"].text
    second = await rotated(served, kind, subject=subject if kind == "SUBJECT" else "")

    assert (first.state, first.failed_count) == (KEY_ROTATION_STATE_INCOMPLETE, 1)
    assert [match.record for match in found] == names[:1]
    assert mended == "+972502345600"
    assert (second.state, second.failed_count, second.version) == (KEY_ROTATION_STATE_COMPLETE, 0, 3)
    for n, name in enumerate(names):
        assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == f"+97250234560{n}"
    again = await create(app, contact("+972502345600"))
    assert subject_of(again.name) == subject


async def test_a_persons_key_that_was_lost_ends_an_index_rotation_and_does_not_keep_it_going(served: Serving) -> None:
    """Harm: the rotation began again and again, for as long as the vault ran."""
    await served.create_tenants()
    await create(served.service("acme-app"), contact())
    [key] = await all_rows(served, tables.subject_keys)
    await remove(served, tables.subject_keys, key)

    done = await rotated(served, "INDEX")

    assert (done.state, done.failed_count) == (KEY_ROTATION_STATE_INCOMPLETE, 1)
    assert await versions(served, "index") == [1, 2]


async def test_a_tenant_whose_key_is_damaged_does_not_keep_another_ones_rotation_waiting(served: Serving) -> None:
    """Harm: the first rotation that could not go on stopped all that came after it."""
    await served.create_tenants()
    await quiet(served)
    app = served.service("acme-app")
    name = (await create(app, contact())).name
    delayed = await started(served, asked_for("DATA"))
    [row] = [row for row in await all_rows(served, tables.tenant_keys) if (row.tenant_id, row.purpose, row.version) == ("acme", "data", 2)]
    await put(served, tables.tenant_keys, row, wrapped=row.wrapped[:-1] + bytes([row.wrapped[-1] ^ 1]))
    other = await started(served, asked_for("DATA", tenant="tenants/globex"))

    for _ in range(5):
        await rotate.advance(served.vault, upkeep_caller())
    during = [state.state for state in await all_rows(served, tables.key_rotations) if state.tenant_id == "acme"]
    finished = await ended(served, other.name)
    await put(served, tables.tenant_keys, row, wrapped=row.wrapped)
    served.vault.keyring.forget("acme")
    await advanced(served)

    assert during == ["RUNNING"]
    assert finished.state == KEY_ROTATION_STATE_COMPLETE
    assert delayed.state == KEY_ROTATION_STATE_RUNNING
    assert (await ended(served, delayed.name)).state == KEY_ROTATION_STATE_COMPLETE
    assert (await reveal(app, asked(name, "phone"))).fields["phone"].text == PHONE
