"""Trades, their events, and who owns them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_trades()
    create_engine_state()
    create_directory()
    op.create_table("meta", sa.Column("key", sa.Text, primary_key=True), sa.Column("value", sa.Text, nullable=False))


def create_trades() -> None:
    op.create_table(
        "smart_trades",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.Integer, nullable=False),
        sa.Column("pair", sa.Text, nullable=False),
        sa.Column("base", sa.Text, nullable=False),
        sa.Column("quote", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("profit_order", sa.Text),
        sa.Column("percent_order", sa.Text),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_smart_trades_open", "smart_trades", ["is_open", "id"])
    filtered = ["status", "kind", "base", "quote", "created_at"]
    for name, columns in (
        ("ix_smart_trades_group", ["is_open", "created_at", "id", "kind", "quote"]),
        ("ix_smart_trades_status", ["status", "created_at", "id", "kind", "quote"]),
        ("ix_smart_trades_pair", ["pair", "is_open", "created_at", "id"]),
        ("ix_smart_trades_base", ["base", "is_open", "created_at", "id"]),
        ("ix_smart_trades_updated", ["updated_at", "id", *filtered]),
        ("ix_smart_trades_closed", ["closed_at", "id", *filtered]),
        ("ix_smart_trades_profit", ["profit_order", "id", *filtered]),
        ("ix_smart_trades_percent", ["percent_order", "id", *filtered]),
    ):
        op.create_index(name, "smart_trades", ["account_id", *columns])
    op.create_table(
        "events",
        sa.Column("trade_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )


def create_engine_state() -> None:
    op.create_table(
        "trail_groups",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "sequences",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("trade_id", sa.Integer, nullable=False),
        sa.Column("step_id", sa.Integer, nullable=False),
    )
    op.create_table(
        "instruments",
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("market", sa.Text, nullable=False),
        sa.Column("pair", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_instruments_key", "instruments", ["market", "pair", "version"])


def create_directory() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("mode", sa.Text),
        sa.Column("locale", sa.Text, nullable=False),
        sa.UniqueConstraint("name", name="uq_users_name"),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", name="fk_api_keys_user"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("api_key", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
        sa.Column("permissions", sa.Text, nullable=False),
        sa.Column("networks", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.UniqueConstraint("api_key", name="uq_api_keys_api_key"),
    )
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id", name="fk_accounts_user"), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("market", sa.Text, nullable=False),
        sa.Column("include_in_summary", sa.Boolean, nullable=False),
        sa.Column("opening_balances", sa.JSON, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger),
    )
    op.create_index("ix_accounts_user", "accounts", ["user_id"])
