"""Each owner has a suspension of their own: nobody replaces or lifts another's unseen (R17)."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.rename_table("suspension", "suspension_by_scope")
    op.create_table(
        "suspension",
        sa.Column("scope", sa.String(), primary_key=True),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), primary_key=True),
        sa.Column("until", sa.String(), nullable=False),
    )
    op.execute("INSERT INTO suspension SELECT scope, reason, owner, until FROM suspension_by_scope")
    op.drop_table("suspension_by_scope")
