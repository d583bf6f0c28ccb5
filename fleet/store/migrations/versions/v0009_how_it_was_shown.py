"""Whether a unit went by itself before it was shown a result, and whether it left since: what it goes on with (R22)."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("begun", "back"):
        op.add_column("shown", sa.Column(name, sa.Boolean(), nullable=False, server_default="0"))
