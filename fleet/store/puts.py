"""What shall be written, folded: of several puts and drops of one key only the last one counts.

Folding is what makes a shared commit cheap: the puts of many callers become one statement per table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Connection, Delete, Table, and_, bindparam
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Insert

# Values as they go to the database driver.
Values = Mapping[str, Any]
Key = tuple[str, ...]


class Puts:
    """Rows to put or drop by primary key, rows to take out by what they say, and after that rows to append in order."""

    def __init__(self) -> None:
        self.rows: dict[Table, dict[Key, Values | None]] = {}
        self.appends: dict[Table, list[Values]] = {}
        self.taken_out: dict[Table, list[Values]] = {}

    def __bool__(self) -> bool:
        return any(self.rows.values()) or any(self.appends.values()) or any(self.taken_out.values())

    def put(self, table: Table, values: Values) -> None:
        """Insert or replace one row; `values` has all columns."""
        key = tuple(values[column.name] for column in table.primary_key)
        self.rows.setdefault(table, {})[key] = values

    def drop(self, table: Table, *key: str) -> None:
        """Delete one row by its whole primary key."""
        self.rows.setdefault(table, {})[key] = None

    def append(self, table: Table, values: Values) -> None:
        """Insert one row that the database numbers."""
        self.appends.setdefault(table, []).append(values)

    def take_out(self, table: Table, values: Values) -> None:
        """Delete all rows that were appended before, and have all these values."""
        self.taken_out.setdefault(table, []).append(values)
        if appended := self.appends.get(table):
            appended[:] = [row for row in appended if not values.items() <= row.items()]

    def merge(self, newer: Puts) -> None:
        """Take all of `newer` over this."""
        for table, rows in newer.rows.items():
            self.rows.setdefault(table, {}).update(rows)
        for table, each in newer.taken_out.items():
            for values in each:
                self.take_out(table, values)
        for table, values in newer.appends.items():
            self.appends.setdefault(table, []).extend(values)

    def forget(self, newer: Puts) -> None:
        """Take out the keys that `newer` writes: those are decided already."""
        for table, rows in newer.rows.items():
            if mine := self.rows.get(table):
                for key in rows:
                    mine.pop(key, None)

    def forget_where(self, matches: Callable[[Table, Key], bool]) -> None:
        """Take out all keys that match."""
        for table, rows in self.rows.items():
            for key in [key for key in rows if matches(table, key)]:
                del rows[key]

    def write(self, connection: Connection) -> None:
        """Write everything: one statement per table and kind."""
        for table, rows in self.rows.items():
            if dropped := [_named(table, key) for key, values in rows.items() if values is None]:
                connection.execute(_delete_by_key(table), dropped)
            if kept := [values for values in rows.values() if values is not None]:
                connection.execute(_upsert(table, connection.dialect.name), kept)
        for table, values in self.taken_out.items():
            for each in values:
                found = and_(*(table.c[name] == value for name, value in each.items()))
                connection.execute(table.delete().where(found))
        for table, values in self.appends.items():
            connection.execute(table.insert().inline(), values)


def _named(table: Table, key: Key) -> Values:
    return {f"key_{column.name}": value for column, value in zip(table.primary_key, key, strict=True)}


@cache
def _delete_by_key(table: Table) -> Delete:
    return table.delete().where(and_(*(column == bindparam(f"key_{column.name}") for column in table.primary_key)))


@cache
def _upsert(table: Table, dialect: str) -> Insert:
    """Insert or replace, in the dialect's own words."""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    if not changed:
        return insert.on_conflict_do_nothing(index_elements=keys)
    return insert.on_conflict_do_update(index_elements=keys, set_=changed)
