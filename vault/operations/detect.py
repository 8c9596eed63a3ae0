"""Detection: the log is read as it grows, and what is an alarm opens an incident with its clock (L5, L39). Off the path of a release.

Rules:
- Whichever worker holds the upkeep lease reads; where it has come to is stored with what it opened, so nothing is seen twice or skipped.
- A worker that takes over looks back over the windows first, and raises nothing for what it finds there.
- A tenant whose keys are away or damaged has its incidents opened in the system log, where the entry says whose they are.
- An incident is a severe one, about security, opened by `upkeep`: whose doing, from when on, how many records and people.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from vault.audit.entry import peek
from vault.audit.watch import BULK_WITHIN, QUIET, Alarm, Watch
from vault.errors import DataLossError, KeyUnavailableError, VaultError
from vault.names import SYSTEM_LOG, ChildName, SubjectName, new_id
from vault.operations import incident, log, question
from vault.operations.attempt import Attempt, Caller, Receipt
from vault.operations.core import Vault, active_tenant
from vault.operations.keyring import TenantKeys
from vault.store import alarms as alarm_store
from vault.store import audit as audit_store
from vault.store import audit_index
from vault.store import incidents as incident_store
from vault.store import tenants as tenant_store
from vault.store.alarms import TriggerRow
from vault.store.database import Connection

_READER = "detection"
_AT_ONCE = 200
# How far back a new watch looks, at most; enough for any window that is near its limit.
_BACK = 5000
# How long one log's index is worked on in a turn of ten seconds; what is left is read in quieter turns, or by who asks.
_INDEXING = timedelta(milliseconds=100)
_log = structlog.get_logger()


@dataclass(slots=True)
class Detector:
    """What one worker knows of the windows of each log."""

    watches: dict[str, Watch] = field(default_factory=dict)


async def plant_honey(vault: Vault, attempt: Attempt, name: SubjectName) -> Receipt:
    """Plant a person: whoever is given their data sets off an alarm. Recorded in the system log, so that the tenant's own log does not tell.

    Raises:
        NotFoundError: TENANT_NOT_FOUND, SUBJECT_NOT_FOUND.
    """
    attempt.operation, attempt.subjects, attempt.is_gagged = "plant-honey", (name.subject,), True
    async with vault.database.write() as connection:
        _, keys = await active_tenant(vault, connection, name.tenant)
        await incident.check_subjects(connection, name.tenant, (name.subject,))
        await alarm_store.plant(connection, name.tenant, name.subject, principal=attempt.caller.principal, now=vault.clock())
        [receipt] = await log.append(vault, connection, keys, [attempt])
    return receipt


async def detect(vault: Vault, detector: Detector, caller: Caller) -> int:
    """Read what was appended to every log since the last time. How many incidents were opened."""
    async with vault.database.read() as connection:
        logs = await audit_store.logs(connection)
        overdue = await alarm_store.overdue_incidents(connection, vault.clock())
    opened = 0
    for name in logs:
        try:
            opened += await _read(vault, detector, caller, name)
            await question.index_subjects(vault, name, within=_INDEXING)
        except VaultError as error:
            # What was seen and not stored is seen again: the windows are made anew from where the log was read to.
            detector.watches.pop(name, None)
            _log.warning("detection delayed", log=name, reason=error.reason)
    for tenant, incident_id, due_time in overdue:
        alarm = Alarm("unreviewed-incident", str(ChildName(tenant, "incidents", incident_id)), due_time, vault.clock())
        try:
            opened += await raise_alarm(vault, caller, tenant, alarm, once=True)
        except VaultError as error:
            # A tenant whose keys are away keeps no other's alarms waiting, nor what upkeep does next.
            _log.warning("detection delayed", log=tenant, reason=error.reason)
    return opened


async def raise_alarm(vault: Vault, caller: Caller, tenant: str, alarm: Alarm, *, once: bool = False) -> int:
    """Open an incident for an alarm, unless there is one of the last hour for the same cause; `once`, of any time. How many were opened."""
    await vault.keyring.warm(vault.database, tenant)
    async with vault.database.write() as connection:
        opened = await open_incidents(vault, connection, caller, tenant, [alarm], once=once)
    return _tell(vault, opened)


async def check_broken(vault: Vault, caller: Caller, broken: Iterable[str]) -> None:
    """Open an incident for every log that is not what was written."""
    for name in broken:
        _log.error("audit log broken", log=name)
        await raise_alarm(vault, caller, name, Alarm("chain-break", f"logs/{name}", vault.clock(), vault.clock()))


async def open_incidents(
    vault: Vault, connection: Connection, caller: Caller, tenant: str, found: Iterable[Alarm], *, once: bool = False
) -> list[tuple[str, Alarm]]:
    """Open an incident for every alarm that is not known, in this transaction. Names of the incidents, each with its alarm."""
    opened, now = list[tuple[str, Alarm]](), vault.clock()
    for alarm in found:
        keys = await _sealing_keys(vault, connection, tenant)
        since = now - (timedelta(days=3650) if once else QUIET)
        if await alarm_store.is_known(connection, keys.tenant, trigger=alarm.trigger, cause=alarm.cause, since=since):
            continue
        incident_id, attempt = new_id(), Attempt(caller)
        await incident_store.insert_incident(
            connection, keys.tenant, incident.security_row(keys, incident_id, f"the vault saw a {alarm.trigger}", caller.principal, now)
        )
        await alarm_store.insert_trigger(
            connection,
            keys.tenant,
            TriggerRow(incident_id, alarm.trigger, alarm.cause, alarm.start_time, alarm.records, alarm.subjects, now),
        )
        attempt.operation, attempt.rule, attempt.count = "open-incident", f"trigger:{alarm.trigger}", max(alarm.records, 1)
        attempt.resource = str(ChildName(keys.tenant, "incidents", incident_id))
        if tenant != SYSTEM_LOG:
            attempt.tenant = tenant
        await log.append(vault, connection, keys, [attempt])
        opened.append((attempt.resource, alarm))
    return opened


async def _read(vault: Vault, detector: Detector, caller: Caller, name: str) -> int:
    opened = 0
    while True:
        async with vault.database.read() as connection:
            start = await audit_index.position(connection, name, _READER)
            planted = await alarm_store.honey(connection, name)
            if name not in detector.watches:
                detector.watches[name] = await _caught_up(vault, connection, name, start)
            page = await audit_store.entries(connection, name, start=start, limit=_AT_ONCE)
        if not page:
            return opened
        found = [alarm for _, content in page for alarm in detector.watches[name].see(peek(content), honey=planted)]
        if found:
            await vault.keyring.warm(vault.database, name)
        async with vault.database.write() as connection:
            await audit_index.set_position(connection, name, _READER, page[-1][0] + 1)
            incidents = await open_incidents(vault, connection, caller, name, found)
        opened += _tell(vault, incidents)


async def _caught_up(vault: Vault, connection: Connection, name: str, start: int) -> Watch:
    watch, since = Watch(bulk_records=vault.limits.bulk_records), vault.clock() - BULK_WITHIN
    for _, content in await audit_store.entries(connection, name, start=max(0, start - _BACK), limit=min(start, _BACK)):
        entry = peek(content)
        if entry.time > since:
            watch.see(entry)
    return watch


async def _sealing_keys(vault: Vault, connection: Connection, tenant: str) -> TenantKeys:
    """Keys of whom an incident is opened for: the tenant, or the system if the tenant's keys are away or damaged, which may be what it is about."""
    row = await tenant_store.get_tenant(connection, tenant)
    if row is not None and tenant != SYSTEM_LOG:
        with suppress(DataLossError, KeyUnavailableError):
            keys = await vault.keyring.of(connection, tenant, epoch=row.key_epoch)
            keys.newest("text")
            return keys
    return await log.system_keys(vault, connection)


def _tell(vault: Vault, opened: Sequence[tuple[str, Alarm]]) -> int:
    """Say what was committed. How many there are."""
    for resource, alarm in opened:
        _log.error("incident opened", resource=resource, reason=alarm.trigger, count=alarm.records)
        vault.meters.alarmed(alarm.trigger)
    return len(opened)
