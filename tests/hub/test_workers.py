"""One worker per cluster, never two beside each other, and none for one that is quarantined."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from fleet.core.ids import ClusterName
from fleet.core.status import Report
from fleet.core.view import Head, View
from fleet.errors import StateNotWritable
from fleet.hub import supervise, workers
from fleet.ports.state import Bells

EU, US = ClusterName("eu-1"), ClusterName("us-1")


class World:
    """The board and the intake as Workers sees them; `entries` is the fleet."""

    def __init__(self) -> None:
        self.entries, self.looks, self.bells = {EU: None}, 0, Bells()
        self.starts: list[ClusterName] = []
        self.forgotten: list[ClusterName] = []
        self.reports: list[Report] = []

    async def start(self, name: ClusterName) -> None:
        """What a worker does; it began already."""
        await asyncio.Event().wait()

    async def forget(self, name: ClusterName) -> None:
        self.forgotten.append(name)

    async def send(self, report: Report) -> None:
        self.reports.append(report)

    async def look(self) -> None:
        """A whole look of Workers that began after this was asked for."""
        seen = self.looks
        self.bells.clusters.set()
        async with asyncio.timeout(30):
            while self.looks == seen or self.bells.clusters.is_set():
                await asyncio.sleep(0.005)

    @property
    def renames(self) -> dict[ClusterName, ClusterName]:
        """No cluster has another name now; each look asks this once."""
        self.looks += 1
        return {}

    async def _begin(self, name: ClusterName) -> None:
        self.starts.append(name)
        await self.start(name)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        view = View(Head("main"))
        board = SimpleNamespace(
            entries=lambda: dict(self.entries), identities=self, has_gone=lambda name: name not in self.entries
        )
        made = workers.Workers(view, board, self, self.bells, self._begin, lambda: 0.0)
        task = asyncio.create_task(made.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def eventually(is_so) -> None:
    async with asyncio.timeout(30):
        while not is_so():
            await asyncio.sleep(0.005)


async def test_none_starts_beside_one_that_did_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.01)
    world, may_end = World(), asyncio.Event()

    async def stubborn(_: ClusterName) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    world.start = stubborn
    async with world.running():
        try:
            await eventually(lambda: world.starts)
            world.entries.clear()
            await world.look()
            world.entries[EU] = None
            await world.look()
            await world.look()
            assert (world.starts, world.forgotten) == ([EU], [])
            may_end.set()
            await world.look()
            await world.look()
            assert world.starts == [EU, EU]
        finally:
            may_end.set()


async def test_one_whose_cluster_comes_back_while_it_is_ended_is_started_and_not_forgotten() -> None:
    world, is_ended, may_end = World(), asyncio.Event(), asyncio.Event()

    async def slow(_: ClusterName) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_ended.set()
            await may_end.wait()

    world.start = slow
    async with world.running():
        try:
            await eventually(lambda: world.starts)
            world.entries.clear()
            world.bells.clusters.set()
            async with asyncio.timeout(30):
                await is_ended.wait()
            world.entries[EU] = None
            may_end.set()
            await world.look()
            await world.look()
            assert (world.starts, world.forgotten) == ([EU, EU], [])
        finally:
            may_end.set()


async def test_one_whose_cluster_left_is_ended_and_forgotten_once_that_can_be_written_down() -> None:
    world, tries = World(), []

    async def forget(name: ClusterName) -> None:
        tries.append(name)
        if len(tries) == 1:
            raise StateNotWritable("full")
        world.forgotten.append(name)

    world.forget = forget
    async with world.running():
        await eventually(lambda: world.starts)
        world.entries.clear()
        await world.look()
        await eventually(lambda: tries)
        await world.look()
        await eventually(lambda: world.forgotten)
        await world.look()
        assert (tries, world.forgotten, world.starts) == ([EU, EU], [EU], [EU])


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_PAUSE_SECONDS", 0.0)


@pytest.mark.usefixtures("at_once")
async def test_one_that_is_quarantined_stands_still_until_its_cluster_leaves() -> None:
    world = World()
    world.entries[US] = None

    async def start(name: ClusterName) -> None:
        if name == EU:
            raise KeyError("a bug")
        await asyncio.Event().wait()

    world.start = start
    async with world.running():
        await eventually(lambda: len(world.reports) >= supervise.BUGS_UNTIL_QUARANTINE)
        for _ in range(5):
            await world.look()
            await asyncio.sleep(0.01)
        assert sorted(world.starts) == [EU, EU, EU, US]
        assert "stands still" in world.reports[-1].message
        del world.entries[EU]
        await world.look()
        await eventually(lambda: world.forgotten == [EU])
        world.entries[EU] = None
        await world.look()
        await eventually(lambda: world.starts.count(EU) == 2 * supervise.BUGS_UNTIL_QUARANTINE)


@pytest.mark.usefixtures("at_once")
async def test_one_that_is_well_after_a_bug_goes_on_and_is_not_started_again() -> None:
    world, bugs = World(), [KeyError("a bug")]

    async def start(_: ClusterName) -> None:
        if bugs:
            raise bugs.pop()
        await asyncio.Event().wait()

    world.start = start
    async with world.running():
        await eventually(lambda: len(world.starts) == 2)
        for _ in range(3):
            await world.look()
        assert (len(world.starts), len(world.reports)) == (2, 1)


@pytest.mark.usefixtures("at_once")
async def test_a_quarantine_holds_also_where_its_report_meets_a_bug() -> None:
    world = World()

    async def start(_: ClusterName) -> None:
        raise KeyError("a bug")

    async def send(report: Report) -> None:
        world.reports.append(report)
        raise ValueError("another")

    world.start, world.send = start, send
    async with world.running():
        await eventually(lambda: len(world.reports) >= supervise.BUGS_UNTIL_QUARANTINE)
        for _ in range(3):
            await world.look()
            await asyncio.sleep(0.01)
        assert len(world.starts) == supervise.BUGS_UNTIL_QUARANTINE
