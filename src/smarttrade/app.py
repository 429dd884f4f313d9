"""Where concrete classes meet: settings -> adapters -> running system. Nothing else names them."""

import asyncio
import contextlib
import gc
import ipaddress
import json
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final, TextIO, cast

import msgspec
import structlog
import uvicorn

from smarttrade.adapters.clock import ManualClock, SystemClock
from smarttrade.adapters.exchanges.paper.exchange import PaperMarket
from smarttrade.adapters.market_data.demo import DemoMarket
from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.adapters.market_data.sandbox import SANDBOX_START, SandboxMarket
from smarttrade.adapters.storage.data_directory import DataDirectoryLock, open_database, refuse_newer_schema
from smarttrade.adapters.storage.database import Database, read_meta
from smarttrade.adapters.storage.directory import SqlDirectory
from smarttrade.adapters.storage.trade_store import SqlTradeStore, collector_paused
from smarttrade.adapters.vault import KEY_VARIABLE, open_vault
from smarttrade.api.auth import Authenticator
from smarttrade.api.encoded_trades import EncodedTrades
from smarttrade.api.http import Api, Application, Cors
from smarttrade.api.page import Documentation
from smarttrade.api.protocol import HttpProtocol
from smarttrade.api.rate_limit import RateLimiter, RateLimits
from smarttrade.api.server import all_routes
from smarttrade.api.services import Health, Services
from smarttrade.api.stream import MAX_FRAME_BYTES, TradeStream
from smarttrade.domain.account import PAPER_TRADING, Account
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.quote import SECOND, Instant, InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.engine import Engine, EngineSettings
from smarttrade.engine.inputs import AccountConnected, AccountRemoved, InstrumentChanged, MarketMoved, QuoteReceived
from smarttrade.engine.replay import digest_of_all
from smarttrade.engine.trigger_book import GroupState
from smarttrade.ports.clock import Clock
from smarttrade.ports.directory import DEFAULT_USER
from smarttrade.ports.exchange import Exchange, ExchangeUnavailable
from smarttrade.ports.market_data import MarketData, MarketUpdate, ScriptedMarketData
from smarttrade.ports.storage import StorageUnavailable
from smarttrade.runtime.dispatcher import Dispatcher
from smarttrade.runtime.runner import EXTREMES_DELAY, LONGEST_STORAGE_PAUSE, Runner
from smarttrade.runtime.view import View
from smarttrade.settings import Settings, SettingsError

log = structlog.get_logger("app")

SANDBOX: Final = "sandbox"
DEMO: Final = "demo"
REPLAY: Final = "replay:"

GRACE_SECONDS: Final = 4
"""Requests under way at SIGTERM get this long; the process leaves within 5 s (cli.md)."""

COLLECTOR_THRESHOLDS: Final = (20_000, 50, 50)
"""Little of what a request makes is garbage in cycles, and much of it stays: trades. Python's own thresholds would walk
all trades made since the start again and again, 7 % of a create and pauses of a tenth of a second."""

LONGEST_MARKET_PAUSE: Final = 30.0
"""Seconds between two attempts to start a price source that breaks."""

ADDRESS_FILE: Final = "server.json"


class RefusesToStart(Exception):
    """The server will not start like this; str() is one line that says why."""


class EngineStopped(Exception):
    """The server has ended because its engine broke; str() is one line."""


class PortTaken(RefusesToStart):
    """Somebody else listens there."""


class FirstStart(msgspec.Struct, frozen=True, kw_only=True):
    """What the first start makes, shown once."""

    account_id: int
    account_name: str
    api_key: str
    secret: str
    permissions: tuple[str, ...]


class Started(msgspec.Struct, frozen=True, kw_only=True):
    """A server that answers."""

    url: str
    data_dir: Path
    market: str
    first: FirstStart | None


Connect = Callable[[Account, Exchange], Exchange]

MAX_QUOTE_AGE: Final = 10 * SECOND
"""Oldest price accepted for a decision where quotes do not stand until the next one (TR-6)."""


PASSED_IN_A_ROW: Final = 64
"""Prices at which nothing happens before a source that never waits leaves the engine and its callers a turn."""


