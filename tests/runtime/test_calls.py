"""Calls to an exchange, in virtual time: how many at once, who goes first, what they are answered with."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, Final, cast

from msgspec.structs import replace

from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.effects import Effect, ReadFunds
from smarttrade.domain.events import FundsRead
from smarttrade.domain.quote import SECOND, InstrumentKey, Quote
from smarttrade.engine.inputs import EngineInput, TradeHappened
from smarttrade.ports.exchange import Balance
from smarttrade.runtime.dispatcher import Dispatcher
from smarttrade.simulation.loop import VirtualLoop, VirtualTime

KEY: Final = InstrumentKey("binance", "USDT_BTC")
RULES: Final = replace(load_rules()[KEY], taker_fee=Decimal(0))
MAX_AGE: Final = 10 * SECOND
BEGAN: Final = 1_735_689_600 * SECOND


class Market:
    """Prices that the test sets; a request brings `requested`, if there is one, after a moment."""

    def __init__(self) -> None:
        self.quote: Quote | None = None
        self.requested: Quote | None = None
        self.requests = 0

    def latest(self, _: InstrumentKey) -> Quote | None:
        return self.quote

    async def request(self, _: InstrumentKey) -> None:
        self.requests += 1
        await asyncio.sleep(0.1)
        self.quote = self.requested or self.quote


class Venue:
    """An exchange that takes its time to answer."""

    refuses_duplicate_ids = True

    def listen(self, _: Callable[[Any], None]) -> None:
        """It has nothing to say by itself."""

    async def balances(self) -> Mapping[str, Balance]:
        return {"USDT": Balance(Decimal(1_000), Decimal(500))}


class Desk:
    """A dispatcher with two accounts, and what it says back."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.time.after(3600, lambda: None)  # until then only timers move it
        self.market = Market()
        self.venue = Venue()
        clock = SystemClock(lambda: BEGAN * 1000 + self.time.now_ns, lambda: self.time.now_ns)
        self.dispatcher = Dispatcher(
            market=cast(Any, self.market), instrument=lambda _: RULES, clock=clock, max_quote_age=MAX_AGE
        )
        self.said: list[EngineInput] = []
        self.dispatcher.connect(self.said.append, cast(Any, None))
        self.dispatcher.add_exchange(1, cast(Any, self.venue))

    def quote(self, ask: int, age: int = 0) -> Quote:
        price, at = Decimal(ask), BEGAN - age * SECOND
        return Quote(key=KEY, bid=price, ask=price, last=price, at=at)

    async def done(self, *effects: Effect) -> list[EngineInput]:
        """What comes back of `effects`, when all of them are over."""
        self.said.clear()
        self.dispatcher.carry_out(effects)
        await self.dispatcher.idle()
        return list(self.said)


def play(story: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    desk = Desk()
    loop = VirtualLoop(desk.time)
    told = loop.create_task(story(desk))
    try:
        while not told.done():
            loop.run_until_idle()
    finally:
        loop.abandon()
    told.result()


# --- funds of a spot short --------------------------------------------------------------------------------------------

SHORT: Final = ReadFunds(account_id=1, trade_id=7, key=KEY, long=False)


def available(said: list[EngineInput]) -> Decimal:
    (funds,) = said
    assert isinstance(funds, TradeHappened)
    assert isinstance(funds.event, FundsRead)
    return funds.event.available


def test_what_a_short_can_buy_back_is_reckoned_at_a_price_that_is_young_enough() -> None:
    """TR-6, EX-10."""

    async def story(desk: Desk) -> None:
        desk.market.quote = desk.quote(100, age=10)
        assert available(await desk.done(SHORT)) == 10
        assert desk.market.requests == 0

    play(story)


def test_an_old_price_proves_nothing_of_a_shorts_funds_and_a_new_one_is_asked_for() -> None:
    """TR-6, EX-10: reckoned at it, a trade could fail for want of funds that are there."""

    async def story(desk: Desk) -> None:
        desk.market.quote, desk.market.requested = desk.quote(1_000_000, age=11), desk.quote(100)
        assert available(await desk.done(SHORT)) == 10
        assert desk.market.requests == 1

    play(story)


def test_without_a_young_price_nothing_is_said_of_a_shorts_funds_until_there_is_one() -> None:
    """TR-6, EX-12: each refusal of the exit asks anew."""

    async def story(desk: Desk) -> None:
        desk.market.quote = desk.quote(100, age=11)
        assert await desk.done(SHORT) == []
        assert desk.market.requests == 1
        desk.market.quote = desk.quote(100)
        assert available(await desk.done(SHORT)) == 10

    play(story)
