"""Orders of the paper exchange that are over are read when somebody asks for them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_paper_orders_client", "paper_orders", ["client_order_id"])
    is_open = sa.text("status = 'open'")
    op.create_index(
        "ix_paper_orders_open", "paper_orders", ["sequence"], sqlite_where=is_open, postgresql_where=is_open
    )
    op.create_index("ix_paper_fills_order", "paper_fills", ["order_sequence", "number"])
