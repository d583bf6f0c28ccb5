"""Tables and migrations say the same, and the package brings its migrations along."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from fleet.errors import StateNotWritable
from fleet.store.schema import prepare_database
from fleet.store.tables import METADATA, SCHEMA


def test_the_migrations_make_exactly_the_tables(tmp_path: Path) -> None:
    prepare_database(tmp_path / "state.db")
    engine = create_engine(f"sqlite:///{tmp_path / 'state.db'}")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_revision() == SCHEMA
    engine.dispose()


def test_a_migration_that_breaks_off_leaves_an_empty_database(
    tmp_path: Path, full_disk: Callable[..., AbstractContextManager[None]]
) -> None:
    with full_disk(20_000), pytest.raises(StateNotWritable):
        prepare_database(tmp_path / "state.db")
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)
    prepare_database(tmp_path / "state.db")


def test_migrations_are_part_of_the_package() -> None:
    folder = files("fleet.store").joinpath("migrations")
    assert folder.joinpath("env.py").is_file()
    assert any(entry.name.startswith("v0001") for entry in folder.joinpath("versions").iterdir())


def test_a_directory_that_is_no_directory_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateNotWritable):
        prepare_database(tmp_path / "file" / "state.db")


def test_the_state_in_memory_needs_no_database_library() -> None:
    program = "import sys, fleet.store.memory; sys.exit('sqlalchemy' in sys.modules or 'alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
