"""What the trigger book is made of: entries, the sorted lists that hold them, and what comes out of them.

An entry is one integer. Its lowest bits are the id of a step, its highest a level or a ratio, so that entries sort by
the price at which they fire.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Final

import msgspec

from smarttrade.domain.events import WatchRole
from smarttrade.domain.money import ONE

ID_BITS: Final = 31  # step and group ids stay below 2^31
ID_MASK: Final = (1 << ID_BITS) - 1

NEVER: Final = 1 << 256  # a signed price beyond every market

_CHUNK: Final = 1024  # entries; measured: shorter and longer chunks make insertion slower

_first = itemgetter(0)
_final = itemgetter(-1)


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """A watch that is true at the current prices; it has left the book.

    Out of sight of the garbage collector, because a crash makes them by the hundred thousand.
    """

    step_id: int
    role: WatchRole
    price: Decimal  # the followed price now
    extreme: Decimal | None = None  # TRAIL: of the step's group, this price included


class SortedEntries:
    """Integers in ascending order: a list of sorted chunks, and new ones that have not been sorted in yet.

    New ones wait until the order matters: arming everything at a restart is appending, with one sort at its end. A
    crash takes whole chunks off the front.
    """

    __slots__ = ("_chunks", "_new", "_size")

    def __init__(self) -> None:
        self._chunks: list[list[int]] = []  # none of them empty
        self._new: list[int] = []
        self._size = 0  # of both

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[int]:
        """In no particular order."""
        return chain(chain.from_iterable(self._chunks), self._new)

    def add(self, entry: int) -> None:
        self._new.append(entry)
        self._size += 1

    def extend(self, entries: Iterable[int]) -> None:
        """Add many at once."""
        waited = len(self._new)
        self._new.extend(entries)
        self._size += len(self._new) - waited

    def remove(self, entry: int) -> None:
        """Remove an entry that is there."""
        self._sort_in()
        place = bisect_right(self._chunks, entry, key=_first) - 1
        chunk = self._chunks[place]
        del chunk[bisect_left(chunk, entry)]
        if not chunk:
            del self._chunks[place]
        self._size -= 1

    def lowest(self) -> int | None:
        self._sort_in()
        return self._chunks[0][0] if self._chunks else None

    def take_below(self, limit: int) -> list[int]:
        """Remove and return all entries below `limit`, in ascending order."""
        self._sort_in()
        chunks = self._chunks
        if not chunks or chunks[0][0] >= limit:
            return []
        whole = bisect_left(chunks, limit, key=_final)
        taken = list(chain.from_iterable(chunks[:whole]))
        del chunks[:whole]
        if chunks:
            rest = bisect_left(chunks[0], limit)
            taken += chunks[0][:rest]
            del chunks[0][:rest]
        self._size -= len(taken)
        return taken

    def absorb(self, other: "SortedEntries") -> "SortedEntries":
        """The entries of both; the smaller list goes into the larger one."""
        large, small = (self, other) if self._size >= other._size else (other, self)
        large._new.extend(small)
        large._size += small._size
        return large

    def _sort_in(self) -> None:
        if not self._new:
            return
        if 16 * len(self._new) > self._size:  # then going through all entries is cheaper than finding the places
            entries = sorted(self)
            self._chunks = [entries[start : start + _CHUNK] for start in range(0, len(entries), _CHUNK)]
        else:
            for entry in self._new:
                self._insert(entry)
        self._new = []

    def _insert(self, entry: int) -> None:
        place = bisect_right(self._chunks, entry, lo=1, key=_first) - 1
        chunk = self._chunks[place]
        insort(chunk, entry)
        if len(chunk) > _CHUNK:
            self._chunks[place : place + 1] = [chunk[: _CHUNK // 2], chunk[_CHUNK // 2 :]]


def check_id(number: int) -> None:
    if not 0 < number <= ID_MASK:
        raise ValueError(f"id does not fit in 31 bits: {number}")


def price_of(steps: int, decimals: int) -> Decimal:
    """A number of grid steps as a price, without the zeros of a grid that is finer than the market's."""
    price = Decimal(steps).scaleb(-decimals)
    return price.quantize(ONE) if price == price.to_integral_value() else price.normalize()
