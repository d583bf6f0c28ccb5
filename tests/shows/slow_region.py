"""A change that is slow only in one region halts at that region's step, and the regions before it keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shows.fleets import ShowFleet, fleet_file

from fleet.core.passage import Passage

STEPS = (
    "{name: canary, clusters: {names: [CANARY]}}",
    "{name: eu, clusters: {matchLabels: {region: eu}}, maxParallel: 8}",
    "{name: us, clusters: {matchLabels: {region: us}}, maxParallel: 1}",
)
PATIENCE_SECONDS = 240  # `healthTimeout`, by the hub's clocks, which are set forward
USUAL_SECONDS = 0.3  # until a pod of a simulated cluster is Ready


async def show(fleet: ShowFleet) -> list[str]:
    """The first of the slow region is a real control plane, whose kubelet stands still. The hub runs."""
    world = fleet.world
    slow = sorted(name for name in fleet.names if name.startswith("us-"))
    simulated = [world.sim.cluster(name).controllers for name in slow if name in world.sim.clusters]
    await fleet.begin("1")
    for controllers in simulated:
        controllers.set_ready_seconds(10.0 * PATIENCE_SECONDS)
    try:
        with fleet.planes[slow[0]].kubelet_stands_still():
            commit, reason = await _halts(fleet, slow)
    finally:
        for controllers in simulated:
            controllers.set_ready_seconds(USUAL_SECONDS)
    async with asyncio.timeout(60):
        while not await asyncio.to_thread(fleet.is_ready, slow[0], "2"):  # it was slow, and nothing worse
            await asyncio.sleep(0.05)
    await world.pass_time(60)
    assert _at(fleet, commit).halted is not None, "it stays halted, until a person resumes it"
    assert await fleet.on("2") == set(fleet.names) - set(slow[1:])
    return [
        f"{len(fleet.names)} clusters: {len(fleet.names) - len(slow)} in the steps before are Healthy on the change, "
        f"1 of {len(slow)} in region us has it ({slow[0]}); halted: {reason}"
    ]


async def _halts(fleet: ShowFleet, slow: Sequence[str]) -> tuple[str, str]:
    """The change's commit, and why its rollout is halted."""
    world, first = fleet.world, slow[0]
    canary = next(name for name in fleet.planes if name not in slow)
    steps = [step.replace("CANARY", canary) for step in STEPS]
    commit = world.commit(fleet_file(steps, healthTimeout=f"{PATIENCE_SECONDS}s") | fleet.web("2"))
    await world.until(lambda: fleet.released(commit)[-1:] == [first], "it comes to the slow region", 240)
    await world.pass_time(PATIENCE_SECONDS / 2)
    assert _at(fleet, commit).halted is None, "within its time it is waited for"
    await world.pass_time(PATIENCE_SECONDS / 2)
    await world.until(lambda: _at(fleet, commit).halted, "halted")
    halted = _at(fleet, commit).halted
    assert halted is not None
    assert halted.unit is not None
    assert halted.unit.cluster == first, "the first of the slow region"
    assert "not Healthy in time" in halted.reason
    assert _at(fleet, commit).rows["web"].passed == {"canary", "eu"}
    assert fleet.released(commit)[-1] == first
    assert await fleet.on("2") == set(fleet.names) - set(slow[1:]), "all regions before it, and one cluster of it"
    assert await fleet.ready_on("2") == set(fleet.names) - set(slow)
    return commit, halted.reason


def _at(fleet: ShowFleet, commit: str) -> Passage:
    passage = fleet.rollout_of(commit)
    assert passage is not None
    return passage
