"""Objects that come anew while answers are lost or old: the record knows one incarnation, the cluster another."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hubworld import cluster_file, config_map, make_world, overlay
from safety.reference import config, everywhere
from safety.rig import Boundary, Rig


async def test_a_hub_killed_after_it_made_an_object_anew_goes_on_with_the_next_commit(tmp_path: Path) -> None:
    async with make_world(tmp_path, ("eu-1",), render_workers=1) as world:
        rig = Rig(world)
        rig.watch_clusters()
        eu = world.sim.cluster("eu-1")
        killed: list[Boundary] = []

        async def meet(phase: str, found: Boundary, _: str) -> bool:
            anew = found[:3] == ("patch", "configmaps", "a") and eu.get("", "ConfigMap", "default", "a") is not None
            if armed and not killed and phase == "after" and anew:
                killed.append(found)
                rig.kill()
                await asyncio.sleep(60)
            return False

        armed = False
        rig.meets = meet
        try:
            files = {"clusters/eu-1.yaml": cluster_file("eu-1")}
            files |= overlay("overlays/web", {name: config_map(name, "1") for name in "ab"})
            first = rig.commit(files, wants=[config("a"), config("b")])
            await rig.start()
            await everywhere(rig, first, a="1", b="1")
            armed = True
            eu.remove("", "ConfigMap", "default", "a")
            await rig.until(lambda: killed and not rig.is_changing, "killed after it was made anew")
            second = rig.commit({"overlays/web/a.yaml": config_map("a", "2")})
            await everywhere(rig, second, a="2", b="1")
        finally:
            await rig.stop()
        assert rig.violations() == []


async def test_an_object_whose_deletion_is_verified_by_a_stale_read_is_made_anew(tmp_path: Path) -> None:
    async with make_world(tmp_path, ("eu-1",), render_workers=1) as world:
        rig = Rig(world)
        rig.watch_clusters()
        eu = world.sim.cluster("eu-1")
        try:
            files = {"clusters/eu-1.yaml": cluster_file("eu-1")}
            files |= overlay("overlays/web", {name: config_map(name, "1") for name in "ab"})
            first = rig.commit(files, wants=[config("a"), config("b")])
            await rig.start()
            await everywhere(rig, first, a="1", b="1")
            stale = eu.faults.add("stale", verbs=("get",), name="a", versions=1, count=2, agent="fleet")
            eu.remove("", "ConfigMap", "default", "a")
            await everywhere(rig, first, a="1", b="1")
            assert stale.hits
        finally:
            await rig.stop()
        assert rig.violations() == []
