"""Restoring a backup: verified and prepared in a folder beside, put in place by one rename as the last step.

A restored state may be older than what the clusters show, so it observes only: each unit's record waits for
`fleet recover --confirm` (R24), and records that the clusters know better are rebuilt from there.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path

from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.leaving import Leaving, decode_leaving, encode_leaving
from fleet.core.planning.approval import ApprovalState, approvals_of_text, approvals_text
from fleet.core.wipe import WIPE
from fleet.errors import (
    BackupForeign,
    BackupOutdated,
    StateDamaged,
    StateError,
    StateNewer,
    StateNotWritable,
    UsageInvalid,
)
from fleet.ports.state import APPROVALS, BELIEVED, LEAVING, RECOVERED
from fleet.ports.worker import UnitMemory
from fleet.store.backup import Manifest, OpenedBackup, installation_of, unpack
from fleet.store.crypto import DATABASE_FILE, KEY_FILE, FoundKey, write_key
from fleet.store.encode import decode_memory, encode_memory
from fleet.store.hold_rules import VOID
from fleet.store.lock import DirectoryLock
from fleet.store.schema import known_schemas
from fleet.store.sql import open_state
from fleet.store.tables import SCHEMA
from fleet.values import dataclass

_PREPARED = ".restore-"
_SIDES = ("-wal", "-shm", "-journal")  # what SQLite may leave beside a database
_SINCE = "a backup was restored meanwhile"


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place."""

    manifest: Manifest
    kept: Path | None  # the state that was there before
    key_written: bool
    revoked: Sequence[str]  # names of tokens that were in force in the backup
    suspended: Sequence[str]  # scopes that are suspended by command in it


async def restore_backup(
    file: Path, data_dir: Path, found: FoundKey | None, *, replace_state: bool, upgrade: bool, at: float
) -> Restored:
    """Put a backup into a data directory that no hub uses.

    Raises StateInUse, BackupInvalid, BackupForeign, BackupOutdated, StateNewer, StateDamaged, UsageInvalid,
    StateNotWritable; then the directory holds what it held before.
    """
    lock = DirectoryLock(data_dir)
    try:
        present = (data_dir / DATABASE_FILE).exists()
        if present and not replace_state:
            raise UsageInvalid(
                "this data directory holds a state already",
                where=str(data_dir),
                next_step="name an empty one with --data-dir, or give --replace: the old state is kept beside it",
            )
        _sweep(data_dir)
        with tempfile.TemporaryDirectory(prefix=_PREPARED, dir=data_dir) as folder:
            opened = unpack(file, found, Path(folder))
            manifest = opened.manifest
            _check_schema(manifest, file, upgrade=upgrade)
            if present:
                _check_same(data_dir, manifest, file)
            revoked, suspended = await _prepare(Path(folder), opened, at)
            kept = _put_in_place(Path(folder), data_dir, opened, at)
            return Restored(manifest, kept, opened.brings_key, revoked, suspended)
    finally:
        lock.release()


def _sweep(data_dir: Path) -> None:
    """Remove what a restore that was killed left behind."""
    for left in data_dir.glob(f"{_PREPARED}*"):
        shutil.rmtree(left, ignore_errors=True)


def _check_schema(manifest: Manifest, file: Path, *, upgrade: bool) -> None:
    found = manifest.db_schema
    if found == SCHEMA:
        return
    if found not in known_schemas():
        raise StateNewer(
            "the backup was made by a newer fleet",
            where=str(file),
            why=f"its schema is {found} (fleet {manifest.fleet}), this version knows up to {SCHEMA}",
            next_step=f"restore it with fleet {manifest.fleet} or newer",
        )
    if not upgrade:
        raise BackupOutdated(
            "the backup was made by an older fleet",
            where=str(file),
            why=f"its schema is {found} (fleet {manifest.fleet}), this version writes {SCHEMA}",
            next_step="give --upgrade to bring the restored copy to this schema; the backup itself stays as it is",
        )


def _check_same(data_dir: Path, manifest: Manifest, file: Path) -> None:
    """Refuse to replace the state of another installation; one that does not read cannot say, and is kept aside."""
    try:
        here = installation_of(data_dir / DATABASE_FILE)
    except StateError:
        return
    if here and manifest.installation and here != manifest.installation:
        raise BackupForeign(
            "the backup is of another installation",
            where=str(file),
            why=f"it is of {manifest.installation!r}, this data directory of {here!r}",
            next_step="name another directory with --data-dir",
        )


async def _prepare(folder: Path, opened: OpenedBackup, at: float) -> tuple[Sequence[str], Sequence[str]]:
    """Bring the copy to this schema and under this machine's first key, which alone opens it then, and let it observe
    only; tokens revoked, scopes suspended.
    """
    key, *older = opened.keys
    state = await open_state(folder, key, older=older)
    keys = state.keys(lambda: FoundKey(key, str(folder), tuple(older)))
    if (await keys.look()).is_due:
        await keys.turn()
    revoked = [row.name for row in await state.tokens() if row.is_in_force(at)]
    suspended = sorted(suspension.scope for suspension in await state.suspensions())
    await state.close()
    with closing(sqlite3.connect(folder / DATABASE_FILE)) as connection, connection:
        _let_observe_only(connection, at)
    state = await open_state(folder, key)
    made = opened.manifest.made_at
    await state.write(
        AuditEntry(at, "fleet restore", "restore", reason=f"state of a backup from {at - made:.0f} s ago")
    )
    await state.close()
    return revoked, suspended


