"""False calm: whether what is shown of a sick cluster ever outlives three intervals (R21), and what wells do meanwhile.

Each cluster but the well ones gets one fault for some minutes, and one of its objects is changed and one removed behind
the hub's back. All the while the API is asked how each unit stands. Time runs faster here (faster.py).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from hubworld import cluster_file, config_map, make_world, overlay
from safety.checker import (
    CALM_SECONDS,
    SETTLED_SECONDS,
    Shown,
    false_alarm,
    false_calm,
    silences,
    unmeasured,
    v6_delays,
)
from safety.reference import config, everywhere, live
from safety.rig import Rig

# By cluster: what its API server does to the hub. Open watches are cut, because some faults only meet new ones.
FAULTS: Mapping[str, tuple[dict[str, Any], ...]] = {
    "hole": ({"kind": "blackhole"},),
    "refuse": ({"kind": "refuse"},),
    "drip": ({"kind": "drip", "seconds": 1.0},),
    "late-drip": ({"kind": "drip", "seconds": 1.0, "verbs": ("watch",)},),
    "error": ({"kind": "error", "code": 500},),
    "page": ({"kind": "html"},),
    "denied": ({"kind": "unauthorized"},),
    "forbidden": ({"kind": "forbidden", "verbs": ("list", "watch")},),
    "mute": ({"kind": "silent"},),
    "mute-half": ({"kind": "silent"}, {"kind": "half_list", "verbs": ("list",)}),
    "expired": ({"kind": "expired"}, {"kind": "half_list", "verbs": ("list",)}),
    "cut": ({"kind": "truncated"},),
}
_ANSWER = frozenset({"forbidden", "mute"})  # something true is heard of these all the same
_SLOW = "late-drip"  # its watch says the truth late: it is deaf for what changed and is not told yet
_ASKED = "cut"  # its watch alone is sick: a hub that begins anew lists and reads, and hears the truth
WELL = ("well-1", "well-2")
NAMES = ("a", "b", "c")
TIMES = 8.0
_COMMIT_SECONDS, _LOOK_SECONDS = 15.0, 2.0
_FLOOR_SECONDS = 20.0  # of the faster time: two and a half of ours


@dataclass
class Calm:
    """One seeded run; `seconds` is how long the faults last. kills: the hub is killed now and then meanwhile."""

    seed: int = 0
    seconds: float = 2 * CALM_SECONDS + 60.0
    clusters: tuple[str, ...] = tuple(FAULTS)
    kills: int = 0
    shown: list[Shown] = field(default_factory=list)
    delays: list[float] = field(default_factory=list)
    usual: list[float] = field(default_factory=list)
    seen_unknown: set[str] = field(default_factory=set)

    @property
    def unmeasured(self) -> list[str]:
        """What this run could say nothing about; a kill delays every cluster."""
        return [] if self.kills else unmeasured(self.usual, self.delays)

    async def run(self) -> list[str]:
        """What was wrong; [] is a clean run."""
        with tempfile.TemporaryDirectory(prefix="fleet-calm-") as folder:
            async with make_world(Path(folder), (*WELL, *self.clusters), render_workers=1) as world:
                rig = Rig(world)
                rig.watch_clusters()
                self._truth = Truth(rig)
                wrong: list[str] = []
                try:
                    await self._day(rig)
                except Exception as error:  # a run that does not end well is a finding
                    wrong.append(f"V4 {type(error).__name__}: {str(error)[:3000]}\n{traceback.format_exc(limit=-2)}")
                finally:
                    await rig.stop()
                wrong += false_calm(self.shown, self._truth.spans(), self._deaf)
                if not self.kills:
                    wrong += false_alarm(self.shown, WELL)
                    wrong += v6_delays(self.usual, self.delays, floor=_FLOOR_SECONDS)
                unknown = {one.unit for one in self.shown if one.sync == "Unknown"}
                calm = [name for name in self.clusters if f"web@{name}" not in unknown]
                wrong += [f"false calm: {name} was never shown Unknown" for name in calm if name in self._deaf]
                return [*wrong, *rig.violations()]

    async def _day(self, rig: Rig) -> None:
        self._deaf: dict[str, list[tuple[float, float]]] = {}
        random = Random(self.seed)
        files = {f"clusters/{name}.yaml": cluster_file(name) for name in rig.world.sim.clusters}
        files |= overlay("overlays/web", {name: config_map(name, "1") for name in NAMES})
        # What changes with each commit is on the well clusters alone: the others stand as they were told to.
        files |= overlay("overlays/news", {"n": config_map("n", "0")}, clusters=f"[{{names: [{', '.join(WELL)}]}}]")
        first = rig.commit(files, wants=[config(name) for name in NAMES])
        await rig.start()
        await everywhere(rig, first, within=600.0, **dict.fromkeys(NAMES, "1"))  # of a machine that is not faster
        for number in range(1, 4):
            self.usual.append(await self._news(rig, str(number)))
        looking = asyncio.create_task(self._look(rig))
        try:
            await self._sicken(rig, random)
        finally:
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
        for name in self.clusters:
            cluster = rig.world.sim.cluster(name)
            cluster.faults.clear()
            cluster.cut()  # what a fault did to an open watch ends with it
        await rig.until(lambda: not self._truth.now(), "V4 as Git says after the faults", SETTLED_SECONDS)

    async def _sicken(self, rig: Rig, random: Random) -> None:
        begin = time.time()
        for name in self.clusters:
            cluster = rig.world.sim.cluster(name)
            for fault in FAULTS[name]:
                cluster.faults.add(**fault)
            cluster.cut()
        await asyncio.sleep(random.uniform(6.0, 30.0))
        for name in self.clusters:
            rig.world.sim.cluster(name).drift("", "ConfigMap", "default", "a", {"data": {"a": "by hand"}})
            rig.world.sim.cluster(name).remove("", "ConfigMap", "default", "b")
        kills = sorted(random.uniform(30.0, self.seconds) for _ in range(self.kills))
        number = 10
        while (now := time.time() - begin) < self.seconds:
            if kills and kills[0] < now and not rig.is_changing:
                kills.pop(0)
                rig.kill()
            number += 1
            self.delays.append(await self._news(rig, str(number)))
            await asyncio.sleep(_COMMIT_SECONDS)
        for name in set(self.clusters) - _ANSWER:
            words = _words(rig, name) if name == _ASKED else []
            self._deaf[name] = silences(begin, begin + self.seconds, words)
        if _SLOW in self._deaf:
            self._deaf[_SLOW] = self._truth.spans().get(f"web@{_SLOW}", [])

    async def _news(self, rig: Rig, value: str) -> float:
        """Seconds until a commit is on all clusters that it concerns."""
        rig.commit({"overlays/news/n.yaml": config_map("n", value)})
        began = time.time()
        await rig.until(
            lambda: all(live(rig, name, "n") == value for name in WELL), f"V6 {value} on the well ones", 240
        )
        return time.time() - began

    async def _look(self, rig: Rig) -> None:
        """Ask how all units stand, again and again."""
        while True:
            with suppress(OSError, TimeoutError):
                now = time.time()  # an answer that comes late was true when it was made
                status, answer = await rig.call("GET", "/api/v1/units?limit=500")
                if status == 200:
                    self.shown += [
                        Shown(now, one["metadata"]["name"], one["status"]["sync"], one["status"]["health"])
                        for one in answer["items"]
                        if one["metadata"]["name"].startswith("web@")
                    ]
            await asyncio.sleep(_LOOK_SECONDS)


def _words(rig: Rig, cluster: str) -> list[float]:
    """When a cluster answered how what the unit consists of stands: in a whole list, or one by one."""
    asked = rig.world.sim.cluster(cluster).ledger.since()
    mine = [one for one in asked if one.resource == "configmaps" and one.code in (200, 201)]
    return [
        one.moment
        for one in mine
        if (one.verb, one.namespace, one.query.get("limit", "")) == ("list", "", "500")
        or (one.verb in ("get", "patch") and one.namespace == "default")
    ]


class Truth:
    """Since when each cluster does not hold what Git says of `web`, from its own history."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._since: dict[str, float] = {}
        self._spans: dict[str, list[tuple[float, float]]] = {}
        for name, cluster in rig.world.sim.clusters.items():
            cluster.store.listen("configmaps", lambda event, name=name: self._saw(name, event))

    def _saw(self, cluster: str, event: Any) -> None:
        if event.key[0] != "default" or event.key[1] not in NAMES:
            return
        document = event.after.document() if event.after is not None else {}
        place = f"{event.key[1]}@{cluster}"
        if document.get("data") == {"a": "1"}:
            if place in self._since:
                self._spans.setdefault(f"web@{cluster}", []).append((self._since.pop(place), time.time()))
        elif event.before is not None:
            self._since.setdefault(place, time.time())

    def now(self) -> set[str]:
        return set(self._since)

    def spans(self) -> dict[str, list[tuple[float, float]]]:
        """By unit, with what lasts still."""
        found = {unit: list(spans) for unit, spans in self._spans.items()}
        for place, since in self._since.items():
            found.setdefault(f"web@{place.partition('@')[2]}", []).append((since, time.time()))
        return found
