"""What the state keeps when the process dies, the disk is full, or one caller has a bug."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from contracts.state_contract import EU1, event, report, row, unit_report
from sqlalchemy import Connection, select

from fleet.core.audit import AuditEntry
from fleet.core.documents import Json
from fleet.core.field_diff import FieldDrift
from fleet.core.ids import ClusterName
from fleet.core.status import Report, UnitReport
from fleet.errors import StateBusy, StateDamaged, StateError, StateNotWritable
from fleet.ports.worker import Deletion, JournalEntry
from fleet.store import database as database_of
from fleet.store import lane, tables
from fleet.store.database import Database
from fleet.store.puts import Puts
from fleet.store.sql import SqlState, open_state

KEY = b"k" * 32

FullDisk = Callable[..., AbstractContextManager[None]]

# Commits entries of 200 rows for ever: row r of entry n holds n in all of them. Says each number once it is durable.
COMMITTER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from contracts.state_contract import EU1, row
from fleet.ports.worker import JournalEntry
from fleet.store.sql import open_state

async def main():
    state = await open_state(Path(sys.argv[1]), b"k" * 32)
    journal = state.journal(EU1)
    number = 0
    while True:
        number += 1
        await journal.commit(JournalEntry(put=tuple(replace(row(f"o-{i}"), uid=str(number)) for i in range(200))))
        print(number, flush=True)

asyncio.run(main())
"""


@pytest.fixture
async def state(tmp_path: Path) -> AsyncIterator[SqlState]:
    state = await open_state(tmp_path, KEY)
    yield state
    await state.close()


@pytest.mark.parametrize("after", [1, 7, 20])
async def test_a_killed_process_leaves_whole_commits_and_nothing_to_clean(tmp_path: Path, after: int) -> None:
    tests = str(Path(__file__).parents[1])
    child = subprocess.Popen([sys.executable, "-c", COMMITTER, str(tmp_path), tests], stdout=subprocess.PIPE)
    assert child.stdout is not None
    acknowledged = 0
    while acknowledged < after:
        acknowledged = int(child.stdout.readline())
    os.kill(child.pid, signal.SIGKILL)
    rest = child.communicate()[0].split()
    acknowledged = int(rest[-1]) if rest else acknowledged
    state = await open_state(tmp_path, KEY)
    rows = (await state.journal(EU1).load()).rows
    await state.close()
    assert len(rows) == 200
    assert len({one.uid for one in rows}) == 1
    # Durable what was acknowledged; the one on its way may have landed whole.
    assert int(rows[0].uid) in {acknowledged, acknowledged + 1}


async def test_a_full_disk_is_said_at_once_and_writing_goes_on_when_there_is_room(
    state: SqlState, full_disk: FullDisk
) -> None:
    journal = state.journal(EU1)
    await journal.commit(JournalEntry(put=(row("before"),)))
    with full_disk():
        for _ in range(2):
            with pytest.raises(StateNotWritable) as refused:
                await journal.commit(JournalEntry(put=(row("during"),)))
            assert refused.value.next_step
        with pytest.raises(StateNotWritable):
            await state.write(AuditEntry(1.0, "fleet", "delete"))
        # A worker must be able to go on observing.
        assert [one.ref.name for one in (await journal.load()).rows] == ["before"]
    await journal.commit(JournalEntry(put=(row("after"),)))
    assert {one.ref.name for one in (await journal.load()).rows} == {"before", "after"}
    assert await state.audit_entries() == ()


async def test_batched_words_wait_through_a_full_disk_and_the_last_one_lands(
    state: SqlState, full_disk: FullDisk
) -> None:
    with full_disk():
        state.put_reports([report(units=(unit_report(message="first"),), events=(event("e1"),))])
        with pytest.raises(StateNotWritable):
            await state.flush()
        state.put_reports([report(sequence=2, units=(unit_report(message="second"),), events=(event("e2"),))])
    await state.flush()
    assert [one.message for one in await state.unit_reports()] == ["second"]
    assert [one.event.message for one in await state.events()] == ["e1", "e2"]


async def test_a_jot_that_failed_never_comes_after_a_newer_commit(state: SqlState, full_disk: FullDisk) -> None:
    journal = state.journal(EU1)
    old = JournalEntry(put=(row("a", overlay="web"),), resume={"/Pod": "1"})
    with full_disk():
        journal.jot(old)
        with pytest.raises(StateNotWritable):
            await state.flush()
    await journal.commit(JournalEntry(drop=((row("a").unit, row("a").ref),), resume={"/Pod": "2"}))
    await state.flush()
    found = await journal.load()
    assert (found.rows, dict(found.resume)) == ((), {"/Pod": "2"})


async def test_windows_are_written_without_being_asked(state: SqlState) -> None:
    state.put_reports([report(units=(unit_report(),))])
    async with asyncio.timeout(5):
        while not await state.unit_reports():
            await asyncio.sleep(lane.WINDOW_SECONDS / 4)


