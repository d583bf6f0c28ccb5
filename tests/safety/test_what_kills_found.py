"""What the seeded schedules and kills found, each as the smallest world that shows it."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay
from safety.rig import Boundary, Rig

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1",), render_workers=1) as made:
        yield made


async def test_the_cluster_is_told_of_no_commit_that_the_journal_does_not_know(world: HubWorld) -> None:
    """Else a hub killed between the two says an earlier commit on the unit's parent once more (V3)."""
    rig = Rig(world)
    rig.watch_clusters()
    known, told = list[bool](), list[str]()

    async def meet(phase: str, found: Boundary, _: str) -> bool:
        if found[0] != "patch" or found[2] != "unit-web":
            return False
        if phase == "after":
            parent = world.sim.cluster("eu-1").get("", "ConfigMap", "fleet-system", "unit-web")
            told.append(str(parent["metadata"]["annotations"].get("fleet.internal/commit", "")))
        else:
            with closing(sqlite3.connect(world.data_dir / "state.db")) as connection:
                bodies = str(connection.execute("SELECT body FROM journal_unit").fetchall())
            known.append(rig.script.commits[-1] in bodies)
        return False

    rig.meets = meet
    files = {"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/web", {"a": config_map("a", "1")})}
    try:
        commit = rig.commit(files)
        await rig.start()
        await rig.until(lambda: world.progress(commit).done, "delivered")
        commit = rig.commit({"overlays/web/a.yaml": config_map("a", "2")})
        await rig.until(lambda: world.progress(commit).done and len(told) == 3, "delivered again")
    finally:
        rig.meets = None
        await rig.stop()
    assert told == ["", *rig.script.commits]  # the first one comes before the first object, and names no commit
    assert known[1:] == [True, True]
