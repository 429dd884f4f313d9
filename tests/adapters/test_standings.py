"""The rows that a restart reads: always what follows from the open trades, also in directories from before."""

import asyncio
import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from sqlalchemy.dialects import postgresql
from stored_trades import UNITS, stored_trade

from smarttrade.adapters.storage.data_directory import DATABASE_NAME, open_database
from smarttrade.adapters.storage.database import Database, sqlite_engine, write_meta
from smarttrade.adapters.storage.migrate import upgrade
from smarttrade.adapters.storage.standings import FORMAT, joined_column, read_standings
from smarttrade.adapters.storage.tables import open_trades
from smarttrade.adapters.storage.trade_store import SqlTradeStore, encode, trade_row
from smarttrade.domain.fill import Execution
from smarttrade.domain.order import OrderType
from smarttrade.domain.plan import TradeKind
from smarttrade.domain.quote import InstrumentKey, PriceType
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.domain.steps import StepStatus, StopStep, TargetStep, Trail
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.merged_ids import packed_pair
from smarttrade.engine.records import RECORD_BYTES
from smarttrade.engine.standing import joined, standing
from smarttrade.engine.tallies import Tallies, Tally
from smarttrade.ports.storage import Batch, TrailGroup

D = Decimal
BTC, ETH = "USDT_BTC", "USDT_ETH"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path)
    yield database
    database.close()


def watched(trade_id: int, pair: str = BTC, account_id: int = 1) -> SmartTrade:
    """A trade on its own coins with a watched target and a trailing stop; step ids of all kinds of bytes."""
    first = 1_000 + 251 * trade_id
    trade = stored_trade(trade_id, pair=pair, account_id=account_id, kind=TradeKind.SMART_SELL)
    at = {"created_at": 1, "updated_at": 1}
    target = TargetStep(
        id=first + 1, status=StepStatus.TO_PROCESS, order_type=OrderType.MARKET, volume=D(100),
        price_type=PriceType.BID, price=D(70_000) + trade_id, position=1, units=UNITS, **at,
    )  # fmt: skip
    stop = StopStep(
        id=first + 2, status=StepStatus.TO_PROCESS, order_type=OrderType.MARKET, price_type=PriceType.BID,
        configured_price=D(50_000) - trade_id, trailing=True, reference_price=D(64_000),
        trail=Trail(group=first + 3, start=D(64_000), numerator=D(50_000) - trade_id, denominator=D(64_000)), **at,
    )  # fmt: skip
    position = replace(trade.position, id=first, status=StepStatus.OWN_FUNDS)
    return replace(trade, position=position, take_profit_enabled=True, targets=(target,), stop=stop)


def commit(store: SqlTradeStore, *trades: SmartTrade, **parts: object) -> None:
    asyncio.run(store.commit(Batch(trades={trade.id: trade for trade in trades}, **parts)))  # type: ignore[arg-type]


def expected(*trades: SmartTrade) -> object:
    return joined(standing(trade, PRICE_DECIMALS) for trade in sorted(trades, key=lambda trade: trade.key))


def test_standings_are_written_with_their_trade_joined_by_instrument_and_gone_with_its_end(database: Database) -> None:
    store = SqlTradeStore(database)
    trades = [watched(number, pair=ETH if number % 3 == 0 else BTC) for number in range(1, 300)]
    commit(store, *trades)
    assert store.standings() == expected(*trades)
    assert [len(each.records) for each in store.standings()] == [200 * 2 * RECORD_BYTES, 99 * 2 * RECORD_BYTES]

    changed = replace(trades[0], targets=())
    over = replace(trades[1], status=TradeStatus.FINISHED, closed_at=9)
    commit(store, changed, over)
    assert store.standings() == expected(changed, *trades[2:])
    assert store.standing_count() == 298
    assert all(store.stands_as_it_should(number) for number in range(1, 300))

    commit(store, *(replace(trade, status=TradeStatus.CANCELLED) for trade in trades))
    assert store.standings() == []


def test_a_trade_that_waits_for_nothing_stands_with_its_steps_alone(database: Database) -> None:
    store = SqlTradeStore(database)
    quiet = replace(watched(1), targets=(), stop=None)
    commit(store, quiet)
    (found,) = store.standings()
    assert len(found.records) == RECORD_BYTES
    assert found == standing(quiet, PRICE_DECIMALS)


def test_open_trades_are_found_by_account_and_instrument(database: Database) -> None:
    store = SqlTradeStore(database)
    over = replace(watched(4), status=TradeStatus.FINISHED)
    commit(store, watched(1), watched(2, pair=ETH), watched(3, account_id=2), over)
    assert list(store.open_trade_ids(1, InstrumentKey("binance", BTC))) == [1]
    assert list(store.open_trade_ids(2, InstrumentKey("binance", ETH))) == []


