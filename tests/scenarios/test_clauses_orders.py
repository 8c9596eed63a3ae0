"""Clauses about what a legal demand can be: how wide, how long, of which kind."""

from datetime import timedelta

from tests.builders import at, entry_of
from tests.orders import order_for, receive, team
from tests.serving import Serving
from vault.v1.legal_service_pb2 import INSTRUMENT_TYPE_COMMS_URGENT, ORDER_STATE_RECEIVED, InstrumentType


async def test_an_order_for_everybody_is_refused(served: Serving) -> None:
    """L22: an order names its targets, and not more than a hundred; a whole register is never handed over."""
    await served.create_tenants()
    people = await team(served)
    nobody = order_for(served, people)
    del nobody.scope.targets[:]
    crowd = order_for(served, people, *(("phone", f"+97250{number:07d}") for number in range(2_000_000, 2_000_101)))

    refused = [await people.registrant.refused(people.registrant.legal.RegisterOrder, request) for request in (nobody, crowd)]

    assert {(error.code.name, error.reason) for error in refused[1:]} == {("INVALID_ARGUMENT", "SCOPE_TOO_WIDE")}
    assert refused[0].code.name == "INVALID_ARGUMENT"
    assert (await entry_of(served, refused[1])).operation == "register-order"


async def test_an_urgent_permit_runs_for_a_day_at_most(served: Serving) -> None:
    """L20: 24 hours from its issue and no second longer."""
    await served.create_tenants()
    people = await team(served)

    def urgent(lasting: timedelta) -> object:
        request = order_for(served, people, document=bytes([lasting.seconds % 251]) * 32)
        request.instrument.type = INSTRUMENT_TYPE_COMMS_URGENT
        issued = served.clock() - timedelta(hours=1)
        request.instrument.issue_time.CopyFrom(at(issued))
        request.instrument.expire_time.CopyFrom(at(issued + lasting))
        return request

    refused = await people.registrant.refused(people.registrant.legal.RegisterOrder, urgent(timedelta(hours=24, seconds=1)))
    taken = (await people.registrant.call(people.registrant.legal.RegisterOrder, urgent(timedelta(hours=24)))).order

    assert (refused.code.name, refused.fields) == ("INVALID_ARGUMENT", ("instrument.expire_time",))
    assert taken.state == ORDER_STATE_RECEIVED


async def test_only_courts_and_officers_with_an_instrument_can_demand_anything(served: Serving) -> None:
    """A18: a letter or a mail of the police is registered and rejected; an order without its kind is none."""
    await served.create_tenants()
    people = await team(served)
    letter = order_for(served, people)
    letter.instrument.ClearField("type")

    refused = await people.registrant.refused(people.registrant.legal.RegisterOrder, letter)

    assert refused.code.name == "INVALID_ARGUMENT"
    assert {value.name.removeprefix("INSTRUMENT_TYPE_") for value in InstrumentType.DESCRIPTOR.values} == {
        *("UNSPECIFIED", "COMMS_DATA", "COMMS_URGENT", "PRODUCTION", "CIVIL_DISCLOSURE", "REGULATOR_DEMAND", "PRESERVATION"),
        *("WIRETAP", "FOREIGN", "DATABASE_BULK", "NO_INSTRUMENT"),
    }
    assert (await receive(people, order_for(served, people))).state == ORDER_STATE_RECEIVED
