"""Every filter of the list of trades is a few runs of one index, in the order that is wanted."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

DROPPED = ("group", "status", "pair", "base", "quote", "kind", "updated", "closed", "profit", "percent")
NEW = {
    "created": (["created_at", "id"], None),
    "updated": (["updated_at", "id", "created_at"], None),
    "open": (["id", "created_at", "is_open"], "is_open = 1"),
    "closed": (["closed_at", "id", "created_at", "is_open"], "is_open = 0"),
    "profit": (["profit_order", "id", "created_at", "is_open"], "is_open = 0"),
    "percent": (["percent_order", "id", "created_at", "is_open"], "is_open = 0"),
}


def upgrade() -> None:
    for name in DROPPED:
        op.drop_index(f"ix_smart_trades_{name}", "smart_trades")
    for asset in ("quote", "pair"):
        for name, (columns, where) in NEW.items():
            op.create_index(
                f"ix_smart_trades_{asset}_{name}",
                "smart_trades",
                ["account_id", asset, "kind", "status", *columns],
                sqlite_where=None if where is None else sa.text(where),
            )
