"""A suspend of each scope reaches all its units within 5 s, amid their passes, and holds over a restart (R17)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

SECONDS = 5.0
OBJECTS = 30
NAMES = ["eu-1", "us-1"]
UNITS = frozenset(f"{of}@{at}" for of in ("api", "web") for at in NAMES)
SCOPES = pytest.mark.parametrize(
    ("path", "scope"),
    [
        ("fleet", UNITS),
        ("clusters/eu-1", frozenset({"api@eu-1", "web@eu-1"})),
        ("overlays/web", frozenset({"web@eu-1", "web@us-1"})),
        ("units/web@eu-1", frozenset({"web@eu-1"})),
    ],
)


def all_of(value: str) -> dict[str, str]:
    files: dict[str, str] = {}
    for of in ("api", "web"):
        objects = {f"{of}-{number}": config_map(f"{of}-{number}", value) for number in range(OBJECTS)}
        files |= overlay(f"overlays/{of}", objects, sync="{validate: schema}")
    return files


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, NAMES) as made:
        made.commit({f"clusters/{name}.yaml": cluster_file(name) for name in NAMES} | all_of("1"))
        yield made


def written(world: HubWorld, marks: dict[str, int], since: float = 0.0) -> dict[str, int]:
    """By unit how many of its objects were written after a moment."""
    found: dict[str, int] = {}
    for at, cluster in world.sim.clusters.items():
        for entry in cluster.ledger.since(marks[at]):
            if entry.verb in ("patch", "delete", "create") and entry.resource == "configmaps" and entry.moment > since:
                of, dash, number = entry.name.partition("-")
                if dash and number.isdigit():
                    found[f"{of}@{at}"] = found.get(f"{of}@{at}", 0) + 1
    return found


@SCOPES
async def test_a_suspend_of_each_scope_stops_all_its_units_amid_their_passes_and_no_other(
    world: HubWorld, path: str, scope: frozenset[str]
) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        for cluster in world.sim.clusters.values():
            cluster.faults.add("slow", seconds=0.3, verbs={"patch"})
        marks = world.marks()
        second = world.commit(all_of("2"))
        await world.until(lambda: written(world, marks).keys() >= UNITS, "all are amid their passes")
        status, _ = await world.call("POST", f"/api/v1/{path}:suspend", {"reason": "incident"})
        assert status == 200
        suspended = time.time()
        others = UNITS - scope
        await world.until(lambda: all("incident" in str(world.unit(name).blocked_by) for name in scope), "all stopped")
        assert not {name for name in scope if written(world, marks)[name] == OBJECTS}, "its pass went on"
        for cluster in world.sim.clusters.values():
            cluster.faults.clear()
        await world.until(lambda: all(world.unit(name).commit == second for name in others), "the others go on")
    async with world.run():  # it is in force before anything is written
        await world.until(lambda: all("incident" in str(world.unit(name).blocked_by) for name in scope), "known still")
        third = world.commit(all_of("3"))
        await world.until(lambda: all(world.unit(name).commit == third for name in others), "the others go on")
        late = written(world, marks, suspended + SECONDS)
        assert scope.isdisjoint(late), late
        assert (await world.call("POST", f"/api/v1/{path}:resume", {}))[0] == 200
        await world.until_everywhere(third, 60)
