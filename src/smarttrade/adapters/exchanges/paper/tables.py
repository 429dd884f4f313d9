"""Tables of the paper exchange. A column is named like the field of the row it stores (rows.py).

Amounts are text: exact on every database, whatever their number of digits.
"""

import sqlalchemy as sa

metadata = sa.MetaData()

accounts = sa.Table(
    "paper_accounts",
    metadata,
    sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("market", sa.Text, nullable=False),
)

balances = sa.Table(
    "paper_balances",
    metadata,
    sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("currency", sa.Text, primary_key=True),
    sa.Column("total", sa.Text, nullable=False),
    sa.Column("reserved", sa.Text, nullable=False),
)

orders = sa.Table(
    "paper_orders",
    metadata,
    sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("client_order_id", sa.Text, nullable=False),
    sa.Column("account_id", sa.Integer, nullable=False),
    sa.Column("market", sa.Text, nullable=False),
    sa.Column("pair", sa.Text, nullable=False),
    sa.Column("side", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("price", sa.Text),
    sa.Column("quantity", sa.Text, nullable=False),
    sa.Column("reduce_only", sa.Boolean, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("filled_quantity", sa.Text, nullable=False),
    sa.Column("filled_total", sa.Text, nullable=False),
    sa.Column("lock_asset", sa.Text, nullable=False),
    sa.Column("lock_unit", sa.Text, nullable=False),
    sa.Column("locked", sa.Text, nullable=False),
    sa.Column("held", sa.BigInteger),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("created_at", sa.BigInteger, nullable=False),
    sa.Column("updated_at", sa.BigInteger, nullable=False),
)

sa.Index("ix_paper_orders_client", orders.c.client_order_id)
IS_OPEN = sa.text("status = 'open'")
sa.Index("ix_paper_orders_open", orders.c.sequence, sqlite_where=IS_OPEN, postgresql_where=IS_OPEN)

fills = sa.Table(
    "paper_fills",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("order_sequence", sa.BigInteger, nullable=False),
    sa.Column("price", sa.Text, nullable=False),
    sa.Column("quantity", sa.Text, nullable=False),
    sa.Column("fee_asset", sa.Text, nullable=False),
    sa.Column("fee_amount", sa.Text, nullable=False),
    sa.Column("filled_at", sa.BigInteger, nullable=False),
)

sa.Index("ix_paper_fills_order", fills.c.order_sequence, fills.c.number)

positions = sa.Table(
    "paper_positions",
    metadata,
    sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("market", sa.Text, primary_key=True),
    sa.Column("pair", sa.Text, primary_key=True),
    sa.Column("quantity", sa.Text, nullable=False),
    sa.Column("entry_total", sa.Text, nullable=False),
    sa.Column("margin", sa.Text, nullable=False),
)

leverages = sa.Table(
    "paper_leverages",
    metadata,
    sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("market", sa.Text, primary_key=True),
    sa.Column("pair", sa.Text, primary_key=True),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("value", sa.Text, nullable=False),
)

depths = sa.Table(
    "paper_depths",
    metadata,
    sa.Column("market", sa.Text, primary_key=True),
    sa.Column("pair", sa.Text, primary_key=True),
    sa.Column("bid_used", sa.Text, nullable=False),
    sa.Column("ask_used", sa.Text, nullable=False),
)

closures = sa.Table(
    "paper_closures",
    metadata,
    sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("market", sa.Text, primary_key=True),
    sa.Column("pair", sa.Text, primary_key=True),
    sa.Column("report", sa.JSON, nullable=False),
)

faults = sa.Table(
    "paper_faults",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("account_id", sa.Integer, nullable=False),
    sa.Column("point", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("failure_class", sa.Text),
    sa.Column("times", sa.BigInteger, nullable=False),
)

sequences = sa.Table(
    "paper_sequences",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last", sa.BigInteger, nullable=False),
)
