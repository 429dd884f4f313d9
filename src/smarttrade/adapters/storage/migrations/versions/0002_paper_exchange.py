"""The paper exchange: accounts, balances, orders, fills, positions and scripted faults."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "paper_accounts",
        sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("market", sa.Text, nullable=False),
    )
    op.create_table(
        "paper_balances",
        sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("currency", sa.Text, primary_key=True),
        sa.Column("total", sa.Text, nullable=False),
        sa.Column("reserved", sa.Text, nullable=False),
    )
    op.create_table(
        "paper_orders",
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
    op.create_table(
        "paper_fills",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("order_sequence", sa.BigInteger, nullable=False),
        sa.Column("price", sa.Text, nullable=False),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("fee_asset", sa.Text, nullable=False),
        sa.Column("fee_amount", sa.Text, nullable=False),
        sa.Column("filled_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "paper_positions",
        sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("quantity", sa.Text, nullable=False),
        sa.Column("entry_total", sa.Text, nullable=False),
        sa.Column("margin", sa.Text, nullable=False),
    )
    op.create_table(
        "paper_leverages",
        sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_table(
        "paper_depths",
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("bid_used", sa.Text, nullable=False),
        sa.Column("ask_used", sa.Text, nullable=False),
    )
    op.create_table(
        "paper_closures",
        sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("report", sa.JSON, nullable=False),
    )
    op.create_table(
        "paper_faults",
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("point", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("failure_class", sa.Text),
        sa.Column("times", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "paper_sequences",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("last", sa.BigInteger, nullable=False),
    )
