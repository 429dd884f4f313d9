"""Pages of the list of trades (api.md A1), at a cost that does not grow with the trades that are stored.

Trades of one account with the same quote (or the same pair), kind and status are a run. Each order of the list has an
index in which every run lies together, in this order. Which runs there are is found with one step in an index for
each; what a page shows is then merged from the runs that its filters name, each read only as far as the page needs.
So a page costs the runs that it merges (17 us each) and what it shows. Their number is bounded by what there is of
accounts, quotes, kinds and statuses, whatever they hold and however many pairs are traded.

Two things still grow. What lies before a late page has to be counted (up to 0.7 us a trade; 1.1 if many are alike,
which are passed one by one). And runs do not know a time of creation, in an order by another time or by profit: if few
trades were created then, they are sorted; otherwise an index is walked past those that were not (0.1 us each).
"""

import enum
import heapq
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from typing import Any, Final, NamedTuple, cast

import sqlalchemy as sa

from smarttrade.adapters.storage.database import Prepared
from smarttrade.adapters.storage.tables import smart_trades
from smarttrade.domain.smart_trade import FINAL, TradeStatus
from smarttrade.ports.storage import OrderBy, StatusFilter, TradeQuery

FEW: Final = 1_000
"""Trades of a time of creation that are sorted, in whatever order they are wanted."""

STEPPED: Final = 1_000
"""Trades before a page that are passed one by one; of more most are counted, which takes less than half of the time."""

FIRST_ROWS: Final = 8
"""Rows that are read of a run at first; then twice as many each time."""

OVER: Final = frozenset(status.value for status in FINAL)
STATUSES: Final = {
    StatusFilter.ALL: frozenset(status.value for status in TradeStatus),
    StatusFilter.ACTIVE: frozenset(status.value for status in TradeStatus) - OVER,
    StatusFilter.FINISHED: frozenset(
        status.value for status in (TradeStatus.FINISHED, TradeStatus.PANIC_SOLD, TradeStatus.STOP_LOSS_FINISHED)
    ),
    StatusFilter.SUCCESSFULLY_FINISHED: frozenset({TradeStatus.FINISHED.value}),
    StatusFilter.CANCELLED: frozenset({TradeStatus.CANCELLED.value}),
    StatusFilter.FAILED: frozenset({TradeStatus.FAILED.value}),
}
ORDER_COLUMNS: Final = {
    OrderBy.STATUS: smart_trades.c.created_at,
    OrderBy.CREATED_AT: smart_trades.c.created_at,
    OrderBy.UPDATED_AT: smart_trades.c.updated_at,
    OrderBy.CLOSED_AT: smart_trades.c.closed_at,
    OrderBy.PROFIT: smart_trades.c.profit_order,
    OrderBy.PROFIT_PERCENTAGE: smart_trades.c.percent_order,
}
"""Those that may be NULL are filled at the end of a trade."""

FIRST_INSTANT: Final = -(2**63)
LAST_INSTANT: Final = 2**63 - 1
AFTER_ALL_KEYS: Final = "~"
"""No sort_key comes after it."""

Key = int | str
Row = tuple[Any, ...]
"""What puts a trade in its place, and last its id; in ascending order its negative: higher ids come first."""


class Run(NamedTuple):
    """Trades that agree in these, of which there is at least one."""

    account_id: int
    asset: str  # quote, or pair
    kind: str
    status: str


RUN_FIELDS: Final = ("asset", "kind", "status")


class Window(NamedTuple):
    """Times of creation, both included."""

    created_from: int
    created_to: int


class Bounds(NamedTuple):
    """Of what trades are ordered by: above `low`, up to `high`."""

    low: Key
    high: Key


class Among(enum.Enum):
    """Which trades of a run stand together in an order."""

    VALUED = enum.auto()  # those that have a value, by it
    WITHOUT = enum.auto()  # those that are over and have none, by id
    OPEN = enum.auto()  # those that have none because they are open, by id


class Statements(NamedTuple):
    """How rows of a run are read, between two values of what they are ordered by: above `low`, up to `high`."""

    falling: Prepared  # from `high` down, and higher ids first
    rising: Prepared  # from `low` up, and lower ids first
    alike: Prepared  # those with one value, higher ids first
    counted: Prepared  # but not further than to a limit