class System:
    """The running parts of one data directory. Made by `open_system`, ended by `close`."""

    def __init__(
        self, settings: Settings, database: Database, market: MarketData, clock: Clock, connect: Connect | None = None
    ) -> None:
        """connect  gives an account its exchange, in place of the paper one that it is handed"""
        self.settings = settings
        self._connect = connect
        self.database = database
        self.market = market
        self.clock = clock
        # Thousands of pairs, looked up with every price: put together once. Only the sandbox defines pairs on the way.
        self._listed = None if isinstance(market, SandboxMarket) else {**load_rules(), **market.instruments()}
        vault = open_vault(database, settings.data_dir, os.environ.get(KEY_VARIABLE))
        self.directory = SqlDirectory(database, vault, clock.now)
        self.store = SqlTradeStore(database)
        self.paper = PaperMarket(
            write=database.write,
            instrument=self.listed,
            instruments=self.rules,
            now=clock.now,
            read=database.read,
        )
        with database.read() as connection:
            self.paper.load(connection)
            instance = read_meta(connection, "instance")
        assert instance is not None
        sequences = self.store.sequences()
        max_quote_age = None if market.standing_quotes_are_fresh else MAX_QUOTE_AGE
        self.engine = Engine(
            EngineSettings(
                instance=instance,
                protect_partial_entry=settings.protect_partial_entry,
                breakeven_covers_exit_fee=settings.breakeven_covers_exit_fee,
                max_quote_age=max_quote_age,
            ),
            self.store,
            next_trade_id=sequences.trade_id,
            next_step_id=sequences.step_id,
        )
        self.store.bring_up_to_date()
        self.view = View(self.store)
        self.dispatcher = Dispatcher(market=market, instrument=self.rules_of, clock=clock, max_quote_age=max_quote_age)
        self.runner = Runner(
            engine=self.engine,
            store=self.store,
            view=self.view,
            clock=clock,
            dispatcher=self.dispatcher,
            extremes_delay=0 if settings.market == SANDBOX else EXTREMES_DELAY,
        )
        self.encoded_trades = EncodedTrades(
            view=self.view,
            market=market,
            rules_of=self.rules_of,
            usd_rate=self.engine.rates.usd,
            balance_of=self.paper.balance,
            position_of=self.paper.position,
        )
        self.dispatcher.connect(self.runner.tell, self._limits_read)
        self._learn_instruments()
        self.engine.restore(
            self.store.standings(),
            [(g.key, GroupState(g.id, g.price_type, g.highest, g.extreme)) for g in self.store.trail_groups()],
            self.store.merged_trail_groups(),
            self.store.tallies(),
        )
        limits = RateLimits(bans=settings.rate_limit_bans)
        self.limiter = RateLimiter(limits) if settings.rate_limit else None  # one budget for the API and the stream
        self.broken = asyncio.Event()  # the engine has stopped: only a restart, which recovers, may go on
        self._applied: dict[InstrumentKey, object] = {}
        self._is_source_broken = False
        self._passed = 0  # prices at which nothing happened
        self._tasks: list[asyncio.Task[None]] = []

    def rules(self) -> Mapping[InstrumentKey, Instrument]:
        """Every pair that is listed; those of the price source win."""
        return self.market.instruments() if self._listed is None else self._listed

    def listed(self, key: InstrumentKey) -> Instrument | None:
        """Rules of one pair as listed now."""
        found = self.market.instruments().get(key)
        return load_rules().get(key) if found is None and not isinstance(self.market, SandboxMarket) else found

    def rules_of(self, key: InstrumentKey) -> Instrument | None:
        """Rules of a pair as the engine has them, else as listed."""
        known = self.engine.markets.get(key)
        return self.listed(key) if known is None else known.instrument

    def _learn_instruments(self) -> None:
        """Stored rules of every pair that ever had a trade: late fills and notes may concern one that is over."""
        for version, instrument in self.store.instruments():
            self.engine.handle(InstrumentChanged(instrument, version), self.clock.now())

    async def start(self) -> None:
        """Starting is recovering (EX-36): connect, ask, finish, then watch the market and take commands."""
        for account in self.directory.all_accounts():
            await _until_stored(partial(self.exchange_of, account))
        for key in self.market.instruments():
            quote = self.market.latest(key)
            if quote is not None:
                await _until_stored(partial(self.paper.resume, quote))
                self._applied[key] = quote
        await self.runner.recover()
        for key in list(self.engine.markets):
            await _until_stored(partial(self.ensure_instrument, key))
        for key in self.market.instruments():
            quote = self.market.latest(key)
            if quote is not None:
                self.runner.tell(QuoteReceived(quote))
        self.market.listen(self._on_update)
        if isinstance(self.market, ScriptedMarketData):
            self.market.settle_with(self.runner.settled)
        self._tasks = [
            asyncio.create_task(self.runner.run(), name="runner"),
            asyncio.create_task(self._run_market(), name="market"),
        ]
        self._tasks[0].add_done_callback(self._runner_ended)
        await self.runner.settled()

    def _runner_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            log.critical("the engine has stopped", exc_info=task.exception())
            self.broken.set()

    async def close(self) -> None:
        """Finish what is under way, commit, let go of the files."""
        for task in reversed(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.dispatcher.idle(), 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.runner.drain(), 1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.dispatcher.idle(), 1)
        self.database.close()
        gc.unfreeze()

    async def _run_market(self) -> None:
        """Keep the price source running: without prices no stop is decided (EX-34)."""
        pause = 1.0
        while True:
            try:
                await self.market.run()
            except Exception:
                log.exception("the price source broke; it is started again", seconds=pause)
                self._is_source_broken = True
                await asyncio.sleep(pause)
                self._is_source_broken = False
                pause = min(2 * pause, LONGEST_MARKET_PAUSE)
            else:
                return  # a recording that has ended: its last prices stand

    async def _on_update(self, update: MarketUpdate) -> None:
        """One step of the market: the exchange first, so that its reports precede the price's triggers (TR-5)."""
        if self._passes_by(update):
            self._applied[update.quote.key] = update.quote
            self._passed += 1
            if self._passed % PASSED_IN_A_ROW == 0:
                await asyncio.sleep(0)
            return
        if self.runner.is_behind:
            await asyncio.sleep(0)  # a source that never waits leaves the engine and its callers a turn
        if self._applied.get(update.quote.key) is update.quote:  # a repetition of the standing quote
            self.runner.tell(QuoteReceived(update.quote))
            return
        self.runner.tell(MarketMoved(update.quote))
        try:
            await self.paper.apply(update)
            self._applied[update.quote.key] = update.quote
        except ExchangeUnavailable as error:  # it could not be stored: the next step of the market finds those fills
            log.error("the paper exchange missed a step of the market", error=str(error))
        finally:
            self.runner.tell(QuoteReceived(update.quote))

    def _passes_by(self, update: MarketUpdate) -> bool:
        """Whether nothing happens at this price: the way of nearly all of them."""
        quote = update.quote
        return (
            not self.runner.has_waiting
            and self.paper.passes_by(update)
            and self.engine.passes_by(quote.key, quote, self.clock.now())
        )

    async def _limits_read(self, instrument: Instrument) -> None:
        known = self.engine.markets.get(instrument.key)
        if known is None or known.instrument != instrument:
            await self._store_rules(instrument)

    async def _store_rules(self, instrument: Instrument) -> None:
        version = await self.store.add_instrument(instrument)
        self.runner.prepare(InstrumentChanged(instrument, version))

    # what the API works with

    async def ensure_instrument(self, key: InstrumentKey) -> Instrument | None:
        """See Services."""
        instrument = self.listed(key)
        if instrument is None:
            return None
        known = self.engine.markets.get(key)
        if known is None or known.instrument != instrument:
            await self._store_rules(instrument)
            quote = self.market.latest(key)
            if known is None and quote is not None:
                self.runner.prepare(QuoteReceived(quote))
        return instrument

    async def exchange_of(self, account: Account) -> Exchange:
        """See Services."""
        exchange = self.dispatcher.exchange(account.id)
        if exchange is None:
            await self.paper.add_account(account.id, account.market, account.opening_balances)
            exchange = self.dispatcher.exchange(account.id)
        if exchange is None:
            paper = self.paper.exchange(account.id)
            exchange = paper if self._connect is None else self._connect(account, paper)
            self.dispatcher.add_exchange(account.id, exchange)
            self.runner.tell(AccountConnected(account.id))
        return exchange

    async def open_paper_account(
        self, user_id: int, name: str | None, market: str, opening: Mapping[str, Decimal]
    ) -> Account:
        """See Services."""
        account = await self.directory.add_account(
            user_id,
            name,
            type=PAPER_TRADING,
            market=market,
            opening_balances=dict(opening) or self.settings.paper_balances,
        )
        await self.exchange_of(account)
        return account

    async def close_account(self, account: Account) -> None:
        """See Services."""
        await self.directory.remove_account(account.id)
        self.dispatcher.remove_exchange(account.id)
        self.runner.tell(AccountRemoved(account.id))
        await self.paper.remove_account(account.id)

    def health(self) -> Health:
        """Whether stops can fire."""
        return Health(
            stores=self.runner.healthy,
            hears_prices=not self._is_source_broken,
            pairs_without_price=len(self.engine.pairs_without_price(self.clock.now())),
        )

    @property
    def services(self) -> Services:
        return Services(
            runner=self.runner,
            view=self.view,
            store=self.store,
            directory=self.directory,
            market=self.market,
            rules=self.rules,
            usd_rate=self.engine.rates.usd,
            exchange_of=self.exchange_of,
            open_paper_account=self.open_paper_account,
            close_account=self.close_account,
            ensure_instrument=self.ensure_instrument,
            rules_of=self.rules_of,
            encode_trade=self.encoded_trades.encode,
            health=self.health,
            now=self.clock.now,
            digest=lambda: digest_of_all(self.store.open_trades()),
            paper=self.paper,
            sandbox=self.market if isinstance(self.market, SandboxMarket) else None,
        )


