"""Trades, events, trailing extremes and trading rules as rows. One `Batch` is one transaction.

Lists (api.md A1) are answered from indexes: a page costs what the page holds, not what is stored. An order that no
index can serve as a whole (active before closed, values before nulls, several accounts) is split into branches that
follow one each; then the branches' first rows are merged. What remains linear is a search that hardly anything
matches in an order other than by creation, and a run of equal values in ascending order: those read through one index
(0.2 us a trade), never through the trades.
"""

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
from smarttrade.domain.instrument import Instrument
from smarttrade.domain.money import ZERO
from smarttrade.domain.quote import InstrumentKey
from smarttrade.domain.smart_trade import SmartTrade, TradeStatus
from smarttrade.engine.journal import JournalledInput
from smarttrade.engine.market import PRICE_DECIMALS
from smarttrade.engine.merged_ids import next_of, packed_pair
from smarttrade.engine.standing import Standing, standing
from smarttrade.engine.tallies import Coin, Tally
from smarttrade.ports.storage import (
    Batch,
    OrderBy,
    Sequences,
    StatusFilter,
    TradeQuery,
    TrailGroup,
)

FEW: Final = 1_000
"""Trades that fulfil one wish of a query, of which each may be looked at. Of more the first in order are soon found."""

MAX_BRANCHES: Final = 300
"""SQLite joins at most 500 selects. With more accounts than this allows, one sorted select answers instead."""

FIXED_COLUMNS: Final = ("account_id", "pair", "base", "quote", "kind", "created_at")
"""What never changes in a trade: left out of updates, so that their indexes are left alone."""

FIXED_WHILE_OPEN: Final = (*FIXED_COLUMNS, "is_open", "closed_at", "profit_order", "percent_order")
"""What changes only at the end of a trade, which is one update of many."""

STATUSES: Final = {
    StatusFilter.FINISHED: (TradeStatus.FINISHED, TradeStatus.PANIC_SOLD, TradeStatus.STOP_LOSS_FINISHED),
    StatusFilter.SUCCESSFULLY_FINISHED: (TradeStatus.FINISHED,),
    StatusFilter.CANCELLED: (TradeStatus.CANCELLED,),
    StatusFilter.FAILED: (TradeStatus.FAILED,),
}
ORDER_COLUMNS: Final = {
    OrderBy.STATUS: smart_trades.c.created_at,
    OrderBy.CREATED_AT: smart_trades.c.created_at,
    OrderBy.UPDATED_AT: smart_trades.c.updated_at,
    OrderBy.CLOSED_AT: smart_trades.c.closed_at,
    OrderBy.PROFIT: smart_trades.c.profit_order,
    OrderBy.PROFIT_PERCENTAGE: smart_trades.c.percent_order,
}

TIMELINE: Final = (OrderBy.STATUS, OrderBy.CREATED_AT)
TIED: Final = (OrderBy.PROFIT, OrderBy.PROFIT_PERCENTAGE)
"""Orders in which many trades may have the same value."""
AFTER_ALL_KEYS: Final = "~"
"""No sort_key comes after it."""

Row = dict[str, Any]
Condition = sa.ColumnElement[bool]
Part = tuple[int, tuple[Condition, ...]]
"""Rows that stand together in the order: their rank among the parts, and what they have in common."""

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
            few = _few(connection, query)
            if few is not None and not few:
                return []
            statement = page(query) if few is None else page_of(few, query)
            return [decode_trade(body) for body in connection.scalars(statement)]

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


def page(query: TradeQuery) -> sa.Select[bytes]:
    """The statement that yields the bodies of one page, in order."""
    parts = _timeline_parts(query) if query.order_by in TIMELINE else _value_parts(query)
    tied = query.ascending and query.order_by in TIED
    branches = []
    for account in _account_conditions(query, len(parts) * (1 + tied)):
        for rank, conditions in parts:
            split = _ties_apart(query, (account, *conditions)) if tied and rank == 0 else [(account, *conditions)]
            branches += [_branch(query, sa.literal_column(str(rank)), each) for each in split]
    return _bodies(query, branches)


