"""The sandbox's market: scripted rules, prices and time, checked before they count and durable before they are seen."""

import asyncio
import importlib
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
import sqlalchemy as sa
from alembic.migration import MigrationContext
from alembic.operations import Operations

from smarttrade.adapters.clock import ManualClock
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.adapters.market_data.sandbox import (
    SANDBOX_START,
    PostedQuote,
    RulesChange,
    SandboxMarket,
    SandboxRefusal,
)
from smarttrade.domain.instrument import FeeAsset, MarketKind
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.ports.market_data import MarketUpdate

Result = TypeVar("Result")

BTC = InstrumentKey("binance", "USDT_BTC")
DOGE = InstrumentKey("lab", "USDT_DOGE")
PERPETUAL = InstrumentKey("binance_futures", "USDT_BTCUSDT")


class Books:
    """A SQLite file with the tables of migration 0003."""

    def __init__(self, path: Path) -> None:
        self.engine = sa.create_engine(f"sqlite:///{path}")
        self.fail = False
        migration = importlib.import_module("smarttrade.adapters.storage.migrations.versions.0003_sandbox")
        with self.engine.begin() as connection, Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()

    async def write(self, work: Callable[[sa.Connection], Result], /) -> Result:
        await asyncio.sleep(0)
        with self.engine.begin() as connection:
            result = work(connection)
            if self.fail:
                raise ConnectionError("the disk is gone")
            return result

    async def open(self) -> tuple[SandboxMarket, ManualClock]:
        """What a server that starts now on this file would have."""
        clock = ManualClock(SANDBOX_START)
        return await SandboxMarket.open(self.write, clock), clock


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    books = Books(tmp_path / "sandbox.db")
    yield books
    books.engine.dispose()


