"""Which results have which Secret values, so that those of none can go (R32); those from before count a day longer."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "vault_result",
        sa.Column("result", sa.String(), primary_key=True),
        sa.Column("at", sa.Float(), nullable=False),
    )
    op.create_table(
        "vault_use",
        sa.Column("result", sa.String(), primary_key=True),
        sa.Column("name", sa.String(), primary_key=True),
    )
    op.create_index("vault_use_by_name", "vault_use", ["name"])
    # Nobody noted whose they are. What is in use is read and noted by the first sweep; all else goes a day later.
    op.execute("INSERT INTO vault_use SELECT '', name FROM vault")
    op.execute(
        "INSERT INTO vault_result SELECT '', CAST(text AS FLOAT) + 86400 FROM value "
        "WHERE name = 'hub/run-time' AND EXISTS (SELECT 1 FROM vault)"
    )
    op.execute(
        "INSERT INTO vault_result SELECT '', 0 WHERE EXISTS (SELECT 1 FROM vault) "
        "AND NOT EXISTS (SELECT 1 FROM vault_result)"
    )
