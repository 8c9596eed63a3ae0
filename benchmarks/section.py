"""What one part of the benchmark of keys found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.report import short
from benchmarks.results import Spread


@dataclass(frozen=True, slots=True)
class Section:
    """One table, what has to be known to read it, and the same for machines.

    Attributes:
        errors: calls that failed, or did not fail where they should have.
    """

    name: str
    title: str
    note: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    data: Mapping[str, Any]
    errors: int


def spread_cell(spread: Spread) -> str:
    """Median, and least and greatest in brackets."""
    return f"{short(spread.median)} ({short(spread.least)}–{short(spread.greatest)})"
