"""A look at the state from outside, also while a hub runs: what it is, whether the key opens it, what it holds."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from fleet.errors import StateDamaged, StateError
from fleet.ports.state import INSTALLATION
from fleet.store.crypto import DATABASE_FILE, Cipher, FoundKey, name_of_key
from fleet.store.rotation import SEALED_TABLES
from fleet.store.sealed import KEY_CHECK, KEY_NAMES, KEY_ROOT, KeysInUse, keys_in_use
from fleet.store.tables import CREDENTIALS
from fleet.store.trouble import state_error_of
from fleet.values import dataclass, field

_VALUE = "SELECT text FROM value WHERE name = ?"


@dataclass(frozen=True, slots=True)
class StateFacts:
    """What one database says. credentials: kubeconfigs by name, in clear; empty where the key does not open them."""

    schema: str
    installation: str
    clusters: int
    audit_entries: int
    keys: KeysInUse
    credentials: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    older: Mapping[str, int] = field(default_factory=dict[str, int])  # entries that need a key beside the first, by key
    unreadable: tuple[str, ...] = ()  # entries that no key opens


def inspect_state(data_dir: Path, found: FoundKey | None) -> StateFacts | None:
    """Read the facts; None where there is no state yet. Blocking; raises StateError, StateDamaged."""
    path = data_dir / DATABASE_FILE
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            return _read(connection, found)
    except sqlite3.Error as error:
        raise state_error_of(error, str(path)) or StateError(
            "the state database cannot be read",
            where=str(path),
            why=str(error),
            next_step="is it a newer or older fleet's? restore it from a backup: fleet restore",
        ) from error


def _read(connection: sqlite3.Connection, found: FoundKey | None) -> StateFacts:
    def one(query: str, *values: str) -> str:
        row = connection.execute(query, values).fetchone()
        return str(row[0]) if row else ""

    credentials, older, unreadable = dict[str, bytes](), Counter[str](), list[str]()
    cipher = Cipher(*(found.keys if found is not None else ()))
    in_use = keys_in_use(cipher, one(_VALUE, KEY_CHECK), one(_VALUE, KEY_NAMES))
    if found is not None and in_use.all_here:
        older.update(name for name in in_use.names if name != name_of_key(found.key))
        for table, prefix in SEALED_TABLES:
            for name, sealed in connection.execute(f"SELECT name, sealed FROM {table.name} ORDER BY name"):  # noqa: S608
                try:
                    place, value = cipher.open_with(f"{prefix}/{name}", sealed)
                except StateDamaged:
                    unreadable.append(f"{prefix} {name}")
                    continue
                older.update([name_of_key(found.keys[place])] if place else [])
                if table is CREDENTIALS:
                    credentials[name] = value
    return StateFacts(
        schema=one("SELECT version_num FROM alembic_version"),
        installation=one(_VALUE, f"hub/{INSTALLATION}"),
        clusters=int(one("SELECT count(*) FROM cluster_identity")),
        audit_entries=int(one("SELECT count(*) FROM audit")),
        keys=in_use,
        credentials=credentials,
        older=older,
        unreadable=tuple(unreadable),
    )


def root_of(data_dir: Path, found: FoundKey) -> bytes:
    """What the chain of the audit log is derived from; the oldest key where no state tells."""
    path = data_dir / DATABASE_FILE
    oldest = found.keys[-1]
    if not path.exists():
        return oldest
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=10)) as connection:
            row = connection.execute(_VALUE, (KEY_ROOT,)).fetchone()
        return oldest if row is None else Cipher(*found.keys).open(KEY_ROOT, bytes.fromhex(row[0]))
    except (sqlite3.Error, StateDamaged, ValueError):
        return oldest  # a log of another key, or of none, does not verify under it
