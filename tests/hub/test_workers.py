"""One worker per cluster, never two beside each other."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, Revision
from fleet.core.view import Head, View
from fleet.hub import workers
from fleet.ports.state import Bells

EU = ClusterName("eu-1")


async def test_none_starts_beside_one_that_did_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STOP_SECONDS", 0.01)
    entries, looks, bells, may_end = {EU: None}, [], Bells(), asyncio.Event()
    running, started, forgotten = asyncio.Semaphore(0), [], []

    async def stubborn(name: ClusterName) -> None:
        started.append(name)
        running.release()
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    def known() -> dict[ClusterName, None]:
        looks.append(dict(entries))
        return dict(entries)

    async def forget(name: ClusterName) -> None:
        forgotten.append(name)

    async def look() -> None:
        seen = len(looks)
        bells.clusters.set()
        async with asyncio.timeout(30):
            while len(looks) == seen or bells.clusters.is_set():
                await asyncio.sleep(0.005)

    view = View(Head("main"))
    view.fleet = Fleet(Revision("a" * 40), "acme")
    roster = SimpleNamespace(leaving=SimpleNamespace(of_cluster=lambda name: entries))
    board = SimpleNamespace(entries=known, identities=SimpleNamespace(renames={}), roster=roster)
    made = workers.Workers(view, board, SimpleNamespace(forget=forget), bells, stubborn, lambda: 0.0)
    task = asyncio.create_task(made.run())
    try:
        async with asyncio.timeout(30):
            await running.acquire()
        entries.clear()
        await look()
        entries[EU] = None
        await look()
        await look()
        assert (started, forgotten) == ([EU], [])
        may_end.set()
        await look()
        await look()
        assert started == [EU, EU]
    finally:
        may_end.set()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
