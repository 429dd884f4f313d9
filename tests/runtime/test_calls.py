"""Calls to an exchange, in virtual time: how many at once, who goes first, what they are answered with."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from decimal import Decimal
from typing import Any, Final, cast

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.effects import CancelOrder, Effect, QueryOrder, RaiseAlarm, ReadFunds, SubmitOrder
from smarttrade.domain.events import FundsRead, SubmitUnclear
from smarttrade.domain.instrument import Side
from smarttrade.domain.order import OrderIntent, OrderReport, OrderType, ReportedState
from smarttrade.domain.quote import SECOND, InstrumentKey, Quote
from smarttrade.engine.inputs import EngineInput, TradeHappened
from smarttrade.ports.exchange import Balance
from smarttrade.runtime import call_line
from smarttrade.runtime.dispatcher import DEADLINE, Dispatcher
from smarttrade.simulation.loop import VirtualLoop, VirtualTime

KEY: Final = InstrumentKey("binance", "USDT_BTC")
RULES: Final = replace(load_rules()[KEY], taker_fee=Decimal(0))
MAX_AGE: Final = 10 * SECOND
BEGAN: Final = 1_735_689_600 * SECOND
ANSWER_SECONDS: Final = 0.1
AT_ONCE: Final = 4  # of them one for ways out


@pytest.fixture(autouse=True)
def _lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_line, "MAX_UNDER_WAY", AT_ONCE)
    monkeypatch.setattr(call_line, "KEPT_FOR_WAYS_OUT", 1)


def send(name: str, *, account: int = 1, is_way_out: bool = False) -> SubmitOrder:
    intent = OrderIntent(
        client_order_id=name, account_id=account, key=KEY, side=Side.SELL, type=OrderType.LIMIT,
        quantity=Decimal(1), price=Decimal(100),
    )  # fmt: skip
    return SubmitOrder(intent=intent, is_way_out=is_way_out)


def cancel(name: str) -> CancelOrder:
    return CancelOrder(account_id=1, key=KEY, client_order_id=name)


def query(name: str) -> QueryOrder:
    return QueryOrder(account_id=1, key=KEY, client_order_id=name)


def report(name: str) -> OrderReport:
    return OrderReport(client_order_id=name, venue_order_id=name, state=ReportedState.OPEN, filled_quantity=Decimal(0))


class Market:
    """Prices that the test sets; a request brings `requested`, if there is one, after a moment."""

    def __init__(self) -> None:
        self.quote: Quote | None = None
        self.requested: Quote | None = None
        self.requests = 0

    def latest(self, _: InstrumentKey) -> Quote | None:
        return self.quote

    async def request(self, *_: InstrumentKey) -> None:
        self.requests += 1
        await asyncio.sleep(0.1)
        self.quote = self.requested or self.quote


class Venue:
    """An exchange that takes its time to answer. Remembers what it was asked, and how much at once."""

    refuses_duplicate_ids = True

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_silent = False
        self.most = 0
        self._under_way = 0

    def listen(self, _: Callable[[Any], None]) -> None:
        """It has nothing to say by itself."""

    async def submit_order(self, intent: OrderIntent) -> OrderReport:
        await self._answer(f"send {intent.client_order_id}")
        return report(intent.client_order_id)

    async def cancel_order(self, _: InstrumentKey, client_order_id: str) -> None:
        await self._answer(f"cancel {client_order_id}")

    async def find_order(self, _: InstrumentKey, client_order_id: str) -> OrderReport:
        await self._answer(f"query {client_order_id}")
        return report(client_order_id)

    async def _answer(self, question: str) -> None:
        self.asked.append(question)
        self._under_way += 1
        self.most = max(self.most, self._under_way)
        try:
            await asyncio.sleep(3600 if self.is_silent else ANSWER_SECONDS)
        finally:
            self._under_way -= 1

    async def balances(self) -> Mapping[str, Balance]:
        return {"USDT": Balance(Decimal(1_000), Decimal(500))}


class Desk:
    """A dispatcher with two accounts, and what it says back."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.time.after(3600, lambda: None)  # until then only timers move it
        self.market = Market()
        self.venue, self.other_venue = Venue(), Venue()
        clock = SystemClock(lambda: BEGAN * 1000 + self.time.now_ns, lambda: self.time.now_ns)
        self.dispatcher = Dispatcher(
            market=cast(Any, self.market), instrument=lambda _: RULES, clock=clock, max_quote_age=MAX_AGE
        )
        self.said: list[EngineInput] = []
        self.dispatcher.connect(self.said.append, cast(Any, None))
        self.dispatcher.add_exchange(1, cast(Any, self.venue))
        self.dispatcher.add_exchange(2, cast(Any, self.other_venue))

    @property
    def now(self) -> float:
        return self.time.now_ns / 1e9

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


# --- more calls than may be under way at once -------------------------------------------------------------------------


