"""The demo replays the shipped recording at its real pace, in rounds, at the position that the clock dictates."""

import asyncio
from collections.abc import Callable, Coroutine
from decimal import Decimal

import pytest

from smarttrade.adapters.clock import ManualClock
from smarttrade.adapters.market_data.demo import FIRST_ROUND, DemoMarket
from smarttrade.adapters.market_data.recording import (
    PrintColumns,
    QuoteColumns,
    RecordedColumns,
    Recording,
    RecordingFile,
)
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.ports.market_data import MarketUpdate

BTC = InstrumentKey("binance", "USDT_BTC")
ETH = InstrumentKey("binance", "USDT_ETH")
MS = 1000
LENGTH = 10 * SECOND


def short_recording() -> Recording:
    """BTC: bid 100 at 0, 110 at 4 s; a trade at 103 after 4.5 s. ETH: bid 50 at 0, 55 at 4 s. Ten seconds in all."""
    btc = RecordedColumns(
        market="binance",
        pair="USDT_BTC",
        price_step=Decimal("0.1"),
        quantity_step=Decimal("0.001"),
        last=1005,
        quotes=QuoteColumns(at_ms=[0, 4000], bid=[1000, 100], spread=[10, 5], bid_size=[2000, 1], ask_size=[3000, 7]),
        prints=PrintColumns(at_ms=[4500, 500], price=[1030, 10], quantity=[250, -1000]),
    )
    eth = RecordedColumns(
        market="binance",
        pair="USDT_ETH",
        price_step=Decimal(1),
        quantity_step=Decimal(1),
        last=50,
        quotes=QuoteColumns(at_ms=[0, 4000], bid=[50, 5], spread=[1, 1], bid_size=[1, 1], ask_size=[1, 1]),
        prints=PrintColumns(at_ms=[], price=[], quantity=[]),
    )
    return Recording(RecordingFile(recorded_from_ms=0, length_ms=10_000, instruments=[btc, eth]))


class Play:
    """A running demo whose time the test moves."""

    def __init__(self, start: Instant, recording: Recording | None = None) -> None:
        self.clock = ManualClock(start)
        self.market = DemoMarket(self.clock, recording if recording is not None else short_recording())
        self.seen: list[MarketUpdate] = []
        self.market.listen(self._see)

    async def _see(self, update: MarketUpdate) -> None:
        self.seen.append(update)

    async def move_to(self, instant: Instant) -> list[MarketUpdate]:
        """What arrives until `instant`, with every due time met exactly."""
        self.seen.clear()
        await rest()
        while (deadline := self.clock.next_deadline()) is not None and deadline <= instant:
            self.clock.advance_to(deadline)
            await rest()
        self.clock.advance_to(instant)
        await rest()
        return list(self.seen)


async def rest() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def playing(play: Play, scenario: Callable[[], Coroutine[None, None, None]]) -> None:
    async def main() -> None:
        running = asyncio.create_task(play.market.run())
        try:
            await scenario()
        finally:
            running.cancel()

    asyncio.run(main())


def bids(updates: list[MarketUpdate], key: InstrumentKey = BTC) -> list[tuple[Instant, Decimal]]:
    return [(update.quote.at - FIRST_ROUND, update.quote.bid) for update in updates if update.quote.key == key]


def test_a_price_stands_before_anything_is_delivered() -> None:
    market = Play(FIRST_ROUND + 7 * LENGTH + 4 * SECOND).market
    quote = market.latest(BTC)
    assert quote is not None
    assert (quote.bid, quote.ask, quote.last) == (Decimal(110), Decimal("110.5"), Decimal("100.5"))
    assert (quote.bid_size, quote.ask_size) == (Decimal("0.001"), Decimal("0.007"))


def test_updates_come_at_their_instants_with_their_prints() -> None:
    play = Play(FIRST_ROUND)

    async def scenario() -> None:
        await play.move_to(FIRST_ROUND + 3999 * MS)
        assert bids(await play.move_to(FIRST_ROUND + 4 * SECOND)) == [(4 * SECOND, Decimal(110))]
        first, second = await play.move_to(FIRST_ROUND + 6 * SECOND)
        assert (first.quote.last, first.quote.at) == (Decimal(103), FIRST_ROUND + 4500 * MS)
        assert [(p.price, p.quantity, p.buyer_is_maker) for p in first.prints] == [
            (Decimal(103), Decimal("0.25"), False)
        ]
        assert [(p.price, p.quantity, p.buyer_is_maker) for p in second.prints] == [(Decimal(104), Decimal(1), True)]

    playing(play, scenario)


def test_updates_of_all_instruments_that_are_due_together_need_one_wake_up() -> None:
    play = Play(FIRST_ROUND)

    async def scenario() -> None:
        await play.move_to(FIRST_ROUND)
        play.seen.clear()
        play.clock.advance_to(FIRST_ROUND + 4 * SECOND)
        await rest()
        assert {update.quote.key for update in play.seen} == {BTC, ETH}

    playing(play, scenario)


