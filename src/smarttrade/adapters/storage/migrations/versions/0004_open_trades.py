"""What a restart reads of the open trades. The next start fills it in, see standings.py."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "open_trades",
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("trade_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owners", sa.LargeBinary, nullable=False),
        sa.Column("levels", sa.LargeBinary, nullable=False),
        sa.Column("trails", sa.LargeBinary, nullable=False),
        sa.Column("due", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tallies",
        sa.Column("account_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("coin", sa.Text, primary_key=True),
        sa.Column("trades", sa.Integer, nullable=False),
        sa.Column("needed", sa.Text, nullable=False),
    )
    op.add_column("trail_groups", sa.Column("merged_into", sa.Integer))
    _fill_merged_into(op.get_bind())


def _fill_merged_into(connection: sa.Connection) -> None:
    """Until now only the bodies have said it."""
    groups = sa.table("trail_groups", sa.column("id"), sa.column("merged_into"), sa.column("body"))
    found = [(row.id, json.loads(row.body)) for row in connection.execute(sa.select(groups.c.id, groups.c.body))]
    merged = [{"group": group, "parent": body["merged_into"]} for group, body in found if body.get("merged_into")]
    if merged:
        change = sa.update(groups).where(groups.c.id == sa.bindparam("group"))
        connection.execute(change.values(merged_into=sa.bindparam("parent")), merged)