def test_of_many_calls_so_many_are_under_way_at_once_and_all_are_made_in_order() -> None:
    """Faults F60, F68: none is dropped, and the log says when the limit is reached and when nothing waits any more."""
    names = [f"o{number}" for number in range(100)]

    async def story(desk: Desk) -> None:
        with capture_logs() as logged:
            said = await desk.done(*map(send, names))
        assert desk.venue.asked == [f"send {name}" for name in names]
        assert desk.venue.most == AT_ONCE - 1
        assert len(said) == len(names)
        assert set(said) == {report(name) for name in names}
        assert desk.dispatcher.pending == 0
        assert [(entry["event"], entry["account_id"]) for entry in logged] == [
            ("too many calls to an exchange at once; the others wait", 1),
            ("no call to the exchange waits any more", 1),
        ]
        assert logged[1]["waited"] == len(names) - (AT_ONCE - 1)

    play(story)


def test_a_few_calls_wait_for_nothing_and_nothing_is_said() -> None:
    async def story(desk: Desk) -> None:
        with capture_logs() as logged:
            await desk.done(send("a"), cancel("b"), query("c"))
        assert desk.now == pytest.approx(ANSWER_SECONDS)
        assert logged == []

    play(story)


def test_what_waits_counts_as_under_way_to_whoever_waits_for_rest() -> None:
    async def story(desk: Desk) -> None:
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(100)])
        assert desk.dispatcher.pending == 100

    play(story)


def test_a_stop_and_a_cancellation_go_before_entries_and_targets_that_wait_and_a_question_before_those() -> None:
    """Fault F60: exits first."""

    async def story(desk: Desk) -> None:
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(10)])
        await asyncio.sleep(ANSWER_SECONDS / 2)
        await desk.done(query("q"), cancel("c"), send("stop", is_way_out=True))
        assert desk.venue.asked[:7] == ["send o0", "send o1", "send o2", "cancel c", "send stop", "query q", "send o3"]

    play(story)


def test_calls_that_nobody_answers_leave_a_stop_its_place() -> None:
    """Fault F21: it does not wait for their deadline."""

    async def story(desk: Desk) -> None:
        desk.venue.is_silent = True
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(10)])
        await asyncio.sleep(1)
        desk.venue.is_silent = False
        desk.dispatcher.carry_out([send("stop", is_way_out=True)])
        await asyncio.sleep(ANSWER_SECONDS * 1.5)
        assert desk.said == [report("stop")]

    play(story)


def test_a_call_that_has_waited_has_its_whole_time_to_be_answered() -> None:
    """Fault F21: an order that was not even sent is not in doubt."""

    async def story(desk: Desk) -> None:
        desk.venue.is_silent = True
        names = [f"o{number}" for number in range(2 * (AT_ONCE - 1))]
        desk.dispatcher.carry_out([*map(send, names)])
        await asyncio.sleep(DEADLINE + 1)
        assert len(desk.said) == AT_ONCE - 1
        assert set(desk.said) == {SubmitUnclear(client_order_id=name) for name in names[: AT_ONCE - 1]}
        desk.venue.is_silent = False
        await desk.dispatcher.idle()
        assert len(desk.said) == len(names)

    play(story)


@pytest.mark.parametrize("ask", [query, cancel])
def test_nothing_is_asked_about_an_order_before_it_is_sent_and_whoever_asks_moves_it_forward(
    ask: Callable[[str], Effect],
) -> None:
    """EX-20, EX-31: a denial of what still waits here would prove nothing, and a stop may wait for the answer."""

    async def story(desk: Desk) -> None:
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(10)])
        await desk.done(ask("o8"))
        assert desk.venue.asked[3:6] == ["send o8", f"{ask.__name__} o8", "send o3"]
        assert len(desk.venue.asked) == 11

    play(story)


def test_what_waits_to_be_asked_is_asked_once() -> None:
    """Fault F68: questions that are repeated while nobody answers fill no memory."""

    async def story(desk: Desk) -> None:
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(10)])
        await desk.done(*[query("a"), query("b")] * 50)
        assert [question for question in desk.venue.asked if question.startswith("query")] == ["query a", "query b"]
        await desk.done(query("a"))
        assert desk.venue.asked[-1] == "query a"  # a new question gets an answer of its own

    play(story)


def test_the_crowd_of_one_account_keeps_no_other_waiting() -> None:
    """Fault F61."""

    async def story(desk: Desk) -> None:
        desk.venue.is_silent = True
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(100)])
        desk.dispatcher.carry_out([send("other", account=2)])
        await asyncio.sleep(ANSWER_SECONDS * 1.5)
        assert desk.said == [report("other")]

    play(story)


def test_an_alarm_waits_for_no_exchange() -> None:
    """S-31."""

    async def story(desk: Desk) -> None:
        desk.venue.is_silent = True
        desk.dispatcher.carry_out([send(f"o{number}") for number in range(10)])
        with capture_logs() as logged:
            desk.dispatcher.carry_out([RaiseAlarm(trade_id=7, text="blocked")])
        assert [entry["event"] for entry in logged] == ["ALARM"]

    play(story)
