"""No page of the list of trades walks through the trades that it does not show."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

FILTERED = ("status", "kind", "base", "quote", "created_at")


def upgrade() -> None:
    for name, column in {
        "updated": "updated_at",
        "closed": "closed_at",
        "profit": "profit_order",
        "percent": "percent_order",
    }.items():
        op.drop_index(f"ix_smart_trades_{name}", "smart_trades")
        columns = ["account_id", "is_open", column, "id", *FILTERED]
        op.create_index(f"ix_smart_trades_{name}", "smart_trades", columns)
    op.create_index("ix_smart_trades_quote", "smart_trades", ["account_id", "quote", "id"])
    op.create_index("ix_smart_trades_kind", "smart_trades", ["account_id", "kind", "id"])