def page_ids(connection: sa.Connection, query: TradeQuery) -> list[int]:
    """Ids of the trades of one page, in order."""
    by, runs = _wanted_runs(connection, query)
    window = _window(query)
    timeline = query.order_by in (OrderBy.STATUS, OrderBy.CREATED_AT)
    if window is not None and not timeline:
        runs, few = _created_in(connection, by, runs, window)
        if few is not None:
            return _sorted_page(connection, few, query)
    ids: list[int] = []
    passed_over = query.offset
    for part in _parts(connection, by, runs, query, window):
        found, passed_over = part.page(passed_over, query.limit - len(ids))
        ids += found
        if len(ids) == query.limit:
            break
    return ids


def _wanted_runs(connection: sa.Connection, query: TradeQuery) -> tuple[str, list[Run]]:
    """Whether they are those of a quote or of a pair; the runs that the filters leave."""
    quote, base = _assets(query)
    accounts = dict.fromkeys(query.account_ids)
    found: list[Run] = []
    by = "quote" if base is None else "pair"
    for account in accounts:
        if base is None:
            found += _runs(connection, account, by="quote", asset=quote)
        else:
            for each in _quotes(connection, account) if quote is None else (quote,):
                found += _runs(connection, account, by="pair", asset=f"{each}_{base}")
    kinds, wanted = None if query.kind is None else query.kind.value, STATUSES[query.status]
    return by, [run for run in found if run.status in wanted and kinds in (None, run.kind)]


def _quotes(connection: sa.Connection, account_id: int) -> Sequence[str]:
    return list(dict.fromkeys(run.asset for run in _runs(connection, account_id, by="quote", asset=None)))


def _runs(connection: sa.Connection, account_id: int, *, by: str, asset: str | None) -> Iterator[Run]:
    """Those of an account, with this asset or with any: each is one step in an index behind the one before it."""
    following = next_run(connection.dialect, by, asset is not None)
    last = "" if asset is None else asset, "", ""
    while found := following.rows(connection, account_id=account_id, **dict(zip(RUN_FIELDS, last, strict=True))):
        (last,) = found
        yield Run(account_id, *last)


def _assets(query: TradeQuery) -> tuple[str | None, str | None]:
    """Quote and base to look for. A pair is both; beside other wishes it must agree with them."""
    quote = None if query.quote is None else query.quote.upper()
    base = None if query.base is None else query.base.upper()
    if query.pair is None:
        return quote, base
    pair_quote, _, pair_base = query.pair.upper().partition("_")
    agrees = quote in (None, pair_quote) and base in (None, pair_base)
    return pair_quote, pair_base if agrees else ""  # no trade has an empty base


def _window(query: TradeQuery) -> Window | None:
    if query.created_from is None and query.created_to is None:
        return None
    return Window(
        FIRST_INSTANT + 1 if query.created_from is None else query.created_from,
        LAST_INSTANT if query.created_to is None else query.created_to,
    )


def _created_in(
    connection: sa.Connection, by: str, runs: Sequence[Run], window: Window
) -> tuple[list[Run], list[int] | None]:
    """The runs of which something was created then; and all that was, unless it is more than FEW."""
    strips = _strips(connection, by, runs, OrderBy.CREATED_AT, Among.VALUED, window)
    bounds = _bounds(OrderBy.CREATED_AT, window)
    kept: list[Run] = []
    few: list[int] = []
    for run, strip in zip(runs, strips, strict=True):
        found = [row[1] for row in islice(strip.falling(*bounds), max(1, FEW + 1 - len(few)))]
        if found:
            kept.append(run)
            few += found
    return kept, few if len(few) <= FEW else None


def _sorted_page(connection: sa.Connection, trade_ids: Sequence[int], query: TradeQuery) -> list[int]:
    """A page of these trades, in an order other than by creation."""
    read = value_of(connection.dialect, ORDER_COLUMNS[query.order_by].name)
    found = [(value, trade_id) for trade_id in trade_ids for (value,) in read.rows(connection, trade_id=trade_id)]
    found.sort(key=lambda row: -row[1])
    valued = sorted((row for row in found if row[0] is not None), key=lambda row: row[0], reverse=not query.ascending)
    ordered = valued + [row for row in found if row[0] is None]
    return [trade_id for _, trade_id in ordered[query.offset : query.offset + query.limit]]


