"""Rows that follow from the open trades: their standings, and what they add up to.

They are written in the commit that changes the trade. Where the format of a standing has changed since, or the rows
have never been there, they are all made again from the trades.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from smarttrade.adapters.storage.database import Database, prepared, read_meta, write_meta
from smarttrade.adapters.storage.tables import open_trades, smart_trades, tallies
from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.standing import STANDING_FORMAT, Standing, standing
from smarttrade.engine.tallies import Coin, Tallies, Tally

FORMAT: Final = "standing_format"
"""Name of a value in `meta`."""

AT_ONCE: Final = 1_000
"""Rows that are made and written together, so that memory stays small."""

DELETE_OPEN: Final = sa.delete(open_trades).where(
    open_trades.c.market == sa.bindparam("of_market"),
    open_trades.c.pair == sa.bindparam("of_pair"),
    open_trades.c.trade_id == sa.bindparam("of_trade"),
)

PRIMARY_KEY: Final = (open_trades.c.market, open_trades.c.pair, open_trades.c.trade_id)
LAST_ID: Final[sa.ColumnElement[int]] = sa.literal_column(str(2**63 - 1))
NEXT_INSTRUMENT: Final = (  # behind the last possible row of one: with market and pair alone all of its rows are passed
    sa.select(open_trades.c.market, open_trades.c.pair)
    .where(sa.tuple_(*PRIMARY_KEY) > sa.tuple_(sa.bindparam("m"), sa.bindparam("p"), LAST_ID))
    .order_by(*PRIMARY_KEY)
    .limit(sa.literal_column("1"))
    .offset(sa.literal_column("0"))
)
OF_INSTRUMENT: Final = (open_trades.c.market == sa.bindparam("m"), open_trades.c.pair == sa.bindparam("p"))

Row = dict[str, Any]


def standing_row(trade: SmartTrade) -> Row:
    """The row of an open trade."""
    return {
        "market": trade.key.market,
        "pair": trade.key.pair,
        "trade_id": trade.id,
        "records": standing(trade, PRICE_DECIMALS).records,
    }


def closed_row(trade: SmartTrade) -> Row:
    """What DELETE_OPEN needs to know."""
    return {"of_market": trade.key.market, "of_pair": trade.key.pair, "of_trade": trade.id}


def tally_rows(changed: Mapping[Coin, Tally]) -> list[Row]:
    return [
        {"account_id": account_id, "coin": coin, "trades": tally.trades, "needed": str(tally.needed)}
        for (account_id, coin), tally in changed.items()
    ]


def read_standings(connection: sa.Connection) -> list[Standing]:
    """All of them, joined by instrument.

    The database does the joining, of one column for one instrument at a time: row by row it takes four times as long.
    """
    dialect = connection.dialect
    joined, following = prepared(dialect, _joined_records(dialect.name)), prepared(dialect, NEXT_INSTRUMENT)
    found: list[Standing] = []
    market, pair = "", ""
    while after := following.rows(connection, m=market, p=pair):
        ((market, pair),) = after
        ((records,),) = joined.rows(connection, m=market, p=pair)
        found.append(Standing(key=InstrumentKey(market, pair), records=records))
    return found


@cache
def _joined_records(dialect: str) -> sa.Select[bytes]:
    """The standings of one instrument, end to end."""
    return joined_column(dialect, open_trades.c.records).where(*OF_INSTRUMENT)


def joined_column(dialect: str, column: sa.Column[bytes]) -> sa.Select[bytes]:
    """A column of all rows, end to end in the order of their keys; NULL without rows."""
    if dialect == "postgresql":
        by_key = postgresql.aggregate_order_by(sa.cast("", sa.LargeBinary), *column.table.primary_key)
        return sa.select(sa.func.string_agg(column, by_key))
    # SQLite walks the table in this order. A separator that is a parameter would be copied for every row.
    return sa.select(sa.cast(sa.func.group_concat(column, sa.literal_column("''")), sa.LargeBinary))


def read_standing_of(connection: sa.Connection, trade_id: int, key: InstrumentKey) -> Standing | None:
    """The stored standing of one trade."""
    records = connection.scalar(
        sa.select(open_trades.c.records).where(*OF_INSTRUMENT, open_trades.c.trade_id == trade_id),
        {"m": key.market, "p": key.pair},
    )
    return None if records is None else Standing(key=key, records=records)


def read_tallies(connection: sa.Connection) -> dict[Coin, Tally]:
    """Those of accounts and coins that have open trades."""
    rows = connection.execute(sa.select(tallies).where(tallies.c.trades > 0))
    return {(row.account_id, row.coin): Tally(row.trades, Decimal(row.needed)) for row in rows}


def are_current(connection: sa.Connection) -> bool:
    """Whether the rows are there, in the format of this program."""
    return read_meta(connection, FORMAT) == STANDING_FORMAT


def bring_up_to_date(database: Database, stored: Iterator[SmartTrade]) -> None:
    """Make the rows from `stored`, all open trades, unless they are current. Blocks."""
    with database.read() as connection:
        if are_current(connection):
            return

    def work(connection: sa.Connection) -> None:
        connection.execute(sa.delete(open_trades))
        connection.execute(sa.delete(tallies))
        sums = Tallies()
        for trades in _in_parts(stored):
            for trade in trades:
                sums.replace(None, trade)
            connection.execute(sa.insert(open_trades), [standing_row(trade) for trade in trades])
        rows = tally_rows(sums.take_changed())
        if rows:
            connection.execute(sa.insert(tallies), rows)
        write_meta(connection, FORMAT, STANDING_FORMAT)

    database.write_now(work)


def _in_parts(trades: Iterable[SmartTrade]) -> Iterator[Sequence[SmartTrade]]:
    part: list[SmartTrade] = []
    for trade in trades:
        part.append(trade)
        if len(part) == AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def open_rows(connection: sa.Connection, account_id: int, pair: str) -> Sequence[int]:
    """Open trades of an account with this pair, in upper case."""
    wanted = (smart_trades.c.account_id == account_id, smart_trades.c.pair == pair)
    return connection.scalars(sa.select(smart_trades.c.id).where(*wanted, smart_trades.c.is_open == sa.true())).all()
