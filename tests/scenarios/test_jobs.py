"""Jobs of the messaging engine: opened and closed by the tenant, for a list and thirty days at most (P3.5-send)."""

from datetime import timedelta

from tests.builders import at, entries, id_of
from tests.serving import Serving
from vault.store.jobs import get_job
from vault.v1.tenant_service_pb2 import CloseJobRequest, Job, OpenJobRequest


def wanted(served: Serving, *, list_id: str = "spring", days: float = 1, tenant: str = "acme") -> OpenJobRequest:
    return OpenJobRequest(parent=f"tenants/{tenant}", list=list_id, expire_time=at(served.clock() + timedelta(days=days)))


async def opened(served: Serving, who: str = "acme-app", **about: object) -> Job:
    app = served.service(who)
    return (await app.call(app.tenants.OpenJob, wanted(served, **about))).job  # type: ignore[arg-type]


async def test_a_job_is_opened_and_closed_and_both_are_recorded(served: Serving) -> None:
    await served.create_tenants()
    app, admin = served.service("acme-app"), served.service("acme-admin")

    job = await opened(served)
    closed = (await admin.call(admin.tenants.CloseJob, CloseJobRequest(name=job.name))).job
    again = (await app.call(app.tenants.CloseJob, CloseJobRequest(name=job.name))).job

    async with served.vault.database.read() as connection:
        row = await get_job(connection, "acme", id_of(job.name))
        elsewhere = await get_job(connection, "globex", id_of(job.name))
    assert (job.list, job.HasField("close_time")) == ("spring", False)
    assert closed.HasField("close_time")
    assert again.close_time == closed.close_time
    assert row is not None
    assert row.close_time is not None
    assert (row.list_id, row.opened_by.rpartition("/")[2]) == ("spring", "acme-app")
    assert elsewhere is None
    assert [(entry.operation, entry.decision) for entry in await entries(served)] == [
        ("open-job", "ALLOWED"),
        ("close-job", "ALLOWED"),
        ("close-job", "ALLOWED"),
    ]
    assert f'"resource":"{job.name}"'.encode() in (await entries(served))[0].content


async def test_a_job_without_a_list_is_for_every_list(served: Serving) -> None:
    await served.create_tenants()

    assert (await opened(served, list_id="")).list == ""


async def test_a_job_that_makes_no_sense_is_refused(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    wrong = {
        "too long": wanted(served, days=30.1),
        "over already": wanted(served, days=-1),
        "without an end": OpenJobRequest(parent="tenants/acme"),
        "a list named like a number": wanted(served, list_id="0502345678"),
        "another tenant's": wanted(served, tenant="globex"),
    }

    refused = {case: (await app.refused(app.tenants.OpenJob, request)).reason for case, request in wrong.items()}

    assert refused == {
        "too long": "FIELD_INVALID",
        "over already": "FIELD_INVALID",
        "without an end": "FIELD_REQUIRED",
        "a list named like a number": "NAME_INVALID",
        "another tenant's": "TENANT_NOT_FOUND",
    }


async def test_a_job_that_is_not_there_is_not_closed(served: Serving) -> None:
    await served.create_tenants()
    app = served.service("acme-app")
    theirs = await opened(served, "globex-app", tenant="globex")

    refused = [
        await app.refused(app.tenants.CloseJob, CloseJobRequest(name=name))
        for name in (theirs.name, theirs.name.replace("globex", "acme"), "tenants/acme/jobs/1")
    ]

    assert [error.reason for error in refused] == ["TENANT_NOT_FOUND", "JOB_NOT_FOUND", "NAME_INVALID"]


async def test_the_engine_opens_no_job_for_itself(served: Serving) -> None:
    """P3.5-send: the tenant schedules, the engine sends."""
    await served.create_tenants()
    engine = served.service("engine")

    refused = await engine.refused(engine.tenants.OpenJob, wanted(served))

    assert refused.reason == "ROLE_NOT_ALLOWED"
