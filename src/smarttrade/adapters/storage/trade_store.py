"""Trades, events, trailing extremes and trading rules as rows. One `Batch` is one transaction."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from smarttrade.adapters.storage.database import Database, Prepared, prepared, upsert
from smarttrade.adapters.storage.standings import (
    AT_ONCE,
    DELETE_OPEN,
    are_current,
    bring_up_to_date,
    closed_row,
    joined_column,
    open_rows,
    read_standing_of,
    read_standings,
    read_tallies,
    standing_row,
    tally_rows,
)
from smarttrade.adapters.storage.tables import (
    events,
    instruments,
    merged_trail_groups,
    open_trades,
    sequences,
    smart_trades,
    sort_key,
    tallies,
    trail_groups,
)
from smarttrade.adapters.storage.trade_lists import page_ids
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade
from smarttrade.engine.journal import JournalledInput
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.merged_ids import next_of, packed_pair
from smarttrade.engine.standing import Standing, standing
from smarttrade.engine.tallies import Coin, Tally
from smarttrade.ports.storage import (
    Batch,
    Sequences,
    TradeQuery,
    TrailGroup,
)

FIXED_COLUMNS: Final = ("account_id", "pair", "base", "quote", "kind", "created_at")
"""What never changes in a trade: left out of updates, so that their indexes are left alone."""

FIXED_WHILE_OPEN: Final = (*FIXED_COLUMNS, "is_open", "closed_at", "profit_order", "percent_order")
"""What changes only at the end of a trade, which is one update of many."""

Row = dict[str, Any]
encode: Final = msgspec.json.Encoder().encode
decode_trade: Final = msgspec.json.Decoder(SmartTrade).decode
decode_event: Final = msgspec.json.Decoder(JournalledInput).decode
decode_trail_group: Final = msgspec.json.Decoder(TrailGroup).decode
decode_instrument: Final = msgspec.json.Decoder(Instrument).decode

INSERT_EVENT: Final = sa.insert(events)
DELETE_TRAIL_GROUP: Final = sa.delete(trail_groups).where(trail_groups.c.id == sa.bindparam("dropped"))
SELECT_TRADE: Final = sa.select(smart_trades.c.body).where(smart_trades.c.id == sa.bindparam("trade"))
SELECT_OPEN: Final = (
    sa.select(smart_trades.c.body)
    .where(smart_trades.c.is_open == sa.true(), smart_trades.c.id > sa.bindparam("last"))
    .order_by(smart_trades.c.id)
    .limit(sa.bindparam("at_most"))
)
SELECT_WHOLE: Final = sa.select(trail_groups.c.body).order_by(trail_groups.c.id)
DELETE_MERGED: Final = sa.delete(merged_trail_groups).where(merged_trail_groups.c.id == sa.bindparam("dropped"))
SELECT_TRAIL_GROUP: Final = sa.select(trail_groups.c.body).where(trail_groups.c.id == sa.bindparam("group"))
SELECT_MERGED: Final = sa.select(merged_trail_groups.c.pair).where(merged_trail_groups.c.id == sa.bindparam("group"))
SELECT_EVENTS: Final = (
    sa.select(events.c.body).where(events.c.trade_id == sa.bindparam("trade")).order_by(events.c.number)
)
SELECT_INSTRUMENT: Final = sa.select(instruments.c.body).where(instruments.c.version == sa.bindparam("wanted"))
SELECT_NEWEST: Final = (
    sa.select(instruments.c.version, instruments.c.body)
    .where(
        instruments.c.version.in_(
            sa.select(sa.func.max(instruments.c.version)).group_by(instruments.c.market, instruments.c.pair)
        )
    )
    .order_by(instruments.c.version)
)
SELECT_NEWEST_OF: Final = (
    sa.select(instruments.c.version, instruments.c.body)
    .where(instruments.c.market == sa.bindparam("of_market"), instruments.c.pair == sa.bindparam("of_pair"))
    .order_by(instruments.c.version.desc())
    .limit(1)
)


class SqlTradeStore:
    """ports.storage.TradeStore over a `Database`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        dialect = database.dialect
        self._rules: dict[int, Instrument] = {}  # by version: those never change
        self._upsert_open = prepared(dialect, upsert(dialect, smart_trades, fixed=FIXED_WHILE_OPEN))
        self._upsert_closed = prepared(dialect, upsert(dialect, smart_trades, fixed=FIXED_COLUMNS))
        self._insert_event = prepared(dialect, INSERT_EVENT)
        self._upsert_standing = prepared(dialect, upsert(dialect, open_trades))
        self._delete_standing = prepared(dialect, DELETE_OPEN)
        self._upsert_tally = prepared(dialect, upsert(dialect, tallies))
        self._upsert_trail_group = prepared(dialect, upsert(dialect, trail_groups))
        self._delete_trail_group = prepared(dialect, DELETE_TRAIL_GROUP)
        self._upsert_merged = prepared(dialect, upsert(dialect, merged_trail_groups))
        self._delete_merged = prepared(dialect, DELETE_MERGED)
        self._upsert_sequences = prepared(dialect, upsert(dialect, sequences))
        self._select_trade = prepared(dialect, SELECT_TRADE)
        self._select_events = prepared(dialect, SELECT_EVENTS)
        self._select_trail_group = prepared(dialect, SELECT_TRAIL_GROUP)
        self._select_merged = prepared(dialect, SELECT_MERGED)

    async def commit(self, batch: Batch) -> None:
        """Make `batch` durable, all of it or nothing. Raises StorageUnavailable.

        It is encoded before this waits for the first time: changing it afterwards has no effect.
        """
        if batch.is_empty:
            return
        trades = [trade_row(trade) for trade in batch.trades.values()]
        groups, gone = batch.trail_groups.values(), batch.dropped_trail_groups
        merged = {group.id: group.merged_into for group in groups if group.merged_into is not None}
        steps: list[tuple[Prepared, list[Row]]] = [
            (self._upsert_open, [row for row in trades if row["is_open"]]),
            (self._upsert_closed, [row for row in trades if not row["is_open"]]),
            (self._insert_event, [event_row(event) for event in batch.events]),
            (self._upsert_standing, [standing_row(t) for t in batch.trades.values() if not t.status.is_final]),
            (self._delete_standing, [closed_row(trade) for trade in batch.trades.values() if trade.status.is_final]),
            (self._upsert_tally, tally_rows(batch.tallies)),
            (self._upsert_trail_group, [trail_group_row(group) for group in groups if group.merged_into is None]),
            (self._delete_trail_group, [{"dropped": group_id} for group_id in gone.union(merged)]),
            (self._upsert_merged, [merged_row(group_id, next_id) for group_id, next_id in merged.items()]),
            (self._delete_merged, [{"dropped": group_id} for group_id in gone]),
            (self._upsert_sequences, [] if batch.sequences is None else [sequences_row(batch.sequences)]),
        ]
        steps = [(statement, rows) for statement, rows in steps if rows]

        def work(connection: sa.Connection) -> None:
            for statement, rows in steps:
                statement.execute(connection, rows)

        await self._database.write(work)

    def bring_up_to_date(self) -> None:
        """Make the rows that follow from open trades, where an older version has not. For the start."""
        bring_up_to_date(self._database, self.open_trades())

    def open_trades(self) -> Iterator[SmartTrade]:
        """All trades that are not final, by id; one after the other, for there may be more than fit into memory."""
        last = 0
        while True:
            with self._database.read() as connection:
                bodies = connection.scalars(SELECT_OPEN, {"last": last, "at_most": AT_ONCE}).all()
            if not bodies:
                return
            for body in bodies:
                trade = decode_trade(body)
                yield trade
            last = trade.id

    def open_trade_ids(self, account_id: int, key: InstrumentKey) -> Sequence[int]:
        """Open trades of an account on a pair; accounts trade on one market only."""
        with self._database.read() as connection:
            return open_rows(connection, account_id, key.pair.upper())

    def standings(self) -> Sequence[Standing]:
        """The standings of all open trades, joined by instrument."""
        with self._database.read() as connection:
            return read_standings(connection)

    def is_up_to_date(self) -> bool:
        """Whether the rows that follow from open trades are there, in today's format."""
        with self._database.read() as connection:
            return are_current(connection)

    def stands_as_it_should(self, trade_id: int) -> bool:
        """Whether the stored standing of a trade is the one that follows from it; one that is over has none."""
        with self._database.read() as connection:
            trade = decode_trade(connection.scalars(SELECT_TRADE, {"trade": trade_id}).one())
            expected = None if trade.status.is_final else standing(trade, PRICE_DECIMALS)
            return read_standing_of(connection, trade_id, trade.key) == expected

    def standing_count(self) -> int:
        """Number of stored standings."""
        with self._database.read() as connection:
            return connection.scalars(sa.select(sa.func.count()).select_from(open_trades)).one()

    def tallies(self) -> Mapping[Coin, Tally]:
        """What the open trades add up to, by account and coin."""
        with self._database.read() as connection:
            return read_tallies(connection)

    def trade(self, trade_id: int) -> SmartTrade | None:
        """The trade as last committed."""
        with self._database.read() as connection:
            found = self._select_trade.rows(connection, trade=trade_id)
        return decode_trade(found[0][0]) if found else None

    def trade_ids(self) -> Sequence[int]:
        """Ids of all trades, final ones included, in order."""
        with self._database.read() as connection:
            return list(connection.scalars(sa.select(smart_trades.c.id).order_by(smart_trades.c.id)))

    def find_trades(self, query: TradeQuery) -> Sequence[SmartTrade]:
        """One page, by the orders of api.md A1."""
        if not query.account_ids or query.limit < 1:
            return []
        with self._database.read() as connection:
            found = [self._select_trade.rows(connection, trade=trade_id) for trade_id in page_ids(connection, query)]
        return [decode_trade(body) for ((body,),) in found]

    def events(self, trade_id: int) -> Sequence[JournalledInput]:
        """All inputs of a trade, oldest first."""
        with self._database.read() as connection:
            bodies = self._select_events.rows(connection, trade=trade_id)
        return [decode_event(body) for (body,) in bodies]

    def trade_with_events(self, trade_id: int) -> tuple[SmartTrade | None, Sequence[JournalledInput]]:
        """A trade and all its inputs, as of one moment even while others are written."""
        with self._database.read() as connection:
            found = self._select_trade.rows(connection, trade=trade_id)
            bodies = self._select_events.rows(connection, trade=trade_id)
        return decode_trade(found[0][0]) if found else None, [decode_event(body) for (body,) in bodies]

    def trail_groups(self) -> Sequence[TrailGroup]:
        """All groups that were neither merged nor dropped, by id."""
        with self._database.read() as connection:
            return [decode_trail_group(body) for body in connection.scalars(SELECT_WHOLE)]

    def merged_trail_groups(self) -> bytes:
        """Groups that were merged, each with the one that it leads to, as `MergedIds` takes them."""
        with self._database.read() as connection:
            pairs = connection.scalar(joined_column(connection.dialect.name, merged_trail_groups.c.pair))
        return pairs or b""

    def trail_group(self, group_id: int) -> TrailGroup | None:
        """The group that an id leads to now."""
        with self._database.read() as connection:
            while not (found := self._select_trail_group.rows(connection, group=group_id)):
                way = self._select_merged.rows(connection, group=group_id)
                if not way:
                    return None
                group_id = next_of(way[0][0])
        return decode_trail_group(found[0][0])

    def sequences(self) -> Sequences:
        """Next free ids."""
        with self._database.read() as connection:
            row = connection.execute(sa.select(sequences)).one_or_none()
        return Sequences() if row is None else Sequences(trade_id=row.trade_id, step_id=row.step_id)

    def instruments(self) -> Sequence[tuple[int, Instrument]]:
        """Newest version of each instrument, with its rules."""
        with self._database.read() as connection:
            rows = connection.execute(SELECT_NEWEST)
            return [(version, decode_instrument(body)) for version, body in rows]

    def instrument(self, version: int) -> Instrument:
        """The rules with this version. Raises LookupError."""
        known = self._rules.get(version)
        if known is None:
            with self._database.read() as connection:
                body = connection.scalar(SELECT_INSTRUMENT, {"wanted": version})
            if body is None:
                raise LookupError(f"no instrument with version {version}")
            known = self._rules[version] = decode_instrument(body)
        return known

    async def add_instrument(self, instrument: Instrument) -> int:
        """Version under which these rules are stored; a new one only if they differ from the newest."""
        key = instrument.key
        row = {"market": key.market, "pair": key.pair, "body": encode(instrument)}

        def work(connection: sa.Connection) -> int:
            stored = connection.execute(SELECT_NEWEST_OF, {"of_market": key.market, "of_pair": key.pair}).one_or_none()
            if stored is not None and stored.body == row["body"]:
                return int(stored.version)
            return int(connection.scalars(sa.insert(instruments).returning(instruments.c.version), row).one())

        return await self._database.write(work)


