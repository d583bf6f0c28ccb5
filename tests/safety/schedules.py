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
from math import isfinite
from pathlib import Path
from random import Random

from hubworld import cluster_file, config_map, kustomization, make_world, namespace, overlay
from safety.arrivals import Arrivals
from safety.checker import SETTLED_SECONDS, unmeasured, v6_delays
from safety.looks import Looks
from safety.reference import config, everywhere, live, secret
from safety.rig import Rig

from fleet.sim import SimCluster

CLUSTERS = ("eu-1", "us-1")  # with the one left alone three: a deletion on more is held (R9)
WELL = "well-1"  # no nemesis but a kill comes here
SECRET = "seeded-secret-of-schedules-never-to-be-seen"
NAMES = tuple("abcdefghijkl")
AT_ONCE = 3
FIRST_NUMBER = 4  # of the commits amid the nemeses: those before were in health
RECOVERY_SECONDS = 15.0  # a hub that was killed is as it was: it renders, lists and proves anew meanwhile
FIRST_SECONDS = 300.0  # for the first sync, before any nemesis, on a machine with much else to do
_MEASURE_SECONDS = RECOVERY_SECONDS + 30.0  # so much longer, until a delay could be measured
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
    asked: list[str] = field(default_factory=list)  # what the holds said that a person approved
    looked: int = 0  # units that were shown Synced at a commit

    @property
    def unmeasured(self) -> list[str]:
        """What this run could say nothing about."""
        return unmeasured(self.usual, self.delays)

    async def run(self) -> list[str]:
        """What was wrong; [] is a clean run."""
        random = Random(self.seed)
        with tempfile.TemporaryDirectory(prefix="fleet-schedule-") as folder:
            async with make_world(Path(folder), (*CLUSTERS, WELL), render_workers=1) as world:
                rig = Rig(world)
                rig.script.secret = SECRET
                rig.watch_clusters()
                arrivals = {name: Arrivals(cluster) for name, cluster in world.sim.clusters.items()}
                self._arrivals, self._looks = arrivals[WELL], Looks(rig, arrivals)
                wrong: list[str] = []
                try:
                    async with asyncio.timeout(self.seconds * 4 + 300 + FIRST_SECONDS + _MEASURE_SECONDS):
                        await self._day(rig, random)
                except Exception as error:  # a run that does not end well is a finding, the next one goes on
                    wrong.append(f"V4 {type(error).__name__}: {str(error)[:8000]}\n{traceback.format_exc(limit=-2)}")
                finally:
                    for cluster in world.sim.clusters.values():
                        cluster.faults.clear()
                    await rig.stop()
                self.asked, self.looked = rig.asked, self._looks.looked
                late = v6_delays(self.usual, self.delays, floor=_FLOOR_SECONDS)
                return [*wrong, *late, *self._looks.wrong, *rig.violations()]

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
        await everywhere(rig, first, within=FIRST_SECONDS, **self.values)
        for number in range(1, FIRST_NUMBER):  # in health
            self.values["a"] = str(number)
            began = time.time()
            last = rig.commit({"overlays/web/a.yaml": config_map("a", str(number))})
            self._looks.promise(last, "web", "a", number)
            await everywhere(rig, last, **self.values)
            self.usual.append(self._arrivals.of("a", number) - began)

        until = self._until = asyncio.get_running_loop().time() + self.seconds
        self._sent: list[tuple[str, int, float]] = []
        work = [asyncio.create_task(self._nemesis(rig, Random(random.random()), until)) for _ in range(AT_ONCE)]
        looking = asyncio.create_task(self._looks.run())
        try:
            last = await self._commits(rig, random, until)
            await asyncio.gather(*work)
            await self._settle(rig, last)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        self.delays = self._measured(rig)

    async def _settle(self, rig: Rig, last: str) -> None:
        """The nemeses leave; a person approves what the commits dropped, and the rest comes by itself."""
        for cluster in rig.world.sim.clusters.values():
            cluster.faults.clear()
            cluster.cut()  # what a fault did to an open watch ends with it
        clusters = rig.world.sim.clusters
        await rig.approve(
            "shop",
            lambda: all(cluster.get("", "Namespace", "", "shop-old") is None for cluster in clusters.values()),
            ("namespaces", "", "shop-old"),
        )
        dropped = [name for name, value in self.values.items() if value is None]
        # Few enough for the budget, but a hub that was killed amid it may ask all the same: it judges anew.
        await rig.approve("web", lambda: all(live(rig, one, name) is None for one in clusters for name in dropped))
        await everywhere(rig, last, within=SETTLED_SECONDS, **self.values)

    def _measured(self, rig: Rig) -> list[float]:
        """How long commits took to the cluster left alone, where no kill lay between; infinity for one on its way."""
        came = [(began, self._arrivals.of(name, number)) for name, number, began in self._sent]
        return [
            end - began for began, end in came if not any(began - RECOVERY_SECONDS < at < end for at in rig.killed_at)
        ]

    def _goes_on(self, rig: Rig) -> bool:
        """For its time, and then without kills until a delay was measured, so that V6 is judged wherever it can be."""
        now = asyncio.get_running_loop().time()
        if now < self._until:
            return True
        return now < self._until + _MEASURE_SECONDS and not any(map(isfinite, self._measured(rig)))

    async def _commits(self, rig: Rig, random: Random, until: float) -> str:
        """Change values, drop an object now and then, and once a Namespace, which waits for its approval."""
        number, left, last, held = FIRST_NUMBER - 1, list(NAMES), "", False
        while self._goes_on(rig) or not held:
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
                self._looks.promise(last, "web", name, None)
                self._sent = [sent for sent in self._sent if sent[0] != name]
            else:
                name = random.choice(left)
                self._sent.append((name, number, time.time()))
                last = rig.commit({f"overlays/web/{name}.yaml": config_map(name, str(number))})
                self.values[name] = str(number)
                self._looks.promise(last, "web", name, number)
            is_late = asyncio.get_running_loop().time() > until
            await asyncio.sleep(random.uniform(1.0, 2.0) if is_late else random.uniform(0.1, 1.0))
        return last

    async def _nemesis(self, rig: Rig, random: Random, until: float) -> None:
        """One trouble after the other, each for a while."""
        while self._goes_on(rig):
            cluster = rig.world.sim.cluster(random.choice(CLUSTERS))
            is_late = asyncio.get_running_loop().time() > until
            name, begin = random.choice([one for one in sorted(_NEMESES.items()) if one[0] != "kill" or not is_late])
            self.did.append(f"{name} {cluster.name}")
            end = begin(rig, cluster, random)
            await asyncio.sleep(random.uniform(0.2, 1.5))
            with suppress(ValueError):
                end()


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


def _clock(rig: Rig, cluster: SimCluster, random: Random) -> Callable[[], None]:
    return _fault("clock", seconds=random.choice([-7200.0, 7200.0]))(rig, cluster, random)


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
    "clock": _clock,
    "forbidden": _fault("forbidden", verbs=("patch", "delete"), agent="fleet", count=3),
    "stale": _fault("stale", versions=5, agent="fleet"),
    "lost write": _fault("lost_write", agent="fleet", count=3),
}
