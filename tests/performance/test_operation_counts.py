"""What the hot paths do, counted: commits, statements, comparisons, instructions, allocations, decodes.

Counts and not times: a time says as much about the machine and its neighbours as about the code, so a limit that never
fails by chance is too loose to notice anything. A count is the same on every machine, and what makes a server slow at a
hundred thousand trades (a commit more per request, a loop over all trades in a price update, an entity decoded for
every read) shows in it at once. What the counted things cost is measured by `./run bench`.

A limit here is what the code does today, with a little room where interpreters differ. Whoever raises one says in the
commit what is bought with it.
"""

import asyncio
import itertools
import sys
import tracemalloc
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import msgspec
import pytest
from in_process import InProcess, recording
from live import running
from msgspec.structs import replace
from stored_trades import stored_trade

from smarttrade.adapters.market_data.rules import load_rules
from smarttrade.adapters.storage import trade_store
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.standings import standing_row
from smarttrade.adapters.storage.trade_store import SqlTradeStore
from smarttrade.api import encoded_trades
from smarttrade.api.parameters import parse_json
from smarttrade.api.requests import parse_create
from smarttrade.domain import quote as quote_module
from smarttrade.domain.commands import CreateTrade
from smarttrade.domain.events import WatchRole
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import EntryCondition, EntryPlan, EntryType, SmartTradePlan, StopPlan, TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType, Quote, QuoteText
from smarttrade.domain.smart_trade import Profit, SmartTrade, TradeStatus
from smarttrade.domain.watches import Watch
from smarttrade.engine.engine import Engine, EngineSettings
from smarttrade.engine.inputs import InstrumentChanged, QuoteReceived
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.records import record
from smarttrade.engine.standing import Standing
from smarttrade.engine.trigger_book import TriggerBook, packed_level
from smarttrade.ports.storage import Batch, OrderBy, StatusFilter, TradeQuery

# --- what is asked of the API ---------------------------------------------------------------------------------------

WAITING: dict[str, Any] = {
    "account_id": 1,
    "pair": "USDT_BTC",
    "position": {
        "type": "buy",
        "order_type": "conditional",
        "units": {"value": "0.001"},
        "conditional": {"price": {"value": "50000"}, "order_type": "market"},
    },
    "take_profit": {
        "enabled": True,
        "steps": [
            {"order_type": "limit", "volume": 50, "price": {"type": "bid", "value": "70000"}},
            {"order_type": "market", "volume": 50, "price": {"type": "bid", "value": "71000"}},
        ],
    },
    "stop_loss": {"enabled": True, "order_type": "market", "conditional": {"price": {"type": "bid", "value": "45000"}}},
}
"""Waits for a price that does not come: no order goes out, so what is counted is the request and nothing else."""

AT_MARKET = {**WAITING, "position": {"type": "buy", "order_type": "market", "units": {"value": "0.001"}}}

TRADES = "/v2/smart_trades"

AT_60_000 = {"bid": "60000", "ask": "60000.01"}


class Spent(NamedTuple):
    """What some work has cost the database."""

    commits: int
    statements: list[str]


