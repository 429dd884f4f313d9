"""What a second reading of the rules found (tests/model): small stories that the engine once told differently."""

from decimal import Decimal

from driver import Story, limit, own, sl, tp

from smarttrade.domain.commands import EditTrade
from smarttrade.domain.errors import DenialCode
from smarttrade.domain.plan import TradeEdit, TradeKind

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
