"""Records of what is watched: bounds that no watch fires before, and ids that lead where they led."""

import struct
from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from smarttrade.engine.merged_ids import MergedIds, next_of, packed_pair
from smarttrade.engine.records import (
    ENTRY_BITS,
    TOP_BITS,
    TOPS,
    Kind,
    entries,
    float_below,
    record,
    rest_of_record,
    words,
)
from smarttrade.engine.sealed import Sealed, Segment
from smarttrade.engine.trail_groups import line_above

RATIO_SHIFT = 118  # of a trail entry, whose ratio is x 2^56


@given(st.integers(-(10**38), 10**38))
def test_the_float_of_a_level_is_never_above_it_and_close(threshold: int) -> None:
    """EX-36: a segment that is opened too late fires too late; one that is opened far too early costs time."""
    (found,) = struct.unpack("<f", float_below(threshold).to_bytes(4, "little"))
    assert threshold - abs(threshold) * 2.0**-22 <= found <= threshold


@given(st.integers(-(2**60), 2**60), st.integers(0, 2**RATIO_SHIFT - 1), st.integers(1, 10**24))
def test_no_trailing_watch_fires_below_the_line_of_its_segment(ratio: int, rest: int, extreme: int) -> None:
    """TR-50, EX-36: the top of an entry says where the line is, or a little before it."""
    packed = record(0, rest_of_record(Kind.TRAIL, 1, 2, 3, (ratio << RATIO_SHIFT) + rest))
    (top,) = words(packed, "q")[TOPS]
    assert entries(packed) == [(ratio << RATIO_SHIFT) + rest]
    exact = ratio * extreme  # x 2^56
    assert line_above(top, -extreme) << 56 <= exact
    assert ENTRY_BITS - TOP_BITS > RATIO_SHIFT


IDS = st.integers(1, 40)


@given(
    st.dictionaries(IDS, st.integers(1, 2**31 - 1)),
    st.lists(st.tuples(st.sampled_from(["set", "pop"]), IDS, st.integers(1, 2**40))),
    st.lists(IDS, min_size=1),
)
def test_merged_ids_lead_where_a_plain_dict_leads(
    pairs: dict[int, int], changes: Iterable[tuple[str, int, int]], asked: list[int]
) -> None:
    """Those that were stored and those that are new are one and the same to whoever asks."""
    packed = [packed_pair(each, pairs[each]) for each in sorted(pairs)]
    merged, plain = MergedIds(b"".join(packed)), dict(pairs)
    assert [next_of(pair) for pair in packed] == [pairs[each] for each in sorted(pairs)]
    for change, group_id, value in changes:
        if change == "set":
            merged[group_id] = plain[group_id] = value
        elif group_id in plain:
            assert merged.pop(group_id) == plain.pop(group_id)
    assert {each: merged[each] for each in merged} == plain
    assert len(merged) == len(plain)
    alive = [each for each in asked if each in plain]
    if alive:
        assert merged.ways(alive) == [plain[each] & (2**31 - 1) for each in alive]


def test_a_step_that_an_old_trade_got_later_than_others_is_found_where_its_trade_is() -> None:
    """EX-36: else its watch would outlive an edit, a cancellation or the end of its trade."""
    sealed = Sealed()
    for steps in ((1, 50), (10, 20), (60,)):
        sealed.add(Segment(b"".join(record(0, rest_of_record(Kind.LEVEL, step_id)) for step_id in steps)))
    assert [sorted(sealed.holding(step_id)) for step_id in (1, 20, 50, 60, 61)] == [[0], [1], [0, 1], [2], []]
