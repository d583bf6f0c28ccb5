"""Opening the state: one process, the right key, a whole database of a known schema, or a clear refusal."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from fleet.core.ids import Digest
from fleet.errors import FleetError, KeyMissing, StateDamaged, StateInUse, StateNewer
from fleet.store.crypto import find_key, load_or_make_key
from fleet.store.sql import open_state

KEY = b"k" * 32


async def _make_state(directory: Path, key: bytes = KEY) -> None:
    state = await open_state(directory, key)
    await state.put_credential("eu-1", b"kubeconfig of eu-1", 1.0)
    await state.close()


def _explains(error: FleetError) -> bool:
    return all((error.what, error.where, error.why, error.next_step))


async def test_a_second_process_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from fleet.store.lock import DirectoryLock;"
            "lock = DirectoryLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()",
            str(tmp_path),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateInUse, match=str(holder.pid)):
            await open_state(tmp_path, KEY)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    # The kernel lets go of what a killed process held: nothing is left to clean.
    await _make_state(tmp_path)


async def test_a_state_that_was_closed_opens_again(tmp_path: Path) -> None:
    await _make_state(tmp_path)
    state = await open_state(tmp_path, KEY)
    assert await state.credential("eu-1") == b"kubeconfig of eu-1"
    await state.close()


async def test_another_key_is_refused_and_the_right_one_still_works(tmp_path: Path) -> None:
    await _make_state(tmp_path)
    with pytest.raises(KeyMissing) as refused:
        await open_state(tmp_path, b"x" * 32)
    assert _explains(refused.value)
    await _make_state(tmp_path)


async def test_a_newer_schema_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    await _make_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (tmp_path / "state.db").read_bytes()
    with pytest.raises(StateNewer) as refused:
        await open_state(tmp_path, KEY)
    assert _explains(refused.value)
    assert (tmp_path / "state.db").read_bytes() == before


@pytest.mark.parametrize("damage", ["header", "middle", "text", "half"])
async def test_a_damaged_file_is_named_never_replaced(tmp_path: Path, damage: str) -> None:
    state = await open_state(tmp_path, KEY)
    await state.vault.put(Digest("r"), {f"name-{number}": bytes(2000) for number in range(300)})
    await state.close()
    path = tmp_path / "state.db"
    raw = bytearray(path.read_bytes())
    if damage == "header":
        raw[:100] = os.urandom(100)
    elif damage == "middle":
        raw[len(raw) // 2 : len(raw) // 2 + 40_000] = os.urandom(40_000)
    elif damage == "text":
        raw = bytearray(b"this is no database\n" * 500)
    else:
        del raw[len(raw) // 2 :]
    path.write_bytes(raw)
    with pytest.raises(StateDamaged) as refused:
        await open_state(tmp_path, KEY)
    assert _explains(refused.value)
    assert path.read_bytes() == raw


async def test_an_entry_moved_to_another_name_does_not_open(tmp_path: Path) -> None:
    await _make_state(tmp_path)
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection, connection:
        connection.execute("UPDATE credential SET name = 'us-1'")
    state = await open_state(tmp_path, KEY)
    with pytest.raises(StateDamaged):
        await state.credential("us-1")
    await state.close()


async def test_no_secret_lies_in_clear_in_any_file(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    await state.put_credential("eu-1", b"seeded-credential-7f3a", 1.0)
    await state.vault.put(Digest("r"), {"fleet-sealed:1": b"seeded-secret-9c1d"})
    for file in tmp_path.iterdir():
        assert b"seeded-" not in file.read_bytes(), file.name
    await state.close()
    for file in tmp_path.iterdir():
        assert b"seeded-" not in file.read_bytes(), file.name


async def test_database_and_side_files_are_the_owners_alone(tmp_path: Path) -> None:
    state = await open_state(tmp_path / "data", KEY)
    await state.set_value("a", "b")
    modes = {file.name: file.stat().st_mode & 0o777 for file in (tmp_path / "data").iterdir()}
    assert set(modes.values()) == {0o600}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    await state.close()


class TestKey:
    def test_the_first_start_makes_a_private_key_and_the_next_finds_it(self, tmp_path: Path) -> None:
        key = load_or_make_key(tmp_path / "data", {}).key
        assert len(key) == 32
        assert load_or_make_key(tmp_path / "data", {}).key == key
        assert (tmp_path / "data" / "key").stat().st_mode & 0o777 == 0o600
        assert [file.name for file in (tmp_path / "data").iterdir()] == ["key"]

    async def test_a_lost_key_is_not_replaced_behind_an_existing_database(self, tmp_path: Path) -> None:
        await _make_state(tmp_path, load_or_make_key(tmp_path, {}).key)
        (tmp_path / "key").unlink()
        with pytest.raises(KeyMissing) as refused:
            load_or_make_key(tmp_path, {})
        assert _explains(refused.value)
        assert not (tmp_path / "key").exists()

    def test_a_key_that_others_may_read_is_refused(self, tmp_path: Path) -> None:
        load_or_make_key(tmp_path, {})
        (tmp_path / "key").chmod(0o644)
        with pytest.raises(KeyMissing, match="0644"):
            load_or_make_key(tmp_path, {})

    @pytest.mark.parametrize("what", ["pipe", "folder", "device", "too large"])
    def test_what_is_no_small_file_is_no_key(self, tmp_path: Path, what: str) -> None:
        named = tmp_path / "named"
        if what == "pipe":
            os.mkfifo(named)
        elif what == "folder":
            named.mkdir()
        elif what == "device":
            named = Path("/dev/zero")
        else:
            named.write_text("ab" * 32 + "\n" * 4096)
        with pytest.raises(KeyMissing, match=r"no regular file|larger") as refused:
            find_key(tmp_path, {"FLEET_KEY_FILE": str(named)})
        assert _explains(refused.value)

    def test_a_file_behind_a_link_with_many_keys_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "..data").mkdir()
        (tmp_path / "..data" / "key").write_text("".join(f"{number:064x}\n" for number in range(1, 61)))
        (tmp_path / "named").symlink_to("..data/key")  # as the kubelet mounts a Secret
        found = find_key(tmp_path, {"FLEET_KEY_FILE": str(tmp_path / "named")})
        assert found is not None
        assert len(found.keys) == 60

    def test_environment_and_named_file_come_before_the_directory(self, tmp_path: Path) -> None:
        named = tmp_path / "mounted"
        named.write_text("ab" * 32 + "\n")
        assert load_or_make_key(tmp_path, {"FLEET_KEY_FILE": str(named)}).key == b"\xab" * 32
        in_base64 = "zc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc0="
        assert load_or_make_key(tmp_path, {"FLEET_KEY": in_base64, "FLEET_KEY_FILE": str(named)}).key == b"\xcd" * 32
        both = load_or_make_key(tmp_path, {"FLEET_KEY": f"{in_base64} {'ab' * 32}"})
        assert both.keys == (b"\xcd" * 32, b"\xab" * 32)
        assert not (tmp_path / "key").exists()

    @pytest.mark.parametrize("text", ["", "short", "zz" * 32, "ab" * 31])
    def test_a_key_of_another_form_is_refused_without_being_shown(self, tmp_path: Path, text: str) -> None:
        named = tmp_path / "mounted"
        named.write_text(text)
        with pytest.raises(KeyMissing) as refused:
            load_or_make_key(tmp_path, {"FLEET_KEY_FILE": str(named)})
        assert not text or text not in str(refused.value)
