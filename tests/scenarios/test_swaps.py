"""Whoever can write to the database can put every ciphertext in every other one's place; none opens there, and none opens damaged (I3).

Everything here is exhaustive over a small vault: two tenants, two people each, with records of three categories, one of which several people are
in, and one person whose key was rotated.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from sqlalchemy import Row, Table

from tests.builders import PHONE, asked, call_detail, contact, create, entries, profile, reveal, subject_of
from tests.rotating import all_rows, drop_cached, put, rotated
from tests.serving import TENANTS, Serving, why
from vault.client.errors import CallError
from vault.errors import CiphertextInvalidError
from vault.names import parse_record
from vault.operations.core import active_tenant, readable_parts
from vault.operations.reveal import open_part
from vault.store import tables
from vault.v1.resources_pb2 import Justification

BILLING = why("billing")
REFUSED = {"CIPHERTEXT_INVALID", "KEY_UNKNOWN"}
HEAD_BYTES = 29


@dataclass(slots=True)
class Small:
    """A small vault.

    Attributes:
        jobs: why the engine reads lists, by tenant.
        truth: what is shown of each record, in full.
        refusals: how many reveals were refused.
    """

    served: Serving
    jobs: Mapping[str, Justification]
    truth: dict[str, dict[str, str]] = field(default_factory=dict)
    refusals: int = 0

    async def show(self, name: str) -> dict[str, str] | str:
        """A record's values, or the reason why not."""
        service, because = ("billing", BILLING) if "calling" in self.truth[name] else ("engine", self.jobs[parse_record(name).tenant])
        try:
            shown = await reveal(self.served.service(service), asked(name, *self.truth[name], because=because))
        except CallError as error:
            self.refusals += error.code == grpc.StatusCode.DATA_LOSS and error.receipt is not None
            return error.reason
        return {key: value.text for key, value in shown.fields.items()}

    async def expect_refused(self, name: str, where: str) -> None:
        """A record must not be shown, and every value of it stays where it is."""
        assert await self.show(name) in REFUSED, where

    async def expect_truth(self) -> None:
        """Every record shows what was stored."""
        for name, true in self.truth.items():
            assert await self.show(name) == true

    def of_record(self, tenant: str, record: str) -> str:
        """Name of a record."""
        [name] = [name for name in self.truth if name.startswith(f"tenants/{tenant}/") and name.endswith(f"/{record}")]
        return name

    async def refused_entries(self) -> int:
        """How many refusals for damage are on record, in both logs."""
        logs = [entry for log in ("acme", "globex") for entry in await entries(self.served, log)]
        return sum(entry.reason in REFUSED for entry in logs)


@pytest.fixture
async def small(served: Serving) -> Small:
    """Two tenants of two people each, who called each other, each with a contact, a profile and a call; one of them has a rotated key."""
    await served.create_tenants()
    made = Small(served, {tenant: await served.job(tenant) for tenant in TENANTS})
    for n, tenant in enumerate(TENANTS):
        app, phones = served.service(f"{tenant}-app"), [f"+97250234{n}{m}8" for m in range(10, 12)]
        for phone, other in (phones, reversed(phones)):
            first = await create(app, contact(phone, email=f"p{phone[-4:]}@example.com"), tenant=tenant)
            made.truth[first.name] = {"phone": phone, "email": f"p{phone[-4:]}@example.com"}
            second = await create(app, profile(subject_of(first.name), first_name=f"n{phone[-4:]}"), tenant=tenant)
            made.truth[second.name] = {"first_name": f"n{phone[-4:]}"}
            third = await create(served.service("billing"), call_detail(calling=phone, called=other), tenant=tenant)
            made.truth[third.name] = {"calling": phone, "called": other}
    await rotated(served, "SUBJECT", subject=subject_of(next(iter(made.truth))))
    await made.expect_truth()
    return made


def pairs(rows: list[Row[Any]]) -> Iterator[tuple[Row[Any], Row[Any]]]:
    """Every row with every other one, in both orders."""
    return itertools.permutations(rows, 2)


async def with_changes(small: Small, table: Table, row: Row[Any], changes: Mapping[str, object], names: list[str], where: str) -> None:
    """Change a row, expect records to be refused, and put it back."""
    await put(small.served, table, row, **changes)
    for name in names:
        await small.expect_refused(name, where)
    await put(small.served, table, row, **{key: row._mapping[key] for key in changes})


async def test_no_part_opens_in_another_ones_place(small: Small) -> None:
    """Of another tenant, person, record, party or key version; also when the row says that it was sealed under another version."""
    parts = await all_rows(small.served, tables.record_parts)
    swaps = 0

    for place, other in pairs(parts):
        name = small.of_record(place.tenant_id, place.record_id)
        await with_changes(small, tables.record_parts, place, {"sealed": other.sealed}, [name], f"{other[:4]} opened at {place[:4]}")
        swaps += 1
        if place.key_version != other.key_version:
            # Of that version there is no key, and the person was not erased: that is data loss, and no half of a record is shown as the whole.
            changes = {"sealed": other.sealed, "key_version": other.key_version}
            await with_changes(small, tables.record_parts, place, changes, [name], f"{other[:4]} opened at {place[:4]}")
            swaps += 1

    await small.expect_truth()
    assert swaps > len(parts) * (len(parts) - 1) > 300, f"{swaps} swaps of {len(parts)} parts"
    assert await small.refused_entries() == small.refusals == swaps