def drifted_by(levels: int, **changes: Any) -> UnitReport:
    """A unit one of whose fields is live a value of so many levels."""
    live: Json = "x"
    for _ in range(levels):
        live = {"a": live}
    whole = unit_report(**changes)
    found = replace(whole.objects[0], drift=(FieldDrift("spec.config", "plain", live, "tenant"),))
    return replace(whole, objects=(found,))


async def test_a_report_that_cannot_be_written_keeps_no_other_from_being(
    state: SqlState, capsys: pytest.CaptureFixture[str]
) -> None:
    eu2 = ClusterName("eu-2")
    state.put_reports([report(units=(drifted_by(300), unit_report("other")), events=(event("drifted"),))])
    state.put_reports([report(cluster=eu2, units=(unit_report(cluster=eu2),))])
    async with asyncio.timeout(5):
        while len(found := await state.unit_reports()) < 3:
            await asyncio.sleep(lane.WINDOW_SECONDS / 4)
    assert [(str(one.unit), len(one.objects)) for one in found] == [("other@eu-1", 1), ("web@eu-1", 0), ("web@eu-2", 1)]
    assert [one.event.message for one in await state.events()] == ["drifted"]
    said = capsys.readouterr().out
    assert ("web@eu-1" in said, "report not kept whole" in said) == (True, True)
    await state.journal(eu2).load()  # another cluster's worker starts
    state.put_reports([report(sequence=2, units=(unit_report(message="later"),))])
    async with asyncio.timeout(5):
        while "later" not in {one.message for one in await state.unit_reports()}:
            await asyncio.sleep(lane.WINDOW_SECONDS / 4)


async def test_a_report_of_a_nested_value_is_written_whole(state: SqlState, capsys: pytest.CaptureFixture[str]) -> None:
    state.put_reports([report(units=(said := drifted_by(60),))])
    await state.flush()
    assert await state.unit_reports() == (said,)
    assert "report" not in capsys.readouterr().out


async def test_windows_go_on_after_a_bug_in_one_and_it_is_told(
    state: SqlState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "_BUG_SECONDS", 0.0)
    encode, told, bugs = lane.encode_cluster, list[str](), [KeyError("a bug")]

    def encode_or_fail(said: Report) -> bytes:
        if bugs:
            raise bugs.pop()
        return encode(said)

    monkeypatch.setattr(lane, "encode_cluster", encode_or_fail)
    state.tell_of_batches(lambda error: told.append(type(error).__name__))
    state.put_reports([report(units=(unit_report(),))])
    async with asyncio.timeout(5):
        while not await state.unit_reports():
            await asyncio.sleep(lane.WINDOW_SECONDS / 4)
        while told[-1] != "NoneType":
            await asyncio.sleep(lane.WINDOW_SECONDS / 4)
    assert told[0] == "KeyError"