class Counted:
    """A system whose database is listened to."""

    def __init__(self, inside: InProcess) -> None:
        self.inside = inside
        self.system = inside.system
        self._heard: list[str] = []

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The entity that is answered, once nothing is left to do."""
        reply = await self.inside.ask(method, path, body)
        assert reply.status in (200, 201), reply.body
        await self.system.runner.settled()
        return reply.body

    async def create(self, plan: Any = WAITING) -> int:
        made = await self.ask("POST", TRADES, plan)
        return int(made["id"])

    async def warm_up(self) -> None:
        """Have done once what is done once: rules of the pair, account at the exchange, connections, statements."""
        trade_id = await self.create(AT_MARKET)
        await self.ask("GET", f"{TRADES}/{trade_id}")
        await self.ask("GET", TRADES)
        database = self.system.database
        for connection in (database._writer, database._reader(), database._watch):
            assert connection is not None
            driver: Any = connection.connection.dbapi_connection
            driver.set_trace_callback(self._heard.append)  # every execution, by whatever way it came

    async def spent(self, work: Coroutine[Any, Any, Any]) -> Spent:
        commits = self.system.database.commits
        self._heard.clear()
        await work
        return Spent(self.system.database.commits - commits, list(self._heard))


def run(directory: Path, story: Callable[[Counted], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        async with InProcess(directory, recording(["60000", "60001"])) as inside:
            counted = Counted(inside)
            await counted.warm_up()
            await story(counted)

    asyncio.run(whole())


# --- commits and statements -------------------------------------------------------------------------------------------


def test_a_command_commits_once_and_a_read_never(tmp_path: Path) -> None:
    """A commit waits for the disk: with one more per command the server takes half as many (C-9, C-10)."""

    async def story(server: Counted) -> None:
        async def commits(method: str, path: str, body: Any = None) -> int:
            return (await server.spent(server.ask(method, path, body))).commits

        assert await commits("POST", TRADES, WAITING) == 1
        trade_id = await server.create()
        one = f"{TRADES}/{trade_id}"
        edited = {**WAITING, "stop_loss": {**WAITING["stop_loss"], "conditional": {"price": {"value": "44000"}}}}
        assert await commits("PATCH", one, edited) == 1
        assert await commits("POST", f"{one}/set_note", {"note": "x"}) == 1
        for path in (one, one, TRADES, f"{one}/trades", f"{TRADES}?status=active", "/ver1/accounts"):
            assert await commits("GET", path) == 0, path
        assert await commits("DELETE", one) == 1

    run(tmp_path, story)


def test_a_trade_that_enters_at_market_commits_a_fixed_number_of_times(tmp_path: Path) -> None:
    """Creation, the exchange's books, the fill with its targets, their placing, their acknowledgements (C-9)."""

    async def story(server: Counted) -> None:
        for _ in range(3):
            assert (await server.spent(server.create(AT_MARKET))).commits <= 5

    run(tmp_path, story)


@pytest.mark.parametrize(("plan", "at_most"), [(WAITING, 2), (AT_MARKET, 12)])
def test_creations_that_come_together_share_their_commits(tmp_path: Path, plan: Any, at_most: int) -> None:
    """C-9: what waits is made durable together, so throughput does not end at the disk's commits per second."""

    async def story(server: Counted) -> None:
        async def storm() -> None:
            await asyncio.gather(*(server.create(plan) for _ in range(60)))

        assert (await server.spent(storm())).commits <= at_most

    run(tmp_path, story)


LOOKS = 1
"""Questions of a request whether another process has changed keys, users or accounts; two microseconds."""

LOOK = "PRAGMA data_version"


def test_a_create_runs_a_fixed_number_of_statements(tmp_path: Path) -> None:
    """One for each row that a creation makes or changes; they do not become more with the trades that are there."""

    async def story(server: Counted) -> None:
        counts = []
        for _ in range(2):
            statements = (await server.spent(server.create())).statements
            assert statements.count(LOOK) <= LOOKS
            rows = [text.split("(")[0] for text in statements if text.startswith(("INSERT", "UPDATE", "DELETE"))]
            assert sorted(rows) == [
                "INSERT INTO events ",  # the command
                "INSERT INTO events ",  # and what it began
                "INSERT INTO open_trades ",
                "INSERT INTO sequences ",
                "INSERT INTO smart_trades ",
                "INSERT INTO tallies ",
            ]
            counts.append(len(statements))
            for _ in range(20):
                await server.create()
        assert max(counts) <= LOOKS + len(rows) + 3  # BEGIN, COMMIT, and the mark of foreign changes read again

    run(tmp_path, story)


def test_a_read_of_a_known_trade_runs_no_statement_but_the_looks_for_foreign_changes(tmp_path: Path) -> None:
    async def story(server: Counted) -> None:
        one = f"{TRADES}/{await server.create()}"
        await server.ask("GET", one)
        statements = (await server.spent(server.ask("GET", one))).statements
        assert statements == [LOOK] * len(statements)
        assert len(statements) <= LOOKS

    run(tmp_path, story)


# --- a page of the list -----------------------------------------------------------------------------------------------