def _let_observe_only(connection: sqlite3.Connection, at: float) -> None:
    """Make no unit's record count before a person confirms it, units included whose memory was not written yet."""
    known = {(cluster, overlay): UnitMemory(UnitName(overlay, cluster)) for cluster, overlay in _units_in(connection)}
    for cluster, overlay, body in connection.execute("SELECT cluster, overlay, body FROM journal_unit"):
        known[cluster, overlay] = decode_memory(body)
    connection.executemany(
        "INSERT OR REPLACE INTO journal_unit (cluster, overlay, body) VALUES (?, ?, ?)",
        [
            (*key, encode_memory(replace(memory, confirmed=False, settled=False, told=())))
            for key, memory in known.items()
        ],
    )
    # A cluster of which no unit is known here is looked at as a new one.
    connection.execute("DELETE FROM journal_cluster WHERE cluster NOT IN (SELECT cluster FROM journal_unit)")
    connection.execute("DELETE FROM journal_resume")
    connection.execute("DELETE FROM value WHERE name IN (?, ?)", (f"hub/{RECOVERED}", f"hub/{BELIEVED}"))
    # Which of them were revoked since is not known (R38).
    connection.execute("UPDATE token SET revoked_at = ? WHERE revoked_at = 0", (at,))
    # What was asked for before may have been done since: it is not done a second time.
    _end_wipes(connection)
    _void_approvals(connection, at)
    connection.execute(
        "UPDATE operation SET outcome = 'superseded', message = ?, ended_at = ? WHERE outcome = ''", (_SINCE, at)
    )


def _end_wipes(connection: sqlite3.Connection) -> None:
    """Let units go whose wipe is not over; a new word has them wiped, and its approval (V5, R42)."""
    # Their keys are made of unit and commit: the same person could not give that word again.
    connection.execute("UPDATE operation SET idempotency_key = '' WHERE outcome = '' AND kind = ?", (WIPE,))
    kept = connection.execute("SELECT text FROM value WHERE name = ?", (f"hub/{LEAVING}",)).fetchone()
    try:
        leaving = decode_leaving(kept[0]) if kept is not None else Leaving()
    except ValueError as error:
        raise StateDamaged(
            "what leaves the fleet cannot be read in the backup", why=str(error), next_step="restore another backup"
        ) from error
    rest = encode_leaving(leaving.without_open_wipes())
    connection.execute("UPDATE value SET text = ? WHERE name = ?", (rest, f"hub/{LEAVING}"))


def _void_approvals(connection: sqlite3.Connection, at: float) -> None:
    """Void what was approved, holds and plans: which of it was rejected since is not known (R9, R12)."""
    connection.execute(
        "UPDATE hold SET decision = ?, decided_at = ?, reason = ? WHERE decision = 'approved'", (VOID, at, _SINCE)
    )
    kept = connection.execute("SELECT text FROM value WHERE name = ?", (f"hub/{APPROVALS}",)).fetchone()
    try:
        approvals = approvals_of_text(kept[0]) if kept is not None else ()
    except ValueError:
        return  # none of it counts: the hub says so
    void = [each if each.standing is ApprovalState.VOID else each.voided(_SINCE) for each in approvals]
    text = approvals_text(void) if void else ""
    connection.execute("UPDATE value SET text = ? WHERE name = ?", (text, f"hub/{APPROVALS}"))


def _units_in(connection: sqlite3.Connection) -> Iterator[tuple[ClusterName, OverlayName]]:
    query = "SELECT cluster, overlay FROM journal_row UNION SELECT cluster, overlay FROM released"
    for cluster, overlay in connection.execute(query):
        yield ClusterName(cluster), OverlayName(overlay)


def _set_aside(database: Path, aside: Path) -> Path | None:
    """Keep the old state under another name too; it stays in place until the new one takes its place.

    What lies beside it goes in any case, also where the database itself is gone (moved by hand, or by a restore that
    was killed): SQLite would play it over whatever comes there. Returns where the database is kept.
    """
    is_there = database.exists()
    if is_there:
        with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sides = [side for suffix in _SIDES if (side := database.with_name(database.name + suffix)).exists()]
    if is_there and (sides or not _is_linked(database, aside)):
        database.replace(aside)  # before what is not folded in: without that it would be an older state
    for side in sides:
        side.replace(aside.with_name(aside.name + side.name.removeprefix(database.name)))
    return aside if is_there else None


def _is_linked(database: Path, aside: Path) -> bool:
    try:
        os.link(database, aside)
    except OSError:  # a file system without links
        return False
    return True


def _put_in_place(folder: Path, data_dir: Path, opened: OpenedBackup, at: float) -> Path | None:
    """Returns where the state that was there is kept."""
    database = data_dir / DATABASE_FILE
    try:
        kept = _set_aside(database, data_dir / f"{DATABASE_FILE}.replaced-{at:.0f}")
        if opened.brings_key and not (data_dir / KEY_FILE).exists():
            write_key(data_dir, opened.keys)
        (folder / DATABASE_FILE).replace(database)
        handle = os.open(data_dir, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StateNotWritable(
            "the restored state cannot be put in place",
            where=str(data_dir),
            why=error.strerror or type(error).__name__,
            next_step="make the data directory writable, and restore again",
        ) from error
    return kept