def test_tallies_are_exact_and_those_without_trades_are_not_told(database: Database) -> None:
    store = SqlTradeStore(database)
    commit(store, tallies={(1, "BTC"): Tally(3, UNITS), (1, "ETH"): Tally(0, D(0))})
    assert store.tallies() == {(1, "BTC"): Tally(3, UNITS)}
    commit(store, tallies={(1, "BTC"): Tally(0, D(0))})
    assert store.tallies() == {}


def test_tallies_follow_every_change_of_a_trade() -> None:
    """M-56: a long needs its coins until it is over; a short needs none, and both count."""
    tallies, long = Tallies(), watched(1)
    plan = replace(long.position.plan, price=D(60_000))
    long = replace(long, position=replace(long.position, plan=plan))
    tallies.replace(None, long)
    tallies.replace(None, replace(long, id=2, kind=TradeKind.SMART_BUY))
    assert tallies.take_changed() == {(1, "BTC"): Tally(2, UNITS)}
    assert tallies.take_changed() == {}
    part = Execution(UNITS / 2, D(1), UNITS / 2, D(1))
    halved = replace(long, liquidation=part)
    tallies.replace(long, halved)
    assert tallies.of((1, "BTC")) == (2, UNITS - UNITS / 2)
    tallies.replace(halved, replace(halved, status=TradeStatus.FINISHED))
    assert (tallies.take_changed(), tallies.open_trades) == ({(1, "BTC"): Tally(1, D(0))}, 1)


def test_a_directory_from_before_gets_its_rows_at_the_next_start(tmp_path: Path) -> None:
    """Schema 0003 knew bodies only; what follows from them is made once, and again when the format changes."""
    trades = [watched(1), watched(2, pair=ETH), replace(watched(3), status=TradeStatus.FINISHED)]
    group = TrailGroup(
        id=5, key=InstrumentKey("binance", BTC), price_type=PriceType.BID, highest=True, extreme=D(64_000), at=1
    )
    groups = [group, replace(group, id=6, merged_into=5)]
    engine = sqlite_engine(tmp_path / DATABASE_NAME, (), "BEGIN IMMEDIATE", 5)
    with engine.begin() as connection:
        upgrade(connection, "0003")
        table = sa.Table("smart_trades", sa.MetaData(), autoload_with=connection)
        connection.execute(sa.insert(table), [trade_row(trade) for trade in trades])
        old = sa.table("trail_groups", sa.column("id"), sa.column("body"))
        connection.execute(sa.insert(old), [{"id": each.id, "body": encode(each)} for each in groups])
    engine.dispose()

    database = open_database(tmp_path)
    store = SqlTradeStore(database)
    assert (store.trail_groups(), store.merged_trail_groups()) == ([group], packed_pair(6, 5))
    assert (store.is_up_to_date(), store.standings()) == (False, [])
    store.bring_up_to_date()
    assert (store.is_up_to_date(), store.standings()) == (True, expected(*trades[:2]))
    assert {coin: tally.trades for coin, tally in store.tallies().items()} == {(1, "BTC"): 1, (1, "ETH"): 1}

    def from_another_format(connection: sa.Connection) -> None:
        connection.exec_driver_sql("UPDATE open_trades SET records = x'01'")
        write_meta(connection, FORMAT, "0")

    database.write_now(from_another_format)
    assert not store.stands_as_it_should(1)
    store.bring_up_to_date()
    assert store.standings() == expected(*trades[:2])
    database.close()


def test_the_rows_of_a_pair_are_read_in_one_pass_without_sorting(database: Database) -> None:
    """PF-9: a million rows are walked once, where they lie; the pairs are found without walking them."""
    commit(SqlTradeStore(database), watched(1))
    statements: list[str] = []
    with database.read() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(statements.append)
        read_standings(connection)
        driver.set_trace_callback(None)
        first, rows, last = (
            [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {each}")] for each in statements[-3:]
        )
    assert first == last == ["SEARCH open_trades USING PRIMARY KEY ((market,pair,trade_id)>(?,?,?))"]
    assert rows == ["SEARCH open_trades USING PRIMARY KEY (market=? AND pair=?)"]


def test_the_reading_can_be_said_in_postgresql() -> None:
    statement = joined_column("postgresql", open_trades.c.records)
    said = str(statement.compile(dialect=postgresql.dialect()))  # type: ignore[no-untyped-call]
    assert "string_agg(open_trades.records" in said
    assert "ORDER BY open_trades.market, open_trades.pair, open_trades.trade_id" in said
