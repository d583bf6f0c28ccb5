"""One supervised worker per cluster of the fleet: started when a cluster appears, ended when it was let go.

One that is quarantined stays in its place and is not started again, until the hub is restarted, or its cluster leaves
with nothing that waits to be let go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

import structlog

from fleet.controllers.board import Board
from fleet.controllers.reports import Intake
from fleet.core.ids import ClusterName
from fleet.core.status import Report
from fleet.core.view import View
from fleet.errors import StateError, WorkerFailed
from fleet.hub.supervise import supervise
from fleet.ports.state import Bells
from fleet.values import dataclass

LOOK_SECONDS = 60.0  # without a ring, which each change of the inventory gives
STOP_SECONDS = 4.0  # less than the hub's own LOOPS_SECONDS

log = structlog.get_logger("hub")

StartWorker = Callable[[ClusterName], Awaitable[None]]  # runs until cancelled


@dataclass(slots=True)
class Workers:
    """Keeps the set of running workers equal to the clusters in force and those still being let go."""

    view: View
    board: Board
    intake: Intake
    bells: Bells
    start: StartWorker
    wall: Callable[[], float]

    async def run(self) -> None:
        """Until cancelled; then all workers are ended, and one that hangs is left behind after STOP_SECONDS."""
        running: dict[ClusterName, asyncio.Task[None]] = {}
        gone: set[ClusterName] = set()  # ended, not forgotten yet
        try:
            while True:
                self.bells.clusters.clear()
                for old, new in list(self.board.identities.renames.items()):
                    if await _ended(running, old, new):
                        await _tried(self.intake.rename(old, new))
                entries = self.board.entries()
                for name in sorted(entries):
                    if name not in running or _is_over(running[name]):
                        running[name] = asyncio.create_task(self._supervised(name), name=f"worker {name}")
                for name in list(running):
                    if self.board.has_gone(name) and await _ended(running, name):
                        gone.add(name)
                for name in sorted(gone):
                    # Ending others took its time: one that came back since is begun with the next look.
                    is_back = name in self.board.entries()
                    if is_back or (self.board.has_gone(name) and await _tried(self.intake.forget(name))):
                        gone.discard(name)
                await self._wait()
        finally:
            await _ended(running, *running)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self.bells.clusters.wait()
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
                version=known.version if known else "",
                reason=failure.reason,
                message=f"{failure.what}: {failure.why}",
                next_step=failure.next_step,
            )
            await self.intake.send(report)

        await supervise(name, lambda: self.start(name), tell)


async def _tried(work: Coroutine[None, None, None]) -> bool:
    """Whether it could be written down; if not (a full disk), it is tried again at the next look."""
    try:
        await work
    except StateError as error:
        log.error(error.what, why=error.why, next_step=error.next_step)
        return False
    return True


def _is_over(supervision: asyncio.Task[None]) -> bool:
    """Whether another is to begin: this one was ended, or a bug of its own ended it; one that returned quarantines."""
    return supervision.done() and (supervision.cancelled() or supervision.exception() is not None)


async def _ended(running: dict[ClusterName, asyncio.Task[None]], *names: ClusterName) -> bool:
    """Whether these workers ended in time; one that did not stays in `running`, so that no second starts beside it."""
    tasks = {name: running[name] for name in names if name in running}
    for task in tasks.values():
        task.cancel()
    if not tasks:
        return True
    _, late = await asyncio.wait(tasks.values(), timeout=STOP_SECONDS)
    if late:
        log.error("workers that did not end", workers=sorted(task.get_name() for task in late))
    for name, task in tasks.items():
        if task not in late:
            del running[name]
    return not late
