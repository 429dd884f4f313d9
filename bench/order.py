"""From a price to the order that it causes (PF-4), by the number of open trades.

Each sample is one price message that reaches one stop loss. The clock starts with the message's bytes in hand; the
server decodes them, tells its paper exchange, queues the price, decides, works the stop into its trade, and sends. It
is a whole system as it runs, with an account whose exchange is one of these:

* `at the socket`: an exchange behind HTTP on loopback. The product has no adapter of a real exchange yet, so the
  benchmark brings the smallest one: the order's parameters, signed with HMAC-SHA256 as most exchanges want it, written
  to a connection that is open. The clock stops where `write` is called: what follows is the kernel's, and often
  already the other process's turn. What answers is an echo in another process, and the order counts as filled then.
* `in the paper exchange`: the one that the product has. The clock stops when it has acknowledged the order, which is
  durable in its books then.

`of these` says where that time is spent (see `Way`); the parts' medians need not add up to the whole's.

`stored first` is the product: the price's consequences are durable before the order leaves. `not stored` replaces
that one commit by nothing, and shows what everything else takes. In turn with the samples, in the same run, two things
are measured for comparison: `the echo alone` is a request of the same size over the same connection, from the call of
`write` to the whole answer; `a commit alone` is one row in the same database.
"""

import asyncio
import gc
import hmac
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import sqlalchemy as sa
import uvloop

from bench.echo import whole_message
from bench.population import KEY, populate
from bench.prices import PriceSource
from bench.table import Goal, Row
from smarttrade import app
from smarttrade.adapters.clock import SystemClock
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.database import write_meta
from smarttrade.domain.account import Account
from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.events import CancelRefused
from smarttrade.domain.fill import Fill
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.order import OrderIntent, OrderRefused, OrderReport, OrderType, ReportedState
from smarttrade.domain.plan import EntryPlan, EntryType, MarginMode, SmartTradePlan, StopPlan, TradeKind
from smarttrade.domain.quote import Instant, InstrumentKey, PriceType, Quote
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.inputs import EngineInput, QuoteReceived
from smarttrade.ports.exchange import Balance, Exchange, FuturesPosition, ReportListener
from smarttrade.ports.market_data import MarketUpdate
from smarttrade.ports.storage import Batch
from smarttrade.settings import Settings

SIZES: Final = (1_000, 10_000, 100_000)
SAMPLES: Final = 500
WARM_UP: Final = 50  # samples before those that count
HIGHEST_STOP: Final = 59_000  # of the samples' trades; the others' are at 50,000 and below
SECRET: Final = b"s" * 64

REQUEST: Final = (
    b"POST /api/v3/order HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: " + b"k" * 64 + b"\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%b"
)


