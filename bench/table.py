"""What every benchmark shares: medians, goals, and the table."""

import gc
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from types import FunctionType, ModuleType
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")


class Goal(NamedTuple):
    """A figure that we promise to keep, by its number."""

    number: str  # e.g. PF-1
    at_most: float = math.inf
    at_least: float = -math.inf

    def __str__(self) -> str:
        limit = f"<= {_figure(self.at_most)}" if self.at_most < math.inf else f">= {_figure(self.at_least)}"
        return f"{self.number} {limit}"


class Row(NamedTuple):
    """One measured figure."""

    name: str
    value: float
    unit: str
    goal: Goal | None = None

    @property
    def is_met(self) -> bool | None:
        """None: there is no goal."""
        return None if self.goal is None else self.goal.at_least <= self.value <= self.goal.at_most


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds that one call takes, without the garbage that earlier work has left, and what it returns."""
    gc.collect()
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def median_seconds(work: Callable[[], object], rounds: int = 7) -> float:
    return statistics.median(timed(work)[0] for _ in range(rounds))


def held_bytes(owner: object, borrowed: Iterable[object] = ()) -> int:
    """Memory of all that `owner` leads to, except what `borrowed` leads to, in the allocator's steps of 16 bytes.

    tracemalloc says much the same, but makes the work under it seven times slower.
    """
    seen: set[int] = set()
    _visit(borrowed, seen)
    return _visit(owner, seen)


def _visit(start: object, seen: set[int]) -> int:
    """Total size of what `start` leads to and is not in `seen`; adds it there. Code belongs to nobody."""
    total = 0
    waiting = [start]
    while waiting:
        value = waiting.pop()
        if id(value) not in seen and not isinstance(value, (type, FunctionType, ModuleType)):
            seen.add(id(value))
            total += (sys.getsizeof(value) + 15) // 16 * 16
            waiting += gc.get_referents(value)
    return total


def table_lines(rows: Sequence[Row]) -> list[str]:
    """Figures under each other, each beside its goal and whether that is met."""
    columns = [("", "", "", "goal", "")]
    verdicts = {None: "", True: "met", False: "MISSED"}
    for row in rows:
        goal = "" if row.goal is None else str(row.goal)
        columns.append((row.name, _figure(row.value), row.unit, goal, verdicts[row.is_met]))
    name, value, unit, limit, _ = (max(map(len, column)) for column in zip(*columns, strict=True))
    return [
        f"{cells[0]:<{name}}  {cells[1]:>{value}} {cells[2]:<{unit}}  {cells[3]:<{limit}}  {cells[4]}".rstrip()
        for cells in columns
    ]


def as_records(rows: Iterable[Row]) -> list[dict[str, object]]:
    """For JSON."""
    return [
        {
            "name": row.name,
            "value": row.value,
            "unit": row.unit,
            "goal": None if row.goal is None else str(row.goal),
            "met": row.is_met,
        }
        for row in rows
    ]


def _figure(value: float) -> str:
    """Three significant digits, or all digits of the integer part."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{2 - math.floor(math.log10(abs(value)))}f}"