FEW_TRADES, MANY_TRADES = 3_000, 12_000  # with the few, too, each filter fits more than is sorted at once


def listed_trades(how_many: int) -> Iterator[SmartTrade]:
    """Filters that fit thousands each, and no trade together; and a kind that only the oldest trades have.

    Sold ones are of USDT_BTC, failed ones of USDT_ETH; every trade ended with the same percent.
    """
    for number in range(1, how_many + 1):
        failed = number % 2 == 0
        old = number <= how_many // 2
        yield stored_trade(
            number,
            pair="USDT_ETH" if failed else "USDT_BTC",
            kind=TradeKind.SMART_COVER if old else TradeKind.SMART_TRADE,
            status=TradeStatus.FAILED if failed else TradeStatus.PANIC_SOLD,
            created_at=number,
            updated_at=2 * number,
            closed_at=2 * number,
            profit=Profit(volume=Decimal(number), percent=Decimal(0)),
        )


def steps_of_pages(directory: Path, how_many: int) -> dict[tuple[Any, ...], int]:
    """Steps of SQLite's machine for a page of ten, by what is asked for."""
    database = open_database(directory)
    store = SqlTradeStore(database)
    trades = {trade.id: trade for trade in listed_trades(how_many)}
    asyncio.run(store.commit(Batch(trades=trades)))
    steps = 0

    def note() -> None:
        nonlocal steps
        steps += 1

    driver: Any = database._reader().connection.dbapi_connection
    counts = {}
    wishes: list[dict[str, Any]] = [
        {},
        {"status": StatusFilter.FAILED},
        {"kind": TradeKind.SMART_COVER},
        {"pair": "USDT_BTC", "status": StatusFilter.FAILED},
        {"base": "ETH", "status": StatusFilter.FINISHED},
        {"quote": "USDT", "kind": TradeKind.SMART_COVER},
        {"quote": "BTC"},
        {"pair": "USDT_ETH", "kind": TradeKind.SMART_COVER, "status": StatusFilter.FAILED},
        {"created_from": 100, "created_to": 600},
    ]
    for wish, order_by, ascending in itertools.product(wishes, OrderBy, (False, True)):
        query = TradeQuery(account_ids=(1,), order_by=order_by, ascending=ascending, **wish)
        steps = 0
        driver.set_progress_handler(note, 1)
        store.find_trades(query)
        driver.set_progress_handler(None, 1)
        counts[(*wish.values(), order_by, ascending)] = steps
    database.close()
    return counts


def test_a_page_of_the_list_takes_as_many_steps_with_many_trades_as_with_few(tmp_path: Path) -> None:
    """Whatever the filters and the order: what is not shown is not passed over either, nor sorted."""
    few, many = (steps_of_pages(tmp_path / str(size), size) for size in (FEW_TRADES, MANY_TRADES))
    assert {wish: (few[wish], steps) for wish, steps in many.items() if steps > few[wish] * 1.02} == {}
    sorted_once = {wish: steps for wish, steps in few.items() if 600 in wish}
    assert max(steps for wish, steps in few.items() if wish not in sorted_once) <= 1_200
    assert max(sorted_once.values()) <= 14_000  # each of 501 trades is looked at