class HttpConnection(asyncio.Protocol):
    """One request after the other."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = b""
        self._answer: asyncio.Future[bytes] | None = None
        self.written = 0.0  # when the last request was handed over
        self.answered = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> "asyncio.Future[bytes]":
        """The body of the answer, later."""
        self._answer = asyncio.get_running_loop().create_future()
        self.written = time.perf_counter()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        message = whole_message(self._buffer)
        if message is not None and self._answer is not None:
            body, self._buffer = message
            self.answered = time.perf_counter()
            self._answer.set_result(body)


def signed_order(intent: OrderIntent, at: Instant) -> bytes:
    """The request that places an order, as a large exchange wants it."""
    parameters = (
        f"symbol=BTCUSDT&side={intent.side.value.upper()}&type=MARKET&quantity={intent.quantity}"
        f"&newClientOrderId={intent.client_order_id}&recvWindow=5000&timestamp={at // 1000}"
    ).encode()
    signature = hmac.digest(SECRET, parameters, "sha256").hex().encode()
    body = b"%b&signature=%b" % (parameters, signature)
    return REQUEST % (len(body), body)


class HttpExchange:
    """Implements Exchange as far as a stop at market needs it: what the echo has answered is filled."""

    refuses_duplicate_ids = True

    def __init__(self, connection: HttpConnection, paper: Exchange, now: Callable[[], Instant]) -> None:
        """paper: knows the funds"""
        self._connection = connection
        self._paper = paper
        self._now = now
        self.called = 0.0  # when the last order came

    async def submit_order(self, intent: OrderIntent) -> OrderReport | OrderRefused:
        self.called = time.perf_counter()
        at = self._now()
        await self._connection.send(signed_order(intent, at))
        price = Decimal(HIGHEST_STOP)
        fill = Fill(fill_id=intent.client_order_id, price=price, quantity=intent.quantity, fee=None, filled_at=at)
        return OrderReport(
            client_order_id=intent.client_order_id,
            venue_order_id="1",
            state=ReportedState.FILLED,
            filled_quantity=intent.quantity,
            fills=(fill,),
            text="",
        )

    async def cancel_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | CancelRefused | None:
        return None

    async def find_order(self, key: InstrumentKey, client_order_id: str) -> OrderReport | None:
        return None

    async def search_order(self, key: InstrumentKey, client_order_id: str, since: Instant) -> OrderReport | None:
        return None

    async def open_orders(self) -> Mapping[str, Decimal]:
        return {}

    async def set_leverage(self, key: InstrumentKey, mode: MarginMode, value: Decimal) -> None:
        return None

    async def balances(self) -> Mapping[str, Balance]:
        return await self._paper.balances()

    async def positions(self) -> Mapping[InstrumentKey, FuturesPosition]:
        return await self._paper.positions()

    async def instruments(self) -> Mapping[InstrumentKey, Instrument]:
        return await self._paper.instruments()

    def listen(self, listener: ReportListener) -> None:
        """It says nothing by itself."""


class WatchedPaper:
    """The paper exchange of an account, and when it had the last order."""

    def __init__(self, paper: Exchange) -> None:
        self._paper = paper
        self.acknowledged = 0.0

    async def submit_order(self, intent: OrderIntent) -> OrderReport | OrderRefused:
        answer = await self._paper.submit_order(intent)
        self.acknowledged = time.perf_counter()
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._paper, name)


class Times(NamedTuple):
    """Microseconds, one for each sample."""

    order: list[float]
    answer: list[float]
    echo: list[float]
    commit: list[float]
    ways: "list[Way]"


class Way(NamedTuple):
    """What a sample's price goes through until its order is written, in microseconds."""

    arriving: float  # decoding, the paper exchange's look at it, the queue
    deciding: float  # in the engine: the stop fires, its order, triggers and journal follow
    leaving: float  # what is to be stored, the order's turn of the event loop
    sending: float  # the order's parameters, signature, request


class Watched:
    """When the last price came into the engine, and when it was decided."""

    def __init__(self, system: app.System) -> None:
        self.began = self.decided = 0.0
        handle, engine = system.engine.handle, system.engine

        def watched(given: EngineInput, now: Instant) -> SmartTrade | None:
            if not isinstance(given, QuoteReceived):
                return handle(given, now)
            self.began = time.perf_counter()
            try:
                return handle(given, now)
            finally:
                self.decided = time.perf_counter()

        engine.handle = watched  # type: ignore[method-assign]

    def way(self, started: float, called: float, written: float) -> Way:
        marks = (started, self.began, self.decided, called, written)
        return Way(*((later - earlier) * 1e6 for earlier, later in pairwise(marks)))


