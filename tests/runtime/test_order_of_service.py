"""Who is served when more comes than can be done, in virtual time: nobody is kept waiting by a storm of others.

The engine is the real one, and each input takes it 20 us; a commit takes 1 ms. Storms bring twice what it can do. The
limits are lower than the product's, so that a fifth of a second is a long storm.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, cast

import pytest
from structlog.testing import capture_logs

from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.domain.commands import CreateTrade, SetNote
from smarttrade.domain.effects import RequestQuote, SubmitOrder
from smarttrade.domain.order import OrderReport, OrderType, ReportedState
from smarttrade.domain.plan import EntryPlan, EntryType, SmartTradePlan, StopPlan, TradeKind
from smarttrade.domain.quote import SECOND, InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.engine import Engine, EngineSettings
from smarttrade.engine.inputs import EngineInput, InstrumentChanged, MarketMoved, QuoteReceived
from smarttrade.engine.tallies import Coin, Tally
from smarttrade.ports.storage import Batch, StorageUnavailable, TradeStore
from smarttrade.runtime import inbox, runner
from smarttrade.runtime.dispatcher import Dispatcher
from smarttrade.runtime.inbox import Inbox, QueueFull
from smarttrade.runtime.runner import Runner
from smarttrade.runtime.view import View
from smarttrade.simulation.loop import VirtualLoop, VirtualTime

HANDLING_NS: Final = 20_000
COMMIT_SECONDS: Final = 0.001
STORM_SECONDS: Final = 0.2
STORM_RATE: Final = 100_000  # inputs per second: twice what the engine can do
TICK_SECONDS: Final = 0.001

BATCH: Final = 200  # inputs that share a commit
WAITING_COMMANDS: Final = 2_000
WAITING_PRICES: Final = 200

FULL_BATCH: Final = BATCH * HANDLING_NS / 1e9 + COMMIT_SECONDS
SOON: Final = 3 * FULL_BATCH  # the batch under way, the one it is in, and one that only a late start can add
BEHIND_ONE_PAIR: Final = 2 * WAITING_PRICES / BATCH * FULL_BATCH  # each price and its notice


KEY = InstrumentKey("binance", "USDT_BTC")
OTHER = InstrumentKey("binance", "USDT_ETH")

STOP = StopPlan(order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(55_000))
OWN = SmartTradePlan(
    kind=TradeKind.SMART_SELL,
    entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01"), price=Decimal(60_000)),
    stop=STOP,
)
"""Holds its coins from the start: nothing but the stop has to be done."""


class SlowEngine(Engine):
    """Every input takes its time. Remembers what it was given, and when."""

    time: VirtualTime
    handled: list[tuple[int, EngineInput]]

    def handle(self, given: EngineInput, now: int) -> SmartTrade | None:
        self.time.advance(self.time.now_ns + HANDLING_NS)
        self.handled.append((self.time.now_ns, given))
        return super().handle(given, now)


class Disk:
    """A store that forgets everything and takes its time, or fails."""

    def __init__(self) -> None:
        self.broken = False

    async def commit(self, _: Batch) -> None:
        await asyncio.sleep(COMMIT_SECONDS)
        if self.broken:
            raise StorageUnavailable("disk full")

    def tallies(self) -> Mapping[Coin, Tally]:
        return {}

    def trade(self, _: int) -> SmartTrade | None:
        return None

    def open_trade_ids(self, _account_id: int, _key: InstrumentKey) -> Sequence[int]:
        return ()


class Sent(Dispatcher):
    """Notes when orders go out."""

    time: VirtualTime
    orders: list[tuple[float, SubmitOrder]]
    questions: list[tuple[float, RequestQuote]]

    def carry_out(self, effects: Sequence[Any]) -> None:
        self.questions += [(self.time.now_ns / 1e9, each) for each in effects if isinstance(each, RequestQuote)]
        self.orders += [(self.time.now_ns / 1e9, each) for each in effects if isinstance(each, SubmitOrder)]


class Service:
    """An engine at work in virtual time."""

    def __init__(self, max_quote_age: int | None = None) -> None:
        self.time = VirtualTime()
        self.time.after(3600, lambda: None)  # until then only timers move it
        self.disk = Disk()
        self.engine = SlowEngine(EngineSettings(instance="abcd", max_quote_age=max_quote_age), self.disk)
        self.engine.time, self.engine.handled = self.time, []
        clock = SystemClock(lambda: self.time.now_ns + 1, lambda: self.time.now_ns)
        self.sent = Sent(market=cast(Any, None), instrument=lambda _: None, clock=clock)
        self.sent.time, self.sent.orders, self.sent.questions = self.time, [], []
        store = cast(TradeStore, self.disk)
        self.runner = Runner(engine=self.engine, store=store, view=View(store), clock=clock, dispatcher=self.sent)
        for version, key in enumerate((KEY, OTHER), 1):
            self.runner.prepare(InstrumentChanged(load_rules()[key], version))
            self.price(60_000, key)

    @property
    def now(self) -> float:
        return self.time.now_ns / 1e9

    def price(self, bid: int, key: InstrumentKey = KEY) -> None:
        """The market moves, as the system tells it."""
        at = self.time.now_ns // 1000
        quote = Quote(key=key, bid=Decimal(bid), ask=Decimal(bid + 1), last=Decimal(bid), at=at)
        self.runner.tell(MarketMoved(quote))
        self.runner.tell(QuoteReceived(quote))

    async def storm(self, one: Callable[[int], object], weight: int = 1) -> None:
        """Call `one` so often that twice as many inputs come as can be worked in; it tells `weight` of them."""
        began, told = self.now, 0
        while (elapsed := self.now - began) < STORM_SECONDS:
            while told * weight < elapsed * STORM_RATE:
                one(told)
                told += 1
            await asyncio.sleep(TICK_SECONDS)

    async def answer_times(self, trade_id: int) -> list[float]:
        """Seconds that a caller waits who asks again and again while a storm lasts."""
        began, waited = self.now, []
        while self.now - began < STORM_SECONDS:
            asked = self.now
            await self.runner.execute(SetNote(trade_id=trade_id, note=str(len(waited))))
            waited.append(self.now - asked)
            await asyncio.sleep(TICK_SECONDS)
        return waited

    async def stop_time(self, after: float) -> float:
        """Seconds from a price that reaches the stop, that much into a storm, until its order goes out."""
        await asyncio.sleep(after)
        fell = self.now
        self.price(54_000)
        while not self.sent.orders:
            await asyncio.sleep(TICK_SECONDS)
        return self.sent.orders[0][0] - fell


def play(story: Callable[[Service, int], Coroutine[Any, Any, None]], max_quote_age: int | None = None) -> None:
    """Tell a story that begins with one open trade, whose stop waits on the first pair."""
    service = Service(max_quote_age)
    loop = VirtualLoop(service.time)

    async def whole() -> None:
        working = asyncio.create_task(service.runner.run())
        trade = await service.runner.execute(CreateTrade(account_id=1, key=KEY, plan=OWN))
        await story(service, trade.id)
        working.cancel()

    told = loop.create_task(whole())
    try:
        while not told.done():
            loop.run_until_idle()
    finally:
        loop.abandon()
    told.result()


def report(number: int) -> OrderReport:
    """Of an order that the trade never sent: looked up, worked in, of no effect."""
    return OrderReport(
        client_order_id="stabcd-1-1-1",
        venue_order_id=str(number),
        state=ReportedState.OPEN,
        filled_quantity=Decimal(0),
        fills=(),
        text="",
    )


@pytest.fixture(autouse=True)
def _lower_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "MAX_BATCH", BATCH)
    monkeypatch.setattr(inbox, "MAX_WAITING_COMMANDS", WAITING_COMMANDS)
    monkeypatch.setattr(inbox, "MAX_WAITING_PRICES", WAITING_PRICES)


# --- questions --------------------------------------------------------------------------------------------------------


def test_silent_prices_are_asked_for_on_time_without_an_input_for_the_engine() -> None:
    """EX-34: thousands of looks a day at quiet pairs are no work for the queue and the disk."""

    async def story(service: Service, _: int) -> None:
        handled = len(service.engine.handled)
        await asyncio.sleep(65)
        assert [round(at) for at, _ in service.sent.questions] == [10, 20, 30, 40, 50, 60]
        assert len(service.engine.handled) == handled

    play(story, max_quote_age=10 * SECOND)


def test_a_stop_fires_by_the_price_that_comes_after_a_silence() -> None:
    """EX-34, TR-4."""

    async def story(service: Service, _: int) -> None:
        assert await service.stop_time(after=35) < SOON

    play(story, max_quote_age=10 * SECOND)


# --- storms -----------------------------------------------------------------------------------------------------------


def test_a_storm_of_prices_keeps_no_caller_from_an_answer() -> None:
    """Fault F68."""

    async def story(service: Service, trade_id: int) -> None:
        _, waited = await asyncio.gather(
            service.storm(lambda number: service.price(60_000 + number % 100, OTHER), weight=2),
            service.answer_times(trade_id),
        )
        assert len(waited) >= 5
        assert max(waited) <= SOON

    play(story)


def test_a_storm_of_prices_of_one_pair_keeps_no_stop_of_another_from_its_price() -> None:
    """Faults F57 and F68: what waits of the busy pair has an end, so the quiet one's turn comes."""

    async def story(service: Service, _: int) -> None:
        _, took = await asyncio.gather(
            service.storm(lambda number: service.price(3_000 + number % 100, OTHER), weight=2),
            service.stop_time(STORM_SECONDS / 2),
        )
        assert took <= BEHIND_ONE_PAIR + SOON

    play(story)


