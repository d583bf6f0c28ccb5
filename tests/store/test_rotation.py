"""The key of the store is exchanged while it is in use: at each moment every entry opens, or a start is refused."""

from __future__ import annotations

import asyncio
import io
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, cast

import pytest

from fleet.cli.audit import export, verify
from fleet.core.audit import AuditEntry
from fleet.core.ids import Digest
from fleet.errors import BackupForeign, KeyMissing, StateDamaged, StateNotWritable
from fleet.store import rotation
from fleet.store.backup import make_backup
from fleet.store.crypto import DATABASE_FILE, Cipher, FoundKey, find_key, name_of_key
from fleet.store.inspect import inspect_state
from fleet.store.restore import restore_backup
from fleet.store.rotation import SqlKeys
from fleet.store.sealed import KEY_NAMES, KEY_ROOT
from fleet.store.sql import SqlState, open_state
from fleet.store.tables import CREDENTIALS

OLD, NEW, THIRD = b"o" * 32, b"n" * 32, b"t" * 32
CREDENTIALS_KEPT = {f"eu-{number}": f"kubeconfig {number}".encode() for number in range(150)}
SECRETS_KEPT = {f"fleet-sealed:{number}": f"secret {number}".encode() for number in range(70)}


def said(*keys: bytes) -> FoundKey:
    return FoundKey(keys[0], "/etc/fleet/key", keys[1:])


async def make_state(folder: Path, key: bytes = OLD) -> None:
    state = await open_state(folder, key)
    for name, value in CREDENTIALS_KEPT.items():
        await state.put_credential(name, value, 1.0)
    await state.vault.put(Digest("r"), SECRETS_KEPT)
    await state.write(AuditEntry(1.0, "jo", "accept-identity", "eu-1"))
    await state.close()


async def exchange(state: SqlState, *keys: bytes) -> SqlKeys:
    turner = state.keys(lambda: said(*keys))
    assert (await turner.look()).is_due
    await turner.turn()
    return turner


async def check_whole(state: SqlState) -> None:
    for name, value in CREDENTIALS_KEPT.items():
        assert await state.credential(name) == value
    assert await state.vault.get(SECRETS_KEPT) == SECRETS_KEPT


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "data"
    asyncio.run(make_state(folder))
    return folder


@pytest.fixture
def data(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "data"))


async def test_entries_are_sealed_anew_in_use_and_the_old_key_may_go(data: Path) -> None:
    state = await open_state(data, OLD)
    turner = state.keys(lambda: said(NEW, OLD))
    due = await turner.look()
    assert (due.is_due, due.needed, due.free) == (True, (name_of_key(OLD),), ())
    done = await turner.turn()
    assert (done.count, done.needed, done.free) == (220, (), (name_of_key(OLD),))
    assert not (await turner.look()).is_due
    await check_whole(state)
    root = state.root
    await state.close()
    with pytest.raises(KeyMissing):
        await open_state(data, OLD)
    state = await open_state(data, NEW)
    await check_whole(state)
    assert state.root == root  # so that no result, digest or head of the audit log changes
    await state.close()


async def test_a_lost_state_begins_anew_with_the_root_that_the_last_line_gives(data: Path, tmp_path: Path) -> None:
    for keys, root in (((NEW, OLD), OLD), ((OLD, NEW), NEW), ((NEW,), NEW)):
        folder = tmp_path / f"{keys}"
        state = await open_state(folder, keys[0], older=keys[1:])
        assert state.root == root
        await state.put_credential("eu-1", b"kubeconfig", 1.0)
        standing = await state.keys(lambda keys=keys: said(*keys)).look()
        assert (standing.is_due, standing.needed) == (False, ())
        await state.close()
        state = await open_state(folder, keys[0])  # the line may go at once: the state holds it
        assert state.root == root
        await state.close()