def _parts(
    connection: sa.Connection, by: str, runs: Sequence[Run], query: TradeQuery, window: Window | None
) -> "list[_Part]":
    """What stands together in the order, one after the other."""

    def strips(runs: Sequence[Run], among: Among) -> list[_Strip]:
        return _strips(connection, by, runs, query.order_by, among, window)

    def valued(runs: Sequence[Run], *, rising: bool) -> _Part:
        return _Part(strips(runs, Among.VALUED), _bounds(query.order_by, window), rising=rising)

    still_open = [run for run in runs if run.status not in OVER]
    ended = [run for run in runs if run.status in OVER]
    if query.order_by is OrderBy.STATUS:  # the groups turn around, what is in them does not
        groups = (ended, still_open) if query.ascending else (still_open, ended)
        return [valued(group, rising=False) for group in groups]
    if not ORDER_COLUMNS[query.order_by].nullable:
        return [valued(runs, rising=query.ascending)]
    valueless = [*strips(ended, Among.WITHOUT), *strips(still_open, Among.OPEN)]
    return [valued(ended, rising=query.ascending), _Part(valueless, Bounds(FIRST_INSTANT, LAST_INSTANT), rising=False)]


def _bounds(order_by: OrderBy, window: Window | None) -> Bounds:
    """What all values that are wanted are above of, and up to."""
    column = ORDER_COLUMNS[order_by]
    if isinstance(column.type, sa.Text):
        return Bounds("", AFTER_ALL_KEYS)
    if window is not None and column is smart_trades.c.created_at:
        return Bounds(window.created_from - 1, window.created_to)
    return Bounds(FIRST_INSTANT, LAST_INSTANT)


def _strips(
    connection: sa.Connection, by: str, runs: Sequence[Run], order_by: OrderBy, among: Among, window: Window | None
) -> "list[_Strip]":
    column = ORDER_COLUMNS[order_by]
    beside = window is not None and column is not smart_trades.c.created_at
    ways = statements(connection.dialect, by, column.name, among, beside)
    more = window._asdict() if window is not None and beside else {}
    return [_Strip(connection, ways, {**run._asdict(), **more}) for run in runs]


