"""A fifth of all clusters cannot be reached from the start, and is back a day later.

The day is virtual, and only the hub's clocks know of it, because no API server can be told that it is tomorrow: all
real control planes are among those that are reached, and live through the seconds that the show takes. What passes
while steps wait for the lost goes by two minutes at a time, and then the rest of the day at once.
"""

from __future__ import annotations

from shows.fleets import ENVIRONMENTS, ShowFleet, environment_of, fleet_file

STEPS = (
    "{name: dev, environments: [dev]}",
    "{name: staging, environments: [staging]}",
    "{name: prod, rest: true, maxParallel: 10, maxUnavailable: 50%}",
)
PATIENCE_MINUTES = 6
PACE_MINUTES = 2
DAY_HOURS = 24


async def show(fleet: ShowFleet) -> list[str]:
    """The hub runs; returns what was seen."""
    world, names, view = fleet.world, fleet.names, fleet.world.opened.view
    count = -(-len(names) // 5)
    simulated = list(world.sim.clusters)
    away = frozenset(simulated[:: len(simulated) // count][:count])
    assert {environment_of(name) for name in away} == set(ENVIRONMENTS)
    await fleet.begin("old")
    faults = {name: world.sim.cluster(name).faults.add("refuse") for name in away}
    await world.until(lambda: all(not view.clusters[name].reachable for name in away), "they are away", 60)
    commit = world.commit(fleet_file(STEPS, healthTimeout=f"{PATIENCE_MINUTES}m") | fleet.web("new"))

    def reached() -> set[str]:
        return set(fleet.released(commit)) - away

    def landed() -> bool:
        """What was released is Healthy: a minute may pass without doing harm to what is on its way."""
        passage = fleet.rollout_of(commit)
        return passage is not None and reached() <= set(passage.rows["web"].landed)

    began: dict[str, int] = {}  # minutes after which a step came to its first cluster
    minutes = 0
    while True:
        await world.until(landed, "what was released is Healthy", 120)
        for name in reached():
            began.setdefault(environment_of(name), minutes)
        if reached() == set(names) - away:
            break
        assert minutes < 60, f"after an hour only {len(reached())} of {len(names) - count} have it"
        await world.pass_time(60.0 * PACE_MINUTES)
        minutes += PACE_MINUTES
    assert began["dev"] <= began["staging"] - PATIENCE_MINUTES <= began["prod"] - 2 * PATIENCE_MINUTES, str(began)
    await world.pass_time(3600.0 * DAY_HOURS)
    passage = fleet.rollout_of(commit)
    assert passage is not None
    assert (passage.outcome, passage.halted) == ("", None), "it is not over without them, and nothing is broken"
    assert await fleet.on("old") == away
    for name, fault in faults.items():
        world.sim.cluster(name).faults.remove(fault)
    await world.until(lambda: fleet.outcome_of(commit) == "done", "those that are back have it too", 120)
    await world.until_everywhere(commit, 60)
    passage = fleet.rollout_of(commit)
    assert passage is not None
    assert passage.halted is None
    assert await fleet.ready_on("new") == set(names)
    return [
        f"{count} of {len(names)} clusters away: the others have it after {minutes} min, each step having waited "
        f"{PATIENCE_MINUTES} min for them; {DAY_HOURS} h later they are back, and follow by themselves"
    ]
