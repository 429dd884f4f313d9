"""Rows of the paper exchange to and from the database. A row's fields are the columns of its table."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from smarttrade.adapters.exchanges.paper import rows, tables
from smarttrade.adapters.exchanges.paper.ledger import Changes
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.adapters.storage.database import Prepared, prepared, upsert
from smarttrade.domain.order import ReportedState

STORED: Final[Mapping[str, tuple[sa.Table, type[msgspec.Struct]]]] = {
    "accounts": (tables.accounts, rows.PaperAccount),
    "balances": (tables.balances, rows.PaperBalance),
    "orders": (tables.orders, rows.PaperOrder),
    "fills": (tables.fills, rows.PaperFill),
    "positions": (tables.positions, rows.PaperPosition),
    "leverages": (tables.leverages, rows.PaperLeverage),
    "depths": (tables.depths, rows.PaperDepth),
    "closures": (tables.closures, rows.PaperClosure),
    "faults": (tables.faults, rows.PaperFault),
    "sequences": (tables.sequences, rows.PaperSequence),
}
"""Where each table of the state is kept, and as what."""

PLAIN: Final = frozenset(
    name for name, (table, _) in STORED.items() if not any(isinstance(c.type, sa.JSON) for c in table.columns)
)
"""Tables whose values the driver takes as they are."""

Read = Callable[[], AbstractContextManager[sa.Connection]]
"""A connection that sees what is durable (Database.read)."""

ORDER_BY_CLIENT_ID: Final = sa.select(tables.orders.c.sequence).where(
    tables.orders.c.client_order_id == sa.bindparam("client"),
    tables.orders.c.status != sa.literal_column(f"'{ReportedState.REJECTED.value}'"),  # these have taken no client id
)
ORDER: Final = sa.select(tables.orders).where(tables.orders.c.sequence == sa.bindparam("order"))
FILLS_OF_ORDER: Final = (
    sa.select(tables.fills)
    .where(tables.fills.c.order_sequence == sa.bindparam("order"))
    .order_by(tables.fills.c.number)
)


def load(connection: sa.Connection, state: State, *, with_old_orders: bool) -> None:
    """Fill an empty state with what is durable; orders that are over only if asked for."""
    for name, (table, _) in STORED.items():
        statement = sa.select(table) if with_old_orders else what_lives(table)
        state.tables[name].load(_rows(connection, name, statement))


@cache
def what_lives(table: sa.Table) -> sa.Select[Any]:
    """The rows of a table; of orders the open ones, of fills theirs."""
    if table is tables.orders:
        return sa.select(table).where(tables.IS_OPEN)
    if table is tables.fills:
        live = sa.select(tables.orders.c.sequence).where(tables.IS_OPEN)
        return sa.select(table).where(table.c.order_sequence.in_(live))
    return sa.select(table)


def _rows(
    connection: sa.Connection, name: str, statement: sa.Select[Any], values: Mapping[str, Any] | None = None
) -> Iterator[Any]:
    """Rows of a table as the state keeps them."""
    table, row_type = STORED[name]
    names = [str(column.name) for column in table.columns]
    for row in connection.execute(statement, values or {}):
        yield msgspec.convert(dict(zip(names, row, strict=True)), row_type)


class StoredOrders:
    """Orders as they are durable."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._find: Prepared | None = None

    def order(self, client_order_id: str) -> tuple[rows.PaperOrder, Sequence[rows.PaperFill]] | None:
        """See state.OldOrders."""
        with self._read() as connection:
            if self._find is None:
                self._find = prepared(connection.dialect, ORDER_BY_CLIENT_ID)
            found = self._find.rows(
                connection, client=client_order_id
            )  # asked for each order that arrives: mostly none
            if not found:
                return None
            [order] = _rows(connection, "orders", ORDER, {"order": found[0][0]})
            return order, list(_rows(connection, "fills", FILLS_OF_ORDER, {"order": order.sequence}))

    def all(self, account_id: int | None, pair: str | None) -> list[rows.PaperOrder]:
        """Every order, of an account and of a pair if these are named."""
        statement = sa.select(tables.orders)
        if account_id is not None:
            statement = statement.where(tables.orders.c.account_id == account_id)
        if pair is not None:
            statement = statement.where(tables.orders.c.pair == pair)
        with self._read() as connection:
            return list(_rows(connection, "orders", statement))


def saving(state: State, changed: Iterable[Changes]) -> Callable[[sa.Connection], None]:
    """Work for a transaction that makes the present values of all changed rows durable.

    The values are taken now: the work may run later, in another thread, and twice.
    """
    puts: dict[str, list[dict[str, Any]]] = {}
    removals: dict[str, list[dict[str, Any]]] = {}
    removed_accounts: list[int] = []
    for name, row_id in dict.fromkeys(key for changes in changed for key in changes):
        row = state.tables[name].get(row_id)
        if row is None:
            removals.setdefault(name, []).append(_key_values(STORED[name][0], row_id))
            if name == "accounts":
                removed_accounts.append(row_id)
        else:
            puts.setdefault(name, []).append(msgspec.to_builtins(row))

    def save(connection: sa.Connection) -> None:
        for name, values in puts.items():
            statement = upsert(connection.dialect, STORED[name][0])
            if name in PLAIN:
                prepared(connection.dialect, statement).execute(connection, values)
            else:
                connection.execute(statement, values)
        for name, keys in removals.items():
            table = STORED[name][0]
            matches = (column == sa.bindparam(_parameter(column)) for column in table.primary_key)
            connection.execute(sa.delete(table).where(*matches), keys)
        for account_id in removed_accounts:  # what has left the memory
            orders = sa.select(tables.orders.c.sequence).where(tables.orders.c.account_id == account_id)
            connection.execute(sa.delete(tables.fills).where(tables.fills.c.order_sequence.in_(orders)))
            connection.execute(sa.delete(tables.orders).where(tables.orders.c.account_id == account_id))

    return save


def _key_values(table: sa.Table, row_id: Any) -> dict[str, Any]:
    parts = row_id if isinstance(row_id, tuple) else (row_id,)
    return {_parameter(column): part for column, part in zip(table.primary_key, parts, strict=True)}


def _parameter(column: sa.ColumnElement[Any]) -> str:
    return f"key_{column.key}"
