"""A price at which nothing happens is not worked in: what is known after it is what working it in would have left."""

from collections.abc import Sequence
from decimal import Decimal

import pytest
from driver import SPOT, START, Story, limit, market, plan, sl, tp, when
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from smarttrade.domain.events import WatchRole
from smarttrade.domain.plan import EntryPlan, TradeKind
from smarttrade.domain.quote import SECOND, InstrumentKey, PriceType, Quote, QuoteText
from smarttrade.engine.inputs import EngineInput, MarketMoved, QuoteReceived
from smarttrade.engine.replay import digest
from smarttrade.engine.trigger_book import TriggerBook

D = Decimal
HAIR = D("1e-18")
"""The smallest step of a price. Floats near 100 are 1e-14 apart, so a level and the price beside it look alike."""

NEAR = st.builds(
    lambda level, steps, size: level + steps * size,
    st.sampled_from([D(80), D(90), D(95), D(100), D(110), D(120)]),
    st.integers(-3, 3),
    st.sampled_from([HAIR, D("1e-14"), D("0.01"), D(4)]),
)
SPREADS = st.sampled_from([D(0), HAIR, D("0.01"), D(1)])
PRICES = st.lists(st.tuples(NEAR, SPREADS, NEAR), min_size=1, max_size=12)


def text_of(quote: Quote) -> QuoteText:
    return QuoteText(bid=str(quote.bid), ask=str(quote.ask), last=str(quote.last), at=quote.at)


class Glancing(Story):
    """A trade whose prices come as text and pass by if they may."""

    passed = 0

    def _tell(self, given: EngineInput) -> None:
        if isinstance(given, QuoteReceived):
            key, quote = given.quote.key, given.quote
            if self.engine.passes_by(key, text_of(quote), self.now):
                self.passed += 1
                assert self.engine.take().effects == []
                return
        super()._tell(given)


STOP, TRAILING = sl(90), sl(90, trailing=True)
TARGETS = [tp(110, 50, at_market=True), tp(120, 50, trailing=-5)]


@given(
    prices=PRICES,
    entry=st.sampled_from([market(), limit(95), when(105, by=PriceType.BID), when(95, by=PriceType.ASK)]),
    trailing=st.booleans(),
)
@example(prices=[(D(90) + HAIR, D(0), D(100)), (D(90), D(0), D(100))], entry=market(), trailing=False)
@example(prices=[(D(110), D(1), D(100)), (D(99) + HAIR, D(1), D(100)), (D(99), D(1), D(100))],
         entry=market(), trailing=True)  # fmt: skip
def test_trades_go_the_same_way_whether_prices_pass_by_or_are_worked_in_tr_5_tr_8(
    prices: Sequence[tuple[Decimal, Decimal, Decimal]], entry: EntryPlan, trailing: bool
) -> None:
    stop = TRAILING if trailing else STOP
    worked, glanced = Story(entry, TARGETS, stop, bid=100), Glancing(entry, TARGETS, stop, bid=100)
    for bid, spread, last in prices:
        for story in (worked, glanced):
            story.wait(1).quote(bid, bid + spread, last)
        assert glanced.heard() == worked.heard()
        assert digest(glanced.trade) == digest(worked.trade)
        assert glanced._market.quote == worked._market.quote
        assert glanced.engine.rates.usd("binance", "BTC") == worked.engine.rates.usd("binance", "BTC")


def test_most_prices_pass_by() -> None:
    """Else all of this file is true and worth nothing."""
    story = Glancing(market(), [tp(110)], sl(90))
    for hundredth in range(100):
        story.quote(D(95) + D(hundredth).scaleb(-2), D(96) + D(hundredth).scaleb(-2))
    assert story.passed == 100
    assert story._market.quote.bid == D("95.99")
    story.quote(90)
    assert story.status == "stop_loss_finished"


@given(level=NEAR, price=NEAR, rises=st.booleans(), strict=st.booleans())
def test_a_book_is_quiet_only_at_prices_that_fire_nothing_tr_8(
    level: Decimal, price: Decimal, rises: bool, strict: bool
) -> None:
    """However close the price is to the level: floats rule out and never decide."""
    book = TriggerBook(18)
    book.watch_level(1, WatchRole.LEVEL, PriceType.LAST, level, rises, strict)
    if book.is_quiet(1.0, 2.0, float(price)):
        assert book.update(D(1), D(2), price) == []


@given(extreme=NEAR, price=NEAR, highest=st.booleans())
def test_a_book_is_quiet_only_at_prices_that_move_no_extreme_tr_50(
    extreme: Decimal, price: Decimal, highest: bool
) -> None:
    book = TriggerBook(18)
    book.open_group(1, PriceType.LAST, highest, extreme)
    book.take_changed_groups()
    if book.is_quiet(1.0, 2.0, float(price)):
        book.update(D(1), D(2), price)
        assert book.take_changed_groups() == []


