"""Seeded schedules: an ordinary day of commits on a fleet, and at least three nemeses at work at any time.

Everything follows from the seed but the machine's own timing. One cluster is left alone and keeps its delay (V6). At
the end all nemeses leave; then the fleet must come to what Git says by itself within two intervals (V4), and the
checker judges what happened (V1-V3, V5) and looks for the seeded Secret (V7). False calm takes longer: see calm.py.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from hubworld import cluster_file, config_map, kustomization, make_world, namespace, overlay
from safety.checker import SETTLED_SECONDS, v6_delays
from safety.kills import secret
from safety.reference import config, everywhere
from safety.rig import Rig

from fleet.sim import SimCluster

CLUSTERS = ("eu-1", "us-1")  # with the one left alone three: a deletion on more is held (R9)
WELL = "well-1"  # no nemesis but a kill comes here
SECRET = "seeded-secret-of-schedules-never-to-be-seen"
NAMES = tuple("abcdefghijkl")
AT_ONCE = 3
RECOVERY_SECONDS = 15.0  # a hub that was killed is as it was: it renders, lists and proves anew meanwhile
_FLOOR_SECONDS = 10.0  # of a machine with much else to do


@dataclass
class Schedule:
    """One seeded run. `seconds`: how long the nemeses are at work."""

    seed: int
    seconds: float = 8.0
    did: list[str] = field(default_factory=list)
    values: dict[str, str | None] = field(default_factory=dict)
    usual: list[float] = field(default_factory=list)  # delays of commits to the cluster left alone, before the nemeses
    delays: list[float] = field(default_factory=list)  # and meanwhile, where no kill lay between

    async def run(self) -> list[str]:
        """What was wrong; [] is a clean run."""
        random = Random(self.seed)
        with tempfile.TemporaryDirectory(prefix="fleet-schedule-") as folder:
            async with make_world(Path(folder), (*CLUSTERS, WELL), render_workers=1) as world:
                rig = Rig(world)
                rig.script.secret = SECRET
                rig.watch_clusters()
                self._arrivals = Arrivals(rig.world.sim.cluster(WELL))
                wrong: list[str] = []
                try:
                    async with asyncio.timeout(self.seconds * 4 + 240):
                        await self._day(rig, random)
                except Exception as error:  # a run that does not end well is a finding, the next one goes on
                    wrong.append(f"V4 {type(error).__name__}: {str(error)[:2000]}\n{traceback.format_exc(limit=-2)}")
                finally:
                    for cluster in world.sim.clusters.values():
                        cluster.faults.clear()
                    await rig.stop()
                return [*wrong, *v6_delays(self.usual, self.delays, floor=_FLOOR_SECONDS), *rig.violations()]

    async def _day(self, rig: Rig, random: Random) -> None:
        self.values = {**dict.fromkeys(NAMES, "0"), "keep": "1"}
        files = {f"clusters/{name}.yaml": cluster_file(name) for name in (*CLUSTERS, WELL)}
        files |= overlay("overlays/web", {name: config_map(name, "0") for name in NAMES})
        files |= overlay(
            "overlays/shop",
            {"ns": namespace("shop-old"), "keep": config_map("keep", "1"), "secret": secret("secret", SECRET)},
        )
        first = rig.commit(files, wants=[config(name) for name in (*NAMES, "keep")])
        await rig.start()
        await everywhere(rig, first, **self.values)
        for number in range(-3, 0):  # in health
            self.values["a"] = str(number)
            began = time.time()
            last = rig.commit({"overlays/web/a.yaml": config_map("a", str(number))})
            await everywhere(rig, last, **self.values)
            self.usual.append(self._arrivals.of("a", number) - began)

        until = asyncio.get_running_loop().time() + self.seconds
        work = [asyncio.create_task(self._nemesis(rig, Random(random.random()), until)) for _ in range(AT_ONCE)]
        last = await self._commits(rig, random, until)
        await asyncio.gather(*work)
        for cluster in rig.world.sim.clusters.values():
            cluster.faults.clear()
            cluster.cut()  # what a fault did to an open watch ends with it
        clusters = rig.world.sim.clusters.values()
        await rig.approve(
            "shop",
            lambda: all(cluster.get("", "Namespace", "", "shop-old") is None for cluster in clusters),
            ("namespaces", "", "shop-old"),
        )
        await everywhere(rig, last, within=SETTLED_SECONDS, **self.values)
        for name, number, began in self._sent:
            came = self._arrivals.of(name, number)
            if not any(began - RECOVERY_SECONDS < at < came for at in rig.killed_at):
                self.delays.append(came - began)

    async def _commits(self, rig: Rig, random: Random, until: float) -> str:
        """Change values, drop an object now and then, and once a Namespace, which waits for its approval."""
        number, left, last, held = 0, list(NAMES), "", False
        self._sent: list[tuple[str, int, float]] = []
        while asyncio.get_running_loop().time() < until or not held:
            number += 1
            if not held and asyncio.get_running_loop().time() > until - self.seconds / 2:
                held = True
                last = rig.commit(
                    {"overlays/shop/kustomization.yaml": kustomization("keep.yaml", "secret.yaml")},
                    drops=[("namespaces", "", "shop-old")],
                )
            elif random.random() < 0.15 and len(left) > len(NAMES) - 2:  # within the budget of an hour
                name = left.pop(random.randrange(len(left)))
                listed = kustomization(*(f"{one}.yaml" for one in left))
                last = rig.commit({"overlays/web/kustomization.yaml": listed}, drops=[config(name)])
                self.values[name] = None
                self._sent = [sent for sent in self._sent if sent[0] != name]
            else:
                name = random.choice(left)
                self._sent.append((name, number, time.time()))
                last = rig.commit({f"overlays/web/{name}.yaml": config_map(name, str(number))})
                self.values[name] = str(number)
            await asyncio.sleep(random.uniform(0.1, 1.0))
        return last

    async def _nemesis(self, rig: Rig, random: Random, until: float) -> None:
        """One trouble after the other, each for a while."""
        while asyncio.get_running_loop().time() < until:
            cluster = rig.world.sim.cluster(random.choice(CLUSTERS))
            name, begin = random.choice(sorted(_NEMESES.items()))
            self.did.append(f"{name} {cluster.name}")
            end = begin(rig, cluster, random)
            await asyncio.sleep(random.uniform(0.2, 1.5))
            with suppress(ValueError):
                end()


class Arrivals:
    """When each value came to a cluster, from its own history."""

    def __init__(self, cluster: SimCluster) -> None:
        self._at: dict[str, list[tuple[int, float]]] = {}
        cluster.store.listen("configmaps", self._saw)

    def _saw(self, event: Any) -> None:
        value = event.after.document().get("data", {}).get("a", "") if event.after is not None else ""
        if event.key[0] == "default" and value.lstrip("-").isdigit():
            self._at.setdefault(event.key[1], []).append((int(value), time.time()))

    def of(self, name: str, number: int) -> float:
        """When this value, or one of a later commit, was there."""
        return next((at for value, at in self._at.get(name, ()) if value >= number), float("inf"))


Nemesis = Callable[[Rig, SimCluster, Random], Callable[[], None]]  # gives what ends it


def _fault(kind: str, **options: object) -> Nemesis:
    def begin(_: Rig, cluster: SimCluster, random: Random) -> Callable[[], None]:
        fault = cluster.faults.add(kind, **options)  # type: ignore[arg-type]
        return lambda: cluster.faults.remove(fault)

    return begin


def _stream_fault(kind: str, **options: object) -> Nemesis:
    """What such a fault did to an open watch ends with it."""

    def begin(rig: Rig, cluster: SimCluster, random: Random) -> Callable[[], None]:
        end = _fault(kind, **options)(rig, cluster, random)
        cluster.cut()

        def ended() -> None:
            end()
            cluster.cut()

        return ended

    return begin


def _kill(rig: Rig, _: SimCluster, random: Random) -> Callable[[], None]:
    if not rig.is_changing:
        rig.kill()
    return lambda: None


def _drift(rig: Rig, cluster: SimCluster, random: Random) -> Callable[[], None]:
    name = random.choice(NAMES)
    if _is_recorded(rig, cluster, name):
        with suppress(Exception):  # it may be gone: so be it
            cluster.drift("", "ConfigMap", "default", name, {"data": {"a": "by hand"}})
    return lambda: None


def _is_recorded(rig: Rig, cluster: SimCluster, name: str) -> bool:
    """Whether the hub knows which fields it applied: who takes others is left alone, and named (R17)."""
    found = cluster.get("", "ConfigMap", "default", name)
    with closing(sqlite3.connect(rig.world.data_dir / "state.db")) as connection:
        query = "SELECT fields FROM journal_row WHERE cluster = ? AND object = ? AND uid = ?"
        uid = found["metadata"]["uid"] if found else ""
        row = connection.execute(query, (cluster.name, f"/ConfigMap/default/{name}", uid)).fetchone()
    return row is not None and bool(row[0])


def _delete_by_hand(_: Rig, cluster: SimCluster, random: Random) -> Callable[[], None]:
    with suppress(Exception):
        cluster.remove("", "ConfigMap", "default", random.choice(NAMES))
    return lambda: None


def _cut(_: Rig, cluster: SimCluster, random: Random) -> Callable[[], None]:
    cluster.cut()
    return lambda: None


_NEMESES: dict[str, Nemesis] = {
    "kill": _kill,
    "drift": _drift,
    "delete by hand": _delete_by_hand,
    "cut": _cut,
    "refuse": _fault("refuse"),
    "black hole": _fault("blackhole", agent="fleet"),
    "slow": _fault("slow", seconds=0.3, agent="fleet"),
    "500": _fault("error", code=500, agent="fleet"),
    "429": _fault("error", code=429, retry_after=1, agent="fleet", count=10),
    "html": _fault("html", agent="fleet", count=5),
    "half list": _fault("half_list", verbs=("list",), agent="fleet"),
    "truncated": _stream_fault("truncated"),
    "silent": _stream_fault("silent"),
    "drip": _stream_fault("drip", seconds=0.05),
    "expired": _fault("expired"),
    "forbidden": _fault("forbidden", verbs=("patch", "delete"), agent="fleet", count=3),
    "stale": _fault("stale", versions=5, agent="fleet"),
    "lost write": _fault("lost_write", agent="fleet", count=3),
}
