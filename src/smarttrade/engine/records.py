"""What is watched for a trade, as records of fixed size that are read in bulk (see standing.py).

Joined end to end, the records of many trades are columns: one slice with a stride gives all steps, another one all
bounds. So a restart finds out at which prices anything happens without making an object of any record.
"""

import enum
import struct
import sys
from array import array
from math import inf, nextafter
from typing import Final

_RUN: Final = struct.Struct("<Q")
_REST: Final = struct.Struct("<IIB23s")
RECORD_BYTES: Final = _RUN.size + _REST.size

ENTRY_BITS: Final = 8 * 23
TOP_BITS: Final = 64
"""Of an entry, read as one signed number: the upper end of the ratio of a trail, hence a lower bound of it."""

_ENTRIES: Final = struct.Struct("17x23s")
_FLOAT: Final = struct.Struct("<f")

# Columns: of the records as 64-bit words, as 32-bit words or floats, and as bytes.
RUNS: Final = slice(0, None, RECORD_BYTES // 8)
TOPS: Final = slice(4, None, RECORD_BYTES // 8)
STEPS: Final = slice(2, None, RECORD_BYTES // 4)
NOTES: Final = slice(3, None, RECORD_BYTES // 4)
TAGS: Final = slice(16, None, RECORD_BYTES)


class Kind(enum.IntEnum):
    """What a record says."""

    LEVEL = 0  # note: a price in steps of the grid, not above the level, as a float; entry: of the trigger book
    TRAIL = 1  # note: the group; entry: of the group
    MEMBER = 2  # note: the group, in which the step watches nothing now
    OWNER = 3  # nothing but its run
    DUE = 4  # step: the trade; note: flags; entry: a deadline


WATCHING: Final = frozenset({Kind.LEVEL, Kind.TRAIL})
"""Of steps that wait for a price."""


def tag(kind: Kind, number: int = 0) -> int:
    """One byte for the kind and, of what is watched, the list: 2 x price type, and 1 more if it fires when rising."""
    return kind << 3 | number


def rest_of_record(kind: Kind, step_id: int, note: int = 0, number: int = 0, entry: int = 0) -> bytes:
    """A record but for its run. Raises OverflowError when the entry does not fit."""
    return _REST.pack(step_id, note, tag(kind, number), entry.to_bytes(ENTRY_BITS // 8, "little", signed=True))


OWNER_REST: Final = rest_of_record(Kind.OWNER, 0)


def record(run: int, rest: bytes) -> bytes:
    """run  a run of step ids (see owners.py), 0 for none: a trade's records carry one each, whatever else they say"""
    return _RUN.pack(run) + rest


def entries(records: bytes) -> list[int]:
    """The entry of each record."""
    return [int.from_bytes(entry, "little", signed=True) for (entry,) in _ENTRIES.iter_unpack(records)]


def words(records: bytes, code: str) -> "array[int]":
    """Little-endian records as an array of numbers of this type code."""
    found = array(code, records)
    if sys.byteorder == "big":
        found.byteswap()
    return found


CHOOSE: Final = tuple(bytes(int(each == wanted) for each in range(256)) for wanted in range(len(Kind) << 3))
"""By tag, a table for `bytes.translate` that turns a column of tags into one of choices, for `compress`."""

WATCHES: Final = bytes(int(each >> 3 in WATCHING) for each in range(256))
"""The same, of all steps that wait for a price."""


def float_below(threshold: int) -> int:
    """The bits of a short float that is `threshold` or a little less. Raises OverflowError beyond all floats."""
    (found,) = _FLOAT.unpack(_FLOAT.pack(float(threshold)))
    if found > threshold:
        (found,) = _FLOAT.unpack(_FLOAT.pack(nextafter(found - abs(found) * 2**-24, -inf)))
    return int.from_bytes(_FLOAT.pack(found), "little")
