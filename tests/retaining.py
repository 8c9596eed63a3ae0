"""Retention for tests: a sweep at a moment, when a record's time ends, and a request to change what that depends on."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from google.protobuf.field_mask_pb2 import FieldMask

from tests.builders import id_of, values
from tests.serving import Serving, why
from vault.store.records import get_record
from vault.v1.operations_service_pb2 import RunRetentionRequest
from vault.v1.resources_pb2 import Justification
from vault.v1.vault_service_pb2 import UpdateRecordRequest

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)


async def swept(served: Serving, *, at_moment: datetime | None = None) -> dict[str, int]:
    """What a sweep of acme erases, by category; at a moment, or now."""
    if at_moment is not None:
        served.clock.offset += at_moment - served.clock()
    operator = served.service("operator")
    return dict((await operator.call(operator.operations.RunRetention, RunRetentionRequest(tenant="tenants/acme"))).erased_counts)


async def ends(served: Serving, name: str) -> datetime | None:
    """When the retention of a record ends, as far as anybody knows."""
    async with served.vault.database.read() as connection:
        found = await get_record(connection, "acme", id_of(name))
    assert found is not None
    return found.expire_time


def changing(
    name: str, fields: Mapping[str, str], because: Justification | None = None, *, also: tuple[str, ...] = ()
) -> UpdateRecordRequest:
    """A request to change fields, and to remove those of `also`."""
    mask = FieldMask(paths=[*fields, *also])
    return UpdateRecordRequest(name=name, fields=values(dict(fields)), update_mask=mask, justification=because or why())
