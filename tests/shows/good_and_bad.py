"""A good change passes all steps; an image that crashes its pods hits one canary and is taken back by itself."""

from __future__ import annotations

import asyncio
import time

from shows.fleets import ENVIRONMENTS, ShowFleet, environment_of, fleet_file
from testbed.fates import fate

STEPS = (
    "{name: canary, clusters: {names: [%s]}}",
    "{name: dev, environments: [dev]}",
    "{name: staging, environments: [staging], maxParallel: 50%%}",
    "{name: prod, rest: true, maxParallel: 10}",
)


async def show(fleet: ShowFleet) -> list[str]:
    """The canary is the first of the real control planes. The hub runs; returns what was seen."""
    world, names, canary = fleet.world, fleet.names, next(iter(fleet.planes))
    steps = [step % canary if "%s" in step else step.replace("%%", "%") for step in STEPS]
    said: list[str] = []
    await fleet.begin("1")

    began = time.monotonic()
    good = world.commit(fleet_file(steps, onFailure="rollback") | fleet.web("2"))
    await world.until(lambda: fleet.outcome_of(good) == "done", "the good change passes", 240)
    order = fleet.released(good)
    assert order[0] == canary
    assert sorted(order) == sorted(names), "every cluster once"
    rank = {name: -1 if name == canary else ENVIRONMENTS.index(environment_of(name)) for name in names}
    assert [rank[name] for name in order] == sorted(rank[name] for name in order), "step by step"
    await world.until_everywhere(good, 60)
    said.append(f"good change: {len(order)} clusters, step by step, Healthy after {time.monotonic() - began:.1f} s")
    assert await fleet.ready_on("2") == set(names)

    began, sim_marks = time.monotonic(), world.marks()
    marks = {name: plane.ledger_mark() for name, plane in fleet.planes.items()}
    notes = fate("crash", exit_code=1, message="DB_HOST is not set")
    bad = world.commit(fleet.web("3-crash", notes))
    await world.until(lambda: fleet.outcome_of(bad) == "rolled back", "the bad change is taken back", 240)
    stopped = time.monotonic() - began
    assert fleet.released(bad) == [canary], "one canary is hit"
    written = set(world.writes(sim_marks))
    for name, plane in fleet.planes.items():
        if any(one.is_write and one.name == fleet.app for one in plane.ledger(marks[name], user_agent="fleet")):
            written.add(name)
    assert written == {canary}, f"written to: {sorted(written)}"
    passage = fleet.rollout_of(bad)
    assert passage is not None
    assert passage.ended is not None
    await world.until(lambda: world.opened.view.waits, "kept away", 60)
    async with asyncio.timeout(120):
        while not await asyncio.to_thread(fleet.is_ready, canary, "2"):
            await asyncio.sleep(0.05)
    said.append(
        f"crashing image: 1 of {len(names)} clusters hit ({canary}), stopped after {stopped:.1f} s: "
        f"{passage.ended.reason}"
    )
    said.append(f"taken back by itself, Healthy again {time.monotonic() - began:.1f} s after the commit")
    return said
