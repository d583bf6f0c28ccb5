"""Each request of the reference run, met by each fault: what the clusters hold afterwards, judged by the checker.

The faults meet requests to one cluster; the other one keeps its delay, where the hub itself was not killed (V6).
"""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hubworld import make_world
from safety.checker import unmeasured, v6_delays
from safety.reference import SICK, WELL, Day, reference_run
from safety.rig import Boundary, Rig

from fleet.sim.statuses import ApiError

FAULTS = ("crash before", "crash after", "error", "landed, no answer", "stale read")
CRASHES = frozenset({"crash before", "crash after"})  # which delay every cluster
RUN_SECONDS = 150.0
_FLOOR_SECONDS = 10.0  # of a machine with much else to do


@dataclass(frozen=True, slots=True)
class Finding:
    """One run: which boundary was met by which fault, whether it came to that, and what was wrong."""

    boundary: Boundary
    fault: str
    met: bool
    violations: tuple[str, ...]
    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """An undisturbed run: all requests to the cluster that faults will meet, in order, and the delays to the other."""

    boundaries: tuple[Boundary, ...]
    delays: tuple[float, ...]


async def undisturbed() -> Reference:
    """Raises AssertionError if even that is not clean."""
    with tempfile.TemporaryDirectory(prefix="fleet-sweep-") as folder:
        async with make_world(Path(folder), (SICK, WELL), render_workers=1) as world:
            rig = Rig(world)
            rig.watch_clusters()
            day = Day(rig)
            try:
                await reference_run(rig, day)
            finally:
                await rig.stop()
            wrong = [*day.looks.wrong, *rig.violations()]
            assert wrong == [], wrong
            boundaries = tuple(boundary for cluster, boundary in rig.boundaries if cluster == SICK)
            return Reference(boundaries, tuple(day.delays()))


async def one_run(boundary: Boundary, fault: str, usual: Sequence[float] = ()) -> Finding:
    """The reference run with one request met by one fault. usual: delays to the other cluster in health."""
    with tempfile.TemporaryDirectory(prefix="fleet-sweep-") as folder:
        async with make_world(Path(folder), (SICK, WELL), render_workers=1) as world:
            rig = Rig(world)
            rig.watch_clusters()
            met: list[str] = []
            day = Day(rig)

            async def meet(phase: str, found: Boundary, cluster: str) -> bool:
                if (
                    cluster != SICK
                    or found != boundary
                    or met
                    or phase != ("before" if fault in {"crash before", "error"} else "after")
                ):
                    return False
                met.append(phase)
                match fault:
                    case "crash before" | "crash after":
                        rig.kill()
                        await asyncio.sleep(RUN_SECONDS)  # this request never gets an answer
                    case "error":
                        raise ApiError(500, "InternalError", "Internal error occurred: simulated")
                    case "landed, no answer":
                        return True
                    case _:
                        world.sim.cluster(cluster).faults.add("stale", versions=3, count=3, agent="fleet")
                return False

            rig.meets = meet
            wrong: list[str] = []
            try:
                async with asyncio.timeout(RUN_SECONDS):
                    await reference_run(rig, day)
            except Exception as error:  # a run that does not end well is a finding, the next one goes on
                wrong.append(f"V4 {type(error).__name__}: {str(error)[:8000]}\n{traceback.format_exc(limit=-2)}")
            finally:
                rig.meets = None
                await rig.stop()
            wrong += [*day.looks.wrong, *rig.violations()]
            if fault in CRASHES or not usual:
                return Finding(boundary, fault, bool(met), tuple(wrong))
            wrong += v6_delays(usual, day.delays(), floor=_FLOOR_SECONDS)
            return Finding(boundary, fault, bool(met), tuple(wrong), tuple(unmeasured(usual, day.delays())))