def _ties_apart(query: TradeQuery, conditions: tuple[Condition, ...]) -> list[tuple[Condition, ...]]:
    """What comes before the value that the page ends with, and all that has this value.

    Higher ids come first among equals (api.md A1), against the index where values ascend. So no part sorts more than a
    page, however many trades are alike: those that were cancelled before anything was bought all have 0 percent.
    """
    column = ORDER_COLUMNS[query.order_by]
    ordered = sa.select(column).where(*conditions).order_by(column.asc())
    end = ordered.limit(1).offset(query.offset + query.limit - 1).correlate(None).scalar_subquery()
    return [(*conditions, column < sa.func.coalesce(end, AFTER_ALL_KEYS)), (*conditions, column == end)]


def page_of(trade_ids: Sequence[int], query: TradeQuery) -> sa.Select[bytes]:
    """`page`, where all that it could show is among these few trades of its accounts."""
    column, is_open = ORDER_COLUMNS[query.order_by], smart_trades.c.is_open
    rank = sa.case((column.is_(None), 1), else_=0)  # nulls last
    if query.order_by is OrderBy.STATUS:
        rank = sa.case((is_open, int(query.ascending)), else_=int(not query.ascending))
    statuses = [] if query.status is StatusFilter.ALL else [_status_condition(query.status)]
    return _bodies(query, [_branch(query, rank, (smart_trades.c.id.in_(trade_ids), *statuses, *_filters(query)))])


def _few(connection: sa.Connection, query: TradeQuery) -> Sequence[int] | None:
    """The trades that fulfil one of the wishes, if they are few: at most FEW steps in an index for each wish."""
    for wish in _wishes(query):
        found = sa.select(smart_trades.c.id).where(_account_in(query), *wish).limit(FEW + 1)
        trade_ids = connection.scalars(found).all()
        if len(trade_ids) <= FEW:
            return trade_ids
    return None


def _wishes(query: TradeQuery) -> Iterator[tuple[Condition, ...]]:
    """What a query filters by, each part of it with an index of its own."""
    quote, base = _assets(query)
    if quote is not None and base is not None:
        yield (smart_trades.c.pair == f"{quote}_{base}",)
    elif base is not None:
        yield (smart_trades.c.base == base,)
    elif quote is not None:
        yield (smart_trades.c.quote == quote,)
    if query.kind is not None:
        yield (smart_trades.c.kind == query.kind.value,)
    if query.status is not StatusFilter.ALL:
        yield (_status_condition(query.status),)
    created = _created_between(query)
    if created:
        yield (smart_trades.c.is_open.in_((True, False)), *created)


def _status_condition(status: StatusFilter) -> Condition:
    if status is StatusFilter.ACTIVE:
        return smart_trades.c.is_open == sa.true()
    return smart_trades.c.status.in_([each.value for each in STATUSES[status]])


def _account_in(query: TradeQuery) -> Condition:
    return smart_trades.c.account_id.in_(dict.fromkeys(query.account_ids))


def _bodies(query: TradeQuery, branches: Sequence[sa.Select[Any]]) -> sa.Select[bytes]:
    """The page from the first rows of all branches."""
    if len(branches) == 1:
        first = branches[0].subquery()
    else:
        first = sa.union_all(*(sa.select(branch.subquery()) for branch in branches)).subquery()
    return (
        sa.select(smart_trades.c.body)
        .join(first, first.c.id == smart_trades.c.id)
        .order_by(first.c.rank, _directed(query, first.c.key), first.c.id.desc())
        .limit(query.limit)
        .offset(query.offset)
    )


def _branch(query: TradeQuery, rank: sa.ColumnElement[int], conditions: Sequence[Condition]) -> sa.Select[Any]:
    """The first rows of one branch: as many as the page could take from it. `rank` goes before the order."""
    column = ORDER_COLUMNS[query.order_by]
    ranks = [] if isinstance(rank, sa.ColumnClause) else [rank]  # the same for the whole branch
    return (
        sa.select(smart_trades.c.id, column.label("key"), rank.label("rank"))
        .where(*conditions)
        .order_by(*ranks, _directed(query, column), smart_trades.c.id.desc())
        .limit(query.offset + query.limit)
    )


