"""Suspend stops writes within 5 s also where they wait out what the cluster asked for (R17, R20)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet.sim.ledger import Entry

RETRY_AFTER = 12  # seconds: longer than a suspend may take, also where the machine is busy
CHANGES = pytest.mark.parametrize("change", ["changed", "dropped", "drifted"])
NAMES = [f"web-{number}" for number in range(40)]  # far more than may be in flight, so that heals wait too


def web(value: str, names: list[str]) -> dict[str, str]:
    objects = {name: config_map(name, value) for name in names}
    return overlay("overlays/web", objects, sync="{validate: schema}")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ["eu-1"]) as made:
        made.commit({"clusters/eu-1.yaml": cluster_file("eu-1"), **web("1", NAMES)})
        yield made


def asked(world: HubWorld, since: int) -> list[Entry]:
    """Writes that reached the cluster, whatever became of them; those to parents too."""
    found = world.sim.cluster("eu-1").ledger.since(since)
    return [entry for entry in found if entry.verb in ("patch", "delete", "create") and not entry.dry_run]


def is_healed(world: HubWorld) -> bool:
    found = [world.sim.cluster("eu-1").get("", "ConfigMap", "default", name) for name in NAMES]
    return not any(item is not None and item["data"] == {"a": "by hand"} for item in found)


async def busy(world: HubWorld, change: str) -> tuple[str, int]:
    """The cluster asks to wait, amid a commit that changes or drops objects, or amid heals."""
    eu = world.sim.cluster("eu-1")
    verb = "delete" if change == "dropped" else "patch"
    eu.faults.add("error", code=429, retry_after=RETRY_AFTER, verbs={verb}, count=1)
    mark, commit = eu.ledger.sequence, world.repo.head()
    if change == "drifted":
        for name in NAMES:
            eu.drift("", "ConfigMap", "default", name, {"data": {"a": "by hand"}})
    else:
        commit = world.commit(web("2", NAMES) if change == "changed" else web("1", NAMES[3:]))
    await world.until(lambda: any(entry.code == 429 for entry in asked(world, mark)), "the cluster asks to wait")
    return commit, mark


@CHANGES
async def test_what_waits_for_its_turn_is_not_written_once_it_is_suspended(world: HubWorld, change: str) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        commit, mark = await busy(world, change)
        status, _ = await world.call("POST", "/api/v1/clusters/eu-1:suspend", {"reason": "disk swap"})
        assert status == 200
        suspended = time.time()
        # Its report comes once the pass has ended, and so all that waited has had its turn.
        await world.until(lambda: "disk swap" in str(world.unit("web@eu-1").blocked_by), "suspended", 60)
        assert [entry for entry in asked(world, mark) if entry.moment > suspended + 5] == []
        await world.call("POST", "/api/v1/clusters/eu-1:resume", {})
        await world.until_everywhere(commit)
        await world.until(lambda: is_healed(world), "as in Git")


@CHANGES
async def test_what_waits_for_its_turn_is_written_when_that_comes(world: HubWorld, change: str) -> None:
    async with world.run():
        await world.until_everywhere(world.repo.head())
        began = time.time()
        commit, mark = await busy(world, change)
        await world.until_everywhere(commit, 60)
        await world.until(lambda: is_healed(world), "as in Git", 60)
        late = [entry for entry in asked(world, mark) if entry.moment > began + 5]
        assert {entry.name for entry in late} & set(NAMES)
