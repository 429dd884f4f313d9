"""What a plan must keep before it becomes a trade, and a command before it changes one (EX-14, EX-15, M-26, V-3)."""

from decimal import Decimal
from typing import Any

import pytest
from driver import LINEAR, Story, limit, market, own, plan, sl, tp, when
from msgspec.structs import replace

from smarttrade.domain.commands import AddFunds, SetNote
from smarttrade.domain.errors import DenialCode, Denied, Problem
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import Leverage, MarginMode, SmartTradePlan, TradeKind
from smarttrade.domain.quote import InstrumentKey

D = Decimal
C = DenialCode
LONG = TradeKind.SMART_TRADE
SHORT = TradeKind.SMART_COVER
TIGHT: dict[str, Any] = {
    "min_lot": D("0.5"), "max_lot": D(50), "min_total": D(20), "min_market_total": D(30), "max_total": D(4000),
    "min_price": D(10), "max_price": D(500),
}  # fmt: skip


def problems(wanted: SmartTradePlan, bid: int = 100, **rules: Any) -> list[Problem]:
    story = Story(bid=bid, **rules)
    before = (story.engine.next_trade_id, story._next_step_id)
    try:
        story.create(wanted)
    except Denied as denial:
        assert (story.engine.next_trade_id, story._next_step_id) == before
        assert not story.engine.tallies.open_trades
        assert story.heard() == []
        return list(denial.problems)
    return []


def codes(wanted: SmartTradePlan, **more: Any) -> list[DenialCode]:
    return [problem.code for problem in problems(wanted, **more)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (plan(LONG, market("0.4")), [Problem(C.UNITS_TOO_SMALL, "position", D("0.5"))]),
        (plan(LONG, market("50.1")), [
            Problem(C.UNITS_TOO_LARGE, "position", D(50)), Problem(C.TOTAL_TOO_LARGE, "position", D(4000)),
        ]),
        (plan(LONG, limit(30, "0.6")), [Problem(C.TOTAL_TOO_SMALL, "position", D(20))]),
        (plan(LONG, market("0.5")), []),
        (plan(LONG, limit(100, "40.1")), [Problem(C.TOTAL_TOO_LARGE, "position", D(4000))]),
        (plan(LONG, limit(9, 10)), [Problem(C.PRICE_TOO_SMALL, "position", D(10))]),
        (plan(LONG, limit(501, 1)), [Problem(C.PRICE_TOO_LARGE, "position", D(500))]),
        (plan(LONG, market(10), [tp(501)]), [Problem(C.PRICE_TOO_LARGE, "take_profit", D(500))]),
        (plan(LONG, market(10), (), sl(90, at=5)), [Problem(C.PRICE_TOO_SMALL, "stop_loss", D(10))]),
    ],
)  # fmt: skip
def test_limits_of_the_market(wanted: SmartTradePlan, expected: list[Problem]) -> None:
    """EX-14, EX-15: named with what is meant and the limit."""
    assert problems(wanted, **TIGHT) == expected


def test_units_are_cut_to_the_lot_before_they_are_judged() -> None:
    """EX-14."""
    assert codes(plan(LONG, market("0.09"))) == [C.UNITS_TOO_SMALL, C.TOTAL_TOO_SMALL]
    story = Story(market("1.29"))
    assert story.trade.position.plan.units == D("1.2")


def test_a_market_minimum_of_its_own_counts_for_market_orders() -> None:
    """C-4: 0.25 x 100."""
    rules = {"lot": D("0.01"), "min_lot": D("0.01"), "min_total": D(20), "min_market_total": D(30)}
    assert codes(plan(LONG, market("0.25")), **rules) == [C.TOTAL_TOO_SMALL]
    assert codes(plan(LONG, limit(100, "0.25")), **rules) == []
    assert codes(plan(LONG, when(95, units="0.25")), **rules) == [C.TOTAL_TOO_SMALL]
    assert codes(plan(LONG, when(95, units="0.25", price=96)), **rules) == []


@pytest.mark.parametrize("kind", [TradeKind.SIMPLE_BUY, TradeKind.SIMPLE_SELL])
def test_simple_trades_have_no_exits(kind: TradeKind) -> None:
    """V-3."""
    assert codes(plan(kind, market(), [tp(110)], sl(90))) == [C.SIMPLE_WITH_TAKE_PROFIT, C.SIMPLE_WITH_STOP_LOSS]


@pytest.mark.parametrize(("volumes", "fits"), [
    ((50, 50), True), (("33.33", "33.33", "33.33"), True), ((50, 49), False), ((60, 60), False), ((100,), True),
])  # fmt: skip
def test_volumes_sum_to_a_hundred(volumes: tuple[Any, ...], fits: bool) -> None:
    """TP-15; thirds that a client has rounded are a hundred."""
    targets = [tp(110 + number, volume) for number, volume in enumerate(volumes)]
    assert codes(plan(LONG, market(), targets)) == ([] if fits else [C.VOLUMES_NOT_100])