@contextmanager
def collector_paused() -> Iterator[None]:
    """Build many long-lived objects without the garbage collector walking all of them again and again (3 of 4 s)."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def trade_row(trade: SmartTrade) -> Row:
    """The row of a trade. Profit counts once it is frozen (M-45); a percent without a profit is shown as 0 (M-44)."""
    quote, _, base = trade.key.pair.upper().partition("_")
    profit = trade.profit if trade.status.is_final else None
    percent = None if not trade.status.is_final else ZERO if profit is None else profit.percent
    return {
        "id": trade.id,
        "account_id": trade.account_id,
        "pair": f"{quote}_{base}",
        "base": base,
        "quote": quote,
        "kind": trade.kind.value,
        "status": trade.status.value,
        "is_open": not trade.status.is_final,
        "created_at": trade.created_at,
        "updated_at": trade.updated_at,
        "closed_at": trade.closed_at,
        "profit_order": None if profit is None else sort_key(profit.volume),
        "percent_order": sort_key(percent),
        "body": encode(trade),
    }


def trail_group_row(group: TrailGroup) -> Row:
    return {"id": group.id, "body": encode(group)}


def merged_row(group_id: int, next_id: int) -> Row:
    return {"id": group_id, "pair": packed_pair(group_id, next_id)}


def event_row(event: JournalledInput) -> Row:
    return {"trade_id": event.trade_id, "number": event.number, "at": event.at, "body": encode(event)}


def sequences_row(value: Sequences) -> Row:
    return {"id": 1, "trade_id": value.trade_id, "step_id": value.step_id}
