"""Trades as rows: what is committed is there, and lists are what api.md A1 says."""

import asyncio
import itertools
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy.dialects import postgresql
from stored_trades import stored_event, stored_trade

from smarttrade.adapters.storage import trade_lists
from smarttrade.adapters.storage.data_directory import DATABASE_NAME, open_database
from smarttrade.adapters.storage.database import Database, Prepared, upsert
from smarttrade.adapters.storage.tables import smart_trades, sort_key
from smarttrade.adapters.storage.trade_lists import (
    FEW,
    FIRST_ROWS,
    ORDER_COLUMNS,
    STEPPED,
    Among,
    next_run,
    statements,
)
from smarttrade.adapters.storage.trade_store import SELECT_OPEN, SqlTradeStore
from smarttrade.domain.instrument import Instrument, MarketKind
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.domain.smart_trade import FINAL, Profit, SmartTrade, TradeStatus
from smarttrade.engine.merged_ids import packed_pair
from smarttrade.ports.storage import (
    Batch,
    OrderBy,
    Sequences,
    StatusFilter,
    StorageUnavailable,
    TradeQuery,
    TrailGroup,
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> SqlTradeStore:
    return SqlTradeStore(database)


def commit(store: SqlTradeStore, *trades: SmartTrade, **parts: object) -> None:
    asyncio.run(store.commit(Batch(trades={trade.id: trade for trade in trades}, **parts)))  # type: ignore[arg-type]


def test_a_trade_comes_back_as_it_was_to_the_last_digit(store: SqlTradeStore) -> None:
    trade = stored_trade(1)
    commit(store, trade)

    assert store.trade(1) == trade
    assert str((store.trade(1) or trade).position.plan.units) == "0.1000000000000000055511151231257827"
    assert store.trade(2) is None


def test_one_batch_is_one_commit_whatever_is_in_it(store: SqlTradeStore, database: Database) -> None:
    commit(
        store,
        *(stored_trade(number) for number in range(1, 101)),
        events=[stored_event(number, 1) for number in range(1, 101)],
        sequences=Sequences(trade_id=101),
    )

    assert database.commits == 1
    assert [trade.id for trade in store.open_trades()] == list(range(1, 101))


def test_an_empty_batch_costs_no_commit(store: SqlTradeStore, database: Database) -> None:
    commit(store)

    assert database.commits == 0


def test_all_trades_are_numbered_in_order_whether_open_or_not(store: SqlTradeStore) -> None:
    assert store.trade_ids() == []
    commit(store, stored_trade(7), stored_trade(3, status=TradeStatus.FINISHED, closed_at=3_000))

    assert store.trade_ids() == [3, 7]


def test_a_trade_that_ends_leaves_the_open_ones_and_keeps_its_place_in_lists(store: SqlTradeStore) -> None:
    open_trade, other = stored_trade(1), stored_trade(2)
    commit(store, other, open_trade)
    profit = Profit(volume=Decimal("5.5"), percent=Decimal("1.5"))
    ended = msgspec.structs.replace(
        open_trade, status=TradeStatus.FINISHED, closed_at=9_000, updated_at=9_000, profit=profit
    )
    commit(store, ended)

    assert list(store.open_trades()) == [other]
    assert store.trade(1) == ended
    for order_by in OrderBy:
        found = store.find_trades(TradeQuery(account_ids=(1,), order_by=order_by, status=StatusFilter.FINISHED))
        assert found == [ended]


def test_an_update_of_an_open_trade_is_found_by_its_new_status_and_time(store: SqlTradeStore) -> None:
    first, second = stored_trade(1, updated_at=10), stored_trade(2, updated_at=20)
    commit(store, first, second)
    changed = msgspec.structs.replace(first, status=TradeStatus.PANIC_SELL_PENDING, updated_at=30, note="new")
    commit(store, changed)

    assert store.find_trades(TradeQuery(account_ids=(1,), order_by=OrderBy.UPDATED_AT)) == [changed, second]
    assert list(store.open_trades()) == [changed, second]


def test_events_come_back_in_order_and_a_number_is_used_once(store: SqlTradeStore) -> None:
    commit(store, events=[stored_event(1, 2), stored_event(1, 1), stored_event(2, 1)])
    assert store.events(1) == [stored_event(1, 1), stored_event(1, 2)]
    assert store.events(3) == []

    with pytest.raises(sa.exc.IntegrityError):
        commit(store, stored_trade(7), events=[stored_event(1, 3), stored_event(1, 1)])
    assert store.trade(7) is None  # nothing of the batch is there
    assert len(store.events(1)) == 2


def trail_group(group_id: int, extreme: str, merged_into: int | None = None) -> TrailGroup:
    return TrailGroup(
        id=group_id,
        key=InstrumentKey("binance", "USDT_BTC"),
        price_type=PriceType.BID,
        highest=True,
        extreme=Decimal(extreme),
        at=5,
        merged_into=merged_into,
    )


def test_a_merged_trail_group_stays_and_a_dropped_one_goes(store: SqlTradeStore) -> None:
    groups = {number: trail_group(number, "100.10") for number in (1, 2, 3)}
    commit(store, trail_groups=groups)
    changed = {2: trail_group(2, "100.2"), 3: trail_group(3, "100.1", merged_into=2)}
    commit(store, trail_groups=changed, dropped_trail_groups={1})

    assert (store.trail_groups(), store.merged_trail_groups()) == ([changed[2]], packed_pair(3, 2))
    assert (store.trail_group(3), store.trail_group(2), store.trail_group(1)) == (changed[2], changed[2], None)
    commit(store, dropped_trail_groups={2, 3})
    assert (store.trail_groups(), store.merged_trail_groups()) == ([], b"")


def test_sequences_start_at_one_and_the_last_ones_stand(store: SqlTradeStore) -> None:
    assert store.sequences() == Sequences(trade_id=1, step_id=1)
    commit(store, sequences=Sequences(trade_id=5, step_id=6))
    commit(store, sequences=Sequences(trade_id=8, step_id=9))

    assert store.sequences() == Sequences(trade_id=8, step_id=9)


def instrument(pair: str, tick: str) -> Instrument:
    return Instrument(
        key=InstrumentKey("binance", pair),
        kind=MarketKind.SPOT,
        base=pair.partition("_")[2],
        quote="USDT",
        tick=Decimal(tick),
        lot=Decimal("0.001"),
        min_lot=Decimal("0.001"),
        min_total=Decimal(5),
        min_market_total=Decimal(5),
    )


def test_rules_get_a_new_version_only_when_they_differ_from_the_newest(store: SqlTradeStore) -> None:
    rules = [instrument("USDT_BTC", "0.1"), instrument("USDT_BTC", "0.1"), instrument("USDT_ETH", "0.1")]
    rules += [instrument("USDT_BTC", "0.01"), instrument("USDT_BTC", "0.1")]
    versions = [asyncio.run(store.add_instrument(wanted)) for wanted in rules]

    assert versions == [1, 1, 2, 3, 4]
    assert store.instruments() == [(2, rules[2]), (4, rules[4])]
    assert store.instrument(3) == rules[3]
    with pytest.raises(LookupError):
        store.instrument(5)


def test_a_commit_that_finds_the_storage_locked_leaves_nothing(store: SqlTradeStore, tmp_path: Path) -> None:
    impatient = Database(tmp_path / DATABASE_NAME, busy_timeout=0.02)
    other = sqlite3.connect(tmp_path / DATABASE_NAME, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageUnavailable):
        commit(SqlTradeStore(impatient), stored_trade(1), events=[stored_event(1, 1)])
    other.close()
    impatient.close()

    assert (store.trade(1), store.events(1)) == (None, [])


COMMIT_FOREVER = """
import asyncio, itertools, sys
from pathlib import Path
import msgspec
from smarttrade.adapters.storage.data_directory import open_database
from smarttrade.adapters.storage.trade_store import SqlTradeStore
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.journal import JournalledInput
from smarttrade.ports.storage import Batch, Sequences
trade, event = msgspec.json.decode(sys.stdin.readline(), type=tuple[SmartTrade, JournalledInput])
store = SqlTradeStore(open_database(Path(sys.argv[1])))
async def main():
    for number in itertools.count(store.sequences().trade_id):
        await store.commit(Batch(
            trades={number: msgspec.structs.replace(trade, id=number)},
            events=[msgspec.structs.replace(event, trade_id=number)],
            sequences=Sequences(trade_id=number + 1),
        ))
        print(number, flush=True)
asyncio.run(main())
"""


def test_a_process_killed_while_it_writes_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    open_database(tmp_path).close()
    command = [sys.executable, "-c", COMMIT_FOREVER, str(tmp_path)]
    template = msgspec.json.encode((stored_trade(1), stored_event(1, 1))).decode()
    for acknowledgements in (1, 30, 77):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(template + "\n")
        child.stdin.flush()
        lines = "".join(child.stdout.readline() for _ in range(acknowledgements))
        child.send_signal(signal.SIGKILL)
        acknowledged = int((lines + child.communicate()[0]).split()[-1])

        database = open_database(tmp_path)
        store = SqlTradeStore(database)
        stored = [trade.id for trade in store.open_trades()]
        assert stored == list(range(1, len(stored) + 1))  # no batch in part, none out of turn
        assert len(stored) >= acknowledged
        assert store.sequences().trade_id == len(stored) + 1
        assert all(len(store.events(number)) == 1 for number in stored)
        database.close()


# lists

PAIRS = ("USDT_BTC", "USDT_ETH", "BTC_ETH")
MATCHING = {
    StatusFilter.ALL: frozenset(TradeStatus),
    StatusFilter.ACTIVE: frozenset(TradeStatus) - FINAL,
    StatusFilter.FINISHED: {TradeStatus.FINISHED, TradeStatus.PANIC_SOLD, TradeStatus.STOP_LOSS_FINISHED},
    StatusFilter.SUCCESSFULLY_FINISHED: {TradeStatus.FINISHED},
    StatusFilter.CANCELLED: {TradeStatus.CANCELLED},
    StatusFilter.FAILED: {TradeStatus.FAILED},
}
"""api.md A1, "Decisions on semantics"."""


def random_trades(how_many: int) -> list[SmartTrade]:
    """Few different values in every column, so that ties and nulls abound."""
    chance, trades = random.Random(20), []
    for number in range(1, how_many + 1):
        status = chance.choice([*FINAL, TradeStatus.WAITING_TARGETS, TradeStatus.CREATED])
        volume = chance.choice([None, Decimal("-0.5"), Decimal("0.25"), Decimal("10"), Decimal("9")])
        percent = Decimal(0) if volume is None else volume / 2
        created_at = chance.randrange(6)
        trades.append(
            stored_trade(
                number,
                account_id=chance.choice((1, 2, 3)),
                pair=chance.choice(PAIRS),
                kind=chance.choice((TradeKind.SMART_TRADE, TradeKind.SMART_COVER)),
                status=status,
                created_at=created_at,
                updated_at=created_at + chance.randrange(4),
                closed_at=created_at + chance.randrange(4) if status in FINAL else None,
                profit=Profit(volume=volume, percent=percent) if status in FINAL else None,
            )
        )
    return trades


def expected(trades: Sequence[SmartTrade], query: TradeQuery) -> list[int]:
    """The rules of api.md A1 over plain values: sorted by the last criterion first."""

    def matches(trade: SmartTrade) -> bool:
        quote, base = trade.key.pair.split("_")
        return (
            trade.account_id in query.account_ids
            and trade.status in MATCHING[query.status]
            and query.pair in (None, trade.key.pair)
            and query.kind in (None, trade.kind)
            and (query.base is None or query.base.upper() == base)
            and (query.quote is None or query.quote.upper() == quote)
            and (query.created_from is None or trade.created_at >= query.created_from)
            and (query.created_to is None or trade.created_at <= query.created_to)
        )

    found = sorted(filter(matches, trades), key=lambda trade: -trade.id)
    if query.order_by is OrderBy.STATUS:
        found.sort(key=lambda trade: -trade.created_at)
        found.sort(key=lambda trade: (trade.status in FINAL) is not query.ascending)
    else:
        keys = {trade.id: order_value(trade, query.order_by) for trade in found}
        known = [trade for trade in found if keys[trade.id] is not None]
        known.sort(key=lambda trade: keys[trade.id] * (1 if query.ascending else -1))  # type: ignore[operator]
        found = known + [trade for trade in found if keys[trade.id] is None]
    return [trade.id for trade in found[query.offset : query.offset + query.limit]]


def order_value(trade: SmartTrade, order_by: OrderBy) -> Decimal | int | None:
    if order_by is OrderBy.PROFIT:
        return None if trade.profit is None else trade.profit.volume
    if order_by is OrderBy.PROFIT_PERCENTAGE:
        return None if trade.profit is None else trade.profit.percent
    value: int | None = getattr(trade, order_by.value)
    return value


FILTERS: list[dict[str, object]] = [
    {},
    {"account_ids": (2,)},
    {"account_ids": ()},
    {"account_ids": (1, 1, 4)},
    {"account_ids": tuple(range(1, 300))},
    {"pair": "USDT_BTC"},
    {"base": "eth"},
    {"quote": "usdt"},
    {"base": "Eth", "quote": "Btc"},
    {"pair": "USDT_BTC", "base": "btc"},
    {"pair": "USDT_BTC", "base": "eth"},
    {"kind": TradeKind.SMART_COVER},
    {"created_from": 2, "created_to": 3},
    {"created_from": 5},
    {"created_to": 0},
    {"created_from": 1, "created_to": 4, "kind": TradeKind.SMART_TRADE},
    {"base": "eth", "kind": TradeKind.SMART_COVER, "account_ids": (3,)},
    {"quote": "btc", "base": "btc"},
    {"kind": TradeKind.SIMPLE_BUY},
    {"pair": "USDT_ETH", "kind": TradeKind.SMART_TRADE, "account_ids": (1, 3), "created_from": 1},
    {"offset": 7, "limit": 5},
    {"offset": 1_000},
    {"limit": 1_000},
]


@pytest.mark.parametrize(("few", "first_rows", "stepped"), [(FEW, FIRST_ROWS, STEPPED), (20, 3, 4), (0, 1, 0)])
def test_every_list_is_what_the_rules_say(
    store: SqlTradeStore, monkeypatch: pytest.MonkeyPatch, few: int, first_rows: int, stepped: int
) -> None:
    """api.md A1, whether a run is read at once or row by row, and a time of creation is sorted or walked through."""
    monkeypatch.setattr(trade_lists, "FEW", few)
    monkeypatch.setattr(trade_lists, "FIRST_ROWS", first_rows)
    monkeypatch.setattr(trade_lists, "STEPPED", stepped)
    trades = random_trades(240)
    commit(store, *trades)

    for filters, order_by, ascending, status in itertools.product(FILTERS, OrderBy, (False, True), StatusFilter):
        wishes = {"account_ids": (1, 2), "order_by": order_by, "ascending": ascending, "status": status, **filters}
        query = TradeQuery(**wishes)
        assert [trade.id for trade in store.find_trades(query)] == expected(trades, query), query


@pytest.mark.parametrize("stepped", [STEPPED, 0])
def test_the_pages_of_a_list_are_the_list(store: SqlTradeStore, monkeypatch: pytest.MonkeyPatch, stepped: int) -> None:
    """api.md A1: whoever turns all pages has seen every trade once, in the order of the whole."""
    trades = random_trades(240)
    commit(store, *trades)
    monkeypatch.setattr(trade_lists, "STEPPED", stepped)
    narrow: list[dict[str, object]] = [{}, {"base": "ETH"}, {"quote": "USDT", "created_from": 1, "created_to": 4}]
    for filters, order_by, ascending in itertools.product(narrow, OrderBy, (False, True)):
        whole = TradeQuery(account_ids=(1, 3), order_by=order_by, ascending=ascending, limit=240, **filters)  # type: ignore[arg-type]
        pages = [store.find_trades(replace(whole, offset=offset, limit=7)) for offset in range(0, 240, 7)]
        assert [trade.id for page in pages for trade in page] == expected(trades, whole), whole


def test_the_profit_of_an_open_trade_counts_as_null(store: SqlTradeStore) -> None:
    rich = stored_trade(1, profit=Profit(volume=Decimal(100), percent=Decimal(100)))
    poor = stored_trade(
        2,
        status=TradeStatus.FINISHED,
        closed_at=5,
        profit=Profit(volume=Decimal(-1), percent=Decimal(-1)),
    )
    commit(store, rich, poor)

    for order_by in (OrderBy.PROFIT, OrderBy.PROFIT_PERCENTAGE):
        assert store.find_trades(TradeQuery(account_ids=(1,), order_by=order_by)) == [poor, rich]


def explained(database: Database, statement: Prepared) -> list[str]:
    """The steps by which SQLite would answer."""
    with database.read() as connection:
        values = (0,) * statement.sql.count("?")
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement.sql}", values)]


