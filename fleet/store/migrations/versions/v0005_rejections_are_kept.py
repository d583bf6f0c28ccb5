"""A hold that asks by another list keeps that a person rejected the one before (R9)."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("hold", sa.Column("rejected_at", sa.Float(), nullable=False, server_default="0"))
    op.add_column("hold", sa.Column("rejected", sa.LargeBinary(), nullable=True))
    op.execute("UPDATE hold SET rejected_at = decided_at, rejected = requests WHERE decision = 'rejected'")