def test_a_storm_of_prices_does_not_make_decisions_fall_behind_the_market_for_ever() -> None:
    """Of the same pair too: the oldest waiting prices are skipped, and the newest is always worked in."""

    async def story(service: Service, _: int) -> None:
        with capture_logs() as logged:
            _, took = await asyncio.gather(
                service.storm(lambda number: service.price(60_000 + number % 100), weight=2),
                service.stop_time(STORM_SECONDS - 2 * TICK_SECONDS),
            )
            await service.runner.settled()
        assert took <= BEHIND_ONE_PAIR + SOON
        assert [entry["event"] for entry in logged] == [
            "prices come faster than they can be worked on",
            "caught up with the prices",
        ]

    play(story)


def test_a_storm_of_commands_keeps_no_stop_from_its_price_and_ends_in_refusals() -> None:
    """Fault F68: a caller is told to come back; what was taken is answered."""

    async def story(service: Service, trade_id: int) -> None:
        asked: list[asyncio.Task[SmartTrade]] = []

        def command(number: int) -> None:
            asked.append(asyncio.create_task(service.runner.execute(SetNote(trade_id=trade_id, note=str(number)))))

        _, took = await asyncio.gather(service.storm(command), service.stop_time(STORM_SECONDS / 2))
        assert took <= SOON
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = sum(isinstance(outcome, QueueFull) for outcome in outcomes)
        answered = sum(isinstance(outcome, SmartTrade) for outcome in outcomes)
        assert refused > 0
        assert answered + refused == len(outcomes)
        assert answered >= WAITING_COMMANDS

    play(story)


