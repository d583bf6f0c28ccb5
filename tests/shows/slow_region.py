"""A change that is slow only in one region halts at that region's step, and the regions before it keep it."""

from __future__ import annotations

from hubworld import HubWorld
from shows.fleets import app, clusters, fleet_file, on, released, rollout_of

STEPS = (
    "{name: canary, environments: [dev]}",
    "{name: eu, clusters: {matchLabels: {region: eu}}, maxParallel: 4}",
    "{name: us, clusters: {matchLabels: {region: us}}, maxParallel: 1}",
)


async def show(world: HubWorld, *, patience: int) -> list[str]:
    """patience: `healthTimeout` in seconds; the slow region needs ten times as long."""
    names = list(world.sim.clusters)
    slow = sorted(name for name in names if name.startswith("us-") and "-dev-" not in name)
    first = world.commit(clusters(names) | fleet_file(STEPS, healthTimeout=f"{patience}s") | app("1"))
    async with world.run():
        await world.until_everywhere(first, 120)
        for name in slow:
            world.sim.cluster(name).controllers.set_ready_seconds(10.0 * patience)
        commit = world.commit(app("2"))
        await world.until(lambda: (one := rollout_of(world, commit)) and one.halted, "halted", 60 + 6 * patience)
        passage = rollout_of(world, commit)
        assert passage is not None
        assert passage.halted is not None
        assert passage.halted.unit is not None
        assert passage.halted.unit.cluster == slow[0], "the first of the slow region"
        assert "not Healthy in time" in passage.halted.reason
        assert passage.rows["web"].passed == {"canary", "eu"}
        hit = on(world, "2")
        assert hit == set(names) - set(slow[1:]), "all regions before it, and one cluster of it"
        assert released(world, commit)[-1] == slow[0]
    return [
        f"{len(names)} clusters: {len(names) - len(slow)} in the steps before are Healthy on the change, "
        f"1 of {len(slow)} in region us has it; halted: {passage.halted.reason}"
    ]
