"""Prices that stop coming are asked for (EX-34)."""

from decimal import Decimal

import pytest
from driver import Story, limit, market, sl, tp, when
from msgspec.structs import replace

from smarttrade.domain.effects import RequestQuote
from smarttrade.domain.quote import SECOND, InstrumentKey, Quote
from smarttrade.engine.inputs import QuoteReceived, TimePassed
from smarttrade.engine.market import Market
from smarttrade.engine.silence import SHORTEST_PAUSE, Silence


def watched(**more: object) -> Story:
    story = Story(market(), [tp(110)], sl(90), max_quote_age=10, **more)  # type: ignore[arg-type]
    story.heard()
    return story


def test_prices_that_stopped_coming_are_asked_for_after_ten_seconds_and_again() -> None:
    """EX-34, fault F58."""
    story = watched()
    story.on_quote = "silence"
    assert story.wait("9.9").heard() == []
    assert story.wait("0.1").heard() == ["ask price"]
    assert story.wait("9.9").heard() == []
    assert story.wait("0.1").heard() == ["ask price"]


def test_a_stop_that_was_reached_in_silence_fires_by_the_price_that_was_asked_for() -> None:
    """EX-34, TR-4."""
    story = watched()
    story.bid = Decimal(80)
    story.wait(10)
    assert story.status == "stop_loss_finished"


def test_an_old_price_as_the_answer_is_not_asked_for_in_a_circle() -> None:
    """TR-6: once for its age, then after ten seconds each."""
    story = watched()
    story.on_quote = "silence"
    asked = 0
    for _ in range(60):
        story.quote(80, age=20).wait(1)
        asked += story.heard().count("ask price")
    assert asked <= 7
    assert not story.stop.fired


@pytest.mark.parametrize("passes", [True, False])
def test_one_stamp_from_the_future_shuts_out_no_price_that_follows(passes: bool) -> None:
    """TR-6: else every price would count as older than it, and no stop would fire for an hour."""
    story = watched()
    wrong = Quote(
        key=story.instrument.key, bid=Decimal(100), ask=Decimal(101), last=Decimal(100), at=story.now + 3600 * SECOND
    )
    if not (passes and story.engine.passes_by(wrong.key, wrong, story.now)):
        story.tell(QuoteReceived(wrong))  # type: ignore[arg-type]
    story.wait(1).quote(80)
    assert story.status == "stop_loss_finished"


def test_a_stamp_from_the_future_keeps_no_price_young() -> None:
    """TR-6: it counts as made when it came."""
    story = watched()
    story.on_quote = "silence"
    story.quote(101, age=-3600).wait("9.9")
    assert story.heard() == []
    assert story._market.is_fresh(story.now, 10 * SECOND)
    story.wait("0.1")
    assert story.heard() == ["ask price"]
    story.wait("0.1")
    assert not story._market.is_fresh(story.now, 10 * SECOND)


def test_nobody_asks_while_prices_come() -> None:
    """EX-34."""
    story = watched()
    for _ in range(20):
        assert story.wait(9).quote(100).heard() == []


def test_after_a_restart_prices_are_asked_for_when_none_comes() -> None:
    """EX-34, EX-36."""
    story = watched()
    story.on_quote = "silence"
    story.restart()
    story.heard()
    assert story.wait("9.9").heard() == []
    assert story.wait("0.1").heard() == ["ask price"]


def test_nobody_asks_for_prices_that_nobody_waits_for() -> None:
    """EX-34: a limit entry rests at the exchange, a trade is over: neither is decided by a price."""
    for story in (Story(limit(90), [tp(110)], sl(80), max_quote_age=10), watched().close()):
        story.heard()
        assert story.wait(3600).heard() == []
        assert story.engine._silence.due is None


def test_a_trade_that_begins_to_wait_for_a_price_is_looked_after_from_then_on() -> None:
    story = Story(limit(90), [tp(110)], sl(80), max_quote_age=10)
    story.on_quote = "silence"
    story.wait(3600).fill("entry").heard()
    assert story.wait(10).heard() == ["ask price"]


