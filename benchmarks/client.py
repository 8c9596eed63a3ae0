"""One process of the load client. It obeys one line of JSON after another from its parent and answers each with one.

Windows are told as moments of the monotonic clock, which all processes of a machine share: every client process, and whoever reads the CPU time
of the servers, measures the same stretch of time. The first process reads it, at the very moments between which calls count.

    open      connect to a server
    prepare   make the tenant and store the people who are read later; answers with the names of their records
    learn     take the names from the process that stored them
    run       keep calls in flight, answer with what was seen
"""

import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import uvloop

from benchmarks import people, processes
from benchmarks.calls import Source, Stub, Tally, import_file, run_workers
from benchmarks.plan import Scenario
from vault.v1 import tenant_service_pb2_grpc, vault_service_pb2_grpc
from vault.v1.tenant_service_pb2 import CreateTenantRequest
from vault.v1.vault_service_pb2 import BatchCreateRecordsRequest

_PREPARED_AT_ONCE = 500
_FOREVER = float("inf")


@dataclass(slots=True)
class _Server:
    address: str
    folder: Path
    stubs: list[Stub]
    source: Source | None = None


class Client:
    """What the process knows of the servers.

    Args:
        number: which of the client processes this is.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._servers: dict[str, _Server] = {}

    async def obey(self, order: dict[str, Any]) -> object:
        """Carry out one order."""
        match order["do"]:
            case "open":
                folder = Path(order["clients"])
                stubs = [_stub(_channel(folder / f"{people.TENANT}-app", order["address"])) for _ in range(order["channels"])]
                self._servers[order["server"]] = _Server(order["address"], folder, stubs)
                return None
            case "prepare":
                return await _prepare(self._servers[order["server"]], order["subjects"])
            case "learn":
                first = people.FIRST_NEW + self._number * people.NEW_PER_CLIENT
                self._servers[order["server"]].source = Source(order["names"], first)
                return None
            case _:
                return await _run(self._servers[order["server"]], order)


async def _prepare(server: _Server, subjects: int) -> list[str]:
    operator = _channel(server.folder / "operator", server.address)
    tenants: tenant_service_pb2_grpc.TenantServiceAsyncStub = tenant_service_pb2_grpc.TenantServiceStub(operator)
    await tenants.CreateTenant(CreateTenantRequest(tenant_id=people.TENANT))
    await operator.close()
    names = []
    for start in range(0, subjects, _PREPARED_AT_ONCE):
        numbers = range(start, min(subjects, start + _PREPARED_AT_ONCE))
        request = BatchCreateRecordsRequest(parent=people.PARENT, records=[people.record(number) for number in numbers], atomic=True)
        answer = await server.stubs[0].BatchCreateRecords(request)
        names += [result.record.name for result in answer.results]
    return names


async def _run(server: _Server, order: dict[str, Any]) -> dict[str, object]:
    scenario, source = Scenario(order["scenario"]), server.source
    assert source is not None
    cpu = _Cpu(order["watch"])
    if scenario is Scenario.IMPORT:
        tally, seconds = await _run_import(server, source, order["rows"], cpu)
    else:
        tally = Tally(order["begin"], order["end"])
        watching = asyncio.create_task(cpu.watch(tally.begin, tally.end))
        await run_workers(scenario, order["in_flight"], server.stubs, source, tally)
        await watching
        seconds = tally.end - tally.begin
    return {
        "seconds": seconds,
        "calls": len(tally.latencies),
        "items": tally.items,
        "latencies_us": [round(latency * 1e6) for latency in tally.latencies],
        "errors": dict(Counter(tally.errors)),
        "cpu_seconds": cpu.spent,
    }


async def _run_import(server: _Server, source: Source, rows: int, cpu: "_Cpu") -> tuple[Tally, float]:
    """A short import warms up, then one is measured whole: half a file has no meaning."""
    warm_up, tally = Tally(0, _FOREVER), Tally(0, _FOREVER)
    few = max(1, rows // 10)
    await import_file(server.stubs[0], people.import_file(source.take(few), few), few, warm_up)
    messages = people.import_file(source.take(rows), rows)
    begin = time.monotonic()
    cpu.start()
    await import_file(server.stubs[0], messages, rows, tally)
    cpu.stop()
    tally.errors += warm_up.errors
    return tally, time.monotonic() - begin


class _Cpu:
    """CPU time of the processes that are watched, by what they are; its own and the whole machine's are always among them.

    Args:
        watch: process ids; of those called `database`, the children count too.
    """

    def __init__(self, watch: dict[str, int]) -> None:
        self._watch = watch
        self._begin: dict[str, float] = {}
        self.spent: dict[str, float] = {}

    async def watch(self, begin: float, end: float) -> None:
        await asyncio.sleep(begin - time.monotonic())
        self.start()
        await asyncio.sleep(end - time.monotonic())
        self.stop()

    def start(self) -> None:
        self._begin = self._now()

    def stop(self) -> None:
        self.spent = {name: seconds - self._begin[name] for name, seconds in self._now().items()}

    def _now(self) -> dict[str, float]:
        now = {name: processes.cpu_seconds(pid, tree=name == "database") for name, pid in self._watch.items()}
        return {**now, "client": time.process_time(), "machine": processes.machine_cpu_seconds()}


def _channel(folder: Path, address: str) -> grpc.aio.Channel:
    """A connection of its own: channels with the same target would else share one."""
    ca, key, certificate = ((folder / name).read_bytes() for name in ("ca.pem", "private-key.pem", "certificate.pem"))
    options = [("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca, key, certificate), options=options)


def _stub(channel: grpc.aio.Channel) -> Stub:
    stub: Stub = vault_service_pb2_grpc.VaultServiceStub(channel)
    return stub


async def _main(number: int) -> None:
    client, loop = Client(number), asyncio.get_running_loop()
    # In a thread: reading would hold up the loop, and with it the keep-alives of its connections.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(await client.obey(json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1])))