def test_at_most_eight_steps() -> None:
    """TP-15."""
    assert codes(plan(LONG, market(), [tp(110 + n, "12.5") for n in range(8)])) == []
    nine = [tp(110 + n, 10 if n else 20) for n in range(9)]
    assert codes(plan(LONG, market(), nine)) == [C.TOO_MANY_STEPS]


def test_only_the_last_step_trails_and_order_by_price_is_free() -> None:
    """TP-16, TP-17."""
    assert codes(plan(LONG, market(), [tp(110, 50, trailing=1), tp(120, 50)])) == [C.TRAILING_NOT_LAST]
    assert codes(plan(LONG, market(), [tp(120, 50), tp(110, 50, trailing=1)])) == []


@pytest.mark.parametrize(
    ("kind", "target", "stop", "fits"),
    [
        (LONG, 110, 109, True), (LONG, 110, 110, False), (LONG, 110, 111, False), (LONG, 95, 94, True),
        (SHORT, 90, 91, True), (SHORT, 90, 90, False), (SHORT, 90, 80, False), (SHORT, 105, 106, True),
    ],
)  # fmt: skip
def test_a_stop_lies_on_the_losing_side_of_every_target(kind: TradeKind, target: int, stop: int, fits: bool) -> None:
    """TR-74: its place relative to the market is free."""
    far = 200 if kind is LONG else 50
    wanted = plan(kind, market(), [tp(far, 50), tp(target, 50)], sl(stop, timeout=60))
    assert codes(wanted) == ([] if fits else [C.STOP_BEYOND_TARGET])


def test_breakeven_needs_two_steps() -> None:
    """BE-0."""
    assert codes(plan(LONG, market(), [tp(110)], sl(90, breakeven=True))) == [C.BREAKEVEN_NEEDS_TWO_STEPS]
    assert codes(plan(LONG, market(), (), sl(90, breakeven=True))) == [C.BREAKEVEN_NEEDS_TWO_STEPS]
    assert codes(plan(LONG, market(), [tp(110, 50), tp(120, 50)], sl(90, breakeven=True))) == []


def test_a_percent_that_leaves_no_price_is_refused() -> None:
    assert codes(plan(LONG, market(), (), sl(percent=100))) == [C.PRICE_TOO_SMALL]
    assert codes(plan(SHORT, market(), [tp(percent=100)])) == [C.PRICE_TOO_SMALL]
    assert codes(plan(SHORT, market(), (), sl(percent=100))) == []
    assert codes(plan(LONG, market(), (), sl(percent=50, at_percent=-100))) == [C.PRICE_TOO_SMALL]


@pytest.mark.parametrize(("value", "fits"), [("1", True), ("20", True), ("0.5", False), ("20.5", False)])
def test_leverage_is_within_the_limits_of_the_pair(value: str, fits: bool) -> None:
    """M-55."""
    wanted = plan(LONG, market(), leverage=Leverage(MarginMode.CROSS, D(value)))
    assert codes(wanted, on=LINEAR) == ([] if fits else [C.LEVERAGE_OUT_OF_RANGE])
    assert codes(wanted) == []  # ignored on spot


def test_every_broken_rule_is_named_at_once() -> None:
    found = codes(plan(LONG, market("0.01"), [tp(110, 50), tp(120, 20)], sl(120, breakeven=True)))
    assert set(found) == {C.UNITS_TOO_SMALL, C.TOTAL_TOO_SMALL, C.VOLUMES_NOT_100, C.STOP_BEYOND_TARGET}


def test_a_pair_without_a_price_cannot_be_traded() -> None:
    """Fault F58: said at once, instead of an order that nobody ever fills."""
    story = Story()
    story.instrument = replace(story.instrument, key=InstrumentKey("binance", "USDT_NEW"))
    with pytest.raises(Denied, match="no_market_data"):
        story.create(plan(LONG, market()))


def test_a_note_has_at_most_300_characters() -> None:
    story = Story(market())
    assert story.denied(SetNote(trade_id=story.trade_id, note="x" * 301)) == [C.NOTE_TOO_LONG]
    assert story.note("x" * 300).trade.note == "x" * 300


def test_funds_to_add_reach_the_minimum_at_the_price_at_which_they_are_bought() -> None:
    """F-1: the ask for a long, the bid for a short."""
    for kind, price in ((LONG, 40), (SHORT, 30)):
        story = Story(market(), kind=kind, bid=30, ask=40, min_market_total=D(39))
        wish = AddFunds(trade_id=story.trade_id, order_type=OrderType.MARKET, units=D(1))
        if price * 1 < 39:
            assert story.denied(wish) == [C.TOTAL_TOO_SMALL]
        else:
            assert story.command(wish).trade.averaging


def test_own_funds_are_judged_at_their_reference_price() -> None:
    assert codes(plan(TradeKind.SMART_SELL, own(4, 1)), min_market_total=D(5)) == [C.TOTAL_TOO_SMALL]
    assert codes(plan(TradeKind.SMART_SELL, own(6, 1)), min_market_total=D(5)) == []