# --- what does not pass -------------------------------------------------------------------------------------------


def passes(story: Story, quote: Quote | QuoteText) -> bool:
    return story.engine.passes_by(story.instrument.key, quote, story.now)


def quote_of(bid: str, ask: str | None = None, last: str | None = None, at: int = START) -> QuoteText:
    return QuoteText(bid=bid, ask=bid + "1" if ask is None else ask, last=bid if last is None else last, at=at)


@pytest.mark.parametrize(
    ("bid", "ask", "last"),
    [("0", "1", "1"), ("-5", "1", "1"), ("101", "100.5", "100"), ("100", "101", "0"), ("100", "101", "-1"),
     ("nan", "101", "100"), ("100", "inf", "100"), ("100", "101", ""), ("100", "one", "100")],
)  # fmt: skip
def test_what_is_no_price_of_a_market_does_not_pass_tr_6(bid: str, ask: str, last: str) -> None:
    story = Story(market(), [tp(110)], sl(90))
    assert not passes(story, quote_of(bid, ask, last))
    assert story._market.quote.bid == 100


def test_a_size_that_is_no_number_leaves_the_quote_before_it_tr_6() -> None:
    """It is found out when somebody wants to know, which must not break what that one does."""
    story = Story(market(), [tp(110)], sl(90))
    assert passes(story, QuoteText(bid="101", ask="102", last="101", at=START, bid_size="many"))
    assert story._market.quote.bid == 100
    story.note("still at work")
    story.quote(90)
    assert story.status == "stop_loss_finished"


@pytest.mark.parametrize("as_text", [True, False])
def test_a_price_finer_than_every_grid_leaves_the_quote_before_it_tr_6(as_text: bool) -> None:
    """No command that arms something may break on it afterwards."""
    story = Story(market(), [tp(110)], sl(90))
    text = quote_of("101.0000000000000000001", "102", "101")
    assert passes(story, text if as_text else text.read(SPOT.key))
    assert story._market.quote.bid == 100
    story.create(plan(TradeKind.SMART_TRADE, when(105), [tp(120)], sl(95)))
    assert story.status == "waiting_position"


def test_a_text_that_cannot_be_read_makes_the_quote_before_it_no_younger_tr_6_tr_62() -> None:
    """Nothing is decided by a price of half a minute ago because something unreadable came since."""
    story = Story(market(), [tp(110)], sl(90, timeout=30), max_quote_age=10)
    story.on_quote = "silence"
    story.quote(89).wait(29)
    assert passes(story, QuoteText(bid="88", ask="89", last="88", at=story.now, bid_size="many"))
    story.wait(2)
    assert not story.stop.fired
    story.quote(88)
    assert story.status == "stop_loss_finished"


def test_an_older_or_late_price_does_not_pass_tr_6_f39() -> None:
    story = Story(market(), [tp(110)], sl(90), max_quote_age=10)
    story.on_quote = "silence"
    story.wait(60).quote(100)
    assert not passes(story, quote_of("101", at=story.now - SECOND))
    story.wait(60)
    assert not passes(story, quote_of("101", at=story.now - 11 * SECOND))
    assert passes(story, quote_of("101", at=story.now - 10 * SECOND))


def test_the_price_that_a_stop_waits_for_does_not_pass_tr_62_tr_63() -> None:
    """Its timeout has ended while prices were too old: the next fresh one decides, whichever it is."""
    story = Story(market(), [tp(110)], sl(90, timeout=30), max_quote_age=10)
    story.on_quote = "silence"
    story.quote(89).wait(60)
    assert story.trade_id in story._market.awaiting
    assert not passes(story, quote_of("88", "89", at=story.now))


def test_a_price_whose_orders_are_about_to_speak_does_not_pass_tr_5() -> None:
    story = Story(market(), [tp(110)], sl(90))
    moved = Quote(key=SPOT.key, bid=D(101), ask=D(102), last=D(101), at=story.now)
    story.engine.handle(MarketMoved(moved), story.now)
    assert not passes(story, moved)


def test_the_price_of_a_pair_that_nobody_trades_passes_and_is_known_m_42() -> None:
    story = Story(market(), [tp(110)], sl(90))
    other = Quote(key=InstrumentKey("binance", "USDT_OTHER"), bid=D(1), ask=D(2), last=D("1.5"), at=START)
    assert story.engine.passes_by(other.key, other, START)
    assert story.engine.rates.usd("binance", "OTHER") == D("1.5")

    assert not story.engine.passes_by(other.key, replace(other, last=D(0)), START)
    assert story.engine.rates.usd("binance", "OTHER") == D("1.5")


@pytest.mark.parametrize("figure", ["", "one", "nan", "inf", "-inf", "1.2.3"])
def test_a_text_that_is_no_figure_cannot_be_read(figure: str) -> None:
    with pytest.raises(ValueError, match="is no number"):
        quote_of("100", "101", figure).read(SPOT.key)
