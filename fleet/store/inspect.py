"""A look at the state from outside, also while a hub runs: what it is, whether the key opens it, what it holds."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from fleet.errors import StateDamaged, StateError
from fleet.ports.state import INSTALLATION
from fleet.store.crypto import DATABASE_FILE, Cipher
from fleet.store.sealed import KEY_CHECK
from fleet.store.trouble import state_error_of
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What one database says. credentials: kubeconfigs by name, in clear; empty where the key does not open them."""

    schema: str
    installation: str
    clusters: int
    audit_entries: int
    key_opens: bool
    credentials: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)


def inspect_state(data_dir: Path, key: bytes | None) -> StateFacts | None:
    """Read the facts; None where there is no state yet. Blocking; raises StateError, StateDamaged."""
    path = data_dir / DATABASE_FILE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            return _read(connection, key)
    except sqlite3.Error as error:
        raise state_error_of(error, str(path)) or StateError(
            "the state database cannot be read",
            where=str(path),
            why=str(error),
            next_step="is it a newer or older fleet's? restore it from a backup: fleet restore",
        ) from error


def _read(connection: sqlite3.Connection, key: bytes | None) -> StateFacts:
    def one(query: str, *values: str) -> str:
        row = connection.execute(query, values).fetchone()
        return str(row[0]) if row else ""

    opens, credentials = False, dict[str, bytes]()
    check = one("SELECT text FROM value WHERE name = ?", KEY_CHECK)
    if key is not None:
        cipher = Cipher(key)
        try:
            if check:
                cipher.open(KEY_CHECK, bytes.fromhex(check))
            opens = True
            for name, sealed in connection.execute("SELECT name, sealed FROM credential ORDER BY name"):
                credentials[name] = cipher.open(f"credential/{name}", sealed)
        except (StateDamaged, ValueError):
            opens, credentials = False, {}
    return StateFacts(
        schema=one("SELECT version_num FROM alembic_version"),
        installation=one("SELECT text FROM value WHERE name = ?", f"hub/{INSTALLATION}"),
        clusters=int(one("SELECT count(*) FROM cluster_identity")),
        audit_entries=int(one("SELECT count(*) FROM audit")),
        key_opens=opens,
        credentials=credentials,
    )
