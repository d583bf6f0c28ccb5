"""The reference run: first sync, change, drift, a requested sync, prune, prune with approval, detach.

One cluster is left alone by those who bring faults: what is sent there, and when, is kept (V6).
"""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Any

from hubworld import cluster_file, config_map, kustomization, namespace, overlay
from safety.arrivals import Arrivals
from safety.checker import Key
from safety.looks import Looks
from safety.rig import SECONDS, Rig

NAMES = tuple("abcde")


def config(name: str) -> Key:
    return ("configmaps", "default", name)


def live(rig: Rig, cluster: str, name: str) -> Any:
    """The value of a ConfigMap of the run, None where it is not there."""
    found = rig.world.sim.cluster(cluster).get("", "ConfigMap", "default", name)
    return found["data"]["a"] if found else None


def secret(name: str, value: str) -> str:
    metadata = f"metadata: {{name: {name}, namespace: default}}"
    return f"apiVersion: v1\nkind: Secret\n{metadata}\nstringData: {{a: '{value}'}}\n"


async def everywhere(rig: Rig, commit: str, within: float = SECONDS, **values: str | None) -> None:
    """V4: the commit is reported everywhere, and the clusters hold exactly these values."""
    world = rig.world
    clusters = list(world.sim.clusters)

    def holds() -> bool:
        as_wanted = all(live(rig, cluster, name) == value for cluster in clusters for name, value in values.items())
        return as_wanted and world.opened.view.head.commit == commit and world.progress(commit).done

    await rig.until(holds, f"V4 {commit[:7]} everywhere with {values}", within)


SECRET = "seeded-secret-of-the-reference-run-never-to-be-seen"
SICK, WELL = "eu-1", "well-1"


class Day:
    """What a reference run promised, and how long it took to the cluster left alone."""

    def __init__(self, rig: Rig) -> None:
        rig.script.secret = SECRET
        self._arrivals = {name: Arrivals(cluster) for name, cluster in rig.world.sim.clusters.items()}
        self.looks = Looks(rig, self._arrivals)
        self._sent: list[tuple[str, int | None, float]] = []

    def sent(self, commit: str, name: str, number: int | None, began: float) -> None:
        """A commit of `web` that changes one object."""
        self.looks.promise(commit, "web", name, number)
        self._sent.append((name, number, began))

    def delays(self) -> list[float]:
        """Of what came to the cluster left alone."""
        well = self._arrivals[WELL]
        came = [
            (began, well.gone(name) if number is None else well.of(name, number)) for name, number, began in self._sent
        ]
        return [at - began for began, at in came if at < inf]


async def reference_run(rig: Rig, day: Day) -> None:
    """The whole run, with somebody who looks on."""
    looking = asyncio.create_task(day.looks.run())
    try:
        await _day(rig, day)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _day(rig: Rig, day: Day) -> None:
    world = rig.world
    clusters = list(world.sim.clusters)
    files = {f"clusters/{name}.yaml": cluster_file(name) for name in clusters}
    files |= overlay("overlays/web", {name: config_map(name, "1") for name in NAMES})
    shop = {"ns": namespace("shop-old"), "keep": config_map("keep", "1"), "secret": secret("secret", SECRET)}
    files |= overlay("overlays/shop", shop)
    values: dict[str, str | None] = dict.fromkeys((*NAMES, "keep"), "1")
    first = rig.commit(files, wants=[config(name) for name in (*NAMES, "keep")])
    await rig.start()
    await everywhere(rig, first, **values)

    began = time.time()
    changed = rig.commit({"overlays/web/a.yaml": config_map("a", "2")})
    day.sent(changed, "a", 2, began)
    values["a"] = "2"
    await everywhere(rig, changed, **values)

    for name in clusters:
        world.sim.cluster(name).drift("", "ConfigMap", "default", "b", {"data": {"a": "by hand"}})
    await everywhere(rig, changed, **values)

    _, operation = await rig.call("POST", f"/api/v1/units/web@{clusters[0]}:sync", {})
    ended = f"/api/v1/operations/{operation['id']}"
    while not (await rig.call("GET", ended))[1].get("outcome"):
        await rig.until(lambda: True, "")

    began = time.time()
    pruned = rig.commit(
        {"overlays/web/kustomization.yaml": kustomization(*(f"{name}.yaml" for name in "abcd"))}, drops=[config("e")]
    )
    day.sent(pruned, "e", None, began)
    values["e"] = None
    await everywhere(rig, pruned, **values)

    precious: Key = ("namespaces", "", "shop-old")
    held = rig.commit({"overlays/shop/kustomization.yaml": kustomization("keep.yaml", "secret.yaml")}, drops=[precious])
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
