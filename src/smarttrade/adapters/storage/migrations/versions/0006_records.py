"""What a restart reads of the open trades is one value now, and merged trailing groups are nothing but two ids."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

AT_ONCE = 10_000


def upgrade() -> None:
    op.drop_table("open_trades")  # the next start makes it again from the trades, see standings.py
    op.create_table(
        "open_trades",
        sa.Column("market", sa.Text, primary_key=True),
        sa.Column("pair", sa.Text, primary_key=True),
        sa.Column("trade_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "merged_trail_groups",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("pair", sa.LargeBinary, nullable=False),
    )
    _move_merged(op.get_bind())
    op.drop_column("trail_groups", "merged_into")


def _move_merged(connection: sa.Connection) -> None:
    groups = sa.table("trail_groups", sa.column("id"), sa.column("merged_into"))
    merged = sa.table("merged_trail_groups", sa.column("id"), sa.column("pair"))
    found = connection.execute(sa.select(groups).where(groups.c.merged_into.is_not(None)))
    for part in found.partitions(AT_ONCE):
        rows = [{"id": row.id, "pair": (row.merged_into << 32 | row.id).to_bytes(8, "little")} for row in part]
        connection.execute(sa.insert(merged), rows)
    connection.execute(sa.delete(groups).where(groups.c.merged_into.is_not(None)))