INDEX_OF = {
    "created_at": "created",
    "updated_at": "updated",
    "closed_at": "closed",
    "profit_order": "profit",
    "percent_order": "percent",
}


@pytest.mark.parametrize("by", ["quote", "pair"])
@pytest.mark.parametrize("in_window", [False, True])
def test_a_run_is_read_from_its_place_in_one_index_without_sorting(
    database: Database, by: str, in_window: bool
) -> None:
    """What is read of a run is what is asked for: nothing is passed over, sorted, or looked up in the trades."""
    search = f"SEARCH smart_trades USING COVERING INDEX ix_smart_trades_{by}"
    run = f"account_id=? AND {by}=? AND kind=? AND status=?"
    for column, name in INDEX_OF.items():
        expected = {Among.VALUED: (f"{search}_{name} ({run}", column)}
        if name not in ("created", "updated"):
            expected[Among.WITHOUT] = (f"{search}_{name} ({run} AND {column}=?", "id")
            expected[Among.OPEN] = (f"{search}_open ({run}", "id")
        for among, (step, value) in expected.items():
            ways = statements(database.dialect, by, column, among, in_window and name != "created")
            between = f"{step} AND {value}>? AND {value}<?)"
            for way in (ways.falling, ways.rising, ways.counted):
                assert between in explained(database, way)
                assert not [each for each in explained(database, way) if "TEMP B-TREE" in each]
            if among is Among.VALUED:
                assert explained(database, ways.alike) == [f"{step} AND {value}=?)"]


