"""Each request of the reference run, met by each fault: what the clusters hold afterwards, judged by the checker."""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hubworld import make_world
from safety.reference import reference_run
from safety.rig import Boundary, Rig

from fleet.sim.statuses import ApiError

FAULTS = ("crash before", "crash after", "error", "landed, no answer", "stale read")
RUN_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One run: which boundary was met by which fault, whether it came to that, and what was wrong."""

    boundary: Boundary
    fault: str
    met: bool
    violations: tuple[str, ...]


async def boundaries_of_reference() -> list[Boundary]:
    """All requests of an undisturbed run, in order; raises AssertionError if even that is not clean."""
    with tempfile.TemporaryDirectory(prefix="fleet-sweep-") as folder:
        async with make_world(Path(folder), ("eu-1",), render_workers=1) as world:
            rig = Rig(world)
            rig.watch_clusters()
            try:
                await reference_run(rig)
            finally:
                await rig.stop()
            assert rig.violations() == [], rig.violations()
            return rig.boundaries


async def one_run(boundary: Boundary, fault: str) -> Finding:
    """The reference run with one request met by one fault."""
    with tempfile.TemporaryDirectory(prefix="fleet-sweep-") as folder:
        async with make_world(Path(folder), ("eu-1",), render_workers=1) as world:
            rig = Rig(world)
            rig.watch_clusters()
            met: list[str] = []

            async def meet(phase: str, found: Boundary, cluster: str) -> bool:
                if found != boundary or met or phase != ("before" if fault in {"crash before", "error"} else "after"):
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
                    await reference_run(rig)
            except Exception as error:  # a run that does not end well is a finding, the next one goes on
                wrong.append(f"V4 {type(error).__name__}: {str(error)[:2000]}\n{traceback.format_exc(limit=-2)}")
            finally:
                rig.meets = None
                await rig.stop()
            return Finding(boundary, fault, bool(met), (*wrong, *rig.violations()))


async def sweep(pairs: Iterable[tuple[Boundary, str]]) -> list[Finding]:
    """One run after the other."""
    return [await one_run(boundary, fault) for boundary, fault in pairs]
