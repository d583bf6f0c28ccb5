"""Database errors in the words of fleet: what may pass by itself, what needs hands, what is a bug."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

from fleet.errors import StateDamaged, StateError, StateNotWritable

_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
_NOT_WRITABLE = {
    "SQLITE_FULL": ("the disk is full", "free space; writing goes on by itself"),
    "SQLITE_READONLY": ("the file or its file system is read-only", "make it writable; writing goes on by itself"),
    "SQLITE_IOERR": ("the disk answers with an error", "check disk and quota; writing goes on by itself"),
    "SQLITE_CANTOPEN": ("a file cannot be opened", "check rights, space and descriptors"),
    "SQLITE_BUSY": ("another process holds the database", "end the process that holds it open"),
    "SQLITE_LOCKED": ("another process holds the database", "end the process that holds it open"),
    "SQLITE_NOMEM": ("memory is short", "give the hub more memory"),
    "SQLITE_PERM": ("access is denied", "make the data directory writable"),
}


def state_error_of(error: BaseException, where: str) -> StateError | None:
    """The StateError that this database error means; None where it is a bug, or no database error at all."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, BaseException) and not isinstance(cause, sqlite3.Error):
        cause = cause.__cause__ if isinstance(cause.__cause__, sqlite3.Error) else cause
    if not isinstance(cause, sqlite3.Error):
        return None
    name = getattr(cause, "sqlite_errorname", "") or ""
    if name.startswith(_DAMAGED):
        return StateDamaged(
            "the state database is damaged",
            where=where,
            why=str(cause),
            next_step="restore it from a backup, or move the data directory away and run fleet recover",
        )
    for prefix, (why, next_step) in _NOT_WRITABLE.items():
        if name.startswith(prefix):
            return StateNotWritable("the state cannot be written", where=where, why=why, next_step=next_step)
    return None