def test_a_storm_of_reports_keeps_no_caller_from_an_answer_and_a_price_is_decided_in_its_place() -> None:
    """Fault F68. No report is dropped; they stay in order with prices (TR-5): only those before it are waited for."""

    async def story(service: Service, trade_id: int) -> None:
        _, waited, _ = await asyncio.gather(
            service.storm(lambda number: service.runner.tell(report(number))),
            service.answer_times(trade_id),
            service.stop_time(STORM_SECONDS / 2),
        )
        assert max(waited) <= SOON
        await service.runner.settled()
        happened = [given for _, given in service.engine.handled if isinstance(given, (OrderReport, QuoteReceived))]
        reports = [int(given.venue_order_id or 0) for given in happened if isinstance(given, OrderReport)]
        assert reports == list(range(len(reports)))  # none was lost
        place = [isinstance(given, QuoteReceived) and given.quote.bid == 54_000 for given in happened].index(True)
        assert 0 < place < len(happened) - 1_000  # many came after it and were worked in after it

    play(story)


def test_while_nothing_can_be_stored_prices_fill_no_memory_and_the_newest_decides_afterwards() -> None:
    """Fault F68: a full disk for a long time, in a market that goes on."""

    async def story(service: Service, trade_id: int) -> None:
        service.disk.broken = True
        noted = asyncio.create_task(service.runner.execute(SetNote(trade_id=trade_id, note="held up")))
        for number in range(5_000):
            service.price(60_000 + number % 100)
            if number % 100 == 0:
                await asyncio.sleep(TICK_SECONDS)
        assert service.runner.pending <= 2 * WAITING_PRICES + 10
        assert service.sent.orders == []
        service.price(54_000)
        service.disk.broken = False
        assert (await noted).note == "held up"
        await service.runner.settled()
        assert [effect.intent.price for _, effect in service.sent.orders] == [None]  # the stop, at market

    play(story)


# --- the lanes --------------------------------------------------------------------------------------------------------


def price(bid: int, key: InstrumentKey = KEY) -> Quote:
    return Quote(key=key, bid=Decimal(bid), ask=Decimal(bid), last=Decimal(bid), at=bid)


def note(number: int) -> SetNote:
    return SetNote(trade_id=number, note="")


def want(lanes: Inbox, number: int) -> None:
    lanes.want(note(number), cast(Any, object()))


def taken(lanes: Inbox, at_most: int = 1000) -> list[str]:
    """What comes next: n and q with the price, r with the id of the order, c with the number of the command."""
    return [_short(waiting.given) for waiting in lanes.take(at_most)]


