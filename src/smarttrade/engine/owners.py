"""Which trade a step belongs to, in eight bytes a trade.

Ids are issued in ascending order, one trade's after another's, so a trade's steps come in runs: a run ends where
another trade's begins. One sorted array holds where each run starts and whose it is.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Final

from smarttrade.engine.records import RUNS, words

_TRADE_BITS: Final = 32
_TRADE_MASK: Final = (1 << _TRADE_BITS) - 1
_NOBODY: Final = 0
_FORGOTTEN_ALLOWED: Final = 1024  # runs without an owner; below this a rebuild is not worth its while


class Owners:
    """Trades by step. A step whose trade was forgotten may lead to another one: ask that one whether it has it."""

    __slots__ = ("_forgotten", "_runs", "_unsorted")

    def __init__(self) -> None:
        self._runs = array("Q")  # first step << 32 | trade, ascending
        self._forgotten = 0
        self._unsorted: list[bytes] = []

    def __len__(self) -> int:
        """Number of runs that have an owner."""
        self.sort_in()
        return len(self._runs) - self._forgotten

    def of(self, step_id: int) -> int | None:
        """The trade that the step belongs to, if it belongs to any."""
        self.sort_in()
        place = self._place(step_id)
        return None if place < 0 else self._runs[place] & _TRADE_MASK or None

    def add(self, trade_id: int, step_ids: Iterable[int]) -> None:
        """These steps belong to the trade. Their ids are the newest of all: so ids are issued."""
        self.sort_in()
        runs = self._runs
        for step_id in sorted(step_ids):
            if not runs or runs[-1] & _TRADE_MASK != trade_id:
                assert not runs or runs[-1] >> _TRADE_BITS < step_id
                runs.append(step_id << _TRADE_BITS | trade_id)

    def forget(self, trade_id: int, step_ids: Iterable[int]) -> None:
        """The trade is over."""
        self.sort_in()
        runs = self._runs
        for place in {self._place(step_id) for step_id in step_ids}:
            if place >= 0 and runs[place] & _TRADE_MASK == trade_id:
                runs[place] -= trade_id
                self._forgotten += 1
        if self._forgotten > len(runs) // 2 + _FORGOTTEN_ALLOWED:
            self._runs = array("Q", [run for run in runs if run & _TRADE_MASK != _NOBODY])
            self._forgotten = 0

    def restore(self, records: Iterable[bytes]) -> None:
        """Take the runs of many trades, as their records give them, into an empty index.

        They are sorted when the first owner is asked for.
        """
        self._unsorted = list(records)

    def sort_in(self) -> None:
        """Sort what was restored, unless that is done."""
        if self._unsorted:
            found = chain.from_iterable(words(records, "Q")[RUNS] for records in self._unsorted)
            self._runs = array("Q", sorted(filter(None, found)))
            self._unsorted = []

    def _place(self, step_id: int) -> int:
        return bisect_right(self._runs, step_id << _TRADE_BITS | _TRADE_MASK) - 1


def runs(trade_id: int, step_ids: Iterable[int]) -> list[int]:
    """The runs that a trade's steps form, as numbers of 64 bits."""
    ids = sorted(step_ids)
    starts = ids[:1] + [later for earlier, later in pairwise(ids) if later != earlier + 1]
    return [start << _TRADE_BITS | trade_id for start in starts]
