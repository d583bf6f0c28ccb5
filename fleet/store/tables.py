"""The tables of the hub's state: real columns for what is looked up, one JSON column for what is read whole.

The schema is made by the migrations alone; a test holds the two together. Times are wall-clock seconds. Text is ""
where there is nothing, so that no query needs to think about NULL.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

SCHEMA = "0009"  # the newest migration; a database that says so is opened without looking at migrations

METADATA = MetaData()

# SQLite numbers rows by itself only for INTEGER; other databases want 64 bits for rows that are never reused.
_SERIAL = BigInteger().with_variant(Integer, "sqlite")

VALUES = Table("value", METADATA, Column("name", String, primary_key=True), Column("text", String, nullable=False))

COUNTERS = Table(
    "counter", METADATA, Column("name", String, primary_key=True), Column("number", BigInteger, nullable=False)
)

IDENTITIES = Table(
    "cluster_identity",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("identity", String, nullable=False),
)

CLUSTER_REPORTS = Table(
    "cluster_report",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

UNIT_REPORTS = Table(
    "unit_report",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("overlay", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

RELEASED = Table(
    "released",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("overlay", String, primary_key=True),
    Column("revision", String, nullable=False),
    Column("bundle", String, nullable=False),
)

# What units that do not go by themselves were shown last, and did not hold.
SHOWN = Table(
    "shown",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("overlay", String, primary_key=True),
    Column("revision", String, nullable=False),
    Column("bundle", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("over", Boolean, nullable=False),
    Column("begun", Boolean, nullable=False, server_default="0"),
    Column("back", Boolean, nullable=False, server_default="0"),
)

EVENTS = Table(
    "event",
    METADATA,
    Column("id", _SERIAL, primary_key=True),
    Column("at", Float, nullable=False),
    Column("kind", String, nullable=False),
    Column("cluster", String, nullable=False),
    Column("overlay", String, nullable=False),
    Column("message", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("object", String, nullable=False),
    Index("event_by_cluster", "cluster", "id"),
    Index("event_by_overlay", "overlay", "id"),
    sqlite_autoincrement=True,
)

AUDIT = Table(
    "audit",
    METADATA,
    Column("id", _SERIAL, primary_key=True),
    Column("at", Float, nullable=False),
    Column("actor", String, nullable=False),
    Column("action", String, nullable=False),
    Column("cluster", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("unit", String, nullable=False),
    Column("object", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("uid_after", String, nullable=False, server_default=""),
    Column("approver", String, nullable=False, server_default=""),
    Column("seal", String, nullable=False, server_default=""),
    Index("audit_by_commit", "revision", "action"),
    sqlite_autoincrement=True,
)

OPERATIONS = Table(
    "operation",
    METADATA,
    Column("number", _SERIAL, primary_key=True),
    Column("id", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("target", String, nullable=False),
    Column("actor", String, nullable=False),
    Column("requested_at", Float, nullable=False),
    Column("reason", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("message", String, nullable=False),
    Column("ended_at", Float, nullable=False),
    Column("idempotency_key", String, nullable=False),
    Column("override", Boolean, nullable=False),
    UniqueConstraint("id", name="operation_id"),
    Index("operation_by_key", "actor", "idempotency_key"),
    Index("operation_by_outcome", "outcome", "number"),
    sqlite_autoincrement=True,
)

SUSPENSIONS = Table(
    "suspension",
    METADATA,
    Column("scope", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("owner", String, primary_key=True),
    Column("until", String, nullable=False),
)

HOLDS = Table(
    "hold",
    METADATA,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("id", String, nullable=False),
    Column("overlay", String, nullable=False),
    Column("revision", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("list_digest", String, nullable=False),
    Column("requests", LargeBinary, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("decision", String, nullable=False),
    Column("decided_by", String, nullable=False),
    Column("decided_at", Float, nullable=False),
    Column("reason", String, nullable=False),
    Column("rejected_at", Float, nullable=False, server_default="0"),
    Column("rejected", LargeBinary, nullable=True),
    UniqueConstraint("id", name="hold_id"),
    UniqueConstraint("overlay", "revision", name="hold_of_commit"),
)

TOKENS = Table(
    "token",
    METADATA,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("revoked_at", Float, nullable=False),
    UniqueConstraint("digest", name="token_digest"),
)

CREDENTIALS = Table(
    "credential",
    METADATA,
    Column("name", String, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
)

VAULT = Table(
    "vault", METADATA, Column("name", String, primary_key=True), Column("sealed", LargeBinary, nullable=False)
)

# Results that have Secret values, and which: at is when a result was last in use, on the clock of the run time.
VAULT_RESULTS = Table(
    "vault_result", METADATA, Column("result", String, primary_key=True), Column("at", Float, nullable=False)
)

VAULT_USES = Table(
    "vault_use",
    METADATA,
    Column("result", String, primary_key=True),
    Column("name", String, primary_key=True),
    Index("vault_use_by_name", "name"),
)

JOURNAL_CLUSTERS = Table(
    "journal_cluster",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("identity", String, nullable=False),
)

JOURNAL_ROWS = Table(
    "journal_row",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("overlay", String, primary_key=True),
    Column("object", String, primary_key=True),
    Column("state", String, nullable=False),
    Column("uid", String, nullable=False),
    Column("version", String, nullable=False),
    Column("desired", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("fields", LargeBinary, nullable=False),
    Column("resource_version", String, nullable=False),
    Column("since", Float, nullable=False),
    Column("form", Integer, nullable=False, server_default="1"),
)

JOURNAL_UNITS = Table(
    "journal_unit",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("overlay", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)

JOURNAL_RESUME = Table(
    "journal_resume",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("resource_version", String, nullable=False),
)

JOURNAL_DELETIONS = Table(
    "journal_deletion",
    METADATA,
    Column("id", _SERIAL, primary_key=True),
    Column("cluster", String, nullable=False),
    Column("overlay", String, nullable=False),
    Column("object", String, nullable=False),
    Column("at", Float, nullable=False),
    Index("journal_deletion_by_cluster", "cluster", "at"),
    sqlite_autoincrement=True,
)

JOURNAL_VERDICTS = Table(
    "journal_verdict",
    METADATA,
    Column("cluster", String, primary_key=True),
    Column("question", String, primary_key=True),
    Column("in_sync", Boolean, nullable=False),
)

# In all of these the cluster is the first column of the primary key, or a plain one.
_JOURNAL = (
    JOURNAL_CLUSTERS,
    JOURNAL_ROWS,
    JOURNAL_UNITS,
    JOURNAL_RESUME,
    JOURNAL_DELETIONS,
    JOURNAL_VERDICTS,
)
BY_CLUSTER = (CLUSTER_REPORTS, UNIT_REPORTS, *_JOURNAL)  # what is forgotten with a cluster
OF_RECORD = (IDENTITIES, RELEASED, SHOWN, *_JOURNAL)  # what is known of its objects, under whichever name
