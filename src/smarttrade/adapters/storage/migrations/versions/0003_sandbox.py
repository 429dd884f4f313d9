"""The sandbox: its clock, the quotes that stand, and the rules that callers defined."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "sandbox_clock",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("now", sa.BigInteger, nullable=False),
    )
    for name in ("sandbox_quotes", "sandbox_instruments"):
        op.create_table(
            name,
            sa.Column("market", sa.Text, primary_key=True),
            sa.Column("pair", sa.Text, primary_key=True),
            sa.Column("body", sa.LargeBinary, nullable=False),
        )