def test_rounds_follow_each_other_without_a_pause_in_time() -> None:
    play = Play(FIRST_ROUND + 9 * SECOND)

    async def scenario() -> None:
        updates = await play.move_to(FIRST_ROUND + 14 * SECOND)
        assert bids(updates) == [(9 * SECOND, Decimal(110)), (LENGTH, Decimal(100)), (LENGTH + 4 * SECOND, 110)]

    playing(play, scenario)


def test_the_last_price_too_starts_again_with_the_round() -> None:
    play = Play(FIRST_ROUND + 9 * SECOND)

    async def scenario() -> None:
        before = play.market.latest(BTC)
        await play.move_to(FIRST_ROUND + LENGTH)
        after = play.market.latest(BTC)
        assert before is not None
        assert after is not None
        assert (before.last, after.last) == (Decimal(104), Decimal("100.5"))

    playing(play, scenario)


@pytest.mark.parametrize("asleep", [2 * SECOND, 2 * LENGTH, 100 * LENGTH + 123])
def test_after_a_sleep_the_missed_part_is_skipped_not_flooded(asleep: Instant) -> None:
    play = Play(FIRST_ROUND)

    async def scenario() -> None:
        await play.move_to(FIRST_ROUND + 3 * SECOND)
        play.seen.clear()
        woken = FIRST_ROUND + 4 * SECOND + asleep
        play.clock.advance_to(woken)
        await rest()
        assert [(update.quote.at, update.prints) for update in play.seen] == [(woken, ()), (woken, ())]
        standing = Play(woken).market
        assert [update.quote for update in play.seen] == [standing.latest(BTC), standing.latest(ETH)]

    playing(play, scenario)


def test_instants_of_one_pair_never_run_backwards_over_rounds_and_skips() -> None:
    play = Play(FIRST_ROUND + 1234)

    async def scenario() -> None:
        seen = await play.move_to(FIRST_ROUND + 25 * SECOND + 77)
        play.seen.clear()
        play.clock.advance_to(FIRST_ROUND + 48 * SECOND + 500)
        await rest()
        seen += play.seen
        seen += await play.move_to(FIRST_ROUND + 60 * SECOND)
        for key in (BTC, ETH):
            instants = [at for at, _ in bids(seen, key)]
            assert instants == sorted(instants)

    playing(play, scenario)


def test_a_request_delivers_the_standing_quote_again() -> None:
    play = Play(FIRST_ROUND + 4 * SECOND)

    async def scenario() -> None:
        await play.move_to(FIRST_ROUND + 4 * SECOND)
        play.seen.clear()
        await play.market.request(ETH)
        assert [update.quote for update in play.seen] == [play.market.latest(ETH)]
        await play.market.request(InstrumentKey("binance", "USDT_DOGE"))
        assert len(play.seen) == 1

    playing(play, scenario)


def test_a_request_from_inside_a_delivery_is_answered_after_it() -> None:
    play = Play(FIRST_ROUND)
    order: list[str] = []

    async def asks(update: MarketUpdate) -> None:
        order.append(f"begin {update.quote.key.pair}")
        if update.quote.key == BTC and len(order) == 1:
            await play.market.request(ETH)
        order.append(f"end {update.quote.key.pair}")

    play.market.listen(asks)

    async def scenario() -> None:
        await play.market.request(BTC)
        assert order[:4] == ["begin USDT_BTC", "end USDT_BTC", "begin USDT_ETH", "end USDT_ETH"]

    asyncio.run(scenario())


def test_statistics_tell_volume_of_the_recording_and_change_since_its_start() -> None:
    market = Play(FIRST_ROUND + 5 * SECOND).market
    statistics = market.statistics(BTC)
    assert statistics.quote_volume == Decimal("25.75") + Decimal(104)
    assert statistics.day_change_percent == Decimal("3.48")  # 100.5 to 104
    assert market.statistics(InstrumentKey("binance", "USDT_DOGE")).quote_volume is None


def test_the_shipped_recording_has_the_four_promised_pairs_on_the_tick_of_their_rules() -> None:
    market = DemoMarket(ManualClock(FIRST_ROUND))
    assert {str(key) for key in market.instruments()} == {
        "binance:USDT_BTC",
        "binance:USDT_ETH",
        "binance_futures:USDT_BTCUSDT",
        "binance_futures:USDT_ETHUSDT",
    }
    for key, instrument in market.instruments().items():
        quote = market.latest(key)
        assert quote is not None
        assert instrument == load_rules()[key]
        assert quote.bid % instrument.tick == quote.ask % instrument.tick == 0


def test_no_shipped_update_is_unusable_or_out_of_order() -> None:  # TR-6
    recording = Recording.shipped()
    before, prints = 0, 0
    for due, update in recording.updates(0, FIRST_ROUND):
        assert update.quote.is_usable
        assert due == update.quote.at >= before
        assert all(trade.price > 0 and trade.quantity > 0 for trade in update.prints)
        before, prints = due, prints + len(update.prints)
    assert before < FIRST_ROUND + recording.length
    assert prints > 20_000