def _short(given: EngineInput) -> str:
    match given:
        case MarketMoved():
            return f"n{given.quote.bid}"
        case QuoteReceived():
            return f"q{given.quote.bid}"
        case OrderReport():
            return f"r{given.venue_order_id}"
        case SetNote():
            return f"c{given.trade_id}"
        case _:
            return type(given).__name__


def move(lanes: Inbox, bid: int, *reports: int, key: InstrumentKey = KEY) -> None:
    """The market moves, and fills so many orders."""
    lanes.tell(MarketMoved(price(bid, key)))
    for each in reports:
        lanes.tell(report(each))
    lanes.tell(QuoteReceived(price(bid, key)))


def test_what_fits_into_a_batch_is_taken_in_order_of_arrival() -> None:
    lanes = Inbox()
    want(lanes, 1)
    move(lanes, 100, 7)
    lanes.prepare(InstrumentChanged(load_rules()[KEY], 1))
    want(lanes, 2)
    lanes.tell(report(8))
    assert taken(lanes) == ["c1", "n100", "r7", "q100", "InstrumentChanged", "c2", "r8"]
    assert len(lanes) == 0


def test_of_more_than_a_batch_each_lane_gets_half_and_what_the_other_leaves() -> None:
    lanes = Inbox()
    for number in range(6):
        lanes.tell(report(number))
    for number in range(6):
        want(lanes, number)
    assert taken(lanes, 4) == ["r0", "r1", "c0", "c1"]
    assert taken(lanes, 6) == ["r2", "r3", "r4", "c2", "c3", "c4"]
    lanes.tell(report(6))
    lanes.tell(report(7))
    assert taken(lanes, 3) == ["r5", "c5", "r6"]
    assert taken(lanes, 3) == ["r7"]


def test_too_many_commands_are_refused_and_what_they_need_to_know_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING_COMMANDS", 2)
    lanes = Inbox()
    lanes.prepare(InstrumentChanged(load_rules()[KEY], 1))
    want(lanes, 1)
    want(lanes, 2)
    with pytest.raises(QueueFull):
        want(lanes, 3)
    lanes.prepare(InstrumentChanged(load_rules()[KEY], 2))
    assert taken(lanes) == ["InstrumentChanged", "c1", "c2", "InstrumentChanged"]
    want(lanes, 3)


def test_what_a_command_needs_to_know_overtakes_a_storm_with_it() -> None:
    """A trade on a pair that nobody has traded before: its rules and first price come before the command."""
    lanes = Inbox()
    for number in range(6):
        lanes.tell(report(number))
    lanes.prepare(InstrumentChanged(load_rules()[OTHER], 1))
    lanes.prepare(QuoteReceived(price(60, OTHER)))
    want(lanes, 1)
    assert taken(lanes, 4) == ["r0", "r1", "InstrumentChanged", "q60"]
    assert taken(lanes, 4) == ["r2", "r3", "r4", "c1"]


def test_of_too_many_prices_of_a_pair_the_oldest_is_skipped_with_its_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING_PRICES", 2)
    lanes = Inbox()
    move(lanes, 50, key=OTHER)
    for bid in (101, 102, 103, 104):
        move(lanes, bid)
    assert taken(lanes) == ["n50", "q50", "n103", "q103", "n104", "q104"]
    assert lanes.skipped_prices == 2
    for bid in (105, 106):
        move(lanes, bid)  # what was taken counts no more
    assert taken(lanes) == ["n105", "q105", "n106", "q106"]


def test_a_skipped_price_that_filled_something_stays_known_to_what_it_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """AR-3, TR-50: what the fill arms is tested against the price that filled it. No report is dropped."""
    monkeypatch.setattr(inbox, "MAX_WAITING_PRICES", 1)
    lanes = Inbox()
    move(lanes, 101, 1, 2)
    lanes.tell(QuoteReceived(price(101)))  # asked for again
    move(lanes, 102, 3)
    move(lanes, 103)
    move(lanes, 104)
    assert taken(lanes) == ["n101", "r1", "r2", "n102", "r3", "n104", "q104"]


def test_a_notice_whose_price_is_still_to_come_is_never_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "MAX_WAITING_PRICES", 1)
    lanes = Inbox()
    move(lanes, 101)
    lanes.tell(MarketMoved(price(102)))
    assert taken(lanes) == ["n101", "q101", "n102"]
    lanes.tell(QuoteReceived(price(102)))
    move(lanes, 103)
    assert taken(lanes) == ["n103", "q103"]
