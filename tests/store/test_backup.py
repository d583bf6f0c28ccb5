"""Backups: whole, of this installation and schema, or refused by name with nothing written."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import tarfile
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.sync_policy import Suspension
from fleet.errors import (
    BackupForeign,
    BackupInvalid,
    BackupOutdated,
    FleetError,
    StateInUse,
    StateNewer,
    StateNotWritable,
    UsageInvalid,
)
from fleet.ports.state import INSTALLATION, RECOVERED, OperationRow, ReleasedBundle, TokenRow
from fleet.ports.worker import JournalEntry, UnitMemory
from fleet.store import backup as backups
from fleet.store import schema
from fleet.store.backup import Manifest, make_backup
from fleet.store.crypto import DATABASE_FILE, FoundKey
from fleet.store.restore import Restored, restore_backup
from fleet.store.sql import open_state

KEY = b"k" * 32
EU = ClusterName("eu-1")
EDGE = UnitName(OverlayName("edge"), EU)
WEB = UnitName(OverlayName("web"), EU)
JOB = ObjectRef("batch", "Job", "shop", "seed")
TOKEN = Digest("1" * 64)


@pytest.fixture
async def data(tmp_path: Path) -> Path:
    """A data directory with something of each kind."""
    folder = tmp_path / "data"
    state = await open_state(folder, KEY)
    await state.set_value(INSTALLATION, "acme")
    await state.set_value(RECOVERED, "eu-1")
    await state.record_identity(EU, Identity("uid-1"))
    await state.put_credential("eu-1", b"seeded-credential-7f3a", 1.0)
    await state.journal(EU).commit(JournalEntry(units=(UnitMemory(WEB, told=(JOB,)),), resume={"/ConfigMap": "17"}))
    # A unit that was released, and whose memory was not written yet.
    await state.put_released([ReleasedBundle(EDGE, Revision("c" * 40), Digest("d" * 64))])
    await state.add_operation(OperationRow("op-1", "sync", "web@eu-1", "jo", 5.0, idempotency_key="k1"))
    await state.add_token(TokenRow("t-1", "ci", "admin", TOKEN, 1.0, 9999.0))
    await state.put_suspension(Suspension("incident", "jo", "", "overlay web"))
    await state.close()
    return folder


def take(data: Path, file: Path, *, with_key: bool = False, key: bytes = KEY) -> Manifest:
    return make_backup(
        data, file, FoundKey(key, "data/key"), with_key=with_key, left_out=("kubeconfigs (creds)",), at=10.0
    )


async def restored(
    file: Path, to: Path, key: bytes | None = KEY, *, replace: bool = False, upgrade: bool = False
) -> Restored:
    found = FoundKey(key, "data/key") if key else None
    return await restore_backup(file, to, found, replace_state=replace, upgrade=upgrade, at=20.0)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def rewritten(file: Path, change: dict[str, object], *, seal: bool = True) -> Path:
    """The backup with other words in its manifest, under the right seal unless told otherwise."""
    changed = file.with_name("changed.tar")
    with tarfile.open(file) as source, tarfile.open(changed, "w") as target:
        manifest = json.loads(source.extractfile("manifest.json").read()) | change
        written = json.dumps(manifest).encode()
        for member in source.getmembers():
            content = source.extractfile(member).read()
            if member.name == "manifest.json":
                content = written
            elif member.name == "manifest.seal" and seal:
                content = backups._seal(KEY, written)
            target.addfile(sized(member.name, len(content)), io.BytesIO(content))
    return changed


def sized(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size
    return info


async def test_what_is_restored_is_what_was_there_but_only_observes(data: Path, tmp_path: Path) -> None:
    manifest = take(data, tmp_path / "b.tar")
    assert (manifest.installation, manifest.clusters, manifest.left_out[1]) == ("acme", 1, "kubeconfigs (creds)")
    await restored(tmp_path / "b.tar", tmp_path / "other")
    state = await open_state(tmp_path / "other", KEY)
    assert await state.identities() == {EU: "uid-1"}
    assert await state.credential("eu-1") == b"seeded-credential-7f3a"
    journal = await state.journal(EU).load()
    assert {unit.unit: unit.confirmed for unit in journal.units} == {WEB: False, EDGE: False}
    assert not any(unit.settled or unit.told for unit in journal.units), "nobody knows which Jobs ran since"
    assert journal.resume == {}
    assert await state.get_value(RECOVERED) is None
    operation = await state.operation("op-1")
    assert operation is not None
    assert operation.outcome == "superseded"
    await state.close()


async def test_no_token_of_a_backup_is_in_force_and_what_is_suspended_is_said(data: Path, tmp_path: Path) -> None:
    take(data, tmp_path / "b.tar")
    state = await open_state(data, KEY)
    assert await state.revoke_token("ci", 12.0)  # after the backup: stolen, say
    await state.close()
    found = await restored(tmp_path / "b.tar", data, replace=True)
    assert (found.revoked, found.suspended) == (["ci"], ["overlay web"])
    state = await open_state(data, KEY)
    row = await state.token(TOKEN)
    assert row is not None
    assert row.revoked_at == 20.0
    assert [one.scope for one in await state.suspensions()] == ["overlay web"]
    assert await state.add_token(TokenRow("t-2", "ci", "admin", Digest("2" * 64), 21.0, 9999.0))  # the name is free
    await state.close()


async def test_a_backup_beside_a_running_hub_holds_what_was_durable(data: Path, tmp_path: Path) -> None:
    state = await open_state(data, KEY)
    for number in range(200):
        await state.set_value(f"v{number}", "x" * 500)
    take(data, tmp_path / "b.tar")
    await state.set_value("later", "not in it")
    with pytest.raises(StateInUse):
        await restored(tmp_path / "b.tar", data, replace=True)
    await state.close()
    await restored(tmp_path / "b.tar", tmp_path / "other")
    state = await open_state(tmp_path / "other", KEY)
    assert await state.get_value("v199") == "x" * 500
    assert await state.get_value("later") is None
    await state.close()


async def test_the_key_is_only_in_it_when_asked_for_and_no_secret_ever(data: Path, tmp_path: Path) -> None:
    take(data, tmp_path / "without.tar")
    take(data, tmp_path / "with.tar", with_key=True)
    for name, expected in (("without.tar", False), ("with.tar", True)):
        raw = (tmp_path / name).read_bytes()
        assert (KEY.hex().encode() in raw) == expected
        assert b"seeded-" not in raw
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
    with pytest.raises(BackupForeign, match="does not hold it"):
        await restored(tmp_path / "without.tar", tmp_path / "other", None)
    assert (await restored(tmp_path / "with.tar", tmp_path / "other", None)).key_written
    assert (tmp_path / "other" / "key").read_text() == KEY.hex() + "\n"
    assert stat.S_IMODE((tmp_path / "other" / "key").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("change", "seal", "expected"),
    [
        ({"db_schema": "9999"}, True, StateNewer),
        ({"db_schema": "0001"}, True, BackupOutdated),
        ({"format": 2}, True, BackupInvalid),
        ({"installation": "other"}, True, BackupForeign),
        ({"installation": "other"}, False, BackupInvalid),
    ],
)
async def test_a_backup_that_does_not_fit_is_refused_and_nothing_is_written(
    data: Path, tmp_path: Path, change: dict[str, object], seal: bool, expected: type[FleetError]
) -> None:
    take(data, tmp_path / "b.tar")
    await _is_refused(rewritten(tmp_path / "b.tar", change, seal=seal), data, expected)


@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty", "other order"])
async def test_a_damaged_file_is_refused_and_nothing_is_written(data: Path, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "b.tar"
    take(data, file)
    raw = bytearray(file.read_bytes())
    if damage == "cut":
        raw = raw[: len(raw) // 2]
    elif damage == "flipped":
        raw[len(raw) // 2] ^= 0xFF
    elif damage == "text":
        raw = bytearray(b"no archive\n" * 400)
    elif damage == "empty":
        raw = bytearray()
    file.write_bytes(raw)
    if damage == "other order":
        with tarfile.open(file, "w") as archive:
            archive.add(data / "state.db", "state.db")
    await _is_refused(file, data, BackupInvalid)


async def test_a_backup_under_another_key_is_refused(data: Path, tmp_path: Path) -> None:
    await (await open_state(tmp_path / "theirs", b"x" * 32)).close()
    for with_key in (False, True):  # what it brings is not trusted where this machine has keys
        file = tmp_path / f"{with_key}.tar"
        take(tmp_path / "theirs", file, key=b"x" * 32, with_key=with_key)
        await _is_refused(file, data, BackupForeign)


@pytest.mark.parametrize("content", [b"", b"\n", b"abcd\n", b"no hex\n"])
async def test_a_backup_whose_keys_do_not_read_is_refused(data: Path, tmp_path: Path, content: bytes) -> None:
    take(data, tmp_path / "b.tar")
    with tarfile.open(tmp_path / "b.tar") as archive:
        files = json.loads(archive.extractfile("manifest.json").read())["files"]
    files["key"] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    changed = rewritten(tmp_path / "b.tar", {"files": files})
    with tarfile.open(changed) as source, tarfile.open(tmp_path / "c.tar", "w") as target:
        for member in source.getmembers():
            if member.name == DATABASE_FILE:
                target.addfile(sized("key", len(content)), io.BytesIO(content))
            target.addfile(member, source.extractfile(member))
    for key in (None, KEY):
        with pytest.raises(BackupInvalid, match="key in it"):
            await restored(tmp_path / "c.tar", tmp_path / "empty", key)
    assert tree(tmp_path / "empty") == {}


async def _is_refused(file: Path, data: Path, expected: type[FleetError]) -> None:
    before = tree(data)
    with pytest.raises(expected) as refused:
        await restored(file, data, replace=True)
    assert all((refused.value.what, refused.value.where, refused.value.why, refused.value.next_step))
    assert tree(data) == before
    empty = data.parent / "empty"
    if expected is not BackupForeign:
        with pytest.raises(expected):
            await restored(file, empty)
        assert tree(empty) == {}


async def test_an_older_schema_is_brought_up_when_asked_and_the_backup_stays(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    engine = create_engine(f"sqlite:///{old / 'state.db'}")
    config = Config()
    config.set_main_option("script_location", str(Path(schema.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql("INSERT INTO value (name, text) VALUES ('hub/installation', 'acme')")
    engine.dispose()
    assert take(old, tmp_path / "b.tar").db_schema == "0001"
    before = (tmp_path / "b.tar").read_bytes()
    with pytest.raises(BackupOutdated, match="--upgrade"):
        await restored(tmp_path / "b.tar", tmp_path / "other")
    await restored(tmp_path / "b.tar", tmp_path / "other", upgrade=True)
    state = await open_state(tmp_path / "other", KEY)
    assert await state.get_value(INSTALLATION) == "acme"
    await state.close()
    assert (tmp_path / "b.tar").read_bytes() == before


async def test_a_state_is_replaced_only_when_asked_and_kept_beside(data: Path, tmp_path: Path) -> None:
    take(data, tmp_path / "b.tar")
    state = await open_state(data, KEY)
    await state.set_value("later", "kept")
    await state.close()
    before = tree(data)
    with pytest.raises(UsageInvalid, match="--replace"):
        await restored(tmp_path / "b.tar", data)
    assert tree(data) == before
    kept = (await restored(tmp_path / "b.tar", data, replace=True)).kept
    assert kept is not None
    with closing(sqlite3.connect(kept)) as connection:
        assert connection.execute("SELECT text FROM value WHERE name = 'hub/later'").fetchone() == ("kept",)
    state = await open_state(data, KEY)
    assert await state.get_value("later") is None
    await state.close()


async def test_a_restore_that_is_cut_off_leaves_the_old_state_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(data, tmp_path / "b.tar")
    state = await open_state(data, KEY)
    await state.set_value("since", "the backup")
    killed = tmp_path / "killed"
    killed.mkdir()
    for name in (DATABASE_FILE, f"{DATABASE_FILE}-wal"):
        shutil.copy(data / name, killed / name)
    await state.close()
    moved = Path.replace

    def cut_off(self: Path, target: Path) -> Path:
        if target == killed / DATABASE_FILE:
            raise OSError("cut off")
        return moved(self, target)

    monkeypatch.setattr(Path, "replace", cut_off)
    with pytest.raises(StateNotWritable):
        await restored(tmp_path / "b.tar", killed, replace=True)
    state = await open_state(killed, KEY)
    assert await state.get_value("since") == "the backup"
    await state.close()


@pytest.mark.parametrize("by", ["an operator who moved the state away", "a restore that was killed"])
async def test_a_log_that_a_killed_hub_left_is_kept_aside_and_played_over_nothing(
    data: Path, tmp_path: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite plays what lies beside a database over it, whose it ever is."""
    take(data, tmp_path / "b.tar")
    state = await open_state(data, KEY)
    await state.set_value("since", "the backup")
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(data / f"{DATABASE_FILE}-wal", killed / f"{DATABASE_FILE}-wal")
    left = (killed / f"{DATABASE_FILE}-wal").read_bytes()
    await state.close()
    if by == "a restore that was killed":
        (killed / DATABASE_FILE).write_bytes(b"damaged: its log cannot be folded in\n" * 500)
        moved = Path.replace

        def killed_between(self: Path, target: Path) -> Path:
            if self.name != DATABASE_FILE:
                raise KeyboardInterrupt
            return moved(self, target)

        monkeypatch.setattr(Path, "replace", killed_between)
        with pytest.raises(KeyboardInterrupt):
            await restored(tmp_path / "b.tar", killed, replace=True)
        monkeypatch.setattr(Path, "replace", moved)
    assert not (killed / DATABASE_FILE).exists()
    await restored(tmp_path / "b.tar", killed)
    with closing(sqlite3.connect(killed / DATABASE_FILE)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("SELECT text FROM value WHERE name = 'hub/since'").fetchall() == []
    state = await open_state(killed, KEY)
    assert await state.identities() == {EU: "uid-1"}
    await state.close()
    assert (killed / f"{DATABASE_FILE}.replaced-20-wal").read_bytes() == left


async def test_where_nothing_was_left_nothing_is_kept_aside(data: Path, tmp_path: Path) -> None:
    take(data, tmp_path / "b.tar")
    assert (await restored(tmp_path / "b.tar", tmp_path / "other")).kept is None
    assert sorted(tree(tmp_path / "other")) == [DATABASE_FILE]


async def test_a_damaged_state_may_be_replaced(data: Path, tmp_path: Path) -> None:
    take(data, tmp_path / "b.tar")
    (data / "state.db").write_bytes(b"this is no database\n" * 500)
    (data / ".restore-killed").mkdir()
    (data / ".restore-killed" / "state.db").write_bytes(b"half of it")
    await restored(tmp_path / "b.tar", data, replace=True)
    await (await open_state(data, KEY)).close()
    assert not list(data.glob(".restore-*"))


def test_a_backup_never_overwrites_and_leaves_no_half_file(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "b.tar").write_text("mine")
    with pytest.raises(UsageInvalid, match="exists"):
        take(data, folder / "b.tar")
    shutil.copy(data / "state.db", tmp_path / "whole.db")
    (data / "state.db").write_bytes(os.urandom(9000))
    with pytest.raises(FleetError):
        take(data, folder / "c.tar")
    assert [path.name for path in folder.iterdir()] == ["b.tar"]