class _Part:
    """Strips that are merged: upwards, or downwards. Between equals higher ids come first either way."""

    def __init__(self, strips: "Sequence[_Strip]", bounds: Bounds, *, rising: bool) -> None:
        self._strips = strips
        self._bounds = bounds
        self._rising = rising

    def page(self, skip: int, limit: int) -> tuple[list[int], int]:
        """The next `limit` ids behind the first `skip` ones; and how many of the `skip` this part does not have."""
        (low, high), skip = self._far_on(skip) if skip > STEPPED else (self._bounds, skip)
        if self._rising:
            ids = (-row[1] for row in heapq.merge(*(strip.rising(low, high) for strip in self._strips)))
        else:
            ids = (row[1] for row in heapq.merge(*(strip.falling(low, high) for strip in self._strips), reverse=True))
        for _ in ids if skip else ():
            skip -= 1
            if not skip:
                break
        return list(islice(ids, limit)), skip

    def _far_on(self, skip: int) -> tuple[Bounds, int]:
        """Bounds that the page is within, and how many more are to be passed: what lies before is counted at most.

        The middle of the largest strip halves what is left of it, on one side or the other. Values that many trades
        have alike cannot be told apart so: they are left to be passed one by one.
        """
        near, far = self._bounds if self._rising else reversed(self._bounds)
        limit = far
        most = skip + 1  # what is behind that need not be counted
        sizes = [strip.count(*self._between(near, far), most) for strip in self._strips]
        while STEPPED < skip < sum(sizes):
            largest = max(range(len(sizes)), key=sizes.__getitem__)
            middle = self._strips[largest].value_at(sizes[largest] // 2, *self._between(near, far), self._rising)
            before = [strip.count(*self._between(near, middle), most) for strip in self._strips]
            if before == sizes or not any(before):
                break
            if sum(before) > skip:
                far, sizes = middle, before
            else:
                near, skip = middle, skip - sum(before)
                sizes = [size - passed for size, passed in zip(sizes, before, strict=True)]
        if skip >= sum(sizes):
            return self._between(limit, limit), skip - sum(sizes)
        return self._between(near, limit), skip

    def _between(self, near: Key, far: Key) -> Bounds:
        return Bounds(near, far) if self._rising else Bounds(far, near)


class _Strip:
    """A run in one order, read as far as somebody asks for it."""

    def __init__(self, connection: sa.Connection, ways: Statements, values: Mapping[str, Key]) -> None:
        self._connection = connection
        self._ways = ways
        self._values = values

    def count(self, low: Key, high: Key, at_most: int) -> int:
        ((found,),) = self._some(self._ways.counted, low=low, high=high, at_most=at_most)
        return int(found)

    def value_at(self, place: int, low: Key, high: Key, rising: bool) -> Key:
        way = self._ways.rising if rising else self._ways.falling
        ((value, _),) = self._some(way, low=low, high=high, at_most=1, passed=place)
        return cast("Key", value)

    def falling(self, low: Key, high: Key) -> Iterator[Row]:
        """Value and id, downwards."""
        return self._read(self._ways.falling, low=low, high=high)

    def rising(self, low: Key, high: Key) -> Iterator[Row]:
        """Value and negative id, upwards.

        Among equals the index goes the other way, so they are read apart: there may be any number of them.
        """
        size = FIRST_ROWS
        while rows := self._some(self._ways.rising, low=low, high=high, at_most=size, passed=0):
            end = rows[-1][0]
            yield from sorted((value, -trade_id) for value, trade_id in rows if value != end)
            for (trade_id,) in self._read(self._ways.alike, value=end):
                yield end, -trade_id
            if len(rows) < size:
                return
            low, size = end, 2 * size

    def _read(self, way: Prepared, **values: Key) -> Iterator[Row]:
        passed, size = 0, FIRST_ROWS
        while True:
            rows = self._some(way, at_most=size, passed=passed, **values)
            yield from rows
            if len(rows) < size:
                return
            passed, size = passed + size, 2 * size

    def _some(self, way: Prepared, **values: Key) -> list[Row]:
        return way.rows(self._connection, **self._values, **values)


@cache
def next_run(dialect: sa.Dialect, by: str, of_one_asset: bool) -> Prepared:
    """The run behind one in the index of the order by creation; of any asset, or of the same."""
    table = smart_trades.c
    columns = [table[by], table.kind, table.status]
    following = slice(int(of_one_asset), None)
    behind: list[sa.ColumnElement[Any]] = [
        *map(sa.bindparam, RUN_FIELDS[following]),
        sa.literal_column(str(LAST_INSTANT)),
    ]
    index = [*columns[following], table.created_at]  # with less than the whole key SQLite would pass all of the run
    conditions = [table[by] == sa.bindparam("asset")] if of_one_asset else []
    statement = (
        sa.select(*columns)
        .where(table.account_id == sa.bindparam("account_id"), *conditions, sa.tuple_(*index) > sa.tuple_(*behind))
        .order_by(*index)
        .limit(sa.literal_column("1"))
        .offset(sa.literal_column("0"))
    )
    return Prepared(dialect, statement)


@cache
def value_of(dialect: sa.Dialect, order_column: str) -> Prepared:
    """The value of one trade in an order."""
    column = smart_trades.c[order_column]
    return Prepared(dialect, sa.select(column).where(smart_trades.c.id == sa.bindparam("trade_id")))


@cache
def statements(dialect: sa.Dialect, by: str, order_column: str, among: Among, in_window: bool) -> Statements:
    """by            "quote" or "pair": what the runs have in common
    in_window     whether only trades of some time of creation are wanted, while the order is another one
    """
    table, column = smart_trades.c, smart_trades.c[order_column]
    is_open, is_over = table.is_open == sa.true(), table.is_open == sa.false()
    conditions = [table[by if name == "asset" else name] == sa.bindparam(name) for name in Run._fields]
    conditions += {
        Among.VALUED: [is_over] if column.nullable else [],
        Among.WITHOUT: [is_over, column.is_(None)],
        Among.OPEN: [is_open],
    }[among]
    if in_window:
        conditions += [table.created_at >= sa.bindparam("created_from"), table.created_at <= sa.bindparam("created_to")]
    value: sa.ColumnElement[Any] = column if among is Among.VALUED else table.id
    between = [value > sa.bindparam("low"), value <= sa.bindparam("high")]
    newest, at_most = table.id.desc(), sa.bindparam("at_most", type_=sa.Integer)
    some = sa.select(value, table.id.label("trade_id")).where(*conditions, *between)
    some = some.limit(at_most).offset(sa.bindparam("passed", type_=sa.Integer))
    alike = sa.select(table.id).where(*conditions, value == sa.bindparam("value")).order_by(newest)
    counted = sa.select(table.id).where(*conditions, *between).limit(at_most).offset(sa.literal_column("0"))
    texts = {
        "falling": some.order_by(value.desc(), newest),
        "rising": some.order_by(value, table.id),
        "alike": alike.limit(at_most).offset(sa.bindparam("passed", type_=sa.Integer)),
        "counted": sa.select(sa.func.count()).select_from(counted.subquery()),
    }
    return Statements(**{name: Prepared(dialect, text) for name, text in texts.items()})
