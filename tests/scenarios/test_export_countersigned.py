"""Packages of a vault that has a certificate and a time authority; and of one whose time authority is away."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.builders import call_detail, create, entries
from tests.orders import approved, download, export, judged, opened, order_for, team
from tests.programs import installed
from tests.rotating import all_rows
from tests.serving import Serving, serving
from tests.signing_authorities import DAY, certified
from tests.timestamping import TimestampAuthority, timestamp_authority
from tests.vectors.bundle_2.sample import unpack
from vault.errors import FailedPreconditionError
from vault.store import tables
from vault.v1.legal_service_pb2 import EXPORT_STATE_RELEASE_APPROVED, CreateExportRequest

CMS, TIMESTAMP = "meta/export-manifest.p7s", "meta/export-manifest.tsr"


@pytest.fixture
def authority() -> Iterator[TimestampAuthority]:
    installed("openssl")
    with timestamp_authority() as running:
        yield running


@dataclass(frozen=True, slots=True)
class Files:
    """Where a vault finds what it countersigns with."""

    certificate: Path
    private_key: Path


def company(folder: Path, *, begin: datetime | None = None) -> Files:
    """A certificate and its key in files."""
    folder.mkdir(parents=True, exist_ok=True)
    made, files = certified(begin=begin), Files(folder / "organisation.pem", folder / "organisation.key")
    files.certificate.write_bytes(made.certificates)
    files.private_key.write_bytes(made.private_key)
    return files


@pytest.fixture
async def stamped(home_template: Path, tmp_path: Path, migrated_url: str, authority: TimestampAuthority) -> AsyncIterator[Serving]:
    """A vault that has both."""
    files = company(tmp_path / "company")
    orders = {
        "certificate": str(files.certificate),
        "private_key": str(files.private_key),
        "timestamp_url": authority.url,
        "timestamp_root": str(authority.ca),
    }
    async with serving(home_template, tmp_path / "home", migrated_url, orders=orders) as served:
        yield served


async def test_a_package_carries_the_organisations_signature_and_a_time(stamped: Serving) -> None:
    """§5.4 step 9."""
    await stamped.create_tenants()
    people = await team(stamped)
    await create(stamped.service("billing"), call_detail())

    package = await download(people.courier, (await export(people, await approved(people, order_for(stamped, people)))).name)

    verdict = judged(stamped, people, package)
    assert verdict.ok
    assert verdict.stamp_time is not None
    assert abs(verdict.stamp_time - datetime.now(UTC)) < timedelta(minutes=5)
    assert {CMS, TIMESTAMP} < unpack(opened(people, package)).keys()


async def test_without_the_time_authority_nothing_is_sealed_and_nothing_is_lost(stamped: Serving, authority: TimestampAuthority) -> None:
    """§5.5: what was read is kept; when it answers again the next call seals that."""
    await stamped.create_tenants()
    people = await team(stamped)
    await create(stamped.service("billing"), call_detail())
    order, legal = await approved(people, order_for(stamped, people)), people.registrant
    authority.is_broken = True

    refused = await legal.refused(legal.legal.CreateExport, CreateExportRequest(parent=order.name))
    [row] = await all_rows(stamped, tables.exports)
    chunks = await all_rows(stamped, tables.export_chunks)
    authority.is_broken = False
    made = await export(people, order)

    assert (refused.code.name, refused.reason) == ("UNAVAILABLE", "TIMESTAMP_UNAVAILABLE")
    assert (row.state, chunks) == ("BUILDING", [])
    assert made.state == EXPORT_STATE_RELEASE_APPROVED
    assert made.name.endswith(row.export_id)
    assert judged(stamped, people, await download(people.courier, made.name)).ok
    assert sum(len(entry.records) for entry in await entries(stamped) if entry.operation == "export" and entry.decision == "ALLOWED") == 1


async def test_a_certificate_that_ran_out_signs_nothing(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    files = company(tmp_path / "company", begin=datetime.now(UTC) - 60 * DAY)
    orders = {"certificate": str(files.certificate), "private_key": str(files.private_key)}
    async with serving(home_template, tmp_path / "home", migrated_url, orders=orders) as served:
        await served.create_tenants()
        people = await team(served)
        order, legal = await approved(people, order_for(served, people)), people.registrant

        refused = await legal.refused(legal.legal.CreateExport, CreateExportRequest(parent=order.name))

    assert (refused.code.name, refused.reason) == ("FAILED_PRECONDITION", "CERTIFICATE_EXPIRED")


async def test_a_key_of_another_certificate_stops_the_start(home_template: Path, tmp_path: Path, migrated_url: str) -> None:
    ours, theirs = company(tmp_path / "ours"), company(tmp_path / "theirs")
    orders = {"certificate": str(ours.certificate), "private_key": str(theirs.private_key)}

    with pytest.raises(FailedPreconditionError) as refused:
        async with serving(home_template, tmp_path / "home", migrated_url, orders=orders):
            pass

    assert refused.value.reason == "CONFIG_INVALID"
