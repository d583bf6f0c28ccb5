"""What was deleted on behalf of a commit is asked whenever a step of its rollout would delete (R9)."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("audit_by_commit", "audit", ["revision", "action"])