async def test_closing_writes_what_waits(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    state.put_reports([report(units=(unit_report(),))])
    await state.close()
    state = await open_state(tmp_path, KEY)
    assert len(await state.unit_reports()) == 1
    await state.close()


async def test_a_closed_state_refuses_writes(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    await state.close()
    with pytest.raises(StateError):
        await state.set_value("a", "b")


async def test_units_known_from_an_earlier_start_are_dropped_by_a_full_report(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    state.put_reports([report(units=(unit_report("web"), unit_report("api")))])
    await state.close()
    state = await open_state(tmp_path, KEY)
    state.put_reports([report(sequence=9, full=True, units=(unit_report("web"),))])
    await state.flush()
    assert [one.unit.overlay for one in await state.unit_reports()] == ["web"]
    await state.close()


async def test_the_timeline_keeps_the_newest_events(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY, event_cap=1500)
    for start in range(0, 5000, 500):
        state.put_reports([report(events=tuple(event(f"e{number}") for number in range(start, start + 500)))])
        await state.flush()
    kept = await state.events(limit=10_000)
    assert 1500 <= len(kept) <= 2500
    assert kept[-1].event.message == "e4999"
    newer = await state.add_events([event("next")])
    assert newer[0].id > kept[-1].id
    await state.close()


async def test_what_an_earlier_version_took_over_from_a_cluster_costs_nothing_but_itself(state: SqlState) -> None:
    """It let in names with a slash: their keys do not read back."""
    good, bad = row("a"), row("a/b")
    gone = [Deletion(each.unit, each.ref, state.run_time()) for each in (good, bad)]
    await state.journal(EU1).commit(JournalEntry(put=(good, bad), deletions=tuple(gone)))
    await state.add_events([replace(event("released"), ref=each.ref) for each in (good, bad)])
    loaded = await state.journal(EU1).load()
    assert (loaded.rows, [each.ref for each in loaded.deletions]) == ((good,), [good.ref])
    assert [each.event.ref for each in await state.events()] == [good.ref, None]


async def test_a_row_that_was_damaged_here_is_still_said(state: SqlState, tmp_path: Path) -> None:
    """The twin: a record that may be a part only."""
    await state.journal(EU1).commit(JournalEntry(put=(row("a"),)))
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("UPDATE journal_row SET object = 'ConfigMap/shop/a'")
        connection.commit()
    with pytest.raises(StateDamaged, match="does not read back"):
        await state.journal(EU1).load()


async def test_one_callers_bug_is_not_the_failure_of_those_who_share_its_commit(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    await state.close()
    database = Database(f"sqlite:///{tmp_path / 'state.db'}", where="test")
    good, broken = Puts(), Puts()
    good.put(tables.VALUES, {"name": "good", "text": "kept"})
    broken.put(tables.VALUES, {"name": "broken", "text": None})
    answers = await asyncio.gather(
        *(database.put(puts) for puts in (good, broken, good)), database.read(lambda c: 1), return_exceptions=True
    )
    assert [type(answer).__name__ for answer in answers] == ["NoneType", "IntegrityError", "NoneType", "int"]
    await database.close()
    with closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        assert connection.execute("SELECT text FROM value WHERE name = 'good'").fetchall() == [("kept",)]


async def test_a_cancelled_caller_does_not_disturb_the_others(state: SqlState) -> None:
    commits = [
        asyncio.create_task(
            state.journal(ClusterName(f"c-{n}")).commit(JournalEntry(put=(row("a", cluster=ClusterName(f"c-{n}")),)))
        )
        for n in range(10)
    ]
    await asyncio.sleep(0)
    commits[3].cancel()
    answers = await asyncio.gather(*commits, return_exceptions=True)
    assert [n for n, answer in enumerate(answers) if answer is not None] == [3]
    await state.set_value("still", "writes")


async def test_callers_that_wait_together_share_one_transaction(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)

    def transactions() -> int:
        # Each transaction writes the first page of the tables it touches anew: count commit frames in the log.
        return (tmp_path / "state.db-wal").stat().st_size

    before = transactions()
    await state.set_value("one", "1")
    single = transactions() - before
    before = transactions()
    await asyncio.gather(*(state.set_value(f"many-{n}", "1") for n in range(50)))
    assert transactions() - before <= 4 * single
    await state.close()


async def test_readers_that_wait_too_long_for_a_turn_are_told_so_and_ask_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, free = Database(f"sqlite:///{tmp_path / 'state.db'}", where="test"), threading.Event()
    slow = [asyncio.create_task(database.read(lambda _: free.wait(20))) for _ in range(2)]
    await asyncio.sleep(0)  # each of them has a thread now
    monkeypatch.setattr(database_of, "_READ_SECONDS", 0.05)
    try:
        with pytest.raises(StateBusy, match="not read in time"):
            await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar())
        free.set()
        assert await asyncio.gather(*slow) == [True, True]
        monkeypatch.undo()
        assert await database.read(lambda connection: connection.exec_driver_sql("SELECT 1").scalar()) == 1
    finally:
        free.set()
        await database.close()


async def test_a_read_has_its_answer_as_soon_as_the_loop_comes_round_however_busy_it_is(tmp_path: Path) -> None:
    """Statement by statement, each would wait for all that is ready before it."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}", where="test")
    rounds, over = 0, asyncio.Event()

    async def busy() -> None:
        nonlocal rounds
        while not over.is_set():
            rounds += 1
            time.sleep(0.05)  # what holds the loop, as many workers together do
            await asyncio.sleep(0)

    def statements(connection: Connection) -> int:
        return sum(connection.exec_driver_sql("SELECT 1").scalar_one() for _ in range(10))

    await database.read(statements)  # the connection is there
    work = asyncio.create_task(busy())
    try:
        await asyncio.sleep(0)
        began = rounds
        assert await database.read(statements) == 10
        assert rounds - began <= 5
    finally:
        over.set()
        await work
        await database.close()


async def test_what_is_put_is_written_as_it_was_when_its_transaction_began(tmp_path: Path) -> None:
    """A lane takes words back that a newer, durable one is about to say anew; the thread that writes has its own."""
    database, started, go = (
        Database(f"sqlite:///{tmp_path / 'state.db'}", where="test"),
        threading.Event(),
        threading.Event(),
    )
    state = await open_state(tmp_path, KEY)
    await state.close()

    def wait(_: Connection) -> None:
        started.set()
        go.wait(20)

    puts, newer = Puts(), Puts()
    for each in (puts, newer):
        each.put(tables.VALUES, {"name": "kept", "text": "1"})
    first = asyncio.create_task(database.write(wait))
    second = asyncio.create_task(database.put(puts))
    await asyncio.to_thread(started.wait, 20)
    puts.forget(newer)
    go.set()
    await asyncio.gather(first, second)
    found = await database.read(lambda connection: connection.execute(select(tables.VALUES.c.text)).scalars().all())
    assert "1" in found
    await database.close()
