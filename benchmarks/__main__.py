"""Run the benchmark: start everything, take turns, write `benchmarks/results/latest.{json,md}`.

python -m benchmarks [--quick] [--rounds N] [--clients N] [--only reveal,create] [--servers echo,postgres]
"""

import argparse
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from benchmarks import machine, processes, report, results
from benchmarks.children import NotStartedError
from benchmarks.crew import Crew, Observation, hired
from benchmarks.plan import Cell, Plan, Scenario, full_plan, quick_plan
from benchmarks.servers import ECHO, POSTGRES, SQLITE, Server, running_servers

_RESULTS = Path(__file__).parent / "results"


def main() -> int:
    """Run, show, write. Exit code 1 if any call failed."""
    # Ended by a signal, everything is cleared away too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    arguments = _arguments()
    plan = _plan(arguments)
    described = machine.describe()
    try:
        _say("starting the servers")
        with (
            tempfile.TemporaryDirectory(prefix="pii-vault-benchmark-") as work,
            running_servers(Path(work), arguments.servers) as servers,
            hired(plan) as crew,
        ):
            found = _measure(crew, servers, plan, described)
    except NotStartedError as error:
        _say(f"a server did not start:\n{error}")
        return 1
    report.show(found)
    if arguments.write:
        report.write(found, _RESULTS)
        _say("written to benchmarks/results/latest.json and latest.md")
    return 1 if found.errors else 0


def _measure(crew: Crew, servers: list[Server], plan: Plan, described: dict[str, str]) -> report.Report:
    for server in servers:
        _say(f"storing {plan.subjects} people on {server.name}")
        crew.prepare(server)
    rounds: dict[results.Key, list[Observation]] = {}
    for number in range(plan.rounds):
        for cell in plan.cells:
            # Another server goes first in every round.
            for server in servers[number % len(servers) :] + servers[: number % len(servers)]:
                _say(f"round {number + 1} of {plan.rounds}: {cell.scenario.value}, {cell.in_flight} in flight, {server.name}", again=True)
                rounds.setdefault((cell, server.name), []).append(crew.run(server, cell))
    _say("")
    order = {server.name: place for place, server in enumerate(servers)}
    ordered = dict(sorted(rounds.items(), key=lambda item: (plan.cells.index(item[0][0]), order[item[0][1]])))
    return report.Report(
        machine=described,
        plan=plan,
        ratios=results.ratios(ordered),
        figures=results.figures(ordered),
        memory_bytes={server.name: processes.peak_rss_bytes(server.pid) for server in servers},
        databases={server.name: server.settings for server in servers},
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast the vault is, next to a server that does nothing.")
    parser.add_argument("--quick", action="store_true", help="under two minutes, rougher figures")
    parser.add_argument("--rounds", type=int, help="how often every server meets every load")
    parser.add_argument("--clients", type=int, help="processes of the load client")
    parser.add_argument("--only", type=_words, default=[item.value for item in Scenario], help="scenarios, e.g. reveal,create")
    parser.add_argument("--servers", type=_words, default=[ECHO, SQLITE, POSTGRES], help="servers, of echo,sqlite,postgres")
    parser.add_argument("--no-write", dest="write", action="store_false", help="print only")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return text.split(",")


def _plan(arguments: argparse.Namespace) -> Plan:
    plan = quick_plan() if arguments.quick else full_plan()
    cells: tuple[Cell, ...] = tuple(cell for cell in plan.cells if cell.scenario.value in arguments.only)
    return replace(plan, cells=cells, rounds=arguments.rounds or plan.rounds, clients=arguments.clients or plan.clients)


def _say(text: str, *, again: bool = False) -> None:
    """Tell what is being done; `again` writes over the line before on a terminal."""
    if not sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
        return
    print(f"\r\033[K{text}", end="" if again else "\n", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
