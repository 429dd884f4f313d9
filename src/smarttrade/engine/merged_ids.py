"""Ids of trailing groups that were merged, and the id that each of them leads to now.

There may be one for each open trade, and hardly any of them is ever asked for again. So those that a restart finds
stay as they were stored, in two sorted columns of four bytes; only what changes later has an entry in a dict.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import Final

from smarttrade.engine.records import words
from smarttrade.engine.trigger_entries import ID_MASK

_GONE: Final = 0


class MergedIds:
    """id -> next id; in the bits above it, the number of references beyond one.

    One object serves the groups of all instruments, because ids are never issued twice.
    """

    __slots__ = ("_changed", "_ids", "_next", "_unclaimed")

    def __init__(self, pairs: bytes = b"") -> None:
        """pairs  id and next id, four bytes each, little-endian, by id; each is thought to have one owner to come"""
        columns = words(pairs, "I")
        self._ids = columns[0::2]
        self._next = columns[1::2]
        self._unclaimed = bytearray(b"\1") * len(self._ids)
        self._changed: dict[int, int] = {}

    def get(self, group_id: int) -> int | None:
        value = self._changed.get(group_id)
        if value is None:
            place = self._place(group_id)
            return None if place is None else self._next[place]
        return value

    def __getitem__(self, group_id: int) -> int:
        value = self.get(group_id)
        if value is None:
            raise KeyError(group_id)
        return value

    def __setitem__(self, group_id: int, value: int) -> None:
        self._changed[group_id] = value

    def __contains__(self, group_id: int) -> bool:
        return self.get(group_id) is not None

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[int]:
        yield from self._changed
        yield from (each for each, way in zip(self._ids, self._next, strict=True) if way and each not in self._changed)

    def pop(self, group_id: int) -> int:
        value = self[group_id]
        self._changed.pop(group_id, None)
        place = self._place(group_id)
        if place is not None:
            self._next[place] = _GONE
        return value

    def _place(self, group_id: int) -> int | None:
        ids = self._ids
        place = bisect_left(ids, group_id)
        return place if place < len(ids) and ids[place] == group_id and self._next[place] else None

    def ways(self, group_ids: Sequence[int]) -> list[int]:
        """Where each of these ids leads directly, or itself."""
        near, changed = self._near(group_ids), self._changed
        return [
            self._next[near[group_id]] if group_id in near and group_id not in changed else self._way(group_id)
            for group_id in group_ids
        ]

    def _way(self, group_id: int) -> int:
        value = self.get(group_id)
        return group_id if value is None else value & ID_MASK

    def _near(self, group_ids: Sequence[int]) -> dict[int, int]:
        """Places of restored ids, most of the given ones among them: trades that follow each other have such ids."""
        start = bisect_left(self._ids, min(group_ids))
        end = min(bisect_right(self._ids, max(group_ids), start), start + 8 * len(group_ids))
        return dict(zip(self._ids[start:end], range(start, end), strict=True))

    # -- at a restart

    def counts(self) -> Counter[int]:
        """How many of the restored ids lead directly to an id."""
        return Counter(self._next)

    def claim(self, group_ids: "array[int]") -> tuple[set[int], list[int]]:
        """The owners of these ids have come: return where they lead, and the ids that are no restored ones.

        An id that is claimed again is among the latter: so it has one more owner than was thought.
        """
        start = bisect_left(self._ids, group_ids[0])
        end = start + len(group_ids)
        if self._ids[start:end] == group_ids and 0 not in self._unclaimed[start:end]:  # in the order they are issued in
            self._unclaimed[start:end] = bytes(len(group_ids))
            return set(self._next[start:end]), []
        near = self._near(group_ids)
        found: set[int] = set()
        others: list[int] = []
        for group_id in group_ids:
            place = near.get(group_id)
            if place is None:
                place = self._place(group_id)
            if place is None or not self._unclaimed[place]:
                others.append(group_id)
            else:
                self._unclaimed[place] = 0
                found.add(self._next[place])
        return found, others

    def claim_one(self, group_id: int) -> bool:
        """The owner of this id has come; False if it is no restored one that waits for its owner."""
        place = self._place(group_id) if self._unclaimed else None
        if place is None or not self._unclaimed[place]:
            return False
        self._unclaimed[place] = 0
        return True

    def take_unclaimed(self) -> list[int]:
        """Restored ids whose owners have not come; nobody is waited for any more."""
        unclaimed, self._unclaimed = self._unclaimed, bytearray()
        return list(compress(self._ids, unclaimed)) if 1 in unclaimed else []


def packed_pair(group_id: int, next_id: int) -> bytes:
    """A merged id for `MergedIds`. Both stay below 2^31."""
    return (next_id << 32 | group_id).to_bytes(8, "little")


def next_of(pair: bytes) -> int:
    """The id that the id of a packed pair leads to."""
    return int.from_bytes(pair, "little") >> 32
