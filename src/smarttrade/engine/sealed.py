"""The watches that a restart finds, before anybody has looked into them (EX-36).

Their records stay as they were stored, in segments. Of each segment it is known at which price the first of its watches
may fire: a segment is opened when a price comes there, when one of its steps is changed, or when there is nothing else
to do. Until then a watch costs forty bytes and no object.

Lists are numbered: 2 x price type, and 1 more for what fires when the price rises. Prices are signed: see
trigger_book.py.
"""

from bisect import bisect_right
from collections.abc import Iterator
from heapq import heappop, heappush
from itertools import compress
from typing import Final

from smarttrade.domain.quote import PriceType
from smarttrade.engine.records import RECORD_BYTES, STEPS, TAGS, WATCHES, words
from smarttrade.engine.trail_groups import line_above
from smarttrade.engine.trigger_entries import NEVER

SEGMENT_BYTES: Final = 2_048 * RECORD_BYTES
"""Opening one takes a millisecond or two; finding out which ones a new extreme concerns is one look at each of them."""

_LISTS: Final = range(2 * len(PriceType))


class Segment:
    """Records of trades that follow each other, and what is known of them without looking at each."""

    __slots__ = ("levels", "records", "trails", "watches")

    def __init__(self, records: bytes) -> None:
        self.records = records
        self.watches = records[TAGS].translate(WATCHES).count(1)
        self.levels: dict[int, int] = {}  # list -> no fixed level is below this price
        self.trails: dict[int, tuple[int, int]] = {}  # list -> no ratio (`records.TOPS`), no extreme is below


class Sealed:
    """The segments that nobody has opened yet."""

    __slots__ = (
        "_best",
        "_firsts",
        "_heaps",
        "_last",
        "_lines",
        "_ratios",
        "_segments",
        "_strays",
        "_trails",
        "watches",
    )

    def __init__(self) -> None:
        self.watches = 0
        self._segments: list[Segment] = []  # all of them; opened ones have no records any more
        self._firsts: list[int] = []  # of each segment, a step that none of its steps is below; ascending
        self._strays: dict[int, list[int]] = {}  # steps not below the first of the next segment -> where they are
        self._last = 0  # the highest step of all
        self._heaps: list[list[tuple[int, int]]] = [[] for _ in _LISTS]  # lowest fixed level, segment
        self._trails: list[list[tuple[int, int, int]]] = [[] for _ in _LISTS]  # lowest ratio, lowest extreme, segment
        self._ratios = [NEVER] * len(_LISTS)  # not above the lowest ratio
        self._lines = [NEVER] * len(_LISTS)  # no trailing watch fires below
        self._best = [NEVER] * len(_LISTS)  # the lowest price that has come since

    def add(self, segment: Segment) -> None:
        """One more, before anything is asked."""
        if not segment.watches:
            return
        place = len(self._segments)
        self._segments.append(segment)
        self.watches += segment.watches
        for number, price in segment.levels.items():
            heappush(self._heaps[number], (price, place))
        for number, (ratio, extreme) in segment.trails.items():
            self._trails[number].append((ratio, extreme, place))
            self._ratios[number] = min(self._ratios[number], ratio)
            self._lines[number] = min(self._lines[number], line_above(ratio, extreme))

    def __iter__(self) -> Iterator[bytes]:
        """The records of each segment."""
        return (segment.records for segment in self._segments if segment.records)

    # -- which one to open

    def nearest(self, number: int) -> int:
        """A price below which no watch of this list fires."""
        heap = self._heaps[number]
        while heap and not self._segments[heap[0][1]].records:
            heappop(heap)
        return min(heap[0][0] if heap else NEVER, self._lines[number])

    def reached(self, number: int, price: int) -> set[int]:
        """Segments in which a watch of this list may fire at this new price. The caller opens them all."""
        found: set[int] = set()
        heap = self._heaps[number]
        while heap and heap[0][0] <= price:
            found.add(heappop(heap)[1])
        self._follow(number, price)
        if self._lines[number] <= price:
            found |= self._reached_trails(number, price)
        return {place for place in found if self._segments[place].records}

    def _follow(self, number: int, price: int) -> None:
        """An extreme that a price betters is that price, so each is now the better one of what it was and the best."""
        if self._trails[number] and price < self._best[number]:
            self._best[number] = price
            self._lines[number] = min(self._lines[number], line_above(self._ratios[number], price))

    def _reached_trails(self, number: int, price: int) -> set[int]:
        """Measure all lines of this list again; return the segments with one at or below `price`."""
        best = self._best[number]
        reached: set[int] = set()
        waiting: list[tuple[int, int, int]] = []
        self._lines[number] = self._ratios[number] = NEVER
        for ratio, extreme, place in self._trails[number]:
            line = line_above(ratio, min(extreme, best))
            if line <= price:
                reached.add(place)
            elif self._segments[place].records:
                waiting.append((ratio, extreme, place))
                self._lines[number] = min(self._lines[number], line)
                self._ratios[number] = min(self._ratios[number], ratio)
        self._trails[number] = waiting
        return reached

    def holding(self, step_id: int) -> list[int]:
        """The segments that may have watches of this step."""
        if not self._firsts:
            self.sort_steps()
        if step_id > self._last:
            return []
        places = {max(bisect_right(self._firsts, step_id) - 1, 0), *self._strays.get(step_id, ())}
        return [place for place in places if self._segments[place].records]

    def sort_steps(self) -> None:
        """Find out which segment holds which steps: no price needs it, so it waits for the first change of a trade."""
        steps = [_watching_steps(segment.records) for segment in self._segments]
        self._firsts = [min(each, default=NEVER) for each in steps]
        for place in reversed(range(len(steps) - 1)):
            self._firsts[place] = min(self._firsts[place], self._firsts[place + 1])
        for place, limit in enumerate([*self._firsts[1:], NEVER]):
            highest = max(steps[place], default=0)
            self._last = max(self._last, highest)
            if highest >= limit:  # a step that its trade got later than others got theirs
                for step_id in steps[place]:
                    if step_id >= limit:
                        self._strays.setdefault(step_id, []).append(place)

    def any(self) -> int | None:
        """One of them, when there is time for it."""
        if not self._firsts and self._segments:
            self.sort_steps()
        return next((place for place, segment in enumerate(self._segments) if segment.records), None)

    def open(self, place: int) -> bytes:
        """The records of a segment, which are somebody else's concern from now on."""
        segment = self._segments[place]
        records, segment.records = segment.records, b""
        self.watches -= segment.watches
        return records


def _watching_steps(records: bytes) -> list[int]:
    return list(compress(words(records, "I")[STEPS], records[TAGS].translate(WATCHES)))
