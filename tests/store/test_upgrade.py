"""A database of the first schema, with a row in every table it had, opens under this version with all of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from fleet.core.ids import ClusterName, Digest
from fleet.core.record import FORM
from fleet.store.schema import prepare_database
from fleet.store.sql import open_state
from fleet.store.tables import METADATA, SCHEMA

ROWS = {
    "journal_row": {
        "cluster": "eu-1", "overlay": "web", "object": "/ConfigMap/shop/c", "state": "applied", "uid": "u-1",
        "version": "v1", "desired": "d" * 64, "fingerprint": "f" * 64, "fields": b"{}", "resource_version": "7",
        "since": 5.0,
    },
    "journal_unit": {
        "cluster": "eu-1", "overlay": "web",
        "body": b'{"unit":{"overlay":"web","cluster":"eu-1"},"bundle":null,"commit":"' + b"a" * 40 + b'"}',
    },
}  # fmt: skip


@pytest.fixture
def first_schema(tmp_path: Path) -> Path:
    """`state.db` as the first version made it."""
    path = tmp_path / "state.db"
    config = Config()
    config.set_main_option("script_location", "fleet:store/migrations")
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    return path


def sample(column: sa.Column[object], number: int) -> object:
    """A value that fits."""
    kind = column.type
    if isinstance(kind, sa.LargeBinary):
        return b"{}"
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Float):
        return 1.5
    return number if isinstance(kind, sa.Integer | sa.BigInteger) else f"{column.name}-{number}"


def fill(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Put two rows into every table; what is there then, by table."""
    engine = sa.create_engine(f"sqlite:///{path}")
    found = sa.MetaData()
    found.reflect(engine)
    with engine.begin() as connection:
        for table in found.sorted_tables:
            if table.name == "alembic_version":
                continue
            for number in (1, 2):
                values = {column.name: sample(column, number) for column in table.columns}
                known = ROWS.get(table.name, {}) if number == 1 else {}
                connection.execute(table.insert().values({**values, **known}))
    engine.dispose()
    return read(path)


def read(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """Everything, in order."""
    with closing(sqlite3.connect(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: sorted(connection.execute(f"SELECT * FROM {name}").fetchall(), key=repr)
            for name in names
            if name not in ("alembic_version", "sqlite_sequence")
        }


def test_every_row_of_the_first_schema_is_there_after_the_upgrade(first_schema: Path) -> None:
    before = fill(first_schema)
    assert len(before) >= 15
    prepare_database(first_schema)
    after = read(first_schema)
    assert before.keys() <= after.keys()
    for name, rows in before.items():
        assert [row[: len(rows[0])] for row in after[name]] == rows, name
    with closing(sqlite3.connect(first_schema)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == (SCHEMA,)
    assert {table.name for table in METADATA.sorted_tables} <= after.keys()


def upgrade_and_die(path: Path) -> None:
    """All migrations, and no commit."""
    engine, config = sa.create_engine(f"sqlite:///{path}"), Config()
    config.set_main_option("script_location", "fleet:store/migrations")
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    engine.dispose()


def test_an_upgrade_that_is_killed_leaves_the_first_schema_whole(first_schema: Path) -> None:
    before = fill(first_schema)
    upgrade_and_die(first_schema)
    assert read(first_schema) == before
    prepare_database(first_schema)


async def test_who_rejected_a_hold_before_has_rejected_it(first_schema: Path) -> None:
    with closing(sqlite3.connect(first_schema)) as connection, connection:
        for number, decision in enumerate(("rejected", "approved", ""), 1):
            values = (number, f"h-{number}", f"o-{number}", "c", 1.0, "d", b"[]", 9.0, decision, "jo", 5.0, "")
            connection.execute(f"INSERT INTO hold VALUES ({', '.join('?' * len(values))})", values)
    prepare_database(first_schema)
    with closing(sqlite3.connect(first_schema)) as connection:
        found = connection.execute("SELECT decision, rejected_at, rejected FROM hold ORDER BY number").fetchall()
    assert found == [("rejected", 5.0, b"[]"), ("approved", 0.0, None), ("", 0.0, None)]


async def test_records_of_before_read_as_of_their_form(first_schema: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{first_schema}")
    found = sa.MetaData()
    found.reflect(engine)
    with engine.begin() as connection:
        for name, values in ROWS.items():
            connection.execute(found.tables[name].insert().values(values))
    engine.dispose()
    state = await open_state(first_schema.parent, b"k" * 32)
    try:
        journal = await state.journal(ClusterName("eu-1")).load()
        assert [(row.uid, row.form) for row in journal.rows] == [("u-1", 1)]
        assert [unit.form for unit in journal.units] == [1]
        assert FORM >= 1
    finally:
        await state.close()


async def test_values_of_secrets_from_before_stay_where_they_are_in_use_and_go_a_day_later_where_not(
    first_schema: Path,
) -> None:
    now, used = 1_800_000_000.0, Digest("a" * 64)
    with closing(sqlite3.connect(first_schema)) as connection, connection:
        connection.execute("INSERT INTO value VALUES ('hub/run-time', ?)", (repr(now),))
    prepare_database(first_schema)
    state = await open_state(first_schema.parent, b"k" * 32)
    state.vault._run_time = lambda: now
    await state.vault.put(used, {"fleet-sealed:kept": b"kept", "fleet-sealed:gone": b"gone"})
    await state.close()
    with closing(sqlite3.connect(first_schema)) as connection, connection:  # as before there were uses
        for statement in (
            "DROP TABLE vault_use",
            "DROP TABLE vault_result",
            "DROP TABLE shown",
            "UPDATE alembic_version SET version_num = '0006'",
        ):
            connection.execute(statement)
    prepare_database(first_schema)
    state = await open_state(first_schema.parent, b"k" * 32)
    state.vault._run_time = lambda: now
    assert await state.vault.unknown([used]) == [used]
    assert await state.vault.use(used, ["fleet-sealed:kept"])
    for later, left in ((86_400.0, {"kept", "gone"}), (86_400.0 + 3_601.0, {"kept"})):
        state.vault._run_time = lambda later=later: now + later
        await state.vault.sweep([used])
        found = await state.vault.get(["fleet-sealed:kept", "fleet-sealed:gone"])
        assert {value.decode() for value in found.values()} == left
    await state.close()
