"""Rows of the paper exchange to and from the database. A row's fields are the columns of its table."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from smarttrade.adapters.exchanges.paper import rows, tables
from smarttrade.adapters.exchanges.paper.ledger import Changes
from smarttrade.adapters.exchanges.paper.state import State
from smarttrade.adapters.storage.database import upsert

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


def load(connection: sa.Connection, state: State) -> None:
    """Fill an empty state with all that is durable."""
    for name_of_table, (table, row_type) in STORED.items():
        names = row_type.__struct_fields__
        stored = connection.execute(sa.select(*(table.c[name] for name in names)))
        state.tables[name_of_table].load(
            msgspec.convert(dict(zip(names, values, strict=True)), row_type) for values in stored
        )


def saving(state: State, changed: Iterable[Changes]) -> Callable[[sa.Connection], None]:
    """Work for a transaction that makes the present values of all changed rows durable.

    The values are taken now: the work may run later, in another thread, and twice.
    """
    puts: dict[str, list[dict[str, Any]]] = {}
    removals: dict[str, list[dict[str, Any]]] = {}
    for name, row_id in dict.fromkeys(key for changes in changed for key in changes):
        row = state.tables[name].get(row_id)
        if row is None:
            removals.setdefault(name, []).append(_key_values(STORED[name][0], row_id))
        else:
            puts.setdefault(name, []).append(msgspec.to_builtins(row))

    def save(connection: sa.Connection) -> None:
        for name, values in puts.items():
            connection.execute(upsert(connection.dialect, STORED[name][0]), values)
        for name, keys in removals.items():
            table = STORED[name][0]
            matches = (column == sa.bindparam(_parameter(column)) for column in table.primary_key)
            connection.execute(sa.delete(table).where(*matches), keys)

    return save


def _key_values(table: sa.Table, row_id: Any) -> dict[str, Any]:
    parts = row_id if isinstance(row_id, tuple) else (row_id,)
    return {_parameter(column): part for column, part in zip(table.primary_key, parts, strict=True)}


def _parameter(column: sa.ColumnElement[Any]) -> str:
    return f"key_{column.key}"
