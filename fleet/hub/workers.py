"""One supervised worker per cluster of the fleet: started when a cluster appears, ended when it was let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fleet.controllers.board import Board
from fleet.controllers.reports import Intake
from fleet.core.ids import ClusterName
from fleet.core.status import Report
from fleet.core.view import View
from fleet.errors import WorkerFailed
from fleet.hub.supervise import supervise

LOOK_SECONDS = 1.0
STOP_SECONDS = 5.0

StartWorker = Callable[[ClusterName], Awaitable[None]]  # runs until cancelled


@dataclass(slots=True)
class Workers:
    """Keeps the set of running workers equal to the clusters in force and those still being let go."""

    view: View
    board: Board
    intake: Intake
    start: StartWorker
    wall: Callable[[], float]

    async def run(self) -> None:
        """Until cancelled; then all workers are ended."""
        running: dict[ClusterName, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                fleet = self.view.fleet
                for name in sorted(fleet.clusters) if fleet is not None else ():
                    if name not in running:
                        running[name] = tasks.create_task(self._supervised(name), name=f"worker {name}")
                for name in [name for name in running if self._may_end(name)]:
                    await _ended(running.pop(name))
                    await self.intake.forget(name)
                await self._wait()

    def _may_end(self, name: ClusterName) -> bool:
        """Gone from the repo, and none of its units waits to be let go (R13)."""
        fleet = self.view.fleet
        gone = fleet is not None and name not in fleet.clusters and fleet.unknown.covers_cluster(name) is None
        return gone and not self.board.leaving_of(name)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self.intake.detached.wait()
                self.intake.detached.clear()
        except TimeoutError:
            return

    async def _supervised(self, name: ClusterName) -> None:
        async def tell(failure: WorkerFailed) -> None:
            known = self.view.clusters.get(name)
            report = Report(
                cluster=name,
                epoch=known.epoch if known else 0,
                sequence=(known.sequence if known else 0) + 1,
                at=self.wall(),
                identity=known.identity if known else None,
                reason=failure.reason,
                message=f"{failure.what}: {failure.why}",
                next_step=failure.next_step,
            )
            await self.intake.send(report)

        await supervise(name, lambda: self.start(name), tell)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=STOP_SECONDS)
