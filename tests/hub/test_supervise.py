"""One worker's bug ends that worker alone; a loop's trouble ends nothing."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from fleet.core.ids import ClusterName
from fleet.errors import StateNotWritable, WorkerFailed
from fleet.hub.loops import Service, Troubles, keep_running
from fleet.hub.supervise import BUGS_UNTIL_QUARANTINE, supervise

EU = ClusterName("eu-1")
GROUPED = pytest.mark.parametrize("grouped", [False, True])


class Worker:
    """A fake worker: each start does the next thing of its script, then runs until cancelled.

    grouped: its errors are those of a task of it, which it only waits for, as those of a real worker are.
    """

    def __init__(self, *script: BaseException, grouped: bool = False) -> None:
        self.script, self.starts, self.told, self.pauses = list(script), 0, [], []
        self.grouped, self.running = grouped, asyncio.Event()

    async def start(self) -> None:
        self.starts += 1
        if self.script and self.grouped:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.fail())
        elif self.script:
            await self.fail()
        self.running.set()
        await asyncio.Event().wait()

    async def fail(self) -> None:
        raise self.script.pop(0)

    async def tell(self, failure: WorkerFailed) -> None:
        self.told.append(failure)

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    def run(self):
        return supervise(EU, self.start, self.tell, pause=self.pause)


@contextlib.asynccontextmanager
async def running(work):
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_bug_is_told_and_the_worker_starts_again() -> None:
    worker = Worker(ExceptionGroup("tasks", [KeyError("secret-value")]))
    async with running(worker.run()), asyncio.timeout(5):
        await worker.running.wait()
    assert worker.starts == 2
    assert [failure.reason for failure in worker.told] == ["WorkerFailed"]
    assert "KeyError" in worker.told[0].why
    assert "secret-value" not in str(worker.told[0])


@GROUPED
async def test_three_bugs_in_a_row_quarantine_it(grouped: bool) -> None:
    worker = Worker(*[RuntimeError(str(number)) for number in range(9)], grouped=grouped)
    await asyncio.wait_for(worker.run(), 5)
    assert worker.starts == BUGS_UNTIL_QUARANTINE == 3
    assert "stands still" in worker.told[-1].what
    assert worker.pauses == sorted(worker.pauses)


@GROUPED
async def test_the_hubs_own_state_is_no_bug_of_the_worker(grouped: bool) -> None:
    worker = Worker(*[StateNotWritable("full") for _ in range(5)], grouped=grouped)
    async with running(worker.run()), asyncio.timeout(5):
        await worker.running.wait()
    assert (worker.starts, worker.told) == (6, [])


async def test_a_failure_that_cannot_be_told_does_not_end_the_supervision() -> None:
    worker = Worker(RuntimeError("bug"))

    async def tell(_: WorkerFailed) -> None:
        raise StateNotWritable("full")

    worker.tell = tell
    async with running(worker.run()), asyncio.timeout(5):
        await worker.running.wait()
    assert worker.starts == 2


async def test_cancelling_passes_through() -> None:
    worker = Worker()
    task = asyncio.create_task(worker.run())
    await worker.running.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert worker.told == []


async def fails_when_it_is_ended(began: asyncio.Event, error: Exception) -> None:
    """One of its tasks fails as it is cancelled: its group raises that alone."""

    async def work() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            raise error

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(work())


@pytest.mark.parametrize("error", [StateNotWritable("full"), KeyError("a bug")])
@pytest.mark.parametrize("kind", ["worker", "loop"])
async def test_what_fails_as_it_is_ended_is_not_started_again(kind: str, error: Exception) -> None:
    worker, began = Worker(), asyncio.Event()

    async def start() -> None:
        worker.starts += 1
        await fails_when_it_is_ended(began, error)

    worker.start = start
    work = worker.run() if kind == "worker" else keep_running(Service("commits", start), Troubles(), pause=worker.pause)
    task = asyncio.create_task(work)
    await began.wait()
    task.cancel()
    try:
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(asyncio.shield(task), 5)
        assert (task.cancelled(), worker.starts) == (True, 1)
    finally:
        for _ in range(2):
            task.cancel()
            await asyncio.sleep(0)


@GROUPED
@pytest.mark.parametrize("trouble", [StateNotWritable("the state cannot be written", why="disk full"), KeyError("x")])
async def test_a_loop_that_fails_is_shown_and_runs_again(trouble: Exception, grouped: bool) -> None:
    worker, troubles, shown = Worker(trouble, grouped=grouped), Troubles(), []

    async def pause(seconds: float) -> None:
        shown.append((seconds, troubles.why()))
        await asyncio.sleep(0)

    async with running(keep_running(Service("commits", worker.start), troubles, pause=pause)), asyncio.timeout(5):
        await worker.running.wait()
    assert worker.starts == 2
    assert shown[0][0] >= 1.0
    assert "commits: " in shown[0][1]
    assert ("disk full" in shown[0][1]) == (isinstance(trouble, StateNotWritable) and not grouped)
