"""What people ask the log: who saw this person, what did this one do, what was done under that, what was refused (L2, L4, N16)."""

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.builders import asked, at, contact, create
from tests.commands import Commands, commands
from tests.serving import Caller, Serving, why
from vault.errors import PermissionDeniedError
from vault.operations import log
from vault.operations.attempt import Attempt, Justification
from vault.operations.attempt import Caller as Principal
from vault.operations.core import active_tenant
from vault.v1.audit_service_pb2 import ListAuditEntriesRequest, ListSubjectAccessesRequest, QueryAuditEntriesRequest
from vault.v1.resources_pb2 import AuditEntry, Record

ACME = "tenants/acme"
LEGAL = Principal(
    principal="people/e-9",
    kind="person",
    roles=frozenset({"legal-officer"}),
    tenants=None,
    method="test",
    trace_id="t",
    auth_method="mtls+oidc",
)


async def query(caller: Caller, **asked_for: object) -> list[AuditEntry]:
    """Everything that fits, over all pages."""
    found: list[AuditEntry] = []
    request = QueryAuditEntriesRequest(**{"parent": ACME, **asked_for})  # type: ignore[arg-type]
    for _ in range(100):
        answer = await caller.call(caller.audit.QueryAuditEntries, request)
        found.extend(answer.entries)
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found
    raise AssertionError("pages without an end")


async def accesses(caller: Caller, record: Record, *, page_size: int = 0) -> tuple[list[AuditEntry], int]:
    found: list[AuditEntry] = []
    request = ListSubjectAccessesRequest(subject=record.name.split("/records/")[0], page_size=page_size)
    while True:
        answer = await caller.call(caller.audit.ListSubjectAccesses, request)
        found.extend(answer.entries)
        request.page_token = answer.next_page_token
        if not request.page_token:
            return found, answer.withheld_count


def index(entry: AuditEntry) -> int:
    return int(entry.name.rsplit("/", 1)[-1])


async def test_entries_are_found_by_who_what_why_when_and_how_it_ended(served: Serving) -> None:
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    record = await create(app, contact())
    ticket = why(reference="CASE-77")
    await app.call(app.records.RevealRecord, asked(record.name, because=ticket))
    middle = served.clock() + timedelta(minutes=5)
    served.clock.offset += timedelta(minutes=10)
    support = served.person("e-7", "support")
    await support.refused(support.records.RevealRecord, asked(record.name, because=why("marketing")))
    everything = await query(auditor)

    by_actor = await query(auditor, actor="people/e-7")
    by_carrier = await query(auditor, actor="spiffe://pii-vault.localhost/desk")
    by_ticket = await query(auditor, about="CASE-77")
    refused = await query(auditor, decision="REFUSED")
    early, late = await query(auditor, end_time=at(middle)), await query(auditor, start_time=at(middle))
    together = await query(auditor, operation="reveal", decision="ALLOWED", category="end-customer-contact")

    assert {entry.actor for entry in by_actor} == {"people/e-7"}
    assert [entry.reference for entry in by_ticket] == ["CASE-77"]
    assert by_carrier == by_actor == refused
    assert [*early, *late] == everything
    assert late == refused
    assert [index(entry) for entry in together] == [index(entry) for entry in by_ticket]
    assert by_ticket[0].policy_version
    assert (by_ticket[0].actor_kind, by_ticket[0].auth_method, by_ticket[0].count, list(by_ticket[0].fields)) != ("", "", 0, [])


async def test_pages_of_an_answer_make_up_the_whole_of_it(served: Serving) -> None:
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    record = await create(app, contact())
    for _ in range(7):
        await app.call(app.records.RevealRecord, asked(record.name))

    whole, paged = await query(auditor, operation="reveal"), await query(auditor, operation="reveal", page_size=3)
    at_once, by_two = await accesses(auditor, record), await accesses(auditor, record, page_size=2)

    assert len(whole) == 7
    assert paged == whole
    assert by_two == at_once
    assert len(at_once[0]) == 8


async def test_who_saw_a_person_is_told_up_to_the_last_call_refusals_too(served: Serving) -> None:
    await served.create_tenants()
    app, auditor = served.service("acme-app"), served.service("auditor")
    record, other = await create(app, contact()), await create(app, contact("+972502345681"))
    await app.call(app.records.RevealRecord, asked(record.name))
    await app.call(app.records.RevealRecord, asked(other.name))
    support = served.person("e-7", "support")
    await support.refused(support.records.RevealRecord, asked(record.name, because=why("marketing")))

    found, withheld = await accesses(auditor, record)

    assert [(entry.operation, entry.decision) for entry in found][-2:] == [("reveal", "ALLOWED"), ("reveal", "REFUSED")]
    assert all(record.name.split("/")[3] in entry.subjects for entry in found)
    assert withheld == 0