async def test_an_exported_log_is_proven_without_the_state_by_the_first_key(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = await open_state(data, OLD)
    await exchange(state, NEW, OLD)
    await state.write(AuditEntry(2.0, "jo", "accept-identity", "eu-2"))
    await state.close()
    exported = tmp_path / "log.jsonl"
    with exported.open("w") as file:
        export(data, file)
    for lines, code in ((f"{NEW.hex()} {OLD.hex()}", 0), (OLD.hex(), 0), (NEW.hex(), 1)):
        monkeypatch.setenv("FLEET_KEY", lines)
        assert verify(tmp_path / "empty", (), exported, io.StringIO()) == code


async def test_a_state_from_before_there_was_a_root_keeps_the_key_that_it_was_written_under_as_one(data: Path) -> None:
    with closing(sqlite3.connect(data / DATABASE_FILE)) as connection, connection:
        connection.execute("DELETE FROM value WHERE name = ?", (KEY_ROOT,))
    state = await open_state(data, NEW, older=[OLD])
    assert state.root == OLD
    turner = state.keys(lambda: said(NEW, OLD))
    assert (await turner.look()).is_due
    await turner.turn()
    await state.close()
    state = await open_state(data, NEW)
    assert state.root == OLD
    await state.close()


async def test_keys_that_did_not_change_change_nothing(data: Path) -> None:
    state = await open_state(data, OLD)
    turner = state.keys(lambda: said(OLD))
    before = (data / "state.db-wal").read_bytes()
    standing = await turner.look()
    assert (standing.is_due, standing.needed, standing.free) == (False, (), ())
    assert (data / "state.db-wal").read_bytes() == before
    await state.close()


async def snapshots_of(data: Path, to: Path, turn: Callable[[SqlState], Any]) -> list[Path]:
    """What a hub that is killed before each of its commits, or after the last, leaves behind."""
    state = await open_state(data, OLD)
    database: Any = state._database
    write, found = database.write, list[Path]()

    def keep() -> None:
        folder = to / str(len(found))
        folder.mkdir(parents=True)
        for file in data.glob(f"{DATABASE_FILE}*"):
            if not file.name.endswith("-shm"):  # the machine's memory, which goes with it
                shutil.copy2(file, folder)
        found.append(folder)

    async def watched(change: Callable[..., object]) -> object:
        keep()
        return await write(change)

    database.write = watched
    await turn(state)
    keep()
    database.write = write
    await state.close()
    return found


async def test_a_start_with_one_of_both_keys_says_that_both_are_needed(data: Path, tmp_path: Path) -> None:
    moments = await snapshots_of(data, tmp_path / "killed", lambda state: exchange(state, NEW, OLD))
    for key, lacks in ((OLD, NEW), (NEW, OLD)):
        with pytest.raises(KeyMissing, match=f"being exchanged.* {name_of_key(lacks)}") as refused:
            await open_state(moments[len(moments) // 2], key)
        assert "both keys" in refused.value.next_step
    # Where none is: the words of a lost key, by its name.
    with pytest.raises(KeyMissing, match=f"under another key: {name_of_key(NEW)}"):
        await open_state(moments[-1], THIRD)
    with closing(sqlite3.connect(moments[0] / DATABASE_FILE)) as connection, connection:  # of before keys were noted
        connection.execute("DELETE FROM value WHERE name = ?", (KEY_NAMES,))
    with pytest.raises(KeyMissing, match="under another key"):
        await open_state(moments[0], THIRD)
    assert await is_whole_or_refused(moments[0], (OLD,))
    with pytest.raises(KeyMissing, match=f"under another key: {name_of_key(OLD)}"):  # from the next start on it is
        await open_state(moments[0], THIRD)


async def is_whole_or_refused(folder: Path, keys: tuple[bytes, ...]) -> bool:
    """Whether these keys open the state; then it must be whole."""
    try:
        state = await open_state(folder, keys[0], older=keys[1:])
    except KeyMissing as refused:
        assert min(refused.where, refused.why, refused.next_step) > ""  # noqa: PT017
        return False
    await check_whole(state)
    await state.close()
    return True


async def test_a_hub_that_is_killed_at_any_commit_leaves_every_entry_to_one_of_the_keys(
    data: Path, tmp_path: Path
) -> None:
    moments = await snapshots_of(data, tmp_path / "killed", lambda state: exchange(state, NEW, OLD))
    assert len(moments) >= 7
    opened: list[tuple[bool, bool]] = []
    for moment in moments:
        alone = []
        for keys in ((OLD,), (NEW,)):
            copy = Path(shutil.copytree(moment, tmp_path / "one"))
            alone.append(await is_whole_or_refused(copy, keys))
            shutil.rmtree(copy)
        opened.append((alone[0], alone[1]))
        # Both, in whichever order, open all of it, and the next start goes on to the end.
        for keys in ((OLD, NEW), (NEW, OLD)):
            copy = Path(shutil.copytree(moment, tmp_path / "both"))
            assert await is_whole_or_refused(copy, keys)
            state = await open_state(copy, keys[0], older=keys[1:])
            turner = state.keys(lambda keys=keys: said(*keys))
            if (await turner.look()).is_due:
                assert (await turner.turn()).free == (name_of_key(keys[1]),)
            await check_whole(state)
            await state.close()
            assert await is_whole_or_refused(copy, keys[:1])
            shutil.rmtree(copy)
    # The old key alone until the first commit, the new one alone after the last, and neither between.
    assert opened == [(True, False), *[(False, False)] * (len(moments) - 2), (False, True)]


async def test_an_exchange_that_the_disk_breaks_off_goes_on_at_the_next_look(data: Path) -> None:
    state = await open_state(data, OLD)
    turner, database = state.keys(lambda: said(NEW, OLD)), cast("Any", state._database)
    write, broken = database.write, 0
    while (await turner.look()).is_due:
        left = broken

        async def fails(change: Callable[..., object]) -> object:
            nonlocal left
            if not left:
                raise StateNotWritable("the state cannot be written", why="the disk is full", next_step="free space")
            left -= 1
            return await write(change)

        database.write = fails
        with suppress(StateNotWritable):
            await turner.turn()
        database.write = write
        await check_whole(state)
        broken += 1
    assert broken >= 7
    await state.close()
    assert await is_whole_or_refused(data, (NEW,))


async def test_what_is_written_meanwhile_lies_under_the_new_key(data: Path) -> None:
    state = await open_state(data, OLD)

    async def renew(name: str) -> None:
        await state.put_credential(name, b"renewed", 2.0)
        assert await state.renew_credential(name, b"renewed", CREDENTIALS_KEPT[name], 3.0)
        await state.vault.put(Digest(name), {f"fleet-sealed:of-{name}": b"made meanwhile"})

    await asyncio.gather(exchange(state, NEW, OLD), *(renew(name) for name in sorted(CREDENTIALS_KEPT)))
    await check_whole(state)
    await state.close()
    facts = inspect_state(data, said(NEW, OLD))
    assert facts is not None
    assert (dict(facts.older), facts.unreadable, facts.keys.all_here) == ({}, (), True)
    assert await is_whole_or_refused(data, (NEW,))


async def test_keys_without_one_that_entries_need_are_refused_and_the_old_ones_stay(data: Path) -> None:
    state = await open_state(data, OLD)
    turner = state.keys(lambda: said(NEW))
    with pytest.raises(KeyMissing, match=name_of_key(OLD)) as refused:
        await turner.look()
    assert all((refused.value.where, refused.value.why, refused.value.next_step))
    await state.put_credential("us-1", b"given meanwhile", 2.0)
    await check_whole(state)
    await state.close()
    assert await is_whole_or_refused(data, (OLD,))


async def test_a_key_that_no_entry_needs_goes_without_a_word(data: Path) -> None:
    state = await open_state(data, OLD)
    await exchange(state, NEW, OLD)
    turner = state.keys(lambda: said(NEW))
    standing = await turner.turn() if (await turner.look()).is_due else await turner.look()
    assert (standing.needed, standing.free, standing.unreadable) == ((), (), ())
    await check_whole(state)
    await state.close()


async def test_a_file_that_is_gone_or_does_not_read_leaves_the_keys_as_they_are(data: Path) -> None:
    named = data.parent / "key"
    state = await open_state(data, OLD)
    turner = state.keys(lambda: find_key(data, {"FLEET_KEY_FILE": str(named)}))
    for text in (None, "", f"{NEW.hex()}\n{OLD.hex()[:40]}\n"):
        if text is not None:
            named.write_text(text)
        with pytest.raises(KeyMissing) as refused:
            await turner.look()
        assert refused.value.next_step
        assert OLD.hex()[:40] not in str(refused.value)
    assert refused.value.where == f"{named}:2"
    with pytest.raises(KeyMissing, match="gone"):
        await state.keys(lambda: None).look()
    await check_whole(state)
    named.write_text(f"\n{NEW.hex()}\n\n{OLD.hex()}\n")  # the same with blank lines is taken
    assert (await turner.look()).is_due
    await state.close()


async def test_a_key_that_is_not_read_in_time_is_said_and_read_once_it_comes(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = await open_state(data, OLD)
    comes, asked = threading.Event(), list[float]()

    def hangs() -> FoundKey:
        asked.append(1.0)
        comes.wait(30)
        return said(OLD)

    turner = state.keys(hangs)
    monkeypatch.setattr(rotation, "_FILE_SECONDS", 0.05)
    for _ in range(3):  # as many threads as files
        with pytest.raises(KeyMissing, match="not read in time") as refused:
            await turner.look()
        assert refused.value.next_step
    assert len(asked) == 1
    await check_whole(state)
    comes.set()
    monkeypatch.setattr(rotation, "_FILE_SECONDS", 30.0)
    assert not (await turner.look()).is_due
    assert not (await turner.look()).is_due
    assert len(asked) == 2
    await state.close()


def test_a_key_that_is_never_read_keeps_no_end_waiting(data: Path) -> None:
    script = f"""
import asyncio, pathlib, time
from fleet.errors import KeyMissing
from fleet.store import rotation
from fleet.store.sql import open_state

async def main():
    rotation._FILE_SECONDS = 0.05
    state = await open_state(pathlib.Path({str(data)!r}), {OLD!r})
    try:
        await state.keys(lambda: time.sleep(600)).look()
    except KeyMissing:
        print("said")
    await state.close()

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "said\n"


async def test_an_entry_that_opens_with_no_key_is_named_and_keeps_no_other_waiting(data: Path) -> None:
    state = await open_state(data, OLD)
    await put_under(state, THIRD, "eu-7")
    turner = await exchange(state, NEW, OLD)
    standing = await turner.look()
    assert (standing.unreadable, standing.free) == (("credential eu-7",), (name_of_key(OLD),))
    with pytest.raises(StateDamaged, match="credential/eu-7") as refused:
        await state.credential("eu-7")
    assert "key file" in refused.value.next_step
    facts = inspect_state(data, said(NEW, OLD))
    assert facts is not None
    assert facts.unreadable == ("credential eu-7",)
    assert len(facts.credentials) == len(CREDENTIALS_KEPT) - 1
    # Its key below the first line brings it back.
    await exchange(state, NEW, THIRD)
    await check_whole(state)
    await state.close()
    assert await is_whole_or_refused(data, (NEW,))


async def put_under(state: SqlState, key: bytes, name: str) -> None:
    """An entry that nothing notes: what a restore by hand, or another program, leaves."""
    row = CREDENTIALS.update().where(CREDENTIALS.c.name == name)
    sealed = Cipher(key).seal(f"credential/{name}", CREDENTIALS_KEPT[name])
    await state._database.write(lambda connection: connection.execute(row.values(sealed=sealed)).rowcount)


@pytest.mark.parametrize("how", ["given anew", "removed"])
async def test_an_entry_that_opened_with_no_key_is_named_until_it_does_or_goes(data: Path, how: str) -> None:
    state = await open_state(data, OLD)
    await put_under(state, THIRD, "eu-7")
    await put_under(state, THIRD, "eu-8")
    turner = await exchange(state, NEW, OLD)
    assert (await turner.look()).unreadable == ("credential eu-7", "credential eu-8")
    if how == "removed":
        await state.remove_credential("eu-7")
    else:
        await state.put_credential("eu-7", CREDENTIALS_KEPT["eu-7"], 2.0)
    standing = await turner.look()
    assert (standing.unreadable, standing.is_due) == (("credential eu-8",), False)
    await state.close()


async def test_an_entry_that_opens_with_no_key_is_named_at_the_first_look_after_a_start(data: Path) -> None:
    state = await open_state(data, OLD)
    await put_under(state, THIRD, "eu-7")
    await state.close()
    state = await open_state(data, OLD)
    standing = await state.keys(lambda: said(OLD)).look()
    assert (standing.unreadable, standing.is_due) == (("credential eu-7",), False)
    await state.close()


async def test_a_key_that_an_entry_needs_without_a_note_is_never_said_to_be_free(data: Path) -> None:
    state = await open_state(data, OLD)
    await put_under(state, THIRD, "eu-7")
    await state.close()
    state = await open_state(data, OLD, older=[THIRD])
    turner, database = state.keys(lambda: said(OLD, THIRD)), cast("Any", state._database)
    due = await turner.look()
    assert (due.is_due, due.needed, due.free) == (True, (name_of_key(THIRD),), ())
    write = database.write

    async def full(change: Callable[..., object]) -> object:
        raise StateNotWritable("the state cannot be written", why="the disk is full", next_step="free space")

    database.write = full
    with pytest.raises(StateNotWritable):
        await turner.turn()
    database.write = write
    due = await turner.look()
    assert (due.is_due, due.needed, due.free) == (True, (name_of_key(THIRD),), ())
    done = await turner.turn()
    assert (done.count, done.needed, done.free) == (1, (), (name_of_key(THIRD),))
    await check_whole(state)
    await state.close()


async def test_a_key_given_later_whose_sealing_the_disk_breaks_off_is_not_said_to_be_free(data: Path) -> None:
    state = await open_state(data, OLD)
    await put_under(state, THIRD, "eu-7")
    turner, database = state.keys(lambda: said(OLD, THIRD)), cast("Any", state._database)
    assert (await turner.look()).is_due
    write, left = database.write, 0

    async def fails(change: Callable[..., object]) -> object:
        nonlocal left
        if not left:
            raise StateNotWritable("the state cannot be written", why="the disk is full", next_step="free space")
        left -= 1
        return await write(change)

    for commits in (0, 1):
        left, database.write = commits, fails
        with pytest.raises(StateNotWritable):
            await turner.turn()
        database.write = write
        due = await turner.look()
        assert (due.is_due, due.needed, due.free) == (True, (name_of_key(THIRD),), ())
    assert not await is_whole_or_refused(Path(shutil.copytree(data, data.parent / "copy")), (OLD,))
    await state.close()


async def test_a_third_key_may_come_before_the_second_is_through(data: Path, tmp_path: Path) -> None:
    moments = await snapshots_of(data, tmp_path / "killed", lambda state: exchange(state, NEW, OLD))
    midway = moments[len(moments) // 2]
    assert not await is_whole_or_refused(Path(shutil.copytree(midway, tmp_path / "a")), (THIRD, OLD))
    state = await open_state(midway, THIRD, older=(NEW, OLD))
    await state.close()
    assert not await is_whole_or_refused(midway, (THIRD, OLD))
    state = await open_state(midway, THIRD, older=(NEW, OLD))
    with pytest.raises(KeyMissing):
        await state.keys(lambda: said(THIRD, NEW)).look()
    turner = state.keys(lambda: said(THIRD, NEW, OLD))
    assert (await turner.look()).is_due
    assert set((await turner.turn()).free) == {name_of_key(NEW), name_of_key(OLD)}
    await state.close()
    assert await is_whole_or_refused(midway, (THIRD,))


async def test_the_audit_log_is_proven_across_the_exchange(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = await open_state(data, OLD)
    await exchange(state, NEW, OLD)
    await state.write(AuditEntry(2.0, "jo", "accept-identity", "eu-2"))
    await state.close()
    monkeypatch.setenv("FLEET_KEY", NEW.hex())
    assert verify(data, (), None, io.StringIO()) == 0
    monkeypatch.setenv("FLEET_KEY", THIRD.hex())
    assert verify(data, (), None, io.StringIO()) == 1


async def test_a_backup_of_before_is_restored_with_its_key_among_the_others(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "before.tar"
    make_backup(data, file, said(OLD), with_key=False, left_out=(), at=10.0)

    async def restored(name: str, *keys: bytes) -> Path:
        folder = tmp_path / name
        await restore_backup(file, folder, said(*keys), replace_state=False, upgrade=False, at=20.0)
        return folder

    with pytest.raises(BackupForeign, match=name_of_key(OLD)):
        await restored("alone", NEW)
    folder = await restored("both", NEW, OLD)
    assert await is_whole_or_refused(folder, (NEW, OLD))


async def taken(data: Path, file: Path, *keys: bytes, with_key: bool = False) -> tuple[str, ...]:
    """A backup; what it says that it left out."""
    made = await asyncio.to_thread(make_backup, data, file, said(*keys), with_key=with_key, left_out=(), at=10.0)
    return made.left_out


async def test_a_backup_names_each_key_that_it_needs(data: Path, tmp_path: Path) -> None:
    def words(*keys: bytes) -> tuple[str, ...]:
        return tuple(f"key {name_of_key(key)} (/etc/fleet/key)" for key in keys)

    assert await taken(data, tmp_path / "one.tar", OLD) == words(OLD)
    assert await taken(data, tmp_path / "free.tar", OLD, THIRD) == words(OLD)
    # Given and not yet turned to: entries lie under the old one, the seal is under the new one.
    assert await taken(data, tmp_path / "given.tar", NEW, OLD) == words(NEW, OLD)
    moments = await snapshots_of(data, tmp_path / "killed", lambda state: exchange(state, NEW, OLD))
    assert await taken(moments[len(moments) // 2], tmp_path / "midway.tar", NEW, OLD) == words(NEW, OLD)
    assert await taken(moments[-1], tmp_path / "done.tar", NEW, OLD) == words(NEW)


@pytest.mark.parametrize("with_key", [False, True])
async def test_a_backup_that_the_keys_here_do_not_open_is_none(data: Path, tmp_path: Path, with_key: bool) -> None:
    moments = await snapshots_of(data, tmp_path / "killed", lambda state: exchange(state, NEW, OLD))
    midway, folder = moments[len(moments) // 2], tmp_path / "backups"
    folder.mkdir()
    for moment, keys in ((moments[0], (NEW,)), (midway, (NEW,)), (midway, (OLD,)), (moments[-1], (OLD, THIRD))):
        with pytest.raises(KeyMissing) as refused:
            await taken(moment, folder / "b.tar", *keys, with_key=with_key)
        assert all((refused.value.where, refused.value.why, refused.value.next_step))
        assert list(folder.iterdir()) == []
    await taken(midway, folder / "b.tar", OLD, NEW, with_key=with_key)


async def test_what_is_restored_lies_under_the_first_key_of_the_machine_alone(data: Path, tmp_path: Path) -> None:
    moments = await snapshots_of(data, tmp_path / "killed", lambda state: exchange(state, NEW, OLD))
    for number, moment in enumerate((moments[0], moments[len(moments) // 2], moments[-1])):
        for with_key, here in ((False, (NEW, OLD)), (True, (NEW,)), (True, (THIRD, NEW)), (True, ())):
            file, to = tmp_path / f"{number}.{with_key}.{len(here)}.tar", tmp_path / f"{number}.{with_key}.{here[:1]}"
            await taken(moment, file, NEW, OLD, with_key=with_key)
            found = said(*here) if here else None
            await restore_backup(file, to, found, replace_state=False, upgrade=False, at=20.0)
            file.unlink()
            assert not await is_whole_or_refused(to, (OLD,))
            assert await is_whole_or_refused(to, here[:1] or (NEW,))
            if not here:
                kept = find_key(to, {})
                assert kept is not None
                assert kept.keys == (NEW, OLD)
