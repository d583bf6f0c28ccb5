"""The audit log becomes a chain; what was written before is sealed when the state is opened, where the key is known."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("uid_after", "approver", "seal"):
        op.add_column("audit", sa.Column(name, sa.String(), nullable=False, server_default=""))