async def _until_stored(work: Callable[[], Awaitable[object]]) -> None:
    """Do `work` of the start, however long the disk is full: a start that gives up watches no stop at all."""
    pause = 0.05
    while True:
        try:
            await work()
        except (StorageUnavailable, ExchangeUnavailable) as error:  # the paper exchange's books are on that disk too
            log.error("cannot store; the start goes on when this works", error=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_STORAGE_PAUSE)
        else:
            return


def check_market(name: str) -> None:
    """Raises SettingsError for a market that this version does not have."""
    if name not in (DEMO, SANDBOX) and not name.startswith(REPLAY):
        raise SettingsError(f"unknown market {name!r}: choose demo, sandbox or replay:FILE")


async def open_market(settings: Settings, database: Database) -> tuple[MarketData, Clock]:
    """The price source and the clock that belongs to it. Raises BadRecording."""
    if settings.market == SANDBOX:
        manual = ManualClock(SANDBOX_START)
        return await SandboxMarket.open(database.write, manual), manual
    if settings.market.startswith(REPLAY):
        # Here, because it brings a database engine along that nothing else needs.
        from smarttrade.adapters.market_data.replay import ReplayMarket

        replay = ReplayMarket(Path(settings.market.removeprefix(REPLAY)), speed=settings.replay_speed)
        return replay, replay.clock
    clock = SystemClock()
    return DemoMarket(clock), clock


