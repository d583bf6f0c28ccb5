"""What units that do not go by themselves were shown last: a hub that is killed begins with nothing older (R22)."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shown",
        sa.Column("cluster", sa.String(), primary_key=True),
        sa.Column("overlay", sa.String(), primary_key=True),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.Column("operation", sa.String(), nullable=False),
        sa.Column("over", sa.Boolean(), nullable=False),
    )
