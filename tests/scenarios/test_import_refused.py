"""Imports that cannot be finished or make no sense: nothing is reported done that is not, and nothing of them is stored."""

from tests.builders import NOTHING, entry_of, rows
from tests.imports import FILE, end, header, imported, not_imported, people
from tests.serving import Serving
from vault.v1.vault_service_pb2 import ImportRecordsRequest


async def test_an_import_that_announces_more_rows_than_arrived_stays_open(served: Serving) -> None:
    """I10: nothing is reported done that is not."""
    await served.create_tenants()
    app = served.service("acme-app")

    refused = await not_imported(app, header(), people(0, 3), end(5))
    answer = await imported(app, header(), people(0, 3), people(3, 2), end(5))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "IMPORT_INCOMPLETE")
    assert (await entry_of(served, refused)).decision == "REFUSED"
    assert (answer.row_count, answer.resumed_count, answer.accepted_count) == (5, 3, 5)


async def test_a_file_without_a_row_is_an_import_without_a_row(served: Serving) -> None:
    """Once, the number zero at the end counted as a missing field, and a file of nothing but refused lines could not be finished."""
    await served.create_tenants()
    app = served.service("acme-app")

    answer = await imported(app, header(), end(0))

    assert (answer.row_count, answer.accepted_count) == (0, 0)
    assert await rows(served) == NOTHING


async def test_messages_out_of_order_are_refused_and_store_nothing_more(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    orders = {
        "nothing": [],
        "rows first": [people(0, 1), header(), end(1)],
        "end first": [end(1)],
        "two headers": [header(), header(), people(0, 1), end(1)],
        "a message of no kind": [header(), ImportRecordsRequest()],
    }

    refused = {case: await not_imported(app, *messages) for case, messages in orders.items()}

    assert {case: (error.code.name, error.reason) for case, error in refused.items()} == dict.fromkeys(
        orders, ("INVALID_ARGUMENT", "IMPORT_OUT_OF_ORDER")
    )
    assert all([(await entry_of(served, error)).reason == "IMPORT_OUT_OF_ORDER" for error in refused.values()])
    assert await rows(served) == NOTHING


async def test_a_header_that_makes_no_sense_is_refused_and_recorded(served: Serving) -> None:
    """P3.2.1-channels, A9, I11, I2: list names that are somebody's number are not names."""
    await served.create_tenants()
    app = served.service("acme-app")
    headers = {
        "unknown category": header("shoe-size"),
        "never collected": header("device-contacts"),
        "not the caller's": header("number-mapping", list_id=""),
        "no list": header(list_id=""),
        "a list called like a number": header(list_id="050-2345678"),
        "a channel that is none": header(channel="MAIL"),
        "no channel": header(channel=""),
        "half a digest": header(source_digest=FILE[:16]),
        "another tenant": header(parent="tenants/globex"),
        "no tenant": header(parent="tenants/nobody-at-all"),
        "no name": header(parent="acme"),
    }

    refused = {case: await not_imported(app, message, people(0, 1), end(1)) for case, message in headers.items()}
    too_many = await not_imported(app, header(), people(0, 501), end(501))

    assert {case: error.reason for case, error in refused.items()} == {
        "unknown category": "UNKNOWN_CATEGORY",
        "never collected": "CATEGORY_NOT_COLLECTED",
        "not the caller's": "ROLE_NOT_ALLOWED",
        "no list": "LIST_REQUIRED",
        "a list called like a number": "NAME_INVALID",
        "a channel that is none": "FIELD_INVALID",
        "no channel": "FIELD_REQUIRED",
        "half a digest": "FIELD_INVALID",
        "another tenant": "TENANT_NOT_FOUND",
        "no tenant": "TENANT_NOT_FOUND",
        "no name": "NAME_INVALID",
    }
    assert (too_many.reason, too_many.metadata["limit"]) == ("BATCH_TOO_LARGE", "500")
    assert all([(await entry_of(served, error)).decision == "REFUSED" for error in (*refused.values(), too_many)])
    assert await rows(served) == NOTHING
