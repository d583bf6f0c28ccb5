"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("action", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("unit", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "cluster_identity",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("cluster"),
    )
    op.create_table(
        "cluster_report",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cluster"),
    )
    op.create_table(
        "counter",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "credential",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "event",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("event_by_cluster", "event", ["cluster", "id"], unique=False)
    op.create_index("event_by_overlay", "event", ["overlay", "id"], unique=False)
    op.create_table(
        "hold",
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("list_digest", sa.String(), nullable=False),
        sa.Column("requests", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_at", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id", name="hold_id"),
        sa.UniqueConstraint("overlay", "revision", name="hold_of_commit"),
    )
    op.create_table(
        "journal_cluster",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("cluster"),
    )
    op.create_table(
        "journal_deletion",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("journal_deletion_by_cluster", "journal_deletion", ["cluster", "at"], unique=False)
    op.create_table(
        "journal_resume",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("resource_version", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "kind"),
    )
    op.create_table(
        "journal_row",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("object", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("uid", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("desired", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("fields", sa.LargeBinary(), nullable=False),
        sa.Column("resource_version", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "overlay", "object"),
    )
    op.create_table(
        "journal_unit",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "overlay"),
    )
    op.create_table(
        "journal_verdict",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("question", sa.String(), nullable=False),
        sa.Column("in_sync", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "question"),
    )
    op.create_table(
        "operation",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("message", sa.String(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=False),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("override", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id", name="operation_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("operation_by_key", "operation", ["actor", "idempotency_key"], unique=False)
    op.create_index("operation_by_outcome", "operation", ["outcome", "number"], unique=False)
    op.create_table(
        "released",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("bundle", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "overlay"),
    )
    op.create_table(
        "suspension",
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("until", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("scope"),
    )
    op.create_table(
        "token",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
        sa.Column("revoked_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest", name="token_digest"),
    )
    op.create_table(
        "unit_report",
        sa.Column("cluster", sa.String(), nullable=False),
        sa.Column("overlay", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("cluster", "overlay"),
    )
    op.create_table(
        "value",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "vault",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
