"""How much: shares of targets, dust, percents as prices (C-6, M-20 to M-26, TR-30)."""

import json
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from driver import SPOT, Story, limit, market, sl, tp
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from smarttrade.domain.money import half_up, truncate
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.position import enter_price_exact
from smarttrade.domain.sizing import (
    allocate,
    closing_price,
    entering_price,
    is_closable,
    is_placeable,
    market_part,
    stop_price,
    target_price,
)

D = Decimal
LOTS = replace(SPOT, lot=D(1), min_lot=D(1), tick=D("0.00001"))


def shares(whole: str, volumes: list[int], uncovered: int = 0) -> list[Decimal]:
    return allocate(D(whole), [D(volume) for volume in volumes], D(uncovered), LOTS)


@pytest.mark.parametrize(
    ("whole", "volumes", "uncovered", "expected"),
    [
        ("14.91", [50, 25, 25], 0, [8, 3, 3]),  # M-20, published
        ("20", [35, 35], 30, [7, 7]),  # M-25, X-1, published
        ("14.91", [100], 0, [14]),  # published
        ("43.736", [100], 0, [43]),  # M-24, published
        ("6.91", [30, 20], 0, [4, 2]),  # 6.2
        ("0.9", [50, 50], 0, [0, 0]),
        ("10", [], 0, []),
        ("10", [33, 33, 34], 0, [4, 3, 3]),
        ("1", [50, 50], 0, [1, 0]),
    ],
)
def test_published_and_worked_shares(whole: str, volumes: list[int], uncovered: int, expected: list[int]) -> None:
    assert shares(whole, volumes, uncovered) == expected


@settings(max_examples=200)
@given(
    whole=st.decimals("0", "1000", places=3),
    volumes=st.lists(st.integers(1, 100), min_size=1, max_size=8),
    uncovered=st.integers(0, 100),
)
def test_shares_never_exceed_what_is_open_and_leave_less_than_a_lot_uncovered(
    whole: Decimal, volumes: list[int], uncovered: int
) -> None:
    """Fault F32: the sum of what is offered is what is open, cut to the lot and less the uncovered part."""
    units = allocate(whole, [D(volume) for volume in volumes], D(uncovered), LOTS)
    lots = LOTS.floor_lot(whole)
    assert all(unit >= 0 and unit == LOTS.floor_lot(unit) for unit in units)
    assert sum(units) <= lots
    assert sum(units) == LOTS.floor_lot(lots * sum(volumes) / (sum(volumes) + uncovered))


def test_an_order_must_reach_lot_minimum_and_total() -> None:
    """C-4."""
    rules = replace(SPOT, lot=D("0.1"), min_lot=D("0.3"), min_total=D(5), min_market_total=D(10))
    assert is_placeable(rules, D("0.3"), D(20), OrderType.LIMIT)
    assert not is_placeable(rules, D("0.29"), D(2000), OrderType.LIMIT)
    assert not is_placeable(rules, D("0.3"), D(20), OrderType.MARKET)
    assert is_placeable(rules, D("0.5"), D(20), OrderType.MARKET)
    assert not is_placeable(rules, D("0.59"), D(18), OrderType.MARKET)  # 0.5 lots count
    assert is_placeable(rules, D("0.3"), None, OrderType.MARKET)


@pytest.mark.parametrize(
    ("smallest", "quantity", "expected"),
    [
        ("2", 25, [10, 10, 5]),
        ("2", 21, [10, 5, 6]),  # not 10, 10, 1
        ("2", 20, [10, 10]),
        ("8", 11, [10, 1]),  # no way round it
        ("8", 9, [9]),
    ],
)
def test_a_large_market_order_is_split_into_parts_that_can_be_ordered(
    smallest: str, quantity: int, expected: list[int]
) -> None:
    """EX-16, EX-18: by size as by value."""
    by_size = replace(LOTS, max_market_lot=D("10.5"), min_lot=D(smallest))
    by_value = replace(LOTS, max_market_lot=D("10.5"), min_market_total=D(smallest) * 100)
    for rules in (by_size, by_value):
        parts: list[Decimal] = []
        while sum(parts) < quantity:
            parts.append(market_part(rules, quantity - sum(parts, D(0)), D(100)))
        assert parts == expected


@pytest.mark.parametrize(("kind", "out", "into"), [(TradeKind.SMART_TRADE, 99, 101), (TradeKind.SMART_COVER, 101, 99)])
def test_a_long_leaves_at_the_bid_and_enters_at_the_ask(kind: TradeKind, out: int, into: int) -> None:
    story = Story(market(), kind=kind, bid=99, ask=101)
    quote = story.context().quote
    assert (closing_price(story.trade, quote), entering_price(story.trade, quote)) == (out, into)
    assert closing_price(story.trade, None) is None