def test_a_conditional_entry_is_looked_after_too() -> None:
    story = Story(when(90), [tp(110)], sl(80), max_quote_age=10)
    story.on_quote = "silence"
    story.heard()
    assert story.wait(10).heard() == ["ask price"]


def test_where_quotes_stand_until_the_next_one_none_is_missed() -> None:
    story = Story(market(), [], sl(90))
    story.heard()
    assert story.wait(3600).heard() == []
    assert story.engine.next_deadline is None


def test_silent_pairs_are_asked_for_together_and_each_when_it_falls_silent() -> None:
    """EX-34: one look in ten seconds for all of them; a pair that has had a price waits for its own silence again."""
    silence, first, second = Silence(10 * SECOND), _pair(1, heard=0), _pair(2, heard=3 * SECOND)
    silence.watch(0)
    looks: list[tuple[float, list[InstrumentKey]]] = []

    def look_until(end: int) -> None:
        while silence.due is not None and silence.due <= end * SECOND:
            looks.append((silence.due / SECOND, silence.look([first, second], silence.due)))

    one, two = first.instrument.key, second.instrument.key
    look_until(35)
    assert looks == [(10, [one]), (13, [two]), (20, [one, two]), (30, [one, two])]
    looks.clear()
    _hear(first, 36 * SECOND)
    look_until(60)
    assert looks == [(40, [two]), (46, [one]), (50, [one, two]), (60, [one, two])]


def test_what_is_asked_when_nothing_else_is_due_is_what_handling_the_time_asks() -> None:
    """EX-34: without a journalled input, for no trade changes."""
    stories = [watched(), watched()]
    for story in stories:
        story.now += 10 * SECOND
    alone, handled = stories
    asked = alone.engine.questions_due(alone.now)
    handled.engine.handle(TimePassed(), handled.now)
    assert asked == handled.engine.take().effects == [RequestQuote(keys=(alone.instrument.key,))]
    assert alone.engine.next_deadline == handled.engine.next_deadline
    assert alone.engine.questions_due(alone.now) == []


def test_nothing_is_asked_past_a_trade_whose_time_has_come() -> None:
    """EX-34, TR-61: its deadline is handled, and the questions with it."""
    story = Story(market(), [tp(110)], sl(90, timeout=5), max_quote_age=10)
    story.on_quote = "silence"
    story.quote(89).heard()
    story.now += 10 * SECOND
    assert story.engine.questions_due(story.now) is None


def _pair(number: int, heard: int) -> Market:
    """A pair that a trade waits for, with a price of that instant."""
    key = InstrumentKey("binance", f"USDT_X{number}")
    pair = Market(replace(Story(start=False).instrument, key=key), 1)
    pair.awaiting.add(number)
    _hear(pair, heard)
    return pair


def _hear(pair: Market, at: int) -> None:
    price = Decimal(100)
    pair.stands_at(Quote(key=pair.instrument.key, bid=price, ask=price, last=price, at=at))


def test_many_pairs_are_looked_at_together_and_each_is_asked_for_in_its_time() -> None:
    """Thousands of pairs that fall silent one after the other do not cost a look each."""
    silence = Silence(10 * SECOND)
    markets = [_pair(number, heard=number * SECOND // 1_000) for number in range(1_000)]
    silence.watch(0)
    asked: list[InstrumentKey] = []
    looks = 0
    while silence.due is not None and silence.due < 15 * SECOND:
        now = silence.due
        for key in silence.look(markets, now):
            silent_for = now - markets[int(key.pair.removeprefix("USDT_X"))].at  # type: ignore[operator]
            assert 10 * SECOND <= silent_for <= 10 * SECOND + SHORTEST_PAUSE
            asked.append(key)
        looks += 1
    assert asked == [pair.instrument.key for pair in markets]
    assert looks <= 12
