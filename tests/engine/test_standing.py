"""What a restart reads instead of the trades: it arms what the trades themselves would arm (EX-36)."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from driver import Story, limit, market, sl, tp, when
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from smarttrade.domain.events import WatchRole
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.domain.steps import Trail
from smarttrade.domain.watches import Watch, trails, watches
from smarttrade.engine import trigger_book
from smarttrade.engine.engine import by_instrument
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.merged_ids import MergedIds, packed_pair
from smarttrade.engine.records import RECORD_BYTES, TAGS, WATCHES, record
from smarttrade.engine.standing import all_due, needs_recovery, standing
from smarttrade.engine.trades import Trades
from smarttrade.engine.trail_groups import UnknownGroup, packed_member, packed_trail
from smarttrade.engine.trigger_book import GroupState, TriggerBook, packed_level

D = Decimal

STORIES: dict[str, Callable[[], Story]] = {
    "targets and a stop at market": lambda: Story(market(), [tp(110, 40, at_market=True), tp(120, 60)], sl(95)),
    "a trailing stop": lambda: Story(market(), [tp(150, at_market=True)], sl(95, trailing=True)).quote(120),
    "a condition that waits": lambda: Story(when(105), [tp(150)], sl(90)),
    "a condition that trails": lambda: Story(when(105, trailing=1), [tp(150)], sl(90)).quote(110),
    "an entry in the book": lambda: Story(limit(90), [tp(150)], sl(80)),
    "a target that trails": lambda: Story(market(), [tp(110, trailing=2)], sl(95)).quote(115),
    "a stop whose timer runs": lambda: Story(market(), [tp(150)], sl(95, timeout=60)).quote(94),
    "a short": lambda: Story(market(), [tp(90, at_market=True)], sl(105, trailing=True), kind=TradeKind.SMART_BUY),
}


def armed(story: Story) -> list[Any]:
    """Everything that wakes the story's trades: watches, extremes, deadlines, owners."""
    engine = story.engine
    book = engine.markets[story.instrument.key].book
    trade = story.trade
    return [
        sorted((step, role.value) for step, role in book.watches()),
        {group: book.extreme(group) for group in trails(trade)},
        [engine._owners.of(step.id) for step in trade.steps],
        engine.tallies.of((trade.account_id, story.instrument.base)),
        engine.tallies.open_trades,
    ]


@pytest.mark.parametrize("name", STORIES)
def test_a_restart_arms_from_records_what_the_trade_itself_waits_for(name: str) -> None:
    """EX-36 (4): the very same watches, extremes and owners, before anything is asked or decided."""
    story = STORIES[name]()
    if name == "a stop whose timer runs":
        assert story.trade.stop is not None
        assert story.trade.stop.timer_started_at is not None
        return  # TR-64: its timer is cleared at once, so its watch is another one afterwards
    before, waited = armed(story), set(watches(story.trade))
    story.restart()
    assert set(watches(story.trade)) == waited
    assert armed(story) == before


LEVELS = st.builds(
    Watch,
    step_id=st.just(0),
    role=st.just(WatchRole.LEVEL),
    price_type=st.sampled_from(PriceType),
    level=st.decimals(min_value=90, max_value=110, places=3) | st.fractions(90, 110),
    rises=st.booleans(),
    strict=st.booleans(),
)
TRAILS = st.tuples(st.integers(0, 3), st.integers(80, 120), st.sampled_from([D(100), D(97), D("100.5")]))
GROUPS = [  # id, highest, extreme, merged into; followed by bid
    GroupState(1, PriceType.BID, True, D(105)),
    GroupState(2, PriceType.BID, True, D(105), 1),
    GroupState(3, PriceType.BID, True, D(105), 2),
    GroupState(4, PriceType.BID, False, D(95)),
]
PRICES = st.lists(st.tuples(*[st.integers(85, 115)] * 3), min_size=1, max_size=8)


@given(st.lists(LEVELS, max_size=8), st.lists(TRAILS | st.none(), max_size=8), PRICES)
def test_a_book_armed_from_records_fires_what_a_book_armed_one_by_one_fires(
    levels: list[Watch], trailing: list[tuple[int, int, Decimal] | None], prices: list[tuple[int, int, int]]
) -> None:
    """EX-36: the same steps at the same updates with the same extremes, and both books hold the same afterwards.

    A trailing None is a member that watches nothing at the moment.
    """
    one, other = TriggerBook(PRICE_DECIMALS), TriggerBook(PRICE_DECIMALS)
    one.restore_groups(GROUPS)
    merged = MergedIds(packed_pair(2, 1) + packed_pair(3, 2))
    other.restore_groups([state for state in GROUPS if state.merged_into is None], merged, merged.counts())
    rests: list[bytes] = []
    for number, level in enumerate(levels, start=1):
        watch = replace(level, step_id=number)
        assert watch.level is not None
        one.watch_level(number, watch.role, watch.price_type, watch.level, watch.rises, watch.strict)
        rests.append(packed_level(watch, PRICE_DECIMALS))
    for number, wish in enumerate(trailing, start=100):
        group = GROUPS[0 if wish is None else wish[0]]
        one.hold_group(group.id)
        if wish is None:
            rests.append(packed_member(number, group.id))
            continue
        trail = Trail(group=group.id, start=group.extreme, numerator=D(wish[1]), denominator=wish[2])
        one.watch_trail(number, trail.group, trail.numerator, trail.denominator)
        watch = Watch(
            step_id=number, role=WatchRole.TRAIL, price_type=PriceType.BID, trail=trail, highest=group.highest
        )
        rests.append(packed_trail(watch))
    with mock.patch.object(trigger_book, "SEGMENT_BYTES", 3 * RECORD_BYTES):
        other.restore(b"".join(record(0, rest) for rest in rests))
    one.drop_unheld_groups()
    other.drop_unheld_groups(merged.take_unclaimed())

    assert sorted(one.watches()) == sorted(other.watches())
    assert {each: one._groups.merged[each] for each in one._groups.merged} == {
        each: other._groups.merged[each] for each in other._groups.merged
    }
    for bid, ask, last in prices:
        assert one.update(D(bid), D(ask), D(last)) == other.update(D(bid), D(ask), D(last))
    assert (len(one), one.stored_entries) == (len(other), other.stored_entries)
    assert one.take_changed_groups() == other.take_changed_groups()


