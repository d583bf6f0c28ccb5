"""Rows of the journal say by which version of normalised form and fingerprint they were recorded."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("journal_row", sa.Column("form", sa.Integer(), nullable=False, server_default="1"))