def run(main: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    return asyncio.run(main())


def quote(bid: str, ask: str, *, pair: str = "USDT_BTC", **members: Any) -> PostedQuote:
    return PostedQuote(pair=pair, bid=Decimal(bid), ask=Decimal(ask), **members)


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_a_new_sandbox_has_the_shipped_rules_no_prices_and_stands_at_new_year_2025(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        assert market.instruments() == load_rules()
        assert market.latest(BTC) is None
        assert clock.now() == 1_735_689_600_000_000
        assert market.standing_quotes_are_fresh

    run(main)


def test_a_posted_quote_reaches_listeners_with_what_was_left_out_filled_in(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        seen: list[MarketUpdate] = []

        async def see(update: MarketUpdate) -> None:
            seen.append(update)

        market.listen(see)
        assert await market.post([quote("100.00", "100.03", bid_size=Decimal("2.50"))]) == SANDBOX_START
        (update,) = seen
        assert (update.quote.key, update.quote.at) == (BTC, SANDBOX_START)
        assert (update.quote.last, update.quote.bid_size, update.quote.ask_size) == (
            Decimal("100.01"),
            Decimal("2.5"),
            None,
        )
        assert str(update.quote.bid) == "100", "trailing zeros make no difference to anything"
        assert market.latest(BTC) == update.quote

    run(main)


def test_bid_may_equal_ask_and_last_may_lie_outside(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        await market.post([quote("100", "100", last=Decimal(250))])
        latest = market.latest(BTC)
        assert latest is not None
        assert (latest.bid, latest.ask, latest.last) == (Decimal(100), Decimal(100), Decimal(250))

    run(main)


@pytest.mark.parametrize(
    ("posted", "reason"),
    [
        (quote("101", "100"), "bid 101 is above ask 100"),
        (quote("0", "100"), "bid must be above zero"),
        (quote("-1", "100"), "bid must be above zero"),
        (quote("NaN", "100"), "bid must be a number"),
        (quote("1", "1e16"), "ask must be a number up to 1000000000000000"),
        (quote("1", "2", last=Decimal(0)), "last must be above zero"),
        (quote("1", "1.0000000000001"), "ask has more than 12 decimals"),
        (quote("1", "2", bid_size=Decimal(-1)), "bid_size must not be below zero"),
        (quote("1", "2", ask_size=Decimal("1e-13")), "ask_size has more than 12 decimals"),
        (quote("1", "2", at=SANDBOX_START - 1), "at lies in the past"),
        (quote("1", "2", at=300_000_000_000 * SECOND), "after the year 9999"),
        (quote("1", "2", pair="USDT_NOTHING"), "USDT_NOTHING is not defined"),
        (quote("1", "2", market="lab"), "lab:USDT_BTC is not defined"),
    ],
)
def test_a_quote_that_cannot_be_is_refused_and_nothing_of_the_call_is_applied(
    books: Books, posted: PostedQuote, reason: str
) -> None:
    async def main() -> None:
        market, clock = await books.open()
        with pytest.raises(SandboxRefusal, match=r"quotes\[1\]: ") as refusal:
            await market.post([quote("1", "2"), posted])
        assert reason in str(refusal.value)
        assert market.latest(BTC) is None
        assert clock.now() == SANDBOX_START

    run(main)


def test_a_second_quote_may_not_go_back_behind_the_first(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        later = quote("1", "2", at=SANDBOX_START + 5)
        with pytest.raises(SandboxRefusal, match="past"):
            await market.post([later, quote("1", "2", at=SANDBOX_START + 4)])
        assert await market.post([later, quote("1", "2")]) == SANDBOX_START + 5

    run(main)


def test_a_finer_tick_allows_finer_prices_than_twelve_decimals(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        await market.define(DOGE, RulesChange(tick=Decimal("1e-14")))
        await market.post([quote("1.00000000000001", "2", pair="USDT_DOGE", market="lab")])

    run(main)


def test_the_market_may_be_left_out_only_while_one_has_the_pair(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        await market.post([quote("1", "2")])
        await market.define(InstrumentKey("lab", "USDT_BTC"), RulesChange())
        with pytest.raises(SandboxRefusal, match=r"several markets \(binance, lab\)"):
            await market.post([quote("1", "2")])
        await market.post([quote("1", "2", market="lab")])

    run(main)


def test_a_new_pair_gets_defaults_and_a_second_call_keeps_what_it_omits(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        first = await market.define(
            DOGE, RulesChange(tick=Decimal("0.00001"), lot=Decimal(1), min_total=Decimal("1.50"))
        )
        assert (first.kind, first.base, first.quote) == (MarketKind.SPOT, "DOGE", "USDT")
        assert (first.min_lot, first.min_market_total) == (Decimal(1), Decimal("1.5"))
        assert (first.taker_fee, first.fee_in, first.max_price) == (Decimal("0.001"), FeeAsset.BASE, None)
        second = await market.define(DOGE, RulesChange(fee_in=FeeAsset.QUOTE, taker_fee=Decimal(0)))
        assert second == msgspec.structs.replace(first, fee_in=FeeAsset.QUOTE, taker_fee=Decimal(0))
        assert market.instruments()[DOGE] == second

    run(main)


def test_a_defined_pair_keeps_no_limit_that_the_call_cannot_name(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        assert market.instruments()[PERPETUAL].min_price is not None
        defined = await market.define(PERPETUAL, RulesChange(max_leverage=Decimal(50)))
        assert (defined.min_price, defined.max_price, defined.max_lot, defined.max_market_lot) == (None,) * 4
        assert (defined.tick, defined.max_leverage, defined.kind) == (Decimal("0.1"), Decimal(50), MarketKind.LINEAR)

    run(main)


@pytest.mark.parametrize(
    ("key", "change", "reason"),
    [
        (DOGE, RulesChange(tick=Decimal(0)), "tick must be above zero"),
        (DOGE, RulesChange(tick=Decimal("1e-19")), "tick has more than 18 decimals"),
        (DOGE, RulesChange(lot=Decimal(-1)), "lot must be above zero"),
        (DOGE, RulesChange(min_total=Decimal(-1)), "min_total must not be below zero"),
        (DOGE, RulesChange(max_leverage=Decimal("0.5")), "max_leverage must be at least 1"),
        (DOGE, RulesChange(taker_fee=Decimal(1)), "taker_fee must be a fraction"),
        (DOGE, RulesChange(maintenance_rate=Decimal("-0.1")), "maintenance_rate must be a fraction"),
        (DOGE, RulesChange(lot=Decimal("Infinity")), "lot must be a number"),
        (BTC, RulesChange(kind=MarketKind.LINEAR), "is spot already"),
        (InstrumentKey("lab", "DOGE"), RulesChange(), "is not a pair"),
        (InstrumentKey("", "USDT_DOGE"), RulesChange(), "1 to 60 characters"),
    ],
)
def test_rules_that_cannot_be_are_refused_and_change_nothing(
    books: Books, key: InstrumentKey, change: RulesChange, reason: str
) -> None:
    async def main() -> None:
        market, _ = await books.open()
        with pytest.raises(SandboxRefusal, match=reason):
            await market.define(key, change)
        assert market.instruments() == load_rules()

    run(main)


def test_everything_that_was_answered_is_there_after_a_restart(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        rules = await market.define(DOGE, RulesChange(tick=Decimal("0.00001"), kind=MarketKind.LINEAR))
        await market.post([quote("1", "2", at=SANDBOX_START + 7), quote("0.1", "0.2", pair="USDT_DOGE", market="lab")])
        await market.post([quote("3", "4")])
        now = await market.advance(8 * SECOND)
        again, clock = await books.open()
        assert clock.now() == now == SANDBOX_START + 8 * SECOND + 7
        assert again.instruments()[DOGE] == rules
        assert again.latest(BTC) == market.latest(BTC)
        assert again.latest(DOGE) == market.latest(DOGE)

    run(main)


def test_a_quote_that_could_not_be_stored_is_seen_by_nobody_and_moves_no_clock(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        seen: list[MarketUpdate] = []

        async def see(update: MarketUpdate) -> None:
            seen.append(update)

        market.listen(see)
        books.fail = True
        with pytest.raises(ConnectionError):
            await market.post([quote("1", "2", at=SANDBOX_START + 5)])
        books.fail = False
        again, stored_clock = await books.open()
        assert seen == []
        assert (clock.now(), stored_clock.now()) == (SANDBOX_START, SANDBOX_START)
        assert (market.latest(BTC), again.latest(BTC)) == (None, None)

    run(main)


def test_a_listener_finds_the_quote_and_its_instant_durable_already(books: Books) -> None:
    async def main() -> None:
        market, _ = await books.open()
        found: list[bool] = []

        async def see(update: MarketUpdate) -> None:
            again, clock = await books.open()
            found.append(again.latest(BTC) == update.quote and clock.now() == update.quote.at)

        market.listen(see)
        await market.post([quote("1", "2", at=SANDBOX_START + 5)])
        assert found == [True]

    run(main)


class Diary:
    """What happened, in order, with the clock's seconds since the start."""

    def __init__(self, market: SandboxMarket, clock: ManualClock) -> None:
        self.clock = clock
        self.entries: list[tuple[str, float]] = []
        market.listen(self._see)
        market.settle_with(settled)

    def note(self, what: str) -> None:
        self.entries.append((what, (self.clock.now() - SANDBOX_START) / SECOND))

    async def _see(self, update: MarketUpdate) -> None:
        await settled()  # whoever is awake by mistake would get ahead of this quote
        self.note(f"bid {update.quote.bid}")

    async def timer(self, name: str, seconds: int) -> None:
        await self.clock.sleep_until(SANDBOX_START + seconds * SECOND)
        self.note(name)


def at(seconds: int) -> Instant:
    return SANDBOX_START + seconds * SECOND


def test_timers_due_before_a_quote_fire_first_and_those_due_with_it_after_it(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        diary = Diary(market, clock)
        async with asyncio.TaskGroup() as tasks:
            for name, seconds in (("late", 9), ("with", 8), ("early", 3), ("earlier", 2)):
                tasks.create_task(diary.timer(name, seconds))
            await settled()
            await market.post([quote("1", "2", at=at(8)), quote("1.5", "2", at=at(8))])
            assert diary.entries == [("earlier", 2), ("early", 3), ("bid 1", 8), ("with", 8), ("bid 1.5", 8)]
            await market.advance(SECOND)
            assert diary.entries[5:] == [("late", 9)]

    run(main)


def test_timers_set_by_timers_fire_within_the_same_advance(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        diary = Diary(market, clock)

        async def chain() -> None:
            for seconds in (2, 4, 6):
                await diary.timer("tick", seconds)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(chain())
            await settled()
            assert await market.advance(6 * SECOND) == at(6)
            assert diary.entries == [("tick", 2), ("tick", 4), ("tick", 6)]

    run(main)


def test_a_kill_between_two_timers_leaves_the_clock_where_the_last_one_fired(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        diary = Diary(market, clock)
        stood: list[Instant] = []

        async def look() -> None:
            await diary.timer("fires", 3)
            stood.append((await books.open())[1].now())

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(look())
            await settled()
            await market.advance(8 * SECOND)
        assert stood == [at(3)]

    run(main)


@pytest.mark.parametrize("by", [-1, 9_000_000_000 * 10**6 * 100])
def test_the_clock_goes_neither_back_nor_beyond_the_calendar(books: Books, by: Instant) -> None:
    async def main() -> None:
        market, clock = await books.open()
        with pytest.raises(SandboxRefusal):
            await market.advance(by)
        assert clock.now() == SANDBOX_START

    run(main)


def test_calls_from_several_callers_take_turns(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        diary = Diary(market, clock)
        await asyncio.gather(
            market.post([quote("1", "2", at=at(1)), quote("2", "3", at=at(2))]),
            market.post([quote("3", "4", at=at(3))]),
            market.advance(SECOND),
        )
        assert diary.entries == [("bid 1", 1), ("bid 2", 2), ("bid 3", 3)]
        assert clock.now() == at(4)

    run(main)


def test_a_request_delivers_the_standing_quote_as_it_stands(books: Books) -> None:
    async def main() -> None:
        market, clock = await books.open()
        diary = Diary(market, clock)
        await market.post([quote("1", "2")])
        await market.advance(60 * SECOND)
        await market.request(BTC)
        await market.request(DOGE)
        assert diary.entries == [("bid 1", 0), ("bid 1", 60)]

    run(main)