@pytest.mark.parametrize("by", ["quote", "pair"])
def test_the_next_run_is_one_step_away(database: Database, by: str) -> None:
    index = f"SEARCH smart_trades USING COVERING INDEX ix_smart_trades_{by}_created (account_id=? AND "
    (any_asset,) = explained(database, next_run(database.dialect, by, of_one_asset=False))
    (same_asset,) = explained(database, next_run(database.dialect, by, of_one_asset=True))

    assert any_asset == f"{index}({by},kind,status,created_at)>(?,?,?,?))"
    assert same_asset == f"{index}{by}=? AND (kind,status,created_at)>(?,?,?))"


def test_the_open_trades_are_found_without_reading_the_closed_ones(database: Database) -> None:
    statement = str(SELECT_OPEN.compile(dialect=database.dialect))
    with database.read() as connection:
        steps = [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", (0, 10, 0))]

    assert steps == ["SEARCH smart_trades USING INDEX ix_smart_trades_open (is_open=? AND id>?)"]


@pytest.mark.parametrize("order_by", OrderBy)
def test_every_statement_can_be_said_in_postgresql(order_by: OrderBy) -> None:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    ways = statements(dialect, "pair", ORDER_COLUMNS[order_by].name, Among.VALUED, in_window=True)

    assert all("LIMIT %(at_most)s" in way.sql for way in ways)
    assert "(smart_trades.quote, smart_trades.kind, " in next_run(dialect, "quote", of_one_asset=False).sql
    assert "ON CONFLICT (id) DO UPDATE" in str(upsert(dialect, smart_trades).compile(dialect=dialect))


amounts = st.decimals(min_value=Decimal(-(10**24)), max_value=Decimal(10**24), allow_nan=False, places=20)


@given(amounts, amounts)
@settings(max_examples=200)
def test_the_alphabetical_order_of_sort_keys_is_the_numerical_order_of_amounts(first: Decimal, second: Decimal) -> None:
    ours, theirs = sort_key(first), sort_key(second)

    assert ours is not None
    assert theirs is not None
    assert (ours < theirs, ours == theirs) == (first < second, first == second)


def test_an_amount_beyond_all_reason_still_has_a_place() -> None:
    keys = [sort_key(Decimal(text)) for text in ("-1e40", "-1e25", "0", "1e20", "1e40")]

    assert None not in keys
    assert keys == sorted(keys, key=str)
    assert {len(str(key)) for key in keys} == {46}