def test_dust_is_measured_at_the_price_at_which_it_would_be_closed() -> None:
    """C-6."""
    story = Story(market(), bid=5, ask=6, min_market_total=D(10))
    quote = story.context().quote
    assert is_closable(story.trade, D(2), story.instrument, quote)
    assert not is_closable(story.trade, D("1.99"), story.instrument, quote)
    assert is_closable(story.trade, D("0.1"), story.instrument, None)  # without a price only the lot counts


@pytest.mark.parametrize(
    ("entry", "percent", "tick", "is_long", "target", "stop"),
    [
        ("385.385", "5", "0.01", True, "404.65", "362.26"),
        ("404.595", "5", "0.01", False, "384.37", "428.87"),
        ("385.385", "-5", "0.01", True, "404.65", "362.26"),
    ],
)
def test_percents_become_prices_half_up_to_the_tick(
    entry: str, percent: str, tick: str, is_long: bool, target: str, stop: str
) -> None:
    """TR-30."""
    rules = replace(SPOT, tick=D(tick))
    assert target_price(Fraction(entry), D(percent), rules, long=is_long) == D(target)
    assert stop_price(Fraction(entry), D(6), rules, long=is_long) == D(stop)


def test_the_published_percent_target() -> None:
    """TR-30: 4.57371 / 43.736 x 1.05."""
    assert target_price(Fraction("4.57371") / Fraction("43.736"), D(5), LOTS, long=True) == D("0.10980")


@pytest.mark.parametrize(
    ("value", "cut", "halved"),
    [("1.279", "1.27", "1.3"), ("1.25", "1.25", "1.3"), ("-1.279", "-1.27", "-1.3"), ("-1.25", "-1.25", "-1.3")],
)
def test_figures_are_cut_towards_zero_and_halves_go_away_from_it(value: str, cut: str, halved: str) -> None:
    """C-5."""
    assert truncate(D(value), D("0.01")) == D(cut)
    assert half_up(D(value), 1) == D(halved)


def test_quantities_are_cut_to_the_lot() -> None:
    """C-5, M-33."""
    assert [SPOT.floor_lot(D(value)) for value in ("1.29", "1.2", "0.09")] == [D("1.2"), D("1.2"), 0]


def test_half_a_tick_goes_up() -> None:
    """C-5, TR-30."""
    assert target_price(Fraction(100), D("0.005"), SPOT, long=True) == D("100.01")


def test_half_a_tick_goes_up_from_an_average_without_end_too() -> None:
    """C-1, C-5, TR-30: 100.375 for 3 is 33.4583... each, and 180 % of that 60.225; cut anywhere it is less."""
    story = Story(limit("33.46", 3), [tp(percent=80)], bid=34, taker_fee=D(0))
    story.fill("entry", 1, "33.455").fill("entry", 2, "33.46")
    assert story.target("tp1").price == D("60.23")


def test_an_uncovered_share_without_end_costs_the_targets_no_lot() -> None:
    """C-1, M-20, M-23: 10 % has a target and a third of 20 % has none; of 15 units 9 have one, not 8."""
    story = Story(market(15), [tp(110, 70), tp(120, 10), tp(130, 20)], sl(90), lot=D(1), min_lot=D(1))
    story.fill("tp1").fill("tp3", 2).cancel_leg("tp3").add(13)
    assert story.open == 15
    assert story.book == {"tp2": "sell 9 @ 120"}


def test_a_stored_trade_has_no_binary_fraction_and_averages_are_exact() -> None:
    """C-1."""
    story = Story(market("3.3"), [tp(percent="3.333")], sl("90.1", trailing=True), bid="100.01")
    story.quote("100.07").fill("tp1", "1.1")
    binary: list[str] = []
    json.loads(msgspec.json.encode(story.trade), parse_float=binary.append)
    assert binary == []
    assert enter_price_exact(story.trade, story.instrument) == Fraction(story.trade.entered.total) / Fraction("3.3")
    assert len((story.trade.entered.total / 7).as_tuple().digits) >= 40


def test_a_step_whose_share_is_smaller_than_what_it_has_executed_is_done() -> None:
    """M-24: never below zero."""
    story = Story(market(), [tp(110, 50), tp(120, 50)])
    story.fill("tp1", "4.5")
    story.reduce(5)
    assert story.open == D("0.5")
    assert story.legs("tp1") == "finished"
    assert story.book == {"tp2": "sell 0.5 @ 120"}
