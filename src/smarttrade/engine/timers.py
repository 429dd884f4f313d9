"""Deadlines of trades, as data: nothing here knows a clock."""

import heapq

from smarttrade.domain.quote import Instant


class Timers:
    """The next deadline of each trade. A trade has at most one; setting it again replaces it."""

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[int, Instant] = {}
        self._heap: list[tuple[Instant, int]] = []  # may hold replaced entries; `_due` decides

    def set(self, trade_id: int, due: Instant | None) -> None:
        """Wake `trade_id` at `due`; None: not at all."""
        if due is None:
            self._due.pop(trade_id, None)
        elif self._due.get(trade_id) != due:
            self._due[trade_id] = due
            heapq.heappush(self._heap, (due, trade_id))
        if len(self._heap) > 2 * len(self._due) + 64:
            self._heap = [(instant, trade) for trade, instant in self._due.items()]
            heapq.heapify(self._heap)

    def next(self) -> Instant | None:
        """The earliest deadline of all."""
        while self._heap:
            due, trade_id = self._heap[0]
            if self._due.get(trade_id) == due:
                return due
            heapq.heappop(self._heap)
        return None

    def pop_due(self, now: Instant) -> list[int]:
        """Trades whose deadline has come, earliest first; they have none any more."""
        found: list[int] = []
        while (due := self.next()) is not None and due <= now:
            _, trade_id = heapq.heappop(self._heap)
            del self._due[trade_id]
            found.append(trade_id)
        return found
