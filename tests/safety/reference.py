"""The reference run: first sync, change, drift, a requested sync, prune, prune with approval, detach."""

from __future__ import annotations

import time
from typing import Any

from hubworld import cluster_file, config_map, kustomization, namespace, overlay
from safety.checker import Key
from safety.rig import SECONDS, Rig

NAMES = tuple("abcde")


def config(name: str) -> Key:
    return ("configmaps", "default", name)


def live(rig: Rig, cluster: str, name: str) -> Any:
    """The value of a ConfigMap of the run, None where it is not there."""
    found = rig.world.sim.cluster(cluster).get("", "ConfigMap", "default", name)
    return found["data"]["a"] if found else None


async def everywhere(rig: Rig, commit: str, within: float = SECONDS, **values: str | None) -> None:
    """V4: the commit is reported everywhere, and the clusters hold exactly these values."""
    world = rig.world
    clusters = list(world.sim.clusters)

    def holds() -> bool:
        as_wanted = all(live(rig, cluster, name) == value for cluster in clusters for name, value in values.items())
        return as_wanted and world.opened.view.head.commit == commit and world.progress(commit).done

    await rig.until(holds, f"V4 {commit[:7]} everywhere with {values}", within)


async def reference_run(rig: Rig) -> None:
    world = rig.world
    clusters = list(world.sim.clusters)
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in clusters}
    files |= overlay("overlays/web", {name: config_map(name, "1") for name in NAMES})
    files |= overlay("overlays/shop", {"ns": namespace("shop-old"), "keep": config_map("keep", "1")})
    values: dict[str, str | None] = dict.fromkeys((*NAMES, "keep"), "1")
    first = rig.commit(files, wants=[config(name) for name in (*NAMES, "keep")])
    await rig.start()
    await everywhere(rig, first, **values)

    changed = rig.commit({"overlays/web/a.yaml": config_map("a", "2")})
    values["a"] = "2"
    await everywhere(rig, changed, **values)

    for name in clusters:
        world.sim.cluster(name).drift("", "ConfigMap", "default", "b", {"data": {"a": "by hand"}})
    await everywhere(rig, changed, **values)

    _, operation = await rig.call("POST", f"/api/v1/units/web@{clusters[0]}:sync", {})
    ended = f"/api/v1/operations/{operation['id']}"
    while not (await rig.call("GET", ended))[1].get("outcome"):
        await rig.until(lambda: True, "")

    pruned = rig.commit(
        {"overlays/web/kustomization.yaml": kustomization(*(f"{name}.yaml" for name in "abcd"))}, drops=[config("e")]
    )
    values["e"] = None
    await everywhere(rig, pruned, **values)

    precious: Key = ("namespaces", "", "shop-old")
    held = rig.commit({"overlays/shop/kustomization.yaml": kustomization("keep.yaml")}, drops=[precious])
    await rig.approve(
        "shop",
        lambda: all(world.sim.cluster(name).get("", "Namespace", "", "shop-old") is None for name in clusters),
        precious,
    )
    await everywhere(rig, held, **values)

    rig.script.detached += [(time.time(), f"web@{name}") for name in clusters]
    gone = rig.commit({f"overlays/web/{name}": None for name in ("overlay.yaml", "kustomization.yaml",
                                                                 *(f"{one}.yaml" for one in NAMES))})  # fmt: skip
    await everywhere(rig, gone, **values)
    await rig.until(
        lambda: all(
            "fleet.internal/owner" not in world.sim.cluster(cluster).get("", "ConfigMap", "default", name)["metadata"]
            .get("annotations", {})
            for cluster in clusters
            for name in "abcd"
        ),
        "web let go",
    )  # fmt: skip
    await rig.until(
        lambda: all(
            world.sim.cluster(name).get("", "ConfigMap", "fleet-system", "unit-web") is None for name in clusters
        ),
        "the parent of web gone",
    )