def run() -> list[Row]:
    rows: list[Row] = []
    echo = subprocess.Popen(
        [sys.executable, "-m", "bench.echo"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert echo.stdout is not None
        port = int(echo.stdout.readline())
        for size in SIZES:
            with tempfile.TemporaryDirectory() as name:
                first = populate(Path(name), open_trades=size - SAMPLES - WARM_UP)
                rows += _rows_of(Path(name), first.account_id, port, f"{size:,} open trades")
    finally:
        assert echo.stdin is not None
        echo.stdin.close()
        echo.wait()
    return rows


def _rows_of(directory: Path, account_id: int, port: int, where: str) -> list[Row]:
    """Three times from the same start."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner, tempfile.TemporaryDirectory() as name:
        copies = [Path(name) / which for which in ("volatile", "durable", "paper")]
        for copy in copies:
            shutil.copytree(directory, copy)
        volatile = runner.run(_over_http(copies[0], account_id, port, durable=False))
        durable = runner.run(_over_http(copies[1], account_id, port, durable=True))
        paper = runner.run(_on_paper(copies[2], account_id))
    return [
        *_spread(f"at the socket, not stored, {where}", volatile.order, Goal("PF-4", at_most=50),
                 Goal("PF-4", at_most=200)),
        *(
            Row(f"  of these, {part}, p50", statistics.median(getattr(way, part) for way in volatile.ways), "us")
            for part in Way._fields
        ),
        *_spread(f"at the socket, stored first, {where}", durable.order, Goal("PF-4", at_most=1_000)),
        *_spread("  until the echo has answered", durable.answer),
        *_spread("  the echo alone", volatile.echo + durable.echo),
        *_spread("  a commit alone", durable.commit),
        *_spread("in the paper exchange, stored first and there", paper),
    ]  # fmt: skip


def _spread(name: str, times: list[float], half: Goal | None = None, most: Goal | None = None) -> list[Row]:
    return [
        Row(f"{name}, p50", statistics.median(times), "us", half),
        Row("  p99", statistics.quantiles(times, n=100)[98], "us", most),
    ]


@asynccontextmanager
async def _system(directory: Path, account_id: int, connect: app.Connect) -> AsyncIterator["tuple[app.System, Prices]"]:
    """A running system with a trade for each sample."""
    source = PriceSource([KEY])
    system = app.System(Settings(data_dir=directory), open_database(directory), source, SystemClock(), connect)
    await system.start()
    prices = Prices(system, source)
    await prices.deliver(prices.message(60_000))
    await system.ensure_instrument(KEY)
    amount = Decimal("0.01") * 4 * (SAMPLES + WARM_UP)
    balance = (await system.paper.exchange(account_id).balances())["BTC"].total
    await system.paper.set_balance(account_id, "BTC", balance + amount)
    for number in range(SAMPLES + WARM_UP):
        plan = stopped_below(HIGHEST_STOP - number)
        await system.runner.execute(CreateTrade(account_id=account_id, key=KEY, plan=plan))
    await system.runner.settled()
    gc.collect()
    gc.freeze()
    thresholds = gc.get_threshold()
    gc.set_threshold(*app.COLLECTOR_THRESHOLDS)  # as a server runs
    try:
        yield system, prices
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()
        await system.close()


class Prices:
    """Price messages into a system."""

    def __init__(self, system: app.System, source: PriceSource) -> None:
        self._system = system
        self._source = source
        self._decode = msgspec.json.Decoder(Quote).decode

    def message(self, bid: int) -> bytes:
        price = Decimal(bid)
        return msgspec.json.encode(Quote(key=KEY, bid=price, ask=price, last=price, at=self._system.clock.now()))

    async def deliver(self, message: bytes) -> None:
        await self._source.deliver(MarketUpdate(quote=self._decode(message)))

    async def samples(self) -> AsyncIterator[tuple[int, float]]:
        """One stop after the other: number and start; when the caller goes on, all is quiet again."""
        for number in range(SAMPLES + WARM_UP):
            message = self.message(HIGHEST_STOP - number)
            started = time.perf_counter()
            await self.deliver(message)
            await self._system.runner.settled()
            if number >= WARM_UP:
                yield number, started


def stopped_below(price: int) -> SmartTradePlan:
    """A trade on coins that are there, which sells them at market when the bid is down at `price`."""
    return SmartTradePlan(
        kind=TradeKind.SMART_SELL,
        entry=EntryPlan(type=EntryType.MARKET, units=Decimal("0.01"), price=Decimal(60_000)),
        stop=StopPlan(order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(price)),
    )


async def _over_http(directory: Path, account_id: int, port: int, *, durable: bool) -> Times:
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(HttpConnection, "127.0.0.1", port)
    clock = SystemClock()

    exchanges: list[HttpExchange] = []

    def connect(_: Account, paper: Exchange) -> Exchange:
        exchanges.append(HttpExchange(connection, paper, clock.now))
        return exchanges[-1]

    times = Times([], [], [], [], [])
    request = REQUEST % (230, b"x" * 230)  # as long as an order's
    async with _system(directory, account_id, connect) as (system, prices):
        if not durable:
            system.store.commit = _forget  # type: ignore[method-assign,assignment]
        before, watched = connection.written, Watched(system)
        async for _, started in prices.samples():
            assert connection.written > max(before, started)  # this price has sent an order
            before = connection.written
            times.order.append((connection.written - started) * 1e6)
            times.ways.append(watched.way(started, exchanges[-1].called, connection.written))
            times.answer.append((connection.answered - started) * 1e6)
            await connection.send(request)
            times.echo.append((connection.answered - connection.written) * 1e6)
            started = time.perf_counter()
            await system.database.write(_write_one_row)
            times.commit.append((time.perf_counter() - started) * 1e6)
    connection.transport.close()
    return times


async def _forget(_: Batch) -> None:
    """A commit that costs nothing and keeps nothing."""


def _write_one_row(connection: sa.Connection) -> None:
    write_meta(connection, "benchmark", str(time.perf_counter_ns()))


async def _on_paper(directory: Path, account_id: int) -> list[float]:
    watched: list[WatchedPaper] = []

    def connect(_: Account, paper: Exchange) -> Exchange:
        watched.append(WatchedPaper(paper))
        return cast(Exchange, watched[-1])

    times: list[float] = []
    async with _system(directory, account_id, connect) as (_, prices):
        async for _, started in prices.samples():
            assert watched[0].acknowledged > started
            times.append((watched[0].acknowledged - started) * 1e6)
    return times
