"""What waits for a person, or waited, beside what is on its way: limits hold all the same, on a real board."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import cluster, fleet_file, look
from controllers.test_rollouts import result, rollouts_of, settle, told
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Blocker, Health, Standing
from fleet.core.sync_policy import Suspension

NAMES = [f"prod-{n}" for n in range(5)]
VOLUME = """apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data, namespace: default}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""


def web(value: str, **others: str) -> dict[str, str]:
    return overlay("overlays/web", {"web": config_map("web", value), **others})


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    """Five clusters of one step, one at a time, hold web 1 and a volume."""
    made = rollouts_of(brain)
    await brain.commit(
        {**fleet_file("[{name: prod, rest: true, maxParallel: 1}]"), **web("1", data=VOLUME)}
        | {path: text for name in NAMES for path, text in cluster(name).items()}
    )
    await settle(brain, made)
    return made


def on(brain: Brain) -> list[str]:
    return [name for name in NAMES if told(brain, name) == result(brain)]


async def test_a_dropped_volume_that_waits_for_a_person_lets_no_second_cluster_go_while_the_first_starts(
    brain: Brain, rollouts: Rollouts
) -> None:
    brain.repo.commit({**web("2"), "overlays/web/data.yaml": None})
    await brain.commits.fetch_once()
    await look(brain, rollouts)
    assert on(brain) == NAMES[:1]
    unit = brain.view.units[UnitName.parse("web@prod-0")]
    assert (unit.health, [link.state for link in unit.blocked_by]) == (Health.PROGRESSING, [Standing.HELD])
    for _ in range(3):
        await rollouts.look()
        assert on(brain) == NAMES[:1]
    for count in range(2, len(NAMES) + 1):  # each once the one before is Healthy on it
        await brain.answer()
        await rollouts.look()
        await brain.answer()
        assert on(brain) == NAMES[:count]
        await rollouts.look()
        assert on(brain) == NAMES[:count]


async def test_a_fleet_that_is_resumed_goes_on_where_it_stood_before_any_worker_says_so(
    brain: Brain, rollouts: Rollouts
) -> None:
    brain.repo.commit(web("2", data=VOLUME))
    await brain.commits.fetch_once()
    await look(brain, rollouts)
    first = UnitName.parse("web@prod-0")
    brain.view.units[first] = replace(brain.view.units[first], health=Health.PROGRESSING)
    await brain.state.put_suspension(Suspension("incident", "jo", "", "fleet"))
    await brain.orders.look()
    links = (
        Blocker(Standing.SUSPENDED, "fleet", "suspended by jo: incident", 1.0, "", "fleet resume fleet --owner jo"),
    )
    for name in NAMES:
        unit = UnitName.parse(f"web@{name}")
        brain.view.units[unit] = replace(brain.view.units[unit], blocked_by=links)
    await rollouts.look()
    assert on(brain) == NAMES[:1]
    await brain.state.lift_suspensions("fleet", ["jo"])
    await brain.orders.look()
    for _ in range(3):
        await rollouts.look()
        assert on(brain) == NAMES[:1]
    await brain.answer()
    brain.view.units[first] = replace(brain.view.units[first], health=Health.HEALTHY, blocked_by=())
    await rollouts.look()
    assert on(brain) == NAMES[:2], "twin: what became Healthy lets the next one go"