def test_what_fits_into_no_record_is_armed_from_its_trade() -> None:
    """A ratio with a denominator above 2^56 has no record: the standing says so, and the restart reads the trade."""
    story = Story(market(), [tp(150, at_market=True)], sl(D("95.000000000000000003"), trailing=True), bid=100)
    story.quote(D("100.000000000000000007"))
    assert story.trade.stop is not None
    assert story.trade.stop.trail is not None
    trail = replace(story.trade.stop.trail, denominator=D("100.000000000000000007"), numerator=D(95))
    odd = replace(story.trade, stop=replace(story.trade.stop, trail=trail))
    with pytest.raises(OverflowError):
        packed_trail(next(watch for watch in watches(odd) if watch.trail is not None))

    found = standing(odd, PRICE_DECIMALS)
    assert not found.records[TAGS].translate(WATCHES).count(1)
    assert [due.unpacked for due in all_due(found.records)] == [True]

    story._store.trades[odd.id] = odd
    story.restart()
    book = story.engine.markets[story.instrument.key].book
    assert set(book.watches()) == {(watch.step_id, watch.role) for watch in watches(odd)}


def test_what_a_restart_has_to_do_is_known_without_the_trade() -> None:
    """EX-36 (2) and (3): orders that are or may be alive, and sequences that were interrupted."""
    quiet = Story(market(), [tp(150, at_market=True)], sl(95))
    assert list(all_due(standing(quiet.trade, PRICE_DECIMALS).records)) == []
    resting = Story(limit(90), [tp(150)], sl(80))
    (due,) = all_due(standing(resting.trade, PRICE_DECIMALS).records)
    assert (due.trade_id, due.recover) == (resting.trade_id, True)
    assert needs_recovery(resting.trade)


def test_a_merged_group_goes_to_the_book_of_its_instrument_and_one_that_leads_nowhere_is_loud() -> None:
    groups = {
        InstrumentKey("a", "USDT_BTC"): [GroupState(1, PriceType.BID, True, D(1))],
        InstrumentKey("a", "USDT_ETH"): [GroupState(2, PriceType.BID, True, D(1))],
    }
    one, other = groups
    merged = MergedIds(packed_pair(3, 1) + packed_pair(4, 3) + packed_pair(5, 2) + packed_pair(6, 2))
    assert by_instrument(merged, groups) == {one: {1: 1, 3: 1}, other: {2: 2}}
    for nowhere in (packed_pair(3, 9), packed_pair(3, 4) + packed_pair(4, 3)):
        with pytest.raises(UnknownGroup):
            by_instrument(MergedIds(nowhere), groups)
        with pytest.raises(UnknownGroup):
            TriggerBook(0).restore_groups(groups[one], MergedIds(nowhere), MergedIds(nowhere).counts())


# --- trades that are read when they are touched -----------------------------------------------------------------


def test_a_trade_is_read_again_only_when_nothing_newer_waits_to_be_stored() -> None:
    """What is not durable yet stays in memory, however much else is touched meanwhile."""
    story = Story(market(), [tp(150)], sl(95))
    first, read = story.trade, list[int]()

    def load(trade_id: int) -> SmartTrade | None:
        read.append(trade_id)
        return replace(first, id=trade_id) if trade_id < 10 else None

    trades = Trades(load, keep=2)
    changed = replace(first, id=1, note="changed")
    trades.put(changed)
    for trade_id in (2, 3, 4):
        assert trades.find(trade_id) is not None
    assert trades.find(1) is changed
    assert (read, trades.decoded_count) == ([2, 3, 4], 3)
    trades.stored([replace(changed, note="older")])  # another value than the one that waits
    assert trades.find(1) is changed
    trades.stored([changed])
    trades.find(4)
    assert trades.find(1) is changed  # still kept, as one of the two touched last
    trades.find(2)
    trades.find(3)
    assert (trades.find(1) is changed, read) == (False, [2, 3, 4, 2, 3, 1])
    assert (10 in trades, 1 in trades, trades.decoded_count) == (False, True, 2)
    with pytest.raises(LookupError):
        trades[10]
