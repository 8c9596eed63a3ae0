"""A preview counts in the database: it comes to the same as looking at every record."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from tests.builders import LINE, PHONE, create, id_of, mapping, record, subject_of
from tests.serving import Serving
from vault.names import SubjectName
from vault.operations.erase_counts import count_outcomes
from vault.operations.outcomes import Requester, outcome_of
from vault.store.records import list_records

VISITOR = {"is_subscriber": "yes", "source": "VOLUNTARY", "terms_version": "2026-01"}
INVOICE = {"invoice_no": "inv-1", "service": "VOICE", "amount": "11900"}
YEAR = timedelta(days=366)


def at(moment: datetime) -> Callable[[], datetime]:
    return lambda: moment


async def test_counted_by_the_database_is_what_looking_at_each_record_gives(served: Serving) -> None:
    """Invoices of several years: all still kept, some of them past their duty, all past it; counted alike each time."""
    await served.create_tenants()
    person = subject_of((await create(served.service("acme-app"), record("site-visitor", {**VISITOR, "phone": PHONE}))).name)
    billing = served.service("billing")
    for year in ("2022", "2024", "2024", "2026"):
        invoice = record("billing-record", {**INVOICE, "issued_at": f"{year}-03-02T08:15:00Z"}, subject=person)
        await create(billing, invoice, purpose="billing")
    kept = []

    for years in range(14):
        vault = replace(served.vault, clock=at(served.clock() + years * YEAR))
        async with vault.database.read() as connection:
            counted = await count_outcomes(vault, connection, SubjectName("acme", id_of(person)), Requester.SUBJECT)
            rows = await list_records(connection, "acme", id_of(person), category="billing-record", after="", limit=100)
        looked = [outcome_of(vault.catalogue.category("billing-record"), row, Requester.SUBJECT, vault.clock()) for row in rows]
        invoices = [line for line in counted if line.category == "billing-record"]
        assert {(line.outcome, line.basis): line.count for line in invoices} == Counter((item.kind, item.basis or "") for item in looked)
        ends = [item.until for item in looked if item.until]
        assert [line.until for line in invoices if line.until] == ([max(ends).isoformat()] if ends else [])
        kept.append(len(ends))

    assert sorted(kept, reverse=True) == kept
    assert {0, 1, 3, 4} <= set(kept)


async def test_assignments_that_are_open_closed_and_over_are_counted_as_each_is(served: Serving) -> None:
    """P3.5-reg: an end that a record tells is the end of its duty; one that it does not tell is looked for again."""
    await served.create_tenants()
    num2, begin = served.service("num2"), "2015-01-01T00:00:00Z"
    stored = [
        await create(num2, mapping(LINE, PHONE, begin=begin, end=end)) for end in ("2020-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "")
    ]
    person = subject_of(stored[0].name)
    found = []

    for years in (0, 2, 6):
        vault = replace(served.vault, clock=at(served.clock() + years * YEAR))
        async with vault.database.read() as connection:
            counted = await count_outcomes(vault, connection, SubjectName("acme", id_of(person)), Requester.SUBJECT)
            rows = await list_records(connection, "acme", id_of(person), category="number-mapping", after="", limit=100)
        looked = Counter(outcome_of(vault.catalogue.category("number-mapping"), row, Requester.SUBJECT, vault.clock()).kind for row in rows)
        counts = Counter[str]()
        for line in counted:
            counts[line.outcome] += line.count
        assert counts == looked
        found.append(dict(counts))

    assert found == [{"restricted": 3}, {"restricted": 2, "erased": 1}, {"restricted": 1, "erased": 2}]
