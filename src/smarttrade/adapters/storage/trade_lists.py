"""Pages of the list of trades (api.md A1), at a cost that does not grow with the trades that are stored.

Trades of one account with the same quote (or the same pair), kind and status are a run. Each order of the list has an
index in which every run lies together, in this order. Which runs there are is found with one step in an index for
each; what a page shows is then merged from the runs that its filters name, each read only as far as the page needs.
So a page costs the runs that it merges, and what it passes over or shows; a run is one of few, whatever it holds.

There is one filter that runs do not know: a time of creation, in an order by another time or by profit. If few trades
were created then, they are sorted; otherwise an index is walked past those that were not (0.1 us each).
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain, islice
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from smarttrade.adapters.storage.database import Prepared
from smarttrade.adapters.storage.tables import smart_trades
from smarttrade.domain.smart_trade import FINAL, TradeStatus
from smarttrade.ports.storage import OrderBy, StatusFilter, TradeQuery

FEW: Final = 1_000
"""Trades of a time of creation that are sorted, in whatever order they are wanted."""

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


class Statements(NamedTuple):
    """How rows of a run are read in one order."""

    falling: Prepared  # by value and id, down
    rising: Prepared  # the same, up; the next few behind a value
    alike: Prepared  # those with one value, higher ids first
    without: Prepared  # those without a value, higher ids first
    still_open: Prepared  # of an open status, higher ids first


def page_ids(connection: sa.Connection, query: TradeQuery) -> list[int]:
    """Ids of the trades of one page, in order."""
    by, runs = _wanted_runs(connection, query)
    window = _window(query)
    timeline = query.order_by in (OrderBy.STATUS, OrderBy.CREATED_AT)
    if window is not None and not timeline:
        runs, few = _created_in(connection, by, runs, window)
        if few is not None:
            return _sorted_page(connection, few, query)
    rows = _Rows(connection, by, query.order_by, window)
    return list(islice(_in_order(rows, runs, query), query.offset, query.offset + query.limit))


def _wanted_runs(connection: sa.Connection, query: TradeQuery) -> tuple[str, list[Run]]:
    """Whether they are those of a quote or of a pair; the runs that the filters leave."""
    quote, base = _assets(query)
    accounts = dict.fromkeys(query.account_ids)
    if base is None:
        by, found = (
            "quote",
            [run for account in accounts for run in _runs(connection, account, by="quote", asset=quote)],
        )
    else:
        by, found = "pair", []
        for account in accounts:
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
    rows = _Rows(connection, by, OrderBy.CREATED_AT, window)
    kept: list[Run] = []
    few: list[int] = []
    for run in runs:
        found = [row[-1] for row in islice(rows.falling(run), max(1, FEW + 1 - len(few)))]
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


def _in_order(rows: "_Rows", runs: Sequence[Run], query: TradeQuery) -> Iterator[int]:
    """All ids, lazily."""
    still_open = [run for run in runs if run.status not in OVER]
    ended = [run for run in runs if run.status in OVER]
    if query.order_by is OrderBy.STATUS:  # the groups turn around, what is in them does not
        groups = (still_open, ended) if not query.ascending else (ended, still_open)
        return chain.from_iterable(_downwards(map(rows.falling, group)) for group in groups)
    valued = ended if ORDER_COLUMNS[query.order_by].nullable else runs
    first = _upwards(map(rows.rising, valued)) if query.ascending else _downwards(map(rows.falling, valued))
    if valued is runs:
        return first
    return chain(first, _downwards(chain(map(rows.without, ended), map(rows.still_open, still_open))))


def _downwards(runs: Iterable[Iterator[Row]]) -> Iterator[int]:
    return (row[-1] for row in heapq.merge(*runs, reverse=True))


def _upwards(runs: Iterable[Iterator[Row]]) -> Iterator[int]:
    return (-row[-1] for row in heapq.merge(*runs))


class _Rows:
    """Reads the rows of runs in one order, as far as somebody asks for them."""

    def __init__(self, connection: sa.Connection, by: str, order_by: OrderBy, window: Window | None) -> None:
        column = ORDER_COLUMNS[order_by]
        by_creation = column is smart_trades.c.created_at
        self._connection = connection
        self._statements = statements(connection.dialect, by, column.name, window is not None and not by_creation)
        self._values: dict[str, Key] = {}
        self._low: Key = FIRST_INSTANT
        self._high: Key = LAST_INSTANT
        if isinstance(column.type, sa.Text):
            self._low, self._high = "", AFTER_ALL_KEYS
        elif window is not None and by_creation:
            self._low, self._high = window.created_from - 1, window.created_to
        if window is not None and not by_creation:
            self._values = window._asdict()

    def falling(self, run: Run) -> Iterator[Row]:
        return self._read(self._statements.falling, run, low=self._low, high=self._high)

    def without(self, run: Run) -> Iterator[Row]:
        return self._read(self._statements.without, run)

    def still_open(self, run: Run) -> Iterator[Row]:
        return self._read(self._statements.still_open, run)

    def rising(self, run: Run) -> Iterator[Row]:
        """Among equals the index goes the other way, so they are read apart: there may be any number of them."""
        low, size = self._low, FIRST_ROWS
        while True:
            rows = self._some(self._statements.rising, run, low=low, high=self._high, at_most=size)
            if not rows:
                return
            end = rows[-1][0]
            yield from sorted((key, -trade_id) for key, trade_id in rows if key != end)
            for (trade_id,) in self._read(self._statements.alike, run, value=end):
                yield end, -trade_id
            if len(rows) < size:
                return
            low, size = end, 2 * size

    def _read(self, statement: Prepared, run: Run, **values: Key) -> Iterator[Row]:
        passed, size = 0, FIRST_ROWS
        while True:
            rows = self._some(statement, run, at_most=size, passed=passed, **values)
            yield from rows
            if len(rows) < size:
                return
            passed, size = passed + size, 2 * size

    def _some(self, statement: Prepared, run: Run, **values: Key) -> list[Row]:
        return statement.rows(self._connection, **run._asdict(), **values, **self._values)


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
def statements(dialect: sa.Dialect, by: str, order_column: str, in_window: bool) -> Statements:
    """by            "quote" or "pair": what the runs have in common
    in_window     whether only trades of some time of creation are wanted, while the order is another one
    """
    table, column = smart_trades.c, smart_trades.c[order_column]
    run = [table[by if name == "asset" else name] == sa.bindparam(name) for name in Run._fields]
    # plus 0: the index of this order has it, and the one of the order by creation is not to be taken
    created_at = table.created_at + sa.literal_column("0")
    window = [created_at >= sa.bindparam("created_from"), created_at <= sa.bindparam("created_to")] if in_window else []
    is_open, is_over = table.is_open == sa.true(), table.is_open == sa.false()
    ended = [is_over] if column.nullable else []
    between = [column > sa.bindparam("low"), column <= sa.bindparam("high")]

    def some(columns: Sequence[sa.ColumnElement[Any]], conditions: Iterable[sa.ColumnElement[bool]]) -> sa.Select[Any]:
        return sa.select(*columns).where(*run, *conditions, *window).limit(sa.bindparam("at_most"))

    valued, newest = (column, table.id), table.id.desc()
    behind: sa.BindParameter[int] = sa.bindparam("passed")
    texts = {
        "falling": some(valued, [*ended, *between]).order_by(column.desc(), newest).offset(behind),
        "rising": some(valued, [*ended, *between]).order_by(column, table.id).offset(sa.literal_column("0")),
        "alike": some([table.id], [*ended, column == sa.bindparam("value")]).order_by(newest).offset(behind),
        "without": some([table.id], [*ended, column.is_(None)]).order_by(newest).offset(behind),
        "still_open": some([table.id], [is_open]).order_by(newest).offset(behind),
    }
    return Statements(**{name: Prepared(dialect, text) for name, text in texts.items()})