async def open_system(settings: Settings, database: Database) -> System:
    """Everything in its place and recovered; prices run, commands are taken. Raises RefusesToStart."""
    check_market(settings.market)
    market, clock = await open_market(settings, database)
    with collector_paused():
        system = System(settings, database, market, clock)
        foreign = [account for account in system.directory.all_accounts() if not account.is_paper]
        if settings.market == SANDBOX and foreign:
            raise RefusesToStart(f"the sandbox refuses to run beside a real account (account {foreign[0].id})")
        await system.start()
    gc.freeze()  # what was recovered lives long: the collector need not walk it again and again
    return system


async def first_start(system: System) -> FirstStart | None:
    """A paper account and a key for whoever starts the server for the first time."""
    user = await system.directory.ensure_user(DEFAULT_USER)
    if system.directory.keys(user.id) or system.directory.all_accounts():
        return None
    account = await system.open_paper_account(user.id, None, "binance", {})
    created = await system.directory.create_key(user.id, "first key")
    assert created.secret is not None
    return FirstStart(
        account_id=account.id,
        account_name=account.name,
        api_key=created.key.api_key,
        secret=created.secret,
        permissions=tuple(sorted(created.key.permissions)),
    )


def make_stream(system: System) -> TradeStream:
    """The push stream over a running system: it hears of every commit."""
    wall, limiter = SystemClock().now, system.limiter
    stream = TradeStream(
        directory=system.directory,
        encode_trade=system.encoded_trades.encode,
        now=wall,
        admit=lambda who: limiter is None or limiter.admit(who, wall()) is None,
        trusted_proxies=system.settings.trusted_proxies,
    )

    def publish_later(changed: Sequence[SmartTrade]) -> None:
        """The orders of the same commit wait in the event loop already: they leave before anybody is told."""
        asyncio.get_running_loop().call_soon(stream.publish, changed)

    system.runner.listen(publish_later)
    return stream


def make_api(system: System) -> Api:
    """The HTTP application over a running system."""
    settings, services = system.settings, system.services
    wall: Callable[[], Instant] = SystemClock().now  # limits follow real time, also in the sandbox
    return Api(
        all_routes(services),
        authenticator=Authenticator(find_key=system.directory.find_key, find_user=system.directory.user),
        now=wall,
        limiter=system.limiter,
        cors=Cors(origins=frozenset(settings.cors_origins)) if settings.cors_origins else None,
        trusted_proxies=settings.trusted_proxies,
        before_handler=system.runner.settled if settings.market == SANDBOX else None,
    )


# --- serving --------------------------------------------------------------------------------------------------------


def check_exposure(settings: Settings) -> None:
    """Only loopback without TLS, unless somebody says that a proxy terminates it. Raises RefusesToStart."""
    if settings.behind_proxy or settings.tls_certificate is not None:
        return
    try:
        loopback = settings.host == "localhost" or ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise RefusesToStart(
            f"{settings.host} is not a loopback address: set tls_certificate and tls_key, or behind_proxy"
        )


