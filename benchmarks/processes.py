"""CPU time and memory of processes, from Linux's /proc.

CPU time comes in clock ticks, usually of 10 ms: over a window of a second that is one per cent. Children that have ended and were waited for are
counted with their parent, so a tree's time never runs backwards.
"""

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK = 1 / os.sysconf("SC_CLK_TCK")  # seconds
# Fields after the command's name, see proc_pid_stat(5): state is the first, utime to cstime are numbers 14 to 17 of the line.
_PARENT, _TIMES = 1, slice(11, 15)


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    parent: int
    seconds: float


def cpu_seconds(pid: int, *, tree: bool = False) -> float:
    """User and system time of a process, with its children if `tree` says so."""
    wanted = [pid, *_descendants(pid)] if tree else [pid]
    return sum(stat.seconds for stat in map(_stat, wanted) if stat)


def machine_cpu_seconds() -> float:
    """Time that all cores together spent on anything, since the machine started."""
    user, nice, system, _idle, _waiting, *interrupts = map(int, (_PROC / "stat").read_text().splitlines()[0].split()[1:8])
    return (user + nice + system + sum(interrupts)) * _TICK


def peak_rss_bytes(pid: int) -> int:
    """Most memory that a process ever held at once."""
    status = (_PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def parent_of(pid: int, *, name: str) -> int | None:
    """Parent of a process of this machine that goes by a name; None if there is no such process, or it goes by another."""
    try:
        if (_PROC / str(pid) / "comm").read_text().strip() != name:
            return None
    except OSError:
        return None
    stat = _stat(pid)
    return stat.parent if stat else None


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in map(_stat, [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()]):
        if stat:
            children.setdefault(stat.parent, []).append(stat.pid)
    found, left = [], [pid]
    while left:
        mine = children.get(left.pop(), [])
        found += mine
        left += mine
    return found


def _stat(pid: int) -> _Stat | None:
    """What the kernel says of a process; None once it is gone."""
    try:
        text = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name stands in brackets and may hold anything.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(pid, int(fields[_PARENT]), sum(map(int, fields[_TIMES])) * _TICK)
