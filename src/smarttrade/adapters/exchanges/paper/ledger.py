"""Tables in memory that remember what a piece of work changed, so that it can be stored, or undone.

Work runs between `begin` and `end`. Every first touch of a row notes the value from before; `undo` puts those values
back. Indexes follow through `Table.watch` and are therefore undone by the same path.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Generic, Protocol, TypeVar

from smarttrade.adapters.exchanges.paper.rows import PaperOrder
from smarttrade.domain.instrument import Side
from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import InstrumentKey


class Row(Protocol):
    """A frozen value with an identity."""

    @property
    def id(self) -> Any: ...


R = TypeVar("R", bound=Row)

Changes = dict[tuple[str, Any], Row | None]
"""Table and row id -> the row before the work; None: there was none."""

Watcher = Callable[[R | None, R | None], None]


class Ledger:
    """All tables, and the changes of the work that runs."""

    def __init__(self) -> None:
        self.tables: dict[str, Table[Any]] = {}
        self._changes: Changes = {}

    def begin(self) -> None:
        self._changes = {}

    def end(self) -> Changes:
        """What changed since `begin`."""
        changes, self._changes = self._changes, {}
        return changes

    def undo(self, changes: Changes) -> None:
        """Put the rows back as they were before the work that made `changes`; later work must be undone first."""
        for (name, row_id), before in reversed(changes.items()):
            self.tables[name].restore(row_id, before)

    def note(self, table: str, row_id: Any, before: Row | None) -> None:
        self._changes.setdefault((table, row_id), before)


class Table(Generic[R]):
    """Rows by id."""

    def __init__(self, name: str, ledger: Ledger, *watchers: Watcher[R]) -> None:
        self._name = name
        self._ledger = ledger
        self._rows: dict[Any, R] = {}
        self._watchers = watchers
        ledger.tables[name] = self

    def __iter__(self) -> Iterator[R]:
        """All rows by id."""
        return iter([self._rows[row_id] for row_id in sorted(self._rows)])

    def __contains__(self, row_id: Any) -> bool:
        return row_id in self._rows

    def get(self, row_id: Any) -> R | None:
        return self._rows.get(row_id)

    def put(self, row: R) -> R:
        """Add the row, or replace the one with its id."""
        before = self._rows.get(row.id)
        self._ledger.note(self._name, row.id, before)
        self.restore(row.id, row)
        return row

    def remove(self, row_id: Any) -> None:
        """Remove the row if it is there."""
        before = self._rows.get(row_id)
        if before is not None:
            self._ledger.note(self._name, row_id, before)
            self.restore(row_id, None)

    def load(self, rows: Iterable[R]) -> None:
        """Take rows that are durable already."""
        for row in rows:
            self.restore(row.id, row)

    def restore(self, row_id: Any, row: R | None) -> None:
        """Set or remove without taking note."""
        before = self._rows.get(row_id)
        if row is None:
            self._rows.pop(row_id, None)
        else:
            self._rows[row_id] = row
        for watcher in self._watchers:
            watcher(before, row)


class Index(Generic[R]):
    """Ids of the rows that share a property."""

    def __init__(self, group: Callable[[R], Any | None]) -> None:
        self._group = group
        self._ids: dict[Any, set[Any]] = {}

    def watch(self, before: R | None, after: R | None) -> None:
        old = None if before is None else self._group(before)
        new = None if after is None else self._group(after)
        if old == new:
            return
        if before is not None and old is not None:
            self._ids[old].discard(before.id)
            if not self._ids[old]:
                del self._ids[old]
        if after is not None and new is not None:
            self._ids.setdefault(new, set()).add(after.id)

    def ids(self, group: Any) -> list[Any]:
        """Ids of the group, in order."""
        return sorted(self._ids.get(group, ()))


class Unique(Generic[R]):
    """The one row that has a property."""

    def __init__(self, group: Callable[[R], Any | None]) -> None:
        self._group = group
        self._ids: dict[Any, Any] = {}

    def watch(self, before: R | None, after: R | None) -> None:
        old = None if before is None else self._group(before)
        new = None if after is None else self._group(after)
        if old == new:
            return
        if old is not None:
            del self._ids[old]
        if after is not None and new is not None:
            self._ids[new] = after.id

    def id(self, group: Any) -> Any | None:
        return self._ids.get(group)


class RestingOrders:
    """Resting orders of each instrument in the order in which they trade: price, then time.

    A quote looks at the first of each side only, so orders that it does not reach cost nothing.
    """

    def __init__(self) -> None:
        self._sides: dict[tuple[InstrumentKey, Side], list[tuple[Decimal, int]]] = {}

    def watch(self, before: PaperOrder | None, after: PaperOrder | None) -> None:
        old, new = self._rank(before), self._rank(after)
        if old == new:
            return
        if before is not None and old is not None:
            ranks = self._sides[before.key, before.side]
            del ranks[bisect_left(ranks, old)]
        if after is not None and new is not None:
            insort(self._sides.setdefault((after.key, after.side), []), new)

    def first(self, key: InstrumentKey, side: Side) -> int | None:
        """Sequence of the order that trades first."""
        ranks = self._sides.get((key, side))
        return ranks[0][1] if ranks else None

    @staticmethod
    def _rank(order: PaperOrder | None) -> tuple[Decimal, int] | None:
        if order is None or not order.is_open or order.price is None:
            return None
        return (ZERO - order.price if order.side is Side.BUY else order.price, order.sequence)