def bind(settings: Settings) -> socket.socket:
    """The listening socket, before anything is touched. Raises PortTaken, RefusesToStart."""
    check_exposure(settings)
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    # The protocol by its number: asyncio turns Nagle off only where it sees TCP, else an answer waits 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        if error.errno in (98, 48):
            raise PortTaken(f"port {settings.port} on {settings.host} is taken: choose another with --port") from None
        raise RefusesToStart(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}") from None
    return listener


class _Server(uvicorn.Server):
    """uvicorn would send itself the signal again after serving and kill us before the engine is flushed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def event_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """The fastest event loop that this platform has; None: the standard one."""
    try:
        import uvloop
    except ImportError:  # it has none for Windows
        return None
    return uvloop.new_event_loop


async def serve(settings: Settings, announce: Callable[[Started], None]) -> None:
    """Run until SIGTERM or SIGINT. Raises SettingsError, RefusesToStart, DataDirectoryError, BadRecording."""
    configure_logging(settings.log_level)
    check_market(settings.market)
    listener = bind(settings)
    with contextlib.closing(listener):
        refuse_newer_schema(settings.data_dir)
        with DataDirectoryLock(settings.data_dir) as lock:  # before a migration: an older server may run
            system = await open_system(settings, open_database(settings.data_dir))
            lock.sign()
            gc.set_threshold(*COLLECTOR_THRESHOLDS)
            try:
                await _serve_http(system, listener, announce)
            finally:
                await system.close()


async def _serve_http(system: System, listener: socket.socket, announce: Callable[[Started], None]) -> None:
    settings, first = system.settings, await first_start(system)
    scheme = "http" if settings.tls_certificate is None else "https"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    url = f"{scheme}://{host}:{listener.getsockname()[1]}"
    http = Documentation(all_routes(system.services), make_api(system).respond)
    server = _Server(_uvicorn_config(settings, http.respond, make_stream(system)))
    loop, address = asyncio.get_running_loop(), settings.data_dir / ADDRESS_FILE

    def leave() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    watching = asyncio.create_task(_leave_when_broken(system, leave))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    _write_private(address, json.dumps({"url": url, "pid": os.getpid()}))
    try:
        announce(Started(url=url, data_dir=settings.data_dir, market=settings.market, first=first))
        await serving
    finally:
        watching.cancel()
        with contextlib.suppress(OSError):
            address.unlink()
    if system.broken.is_set():
        raise EngineStopped("the engine has stopped, see the log; a new start recovers what is stored")


async def _leave_when_broken(system: System, leave: Callable[[], None]) -> None:
    """A server whose engine has stopped watches no stop: better gone, and started again by whoever supervises it."""
    await system.broken.wait()
    leave()


def _uvicorn_config(settings: Settings, http: Application, stream: TradeStream) -> uvicorn.Config:
    """HTTP goes to the API and its documentation, a WebSocket to the stream."""
    try:
        return uvicorn.Config(
            cast(Any, stream),
            http=cast(Any, partial(HttpProtocol, http)),
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,  # it would press every frame anew for every listener
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=True,
            lifespan="off",
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_certfile=settings.tls_certificate,
            ssl_keyfile=settings.tls_key,
        )
    except (OSError, ssl.SSLError) as error:
        raise RefusesToStart(f"cannot use the TLS certificate: {error}") from None


def _write_private(path: Path, text: str) -> None:
    """A file that only its owner can read, from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


SECRET_WORDS: Final = ("secret", "signature", "passphrase", "api_key", "token")


def _redact(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {key: "***" if any(word in key.lower() for word in SECRET_WORDS) else value for key, value in event.items()}


class _ToStructlog(logging.Handler):
    """What libraries log (uvicorn, asyncio), in the same lines as all else."""

    def emit(self, record: logging.LogRecord) -> None:
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), exc_info=record.exc_info)


class _Unfailing:
    """A stream that swallows what cannot be written: a full disk under the log must not stop an engine that works."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            return self._stream.write(text)
        return 0

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def configure_logging(level: str) -> None:
    """JSON lines on standard error; secrets are blotted out, local variables never shown."""
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise SettingsError(f"log_level must be debug, info, warning, error or critical, not {level!r}")
    logging.basicConfig(handlers=[_ToStructlog()], level=number, force=True)
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, _Unfailing(sys.stderr))),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
            ),
            _redact,
            structlog.processors.JSONRenderer(),
        ],
        cache_logger_on_first_use=False,
    )
