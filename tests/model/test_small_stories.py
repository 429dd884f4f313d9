"""Small stories on the paper exchange that random ones led to."""

from decimal import Decimal

import pytest
from driver import market, own, plan, sl, tp
from engine_on_paper import PaperStory

from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import PriceType

D = Decimal


@pytest.mark.parametrize("found", [1, 0])
def test_a_target_that_waits_for_the_market_shares_in_a_reduction(found: int) -> None:
    """M-24: what it executed is part of its new share; it neither waits for units that are gone nor lacks others."""
    story = PaperStory(100, 100, 100)
    story.begin(plan(TradeKind.SMART_SELL, own(100, 10), [tp(110, 50), tp(105, 50, at_market=True)]))
    story.quote(105, sizes=(found, None))
    assert [story.target("tp2").execution.gross_quantity, story.open] == [found, 10 - found]
    story.quote(105)
    story.reduce(5)
    story.wait(1)
    assert story.legs("tp1", "tp2") == "order_placed finished"
    assert [story.target(name).units for name in ("tp1", "tp2")] == [D("2.5"), D("2.5")]
    assert story.open == story.state.live_orders(1)[0].leaves_quantity == D("2.5")


def test_a_failed_step_that_an_edit_leaves_out_is_not_shown_among_the_steps_again() -> None:
    """E-20, E-22, E-27: the list is all that is wanted; in the trades list it stays as it ended (M-27)."""
    story = PaperStory(100, 100, 100).quote(100, sizes=(None, 5))
    assert isinstance(story, PaperStory)
    story.begin(plan(TradeKind.SMART_TRADE, market(10), [tp(110, 50), tp(120, 1), tp(130, 49)], sl(50)))
    assert _shown_targets(story) == [(1, "order_placed"), (2, "failed"), (3, "order_placed")]
    story.edit(targets=[story.kept("tp1"), story.kept("tp3")])
    assert _shown_targets(story) == [(1, "order_placed"), (2, "order_placed")]
    assert story.legs("tp2") == "failed"


def test_a_stop_whose_time_ends_goes_before_a_target_that_tries_again_in_that_instant() -> None:
    """TR-5, TR-73: the stop is looked at first, and cancels the target with what it has."""
    story = PaperStory(100, 100, 100)
    targets = [tp(105, 50, at_market=True, by=PriceType.LAST), tp(120, 50)]
    story.begin(plan(TradeKind.SMART_TRADE, market(10), targets, sl(95, timeout=1)))
    story.quote(94, 94, 105, sizes=(1, None))
    assert [story.legs("tp1"), story.open] == ["order_placed", 9]
    story.quote(94, 94, 100)
    story.wait(1)
    assert story.status == "stop_loss_finished"
    assert story.legs("tp1", "tp2", "sl") == "cancelled cancelled finished"
    assert story.stop.execution.gross_quantity == D(9)


def test_an_uncovered_share_without_end_is_counted_with_the_tolerance_of_volumes() -> None:
    """E-24, M-23: nobody can write two thirds of 50, and it stays uncovered all the same."""
    story = PaperStory(100, 100, 100)
    story.begin(plan(TradeKind.SMART_TRADE, market(30), [tp(110, 50), tp(120, 50)], sl(90)))
    story.quote(110, sizes=(5, None))
    story.cancel_leg("tp1")
    story.edit(targets=[story.kept("tp2", volume=D("66.67"))])
    assert [story.open, story.target("tp3").units] == [25, D("16.6")]


def _shown_targets(story: PaperStory) -> list[tuple[int, str]]:
    return [(step["position"], step["status"]) for step in story.seen()["targets"]]