async def gagged(served: Serving, record: Record, *, refused: bool = False) -> None:
    """What somebody did under a gag, as a flow records it."""
    attempt = Attempt(
        LEGAL,
        operation="export",
        tenant="acme",
        subjects=(record.name.split("/")[3],),
        records=(record.name.split("/")[5],),
        count=1,
        justification=Justification("court-order", f"{ACME}/orders/{'c' * 26}", "carrying out what the court ordered"),
        is_justified=True,
        is_gagged=True,
    )
    if refused:
        await log.refuse(served.vault, [attempt], PermissionDeniedError("PURPOSE_NOT_ALLOWED", "no"))
        return
    async with served.vault.database.write() as connection:
        _, keys = await active_tenant(served.vault, connection, "acme")
        open_one = Attempt(LEGAL, operation="reveal", tenant="acme")
        receipts = await log.append(served.vault, connection, keys, [attempt, open_one])
    assert [receipt.log for receipt in receipts] == ["system", "acme"]


async def test_a_tenant_and_a_person_learn_nothing_of_what_a_gag_covers(served: Serving) -> None:
    """N16: neither entries nor counts nor gaps; whoever looks after the vault is told that there are some, and finds them."""
    await served.create_tenants()
    app, admin, auditor = served.service("acme-app"), served.service("acme-admin"), served.service("auditor")
    record = await create(app, contact())
    before = await accesses(admin, record)
    size = (await admin.call(admin.audit.ListAuditEntries, ListAuditEntriesRequest(parent=ACME))).log_size

    await gagged(served, record, refused=True)
    after = await accesses(admin, record)
    same = (await admin.call(admin.audit.ListAuditEntries, ListAuditEntriesRequest(parent=ACME))).log_size
    await gagged(served, record)

    assert after == before
    assert same == size
    assert (await accesses(auditor, record))[1] == 2
    orders = await query(auditor, parent="system", about=f"{ACME}/orders/{'c' * 26}")
    assert [(entry.tenant, entry.gagged, entry.decision) for entry in orders] == [("acme", True, "REFUSED"), ("acme", True, "ALLOWED")]


@pytest.fixture
def cli(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Commands]:
    with commands(database_kind, request, tmp_path) as started:
        yield started


def test_answers_come_as_lines_json_and_csv_without_a_value(cli: Commands) -> None:
    record = cli.put_contact("050-2345612")
    cli.put_contact("050-2345613")
    subject = record.split("/records/")[0]

    lines = cli.run("auditor", "audit", "find", "acme", "--actor", "spiffe://pii-vault.localhost/acme-app")
    as_json = cli.answer("auditor", "audit", "accesses", subject)
    as_csv = cli.run("auditor", "audit", "find", "acme", "--operation", "create", "--csv", "--limit", "0")
    refused = cli.answer("auditor", "audit", "find", "acme", "--refused")
    mistaken = cli.error("auditor", "audit", "find", "acme", "--since", "yesterday")

    rows = list(csv.DictReader(io.StringIO(as_csv.out)))
    assert len(lines.out.splitlines()) == 2
    assert len(as_json["entries"]) == 1
    assert [row["operation"] for row in rows] == ["create", "create"]
    assert refused["entries"] == []
    assert mistaken["reason"] == "FIELD_INVALID"
    assert "234561" not in lines.out + json.dumps(as_json) + as_csv.out


def test_the_evidence_of_a_quarter_names_nobody_and_no_value(cli: Commands, tmp_path: Path) -> None:
    """L1, L8: matrix, grants, refusals, rotations, surplus, heads and components in one folder, with digests."""
    record = cli.put_contact("050-2345612")
    cli.error("acme-app", "reveal", record, "--purpose", "marketing", "--reason", "wanting to see what is in there")
    pack = tmp_path / "pack"

    cli.answer("auditor", "audit", "evidence", "-o", pack)

    files = {str(path.relative_to(pack)): path.read_text() for path in pack.rglob("*") if path.is_file()}
    manifest = [line.split("  ", 1) for line in files.pop("MANIFEST.sha256").splitlines()]
    refusals = list(csv.DictReader(io.StringIO(files["refusals.csv"])))
    assert {name: digest for digest, name in manifest} == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    assert {"checkpoints/acme.checkpoint", "checkpoints/system.checkpoint", "database-definition.md", "components.json"} <= files.keys()
    assert [row["operation"] for row in refusals if row["tenant"] == "acme"] == ["reveal"]
    assert json.loads(files["components.json"])["bomFormat"] == "CycloneDX"
    assert json.loads(files["surplus.json"]).keys() == {"acme", "globex"}
    assert json.loads(files["surplus.json"])["acme"]["lists"] == []
    _, _, _, subject, _, record_id = record.split("/")
    assert [name for name, text in files.items() if any(part in text for part in ("2345612", subject, record_id))] == []