def _directed(query: TradeQuery, column: sa.ColumnElement[Any]) -> sa.UnaryExpression[Any]:
    """Direction of the order column. By status the newest come first either way; the groups are what turns around."""
    ascending = query.ascending and query.order_by is not OrderBy.STATUS
    return column.asc() if ascending else column.desc()


def _account_conditions(query: TradeQuery, parts: int) -> list[Condition]:
    """One account each, as long as there are few."""
    column = smart_trades.c.account_id
    accounts = dict.fromkeys(query.account_ids)
    if len(accounts) * parts > MAX_BRANCHES:
        return [column.in_(accounts)]
    return [column == account_id for account_id in accounts]


def _timeline_parts(query: TradeQuery) -> list[Part]:
    """Orders by creation, alone or inside the groups of active and closed trades: each part follows one index."""
    is_open, is_closed = smart_trades.c.is_open == sa.true(), smart_trades.c.is_open == sa.false()
    filters = _timeline_filters(query)
    if query.status is StatusFilter.ALL:
        grouped = query.order_by is OrderBy.STATUS
        return [
            (int(grouped and query.ascending), (is_open, *filters)),
            (int(grouped and not query.ascending), (is_closed, *filters)),
        ]
    if query.status is StatusFilter.ACTIVE:
        return [(0, (is_open, *filters))]
    by_asset = query.pair is not None or query.base is not None  # their indexes begin with account, asset, is_open
    common = (is_closed, *filters) if by_asset else filters
    return [(0, (smart_trades.c.status == status.value, *common)) for status in STATUSES[query.status]]


def _timeline_filters(query: TradeQuery) -> tuple[Condition, ...]:
    quote, base = _assets(query)
    conditions = []
    if quote is not None and base is not None:
        conditions.append(smart_trades.c.pair == f"{quote}_{base}")
    elif base is not None:
        conditions.append(smart_trades.c.base == base)
    elif quote is not None:
        conditions.append(smart_trades.c.quote == quote)
    if query.kind is not None:
        conditions.append(smart_trades.c.kind == query.kind.value)
    return (*conditions, *_created_between(query))


def _value_parts(query: TradeQuery) -> list[Part]:
    """Orders by another column: rows with a value first, then those without (api.md A1: nulls last either way)."""
    column, filters = ORDER_COLUMNS[query.order_by], _filters(query)
    is_open, is_closed = smart_trades.c.is_open == sa.true(), smart_trades.c.is_open == sa.false()
    if query.status not in (StatusFilter.ALL, StatusFilter.ACTIVE):
        filters = (_status_condition(query.status), *filters)
    parts: list[Part] = []
    if query.status is not StatusFilter.ACTIVE:
        parts.append((0, (is_closed, column.is_not(None), *filters)))
        if column.nullable:
            parts.append((1, (is_closed, column.is_(None), *filters)))
    if query.status in (StatusFilter.ALL, StatusFilter.ACTIVE):
        empty = (column.is_(None),) if column.nullable else ()  # these columns are filled at the end of a trade
        parts.append((len(empty), (is_open, *empty, *filters)))
    return parts


def _filters(query: TradeQuery) -> tuple[Condition, ...]:
    """Filters but for the status; the index of an order column carries these columns too."""
    quote, base = _assets(query)
    wanted = (
        (smart_trades.c.quote, quote),
        (smart_trades.c.base, base),
        (smart_trades.c.kind, None if query.kind is None else query.kind.value),
    )
    conditions: list[Condition] = [column == value for column, value in wanted if value is not None]
    return (*conditions, *_created_between(query))


def _assets(query: TradeQuery) -> tuple[str | None, str | None]:
    """Quote and base to look for. A pair is both; beside other wishes it must agree with them."""
    quote = None if query.quote is None else query.quote.upper()
    base = None if query.base is None else query.base.upper()
    if query.pair is None:
        return quote, base
    pair_quote, _, pair_base = query.pair.upper().partition("_")
    agrees = quote in (None, pair_quote) and base in (None, pair_base)
    return pair_quote, pair_base if agrees else ""  # no trade has an empty base


def _created_between(query: TradeQuery) -> list[Condition]:
    conditions = []
    if query.created_from is not None:
        conditions.append(smart_trades.c.created_at >= query.created_from)
    if query.created_to is not None:
        conditions.append(smart_trades.c.created_at <= query.created_to)
    return conditions