def test_what_lies_before_a_late_page_is_counted_and_not_read(tmp_path: Path) -> None:
    """Also where the page is behind the last trade: any number of a page may be asked for."""
    database = open_database(tmp_path)
    store = SqlTradeStore(database)
    asyncio.run(store.commit(Batch(trades={trade.id: trade for trade in listed_trades(MANY_TRADES)})))
    for order_by, offset in itertools.product((OrderBy.UPDATED_AT, OrderBy.PROFIT), (MANY_TRADES // 2, 10**9)):
        for ascending in (False, True):
            query = TradeQuery(account_ids=(1,), order_by=order_by, ascending=ascending, offset=offset)
            store.find_trades(replace(query, offset=0))  # what is put together once
            assert calls_in(partial(store.find_trades, query)) <= 4_500
    database.close()


# --- decoding and encoding --------------------------------------------------------------------------------------------


@contextmanager
def calls(place: Any, name: str) -> Iterator[list[Any]]:
    """Arguments of every call of a module's function, which goes on working."""
    heard: list[Any] = []
    real = getattr(place, name)

    def listening(*given: Any) -> Any:
        heard.append(given)
        return real(*given)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, name, listening)
        yield heard


def test_a_read_decodes_nothing_that_memory_has_and_encodes_a_state_once(tmp_path: Path) -> None:
    async def story(server: Counted) -> None:
        one = f"{TRADES}/{await server.create()}"
        with calls(trade_store, "decode_trade") as decoded, calls(encoded_trades, "smart_trade_entity") as encoded:
            for _ in range(5):
                await server.ask("GET", one)
            assert (len(decoded), len(encoded)) == (0, 1)
            await server.ask("POST", f"{one}/set_note", {"note": "x"})
            for _ in range(5):
                await server.ask("GET", one)
            assert (len(decoded), len(encoded)) == (0, 2)  # for the answer to the note

    run(tmp_path, story)


def test_a_start_decodes_no_trade_that_only_waits_and_a_read_after_it_one(tmp_path: Path) -> None:
    """A restart reads columns, so that a million waiting trades are watched again within seconds (EX-36)."""
    with running(tmp_path) as server:
        server.sandbox("POST", "/quotes", {"quotes": [{"pair": "USDT_BTC", "market": "binance"} | AT_60_000]})
        account_id = server.open_account(USDT="100000")
        for _ in range(3):
            made = server.ask("POST", TRADES, {**WAITING, "account_id": account_id})
            assert made.status == 201, made.body
    with calls(trade_store, "decode_trade") as decoded, running(tmp_path) as server:
        assert len(decoded) == 0
        for _ in range(5):
            assert server.ask("GET", f"{TRADES}/{made.body['id']}").status == 200
        assert len(decoded) == 1


# --- a price that moves nothing ---------------------------------------------------------------------------------------

SIZES = (100, 10_000, 100_000)
STEP = Decimal("0.01")
START = Decimal(60_000)
SCALE = 10 ** (PRICE_DECIMALS - 2)


def armed_book(size: int) -> TriggerBook:
    """So many trades, each with a fixed and a trailing trigger, half of them long, at a thousand different levels.

    Every hundredth was armed at another price: so there are groups with different extremes, and names of merged ones.
    """
    book = TriggerBook(PRICE_DECIMALS)
    for number in range(size):
        long = number % 2 == 0
        price_type = PriceType.BID if long else PriceType.ASK
        away = 1 + number % 1_000
        sign = 1 if long else -1
        price = START - sign * STEP * (number % 100)
        group = book.open_group(number + 1, price_type, long, price)
        book.watch_level(2 * number + 1, WatchRole.LEVEL, price_type, START + sign * (500 + away), rises=long)
        book.watch_trail(2 * number + 2, group, price - sign * (500 + away), price)
    book.take_changed_groups()
    book.update(START, START + STEP, START)
    book.take_changed_groups()
    return book


book_of = cache(armed_book)
QUIET = START - STEP, START + 2 * STEP, START


class Watched(int):
    """A price that counts how often anybody compares it."""

    comparisons = 0

    def _counted(self, compare: Callable[[int, int], bool], other: int) -> bool:
        Watched.comparisons += 1
        return compare(int(self), int(other))

    def __lt__(self, other: int) -> bool:
        return self._counted(int.__lt__, other)

    def __le__(self, other: int) -> bool:
        return self._counted(int.__le__, other)

    def __gt__(self, other: int) -> bool:
        return self._counted(int.__gt__, other)

    def __ge__(self, other: int) -> bool:
        return self._counted(int.__ge__, other)

    def __eq__(self, other: object) -> bool:
        Watched.comparisons += 1
        return int(self) == other

    __hash__ = int.__hash__


def scaled(prices: Iterable[Decimal]) -> list[int]:
    return [int(price / STEP) * SCALE for price in prices]


def comparisons(book: TriggerBook, prices: Iterable[int]) -> int:
    """Comparisons of prices in one update."""
    bid, ask, last = map(Watched, prices)
    Watched.comparisons = 0
    assert book.update_scaled(bid, ask, last) == []
    return Watched.comparisons


def instructions(work: Callable[[], object]) -> int:
    """Instructions of the interpreter that `work` takes, in whatever it calls (not counted: what runs in C)."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def peak_bytes(work: Callable[[], object]) -> int:
    """The most memory that `work` holds at once, beyond what was there."""
    tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def kept_blocks(work: Callable[[], object], times: int) -> int:
    """Blocks of memory that are in use after so many rounds and were not before."""
    for _ in range(10):
        work()
    before = sys.getallocatedblocks()
    for _ in range(times):
        work()
    return sys.getallocatedblocks() - before


def test_a_quiet_price_is_compared_six_times_whatever_the_number_of_trades() -> None:
    """Bid, ask and last against the nearest price on either side; nothing else is looked at."""
    assert [comparisons(book_of(size), scaled(QUIET)) for size in SIZES] == [6, 6, 6]


def test_a_quiet_price_takes_the_same_instructions_whatever_the_number_of_trades() -> None:
    counts = [instructions(partial(book_of(size).update_scaled, *scaled(QUIET))) for size in SIZES]
    assert len(set(counts)) == 1
    assert counts[0] <= 60


def test_a_price_that_passes_by_takes_the_same_few_instructions_whatever_the_number_of_trades() -> None:
    """From a decoded message to the decision that nothing happens: nothing is made exact that nobody asks for."""
    text = QuoteText(bid=str(QUIET[0]), ask=str(QUIET[1]), last=str(QUIET[2]), at=1)
    counts = []
    for size in SIZES:
        engine = engine_with()
        engine.markets[KEY].book = book_of(size)
        assert engine.passes_by(KEY, text, 1)
        with calls(quote_module, "_figure") as read:
            counts.append(instructions(partial(engine.passes_by, KEY, text, 1)))
            assert read == []
            market = engine.markets[KEY].quote
            assert market is not None
            assert (market.bid, len(read)) == (QUIET[0], 3)
    assert len(set(counts)) == 1
    assert counts[0] <= 165


def test_a_quiet_price_allocates_the_same_little_whatever_the_number_of_trades() -> None:
    updates = [partial(book_of(size).update, *QUIET) for size in SIZES]
    peaks = [peak_bytes(update) for update in updates]
    assert max(peaks) <= 1_000
    assert max(peaks) - min(peaks) <= 200
    assert max(kept_blocks(update, 1_000) for update in updates) <= 5


def test_a_new_extreme_takes_as_many_instructions_with_many_trades_as_with_few() -> None:
    """TR-50: the trades that follow an extreme share it, so the best price so far is noted once, not for each."""
    counts = []
    for size in SIZES:
        book = armed_book(size)

        def rise(to: Decimal, book: TriggerBook = book) -> int:
            book.update(to, to + STEP, to)
            return len(book.take_changed_groups())

        rise(START + 1)  # merges what the trades were armed with
        counts.append(instructions(partial(rise, START + 2)))
        assert rise(START + 3) == 1
    assert max(counts) <= counts[0] * 1.1, counts


# --- a price that moves nothing, through the engine -------------------------------------------------------------------


class NothingStored:
    """Where the engine reads; it has all that it needs in memory."""

    def trade(self, trade_id: int) -> SmartTrade | None:
        return None

    def open_trade_ids(self, account_id: int, key: InstrumentKey) -> Sequence[int]:
        return ()


KEY = InstrumentKey("binance", "USDT_BTC")
CONDITION = EntryCondition(trigger_price=Decimal(50_000), price_type=PriceType.ASK, order_type=OrderType.MARKET)


def engine_with(*, trades: int = 0, pairs: int = 1) -> Engine:
    """Trades on the first pair that wait for another price; rules and a first price of all pairs."""
    engine = Engine(EngineSettings(instance="abcd"), NothingStored())
    rules = load_rules()
    keys = [KEY, *(key for key in rules if key != KEY)][:pairs]
    for version, key in enumerate(keys, 1):
        engine.handle(InstrumentChanged(rules[key], version), 0)
        engine.handle(QuoteReceived(quote(0, key)), 0)
    plan = SmartTradePlan(
        kind=TradeKind.SMART_TRADE,
        entry=EntryPlan(type=EntryType.CONDITIONAL, units=Decimal("0.001"), condition=CONDITION),
        stop=StopPlan(order_type=OrderType.MARKET, price_type=PriceType.BID, price=Decimal(45_000)),
    )
    for _ in range(trades):
        engine.handle(CreateTrade(account_id=1, key=KEY, plan=plan), 0)
    engine.take()
    return engine


def quote(at: int, key: InstrumentKey = KEY) -> Quote:
    return Quote(key=key, bid=START, ask=START + STEP, last=START, at=at)


def calls_in(work: Callable[[], object]) -> int:
    """Calls of functions written in Python, in whatever `work` calls."""
    count = 0

    def note(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_a_creation_takes_a_limited_number_of_calls_wherever_it_passes() -> None:
    """Its cost is spread over hundreds of small functions: what adds a few to each of its places shows only here."""
    engine, params = engine_with(trades=10), parse_json(msgspec.json.encode(WAITING))
    request = parse_create(params)
    create = CreateTrade(account_id=1, key=KEY, plan=request.plan)
    engine.handle(create, 0)
    [trade] = engine.take().trades.values()
    assert calls_in(partial(parse_create, params)) <= 150
    assert calls_in(partial(engine.handle, create, 0)) <= 240
    assert calls_in(partial(trade_store.trade_row, trade)) + calls_in(partial(standing_row, trade)) <= 65


def test_a_quiet_price_costs_the_engine_the_same_whatever_the_number_of_trades() -> None:
    counts = []
    for trades in (10, 1_000):
        engine = engine_with(trades=trades)
        handle = partial(engine.handle, QuoteReceived(quote(1)), 1)
        counts.append((instructions(handle), kept_blocks(handle, 1_000) <= 5, peak_bytes(handle) <= 2_000))
    assert counts[0] == counts[1]
    assert counts[0][1:] == (True, True)
    assert counts[0][0] <= 400


def test_what_is_taken_after_a_price_costs_the_same_whatever_the_number_of_pairs() -> None:
    """Each batch asks the engine what is to be stored: for that it may not look at every pair that was ever traded."""
    counts = []
    for pairs in (1, 1_000):
        engine = engine_with(pairs=pairs)
        engine.handle(QuoteReceived(quote(1)), 1)
        counts.append(instructions(engine.take))
    assert counts[0] == counts[1]


def restarted_with(pairs: int) -> Engine:
    """An engine after a restart with a level to watch on each pair, into which nobody has looked yet."""
    engine = engine_with(pairs=pairs)
    watch = Watch(step_id=1, role=WatchRole.LEVEL, price_type=PriceType.BID, level=Decimal(1))
    records = record(0, packed_level(watch, PRICE_DECIMALS))
    engine.restore([Standing(key=key, records=records) for key in engine.markets], [])
    return engine


def test_an_idle_turn_after_a_restart_looks_into_one_segment_whatever_the_number_of_pairs() -> None:
    """EX-36, PF-9: what a start puts off is done in turns so short that no price waits for all of it."""
    engine = restarted_with(pairs=20)
    books = [market.book for market in engine.markets.values()]
    more, closed = True, []
    while more:
        more = engine.look_further()
        closed.append(sum(book._sealed.watches for book in books))
    assert closed == list(reversed(range(20)))


def test_an_idle_turn_with_nothing_put_off_costs_the_same_whatever_the_number_of_pairs() -> None:
    """Each time the queue is empty the engine is asked for what is put off: it may not look at every pair for that."""
    counts = []
    for pairs in (1, 1_000):
        engine = restarted_with(pairs)
        while engine.look_further():
            pass
        counts.append(instructions(engine.look_further))
    assert counts[0] == counts[1]


def test_a_price_message_is_decoded_by_one_call() -> None:
    """No intermediate dicts: a quote comes out of its bytes with four figures and nothing that is thrown away."""
    body = msgspec.json.encode(quote(1))
    decoder = msgspec.json.Decoder(Quote)
    assert instructions(partial(decoder.decode, body)) == 0
    assert kept_blocks(partial(decoder.decode, body), 1_000) <= 5
