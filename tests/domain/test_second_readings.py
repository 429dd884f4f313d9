"""What a second reading of the rules found (tests/model): small stories that the engine once told differently."""

from decimal import Decimal

from driver import Story, own, sl, tp, when

from smarttrade.domain.plan import TradeKind

D = Decimal


def test_a_stop_limit_that_moves_to_a_whole_tick_stays_on_it() -> None:
    """BE-6: 95.06 x 97.5 / 95.55 is exactly 97; a quotient that was cut on the way must not push it to the next tick."""
    story = Story(
        own("97.5"), [tp(101, 50), tp(110, 50)], sl("95.55", at="95.06", breakeven=True), kind=TradeKind.SMART_SELL
    )
    story.fill("tp1", price=101)
    assert (story.stop.breakeven_price, story.stop.moved_limit_price) == (D("97.5"), D("97"))


def test_a_limit_reduction_outlives_the_last_target() -> None:
    """Q-15, S-21: it lasts until it is filled or cancelled; only when targets have closed everything is the trade over."""
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