def frames(sealed: bytes) -> list[bytes]:
    """The sealed fields of a part, each with its name."""
    found, position = [], HEAD_BYTES
    while position < len(sealed):
        start = position + 1 + sealed[position]
        end = start + 4 + int.from_bytes(sealed[start : start + 4])
        found.append(sealed[position:end])
        position = end
    return found


async def test_no_field_opens_in_another_ones_place(small: Small) -> None:
    """Of the same part or of any other one, under its own name or that of the field that it replaces; none can be left out or be there twice."""
    parts = await all_rows(small.served, tables.record_parts)
    changed: set[tuple[int, bytes]] = set()
    for n, place in enumerate(parts):
        own = frames(place.sealed)
        forms = [own[:at] + own[at + 1 :] for at in range(len(own))] + [[*own, one] for one in own]
        for at, one in enumerate(own):
            for other in parts:
                for taken in frames(other.sealed):
                    renamed = one[: 1 + one[0]] + taken[1 + taken[0] :]
                    forms += [[*own[:at], put_in, *own[at + 1 :]] for put_in in (taken, renamed)]
        changed |= {(n, place.sealed[:HEAD_BYTES] + b"".join(form)) for form in forms} - {(n, place.sealed)}

    # One reveal each would take minutes; the same code opens a part wherever it is asked, so most are opened beside the server.
    swaps = sum([await refuses_beside(small, parts[n], sealed) for n, sealed in sorted(changed)])
    for n, sealed in sorted(changed)[:: max(1, len(changed) // 50)]:
        name = small.of_record(parts[n].tenant_id, parts[n].record_id)
        await with_changes(small, tables.record_parts, parts[n], {"sealed": sealed}, [name], f"a field swapped at {parts[n][:4]}")

    await small.expect_truth()
    assert swaps == len(changed) > 500, f"{swaps} of {len(changed)} swaps of fields refused"
    assert await small.refused_entries() == small.refusals >= 50


async def refuses_beside(small: Small, row: Row[Any], sealed: bytes) -> bool:
    """Whether a part with other bytes is refused by the code that opens it for every reveal."""
    vault = small.served.vault
    async with vault.database.read() as connection:
        tenant, keys = await active_tenant(vault, connection, row.tenant_id)
        assert tenant.state == "ACTIVE"
        [part] = [p for p in await readable_parts(vault, connection, row.tenant_id, [row.record_id]) if p.role == row.role]
    try:
        open_part(keys, replace(part, sealed=sealed), None)
    except CiphertextInvalidError:
        return True
    return False


async def test_no_persons_key_opens_in_another_ones_place(small: Small) -> None:
    """Of another tenant, person or version, and under every version of the tenant's key."""
    rows = await all_rows(small.served, tables.subject_keys)
    parts = await all_rows(small.served, tables.record_parts)
    swaps = 0

    for place, other in pairs(rows):
        theirs = [part for part in parts if (part.tenant_id, part.subject_id) == (place.tenant_id, place.subject_id)]
        names = sorted({small.of_record(part.tenant_id, part.record_id) for part in theirs})
        await with_changes(
            small, tables.subject_keys, place, {"wrapped": other.wrapped}, names, f"the key of {other[:3]} opened at {place[:3]}"
        )
        await with_changes(small, tables.subject_keys, place, {"tenant_key_version": place.tenant_key_version + 1}, names[:1], "version")
        swaps += 1

    await small.expect_truth()
    assert swaps == len(rows) * (len(rows) - 1) >= 20, f"{swaps} swaps of {len(rows)} keys"
    assert await small.refused_entries() == small.refusals


async def test_no_tenants_key_opens_in_another_ones_place(small: Small) -> None:
    """Of another tenant, purpose or version."""
    served = small.served
    await rotated(served, "TEXT")
    rows = [row for row in await all_rows(served, tables.tenant_keys) if row.tenant_id in {"acme", "globex"}]
    swaps = 0

    for place, other in pairs(rows):
        name = next(name for name in small.truth if name.startswith(f"tenants/{place.tenant_id}/"))
        await put(served, tables.tenant_keys, place, wrapped=other.wrapped, check_value=other.check_value)
        await drop_cached(served, f"tenants/{place.tenant_id}")
        await small.expect_refused(name, f"{other[:3]} opened at {place[:3]}")
        await put(served, tables.tenant_keys, place, wrapped=place.wrapped, check_value=place.check_value)
        served.vault.keyring.forget(place.tenant_id)
        swaps += 1

    await small.expect_truth()
    assert swaps == len(rows) * (len(rows) - 1) == 156, f"{swaps} swaps of {len(rows)} keys"
    assert await small.refused_entries() == small.refusals == swaps


async def test_no_bit_of_a_part_or_of_a_key_can_be_flipped(small: Small) -> None:
    """Every one of them, through the server."""
    name = next(iter(small.truth))
    flips = 0
    for table, column in ((tables.record_parts, "sealed"), (tables.subject_keys, "wrapped")):
        [row] = [
            row
            for row in await all_rows(small.served, table)
            if row.tenant_id == "acme" and row.subject_id in name and row._mapping.get("record_id", name.rpartition("/")[2]) in name
        ]
        whole = row._mapping[column]
        for bit in range(len(whole) * 8):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            await with_changes(small, table, row, {column: bytes(flipped)}, [name], f"bit {bit} of {table.name}.{column}")
            flips += 1

    await small.expect_truth()
    assert flips > (HEAD_BYTES + len(PHONE)) * 8, f"{flips} flips"
    assert await small.refused_entries() == small.refusals == flips
