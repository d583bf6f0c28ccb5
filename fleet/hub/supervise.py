"""One cluster's bug stays one cluster's: its worker is started again, and quarantined after three bugs in a row."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable

import structlog

from fleet import telemetry
from fleet.cancelling import end_if_asked, in_own_task
from fleet.core.ids import ClusterName
from fleet.errors import FleetError, StateError, WorkerFailed

log = structlog.get_logger("hub")
BUGS_UNTIL_QUARANTINE = 3
HEALTHY_SECONDS = 600.0  # a worker that ran so long starts counting anew
FIRST_PAUSE_SECONDS = 1.0


async def supervise(
    name: ClusterName,
    start: Callable[[], Awaitable[None]],
    tell: Callable[[WorkerFailed], Awaitable[None]],
    *,
    pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Run a worker again and again; returns once it is quarantined, and never raises but when cancelled.

    A StateError is no bug of the worker: the hub's own state cannot be had, so it only waits. tell: puts the failure
    into the cluster's status. pause: how to wait, in seconds (tests bring their own clock).
    """
    loop = asyncio.get_running_loop()
    bugs = 0
    while True:
        began = loop.time()
        try:
            await in_own_task(start)
        except* StateError as group:
            log.error("worker stopped: the hub's own state", cluster=name, why=str(group.exceptions[0]))
        except* Exception as group:  # the edge of a loop: reported with its trace, and nobody else stops (R18)
            bugs = 1 if loop.time() - began > HEALTHY_SECONDS else bugs + 1
            telemetry.WORKER_FAILURES.labels(name).inc()
            trace = "".join(traceback.format_exception(group))
            log.error("worker failed", cluster=name, bugs=bugs, trace=trace)
            await _told(name, tell, _failure(name, group, bugs))
        end_if_asked()
        if bugs >= BUGS_UNTIL_QUARANTINE:
            return
        await pause(FIRST_PAUSE_SECONDS * 2**bugs * random.uniform(0.8, 1.2))


async def _told(name: ClusterName, tell: Callable[[WorkerFailed], Awaitable[None]], failure: WorkerFailed) -> None:
    try:
        await tell(failure)
    except FleetError as error:  # the state cannot be had either; the log has the trace
        log.error("failure not reported", cluster=name, why=str(error))
    except Exception:  # the edge of the same loop: a bug on the way must not have the bugs counted anew (R18)
        log.exception("failure not reported", cluster=name)


def _failure(name: ClusterName, group: BaseExceptionGroup[Exception], bugs: int) -> WorkerFailed:
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    stands_still = bugs >= BUGS_UNTIL_QUARANTINE
    return WorkerFailed(
        "the worker of this cluster failed" + (f" {bugs} times in a row and stands still" if stands_still else ""),
        where=f"cluster {name}",
        why=f"{type(first).__name__} (the trace is in the hub's log)",
        next_step="restart the hub and report the trace" if stands_still else "it is started again by itself",
    )
