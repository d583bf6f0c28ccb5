"""A good change passes all steps; an image that crashes its pods hits one canary and is taken back by itself."""

from __future__ import annotations

import time
from collections.abc import Mapping

from hubworld import HubWorld
from shows.fleets import ENVIRONMENTS, app, clusters, environment_of, fleet_file, outcome_of, released
from testbed.controlplane import ControlPlane
from testbed.fates import fate

STEPS = (
    "{name: canary, clusters: {names: [%s]}}",
    "{name: dev, environments: [dev]}",
    "{name: staging, environments: [staging], maxParallel: 50%%}",
    "{name: prod, rest: true, maxParallel: 10}",
)


async def show(world: HubWorld, planes: Mapping[str, ControlPlane], app_name: str) -> list[str]:
    """planes: real clusters by the names they have in the fleet, the first is the canary. Returns what was seen."""
    names = [*planes, *world.sim.clusters]
    canary = next(iter(planes))
    steps = [step % canary if "%s" in step else step.replace("%%", "%") for step in STEPS]
    world.write_credentials()
    for name, plane in planes.items():
        plane.write_kubeconfig(world.root / "credentials" / f"{name}.kubeconfig")
    first = world.commit(clusters(names) | fleet_file(steps, onFailure="rollback") | app("1", app_name))
    said: list[str] = []
    async with world.run():
        await world.until_everywhere(first, 240)
        began = time.monotonic()
        good = world.commit(app("2", app_name))
        await world.until(lambda: outcome_of(world, good) == "done", "the good change passes", 240)
        order = released(world, good)
        assert order[0] == canary
        assert sorted(order) == sorted(names), "every cluster once"
        rank = {name: -1 if name == canary else ENVIRONMENTS.index(environment_of(name)) for name in names}
        assert [rank[name] for name in order] == sorted(rank[name] for name in order), "step by step"
        await world.until_everywhere(good, 60)
        said.append(f"good change: {len(order)} clusters, step by step, Healthy after {time.monotonic() - began:.1f} s")

        began, sim_marks = time.monotonic(), world.marks()
        marks = {name: plane.ledger_mark() for name, plane in planes.items()}
        notes = fate("crash", exit_code=1, message="DB_HOST is not set")
        bad = world.commit(app("3-crash", app_name, notes))
        await world.until(lambda: outcome_of(world, bad) == "rolled back", "the bad change is taken back", 240)
        stopped = time.monotonic() - began
        hit = released(world, bad)
        assert hit == [canary], "one canary is hit"
        written = set(world.writes(sim_marks))
        for name, plane in planes.items():
            if any(one.is_write and one.name == app_name for one in plane.ledger(marks[name], user_agent="fleet")):
                written.add(name)
        assert written == {canary}, f"written to: {sorted(written)}"
        cause = next(one for one in world.opened.view.passages.all if one.commit == bad).ended
        assert cause is not None
        await world.until(lambda: world.opened.view.waits, "kept away", 60)

        def is_back() -> bool:
            live = planes[canary].client().get(f"/apis/apps/v1/namespaces/default/deployments/{app_name}")
            image = live["spec"]["template"]["spec"]["containers"][0]["image"]
            return image.endswith(":2") and live["status"].get("readyReplicas") == 1

        await world.until(is_back, "Healthy again on the image before", 120)
        said.append(
            f"crashing image: 1 of {len(names)} clusters hit ({canary}), stopped after {stopped:.1f} s: {cause.reason}"
        )
        said.append(f"taken back by itself, Healthy again {time.monotonic() - began:.1f} s after the commit")
    return said
