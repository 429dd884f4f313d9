"""The schema, as SQLAlchemy Core tables. Migrations build it; a test compares the two.

Values that only the engine reads live whole in `body` (JSON of the domain value); beside it stand the columns that
lists filter and order by. Money never becomes a binary float here: SQLite's NUMERIC is one, so the order of amounts is
kept as text of fixed width (`sort_key`), which compares exactly in every database.
"""

from decimal import Decimal
from typing import Final

import sqlalchemy as sa

from smarttrade.domain.money import ONE

SORT_KEY_OFFSET: Final = ONE.scaleb(25)
SORT_KEY_PLACES: Final = 20
SORT_KEY_WIDTH: Final = 46
"""26 digits before the point (offset included) and 20 after it: beyond any amount of money, below any coin's unit."""

metadata = sa.MetaData()

smart_trades = sa.Table(
    "smart_trades",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.Integer, nullable=False),
    sa.Column("pair", sa.Text, nullable=False),
    sa.Column("base", sa.Text, nullable=False),  # upper case
    sa.Column("quote", sa.Text, nullable=False),  # upper case
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("is_open", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("closed_at", sa.BigInteger),
    sa.Column("profit_order", sa.Text),  # sort_key of the frozen profit; NULL: open, or nothing entered
    sa.Column("percent_order", sa.Text),  # sort_key of the frozen percent; NULL: open
    sa.Column("body", sa.LargeBinary, nullable=False),
)
sa.Index("ix_smart_trades_open", smart_trades.c.is_open, smart_trades.c.id)
_IN_ORDER: Final = {  # columns behind those that a run has in common (trade_lists.py), and of which trades
    # is_open is there because SQLite looks up what an index is for, row by row, unless the index can tell
    "created": (("created_at", "id"), None),
    "updated": (("updated_at", "id", "created_at"), None),
    "open": (("id", "created_at", "is_open"), smart_trades.c.is_open == sa.true()),
    "closed": (("closed_at", "id", "created_at", "is_open"), smart_trades.c.is_open == sa.false()),
    "profit": (("profit_order", "id", "created_at", "is_open"), smart_trades.c.is_open == sa.false()),
    "percent": (("percent_order", "id", "created_at", "is_open"), smart_trades.c.is_open == sa.false()),
}
for _asset in ("quote", "pair"):
    for _name, (_columns, _of) in _IN_ORDER.items():
        sa.Index(
            f"ix_smart_trades_{_asset}_{_name}",
            *(smart_trades.c[column] for column in ("account_id", _asset, "kind", "status", *_columns)),
            sqlite_where=_of,
            postgresql_where=_of,
        )

events = sa.Table(
    "events",
    metadata,
    sa.Column("trade_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.BigInteger, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

open_trades = sa.Table(  # what a restart reads of them; follows from the trades (engine/standing.py)
    "open_trades",
    metadata,
    sa.Column("market", sa.Text, primary_key=True),
    sa.Column("pair", sa.Text, primary_key=True),
    sa.Column("trade_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("records", sa.LargeBinary, nullable=False),
    sqlite_with_rowid=False,  # trades of one pair lie together
)

tallies = sa.Table(  # sums over the open trades (engine/tallies.py)
    "tallies",
    metadata,
    sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("coin", sa.Text, primary_key=True),
    sa.Column("trades", sa.Integer, nullable=False),
    sa.Column("needed", sa.Text, nullable=False),
)

trail_groups = sa.Table(
    "trail_groups",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

merged_trail_groups = sa.Table(  # there may be one for each open trade
    "merged_trail_groups",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("pair", sa.LargeBinary, nullable=False),  # its id and the one that it leads to (engine/merged_ids.py)
)

sequences = sa.Table(
    "sequences",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),  # the only row is 1
    sa.Column("trade_id", sa.Integer, nullable=False),
    sa.Column("step_id", sa.Integer, nullable=False),
)

instruments = sa.Table(
    "instruments",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("market", sa.Text, nullable=False),
    sa.Column("pair", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)
sa.Index("ix_instruments_key", instruments.c.market, instruments.c.pair, instruments.c.version)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("mode", sa.Text),
    sa.Column("locale", sa.Text, nullable=False),
    sa.UniqueConstraint("name", name="uq_users_name"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", name="fk_api_keys_user"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("api_key", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
    sa.Column("permissions", sa.Text, nullable=False),  # comma-separated
    sa.Column("networks", sa.Text, nullable=False),  # comma-separated CIDR; empty: every address
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("revoked_at", sa.BigInteger),
    sa.UniqueConstraint("api_key", name="uq_api_keys_api_key"),
)

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", name="fk_accounts_user"), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("market", sa.Text, nullable=False),
    sa.Column("include_in_summary", sa.Boolean, nullable=False),
    sa.Column("opening_balances", sa.JSON, nullable=False),  # amount as text by currency
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
    sa.Column("removed_at", sa.BigInteger),
)
sa.Index("ix_accounts_user", accounts.c.user_id)

meta = sa.Table(
    "meta",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


def sort_key(amount: Decimal | None) -> str | None:
    """Text whose alphabetical order is the numerical order of `amount`, exact to 20 decimals within +-10^25."""
    if amount is None:
        return None
    bounded = min(max(amount, -SORT_KEY_OFFSET), 9 * SORT_KEY_OFFSET - 1)
    return f"{int((bounded + SORT_KEY_OFFSET).scaleb(SORT_KEY_PLACES)):0{SORT_KEY_WIDTH}d}"
