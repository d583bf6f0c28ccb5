"""Bring the database file to this version's schema, in one transaction, before anything else opens it.

A database that is at the newest schema already is recognised by one query, without loading the migrations.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import StateDamaged, StateError, StateNewer, StateNotWritable
from fleet.store.tables import SCHEMA
from fleet.store.trouble import state_error_of

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection


def prepare_database(path: Path) -> None:
    """Check and upgrade a SQLite file (made if absent). Blocking.

    Raises StateNewer, StateDamaged or StateNotWritable; on any of them the file is as it was before.
    """
    try:
        found = _schema_of(path)
        if found == SCHEMA:
            return
        if found is not None and found not in known_schemas():
            raise StateNewer(
                "the state was written by a newer fleet",
                where=str(path),
                why=f"its schema is {found}, this version knows up to {SCHEMA}",
                next_step="run the newer version, or restore a backup from before the upgrade",
            )
        _upgrade(path)
    except sqlite3.Error as error:
        raise state_error_of(error, str(path)) or StateError(
            "the state cannot be opened", where=str(path), why=type(error).__name__, next_step="see the log"
        ) from error
    except OSError as error:
        raise StateNotWritable(
            "the state cannot be opened",
            where=str(path),
            why=error.strerror or type(error).__name__,
            next_step="make the data directory writable",
        ) from error


def _schema_of(path: Path) -> str | None:
    """The schema's version; None for a new file."""
    # Made here, so that it is nobody else's to read; SQLite gives its side files the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not names:
            return None
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()
        version = None
        if "alembic_version" in names:
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if verdict != ("ok",) or version is None:
            raise StateDamaged(
                "the state database is damaged",
                where=str(path),
                why=str(verdict[0]) if verdict != ("ok",) else "it does not say which schema it has",
                next_step="restore it from a backup, or move the data directory away and run fleet recover",
            )
        return str(version[0])


def known_schemas() -> frozenset[str]:
    """Every schema that this version can upgrade from, and its own."""
    from alembic.script import ScriptDirectory

    return frozenset(script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions())


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


def _upgrade(path: Path) -> None:
    from alembic import command
    from sqlalchemy import create_engine, event
    from sqlalchemy.exc import DBAPIError

    engine = create_engine(f"sqlite:///{path}")

    @event.listens_for(engine, "connect")
    def say_begin_ourselves(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    config = _config()
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except DBAPIError as error:
        raise state_error_of(error, str(path)) or error from error
    finally:
        engine.dispose()
