"""What a second reading of the rules found (tests/model): small stories that the engine once told differently."""

from decimal import Decimal

from driver import Story, limit, own, sl, tp, when
from msgspec.structs import replace

from smarttrade.domain.commands import EditTrade
from smarttrade.domain.errors import DenialCode
from smarttrade.domain.plan import PositionEdit, TradeEdit, TradeKind

D = Decimal


def test_a_stop_limit_that_moves_to_a_whole_tick_stays_on_it() -> None:
    """BE-6: 95.06 x 97.5 / 95.55 is 97, exactly; a quotient that was cut on the way must not make it 97.01."""
    story = Story(
        own("97.5"), [tp(101, 50), tp(110, 50)], sl("95.55", at="95.06", breakeven=True), kind=TradeKind.SMART_SELL
    )
    story.fill("tp1", price=101)
    assert (story.stop.breakeven_price, story.stop.moved_limit_price) == (D("97.5"), D("97"))


def test_a_limit_reduction_outlives_the_last_target() -> None:
    """Q-15, S-21: it lasts until it is filled or cancelled, or until targets have closed everything."""
    story = Story(own(), [tp(110, at_market=True)], kind=TradeKind.SMART_SELL)
    story.reduce(4, 105)
    story.close_leg("tp1")
    assert (story.status, story.open) == ("reduce_funds_in_progress", 4)
    assert story.book == {"reduce1": "sell 4 @ 105"}
    story.fill("reduce1")
    assert story.status == "finished"


def test_a_cancelled_limit_reduction_leaves_the_trade_open_without_exits() -> None:
    """S-20, RF-6: what it would have sold waits for its owner."""
    story = Story(own(), [tp(110, at_market=True)], kind=TradeKind.SMART_SELL)
    story.reduce(4, 105)
    story.close_leg("tp1")
    story.cancel_leg("reduce1")
    assert (story.status, story.open, story.book) == ("waiting_targets", 4, {})


def test_a_simple_trade_takes_no_exits_by_an_edit_either() -> None:
    """V-3: it is one order, and nothing after it."""
    story = Story(limit(95), kind=TradeKind.SIMPLE_BUY)
    with_exits = TradeEdit(take_profit_enabled=True, targets=(tp(110),), stop_enabled=True, stop=sl(90))
    wish = EditTrade(trade_id=story.trade_id, edit=with_exits)
    assert story.denied(wish) == [DenialCode.SIMPLE_WITH_TAKE_PROFIT, DenialCode.SIMPLE_WITH_STOP_LOSS]
    story.edit(targets=[], stop=None)  # switching off what is off is no wish for exits


def test_an_entry_may_be_edited_back_to_what_was_asked_for_at_first() -> None:
    """E-10 forgives a repeated request only where the field may not change."""
    story = Story(when(95, units=10))
    first = story.trade.position.plan
    story.edit_position(units=D(12), condition=replace(first.condition, trigger_price=D(90)))
    story.edit_position(units=D(10), condition=first.condition)
    assert story.trade.position.plan == first


def test_a_limit_entry_may_be_edited_to_any_price_that_was_ever_shown() -> None:
    """6.1: back to its first price, and to the price of the market."""
    story = Story(limit(95), ask=101)
    story.edit_position(price=D(94))
    story.edit_position(price=D(95))
    assert story.book == {"entry": "buy 10 @ 95"}
    story.edit_position(price=D(101))
    assert story.book == {"entry": "buy 10 @ 101"}


def test_the_deviation_of_a_trailing_entry_may_be_edited_back() -> None:
    """6.1: while it trails, the deviation only."""
    story = Story(when(95, trailing=10))
    story.quote(95)
    first = story.trade.position.plan
    story.edit_position(condition=replace(first.condition, trailing_percent=D(5)))
    story.edit_position(condition=first.condition)
    assert story.trade.position.plan == first


def test_a_new_target_leaves_the_price_of_the_others_alone() -> None:
    """E-21, TR-31: percents are resolved at the entry and after averaging, not when another step is edited."""
    story = Story(own(100), [tp(percent=5, volume=50), tp(120, 50)], kind=TradeKind.SMART_SELL)
    story.edit(targets=[story.kept("tp1"), story.kept("tp2", price=D(125))], position=PositionEdit(price=D(90)))
    assert story.book == {"tp1": "sell 5 @ 105", "tp3": "sell 5 @ 125"}


def test_a_limit_stop_that_an_edit_makes_a_market_stop_has_no_limit_left() -> None:
    """E-30, TR-48: the order that closes is a market order; it does not rest at the old limit."""
    for changed in (sl(95), sl(95, trailing=True), sl(95, timeout=10)):
        story = Story(own(100), [tp(120)], sl(95, at=96), kind=TradeKind.SMART_SELL)
        story.edit(stop=changed)
        story.quote(94)
        story.wait(10)
        assert (story.status, story.leg("sl").orders[-1].price) == ("stop_loss_finished", None)


def test_an_edit_shares_what_is_open_anew_over_targets_that_it_repeats() -> None:
    """E-25: M-20 once more, although no step differs; a step whose units change keeps its id."""
    thirds = [tp(110, 30), tp(111, 30), tp(112, 40)]
    story = Story(own(100, "7.3"), thirds, kind=TradeKind.SMART_SELL)
    assert [story.target(name).units for name in ("tp1", "tp2")] == [D("2.3"), D("2.1")]
    story.cancel_leg("tp3")
    story.edit(targets=[story.kept("tp1"), story.kept("tp2")])
    assert story.book == {"tp1": "sell 2.2 @ 110", "tp2": "sell 2.1 @ 111"}
