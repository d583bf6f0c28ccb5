"""`fleet hub` as a process of its own, killed at seeded points of one rollout: its history is that of a calm run."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from hubworld import HubWorld, NotSeen
from shows.fleets import ShowFleet, fleet_file, went

_CHECKOUT = Path(__file__).parents[2]
STEPS = (
    "{name: dev, environments: [dev], maxParallel: 1, soak: 2s}",
    "{name: ok, approve: 1}",
    "{name: staging, environments: [staging], maxParallel: 2}",
    "{name: prod, rest: true, maxParallel: 2}",
)
UP_SECONDS = 180.0
LIVE_SECONDS = 300.0  # for what lies between two points
QUIET_SECONDS = 4.0  # amid a soak nothing is asked
START_REQUESTS = 6  # of a hub that finds its way again, to each cluster
LAST_CLUSTERS = 12  # they get it after the last kill


@dataclass(slots=True)
class HubProcess:
    """Starts it, kills it, asks it."""

    world: HubWorld
    spawner: asyncio.subprocess.Process
    pid: int = 0
    url: str = ""

    async def start(self) -> None:
        """Until it listens."""
        told = self.world.data_dir / "url"
        told.unlink(missing_ok=True)
        asked = json.dumps({"environment": self._environment(), "log": str(self._log)})
        assert self.spawner.stdin is not None
        assert self.spawner.stdout is not None
        self.spawner.stdin.write(f"{asked}\n".encode())
        self.pid = int(await asyncio.wait_for(self.spawner.stdout.readline(), UP_SECONDS))
        end = time.monotonic() + UP_SECONDS
        while not (told.exists() and told.read_text().strip()):
            if not psutil.pid_exists(self.pid) or time.monotonic() > end:
                raise NotSeen(f"the hub did not start: {self.last_words()}")
            await asyncio.sleep(0.01)
        self.url = told.read_text().strip()

    def _environment(self) -> Mapping[str, str]:
        settings = self.world.make_settings()
        return {
            "FLEET_REPO": settings.repo,
            "FLEET_DATA_DIR": str(settings.data_dir),
            "FLEET_LISTEN": settings.listen,
            "FLEET_CREDENTIALS": str(self.world.root / "credentials"),
            "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
            "FLEET_POLL_SECONDS": "1",
            "FLEET_RENDER_WORKERS": "1",
            "FLEET_LOG_LEVEL": "ERROR",
        }

    async def kill(self) -> None:
        """As the machine does that loses its power."""
        if self.pid and psutil.pid_exists(self.pid):
            os.kill(self.pid, signal.SIGKILL)
            while psutil.pid_exists(self.pid):
                await asyncio.sleep(0.005)
        self.pid = 0

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        token = (self.world.data_dir / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as answer,
        ):
            return await answer.json(content_type=None)

    async def until(self, holds: Callable[[], Awaitable[Any]], what: str, seconds: float = 120.0) -> Any:
        """Ask until it says so."""
        end = time.monotonic() + seconds
        while not (value := await holds()):
            if time.monotonic() > end:
                raise NotSeen(f"{what} within {seconds:g} s: {self.last_words()}")
            await asyncio.sleep(0.05)
        return value

    def last_words(self) -> str:
        return self._log.read_text()[-3000:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.world.root / "hub.log"


@asynccontextmanager
async def hub_of(world: HubWorld) -> AsyncIterator[HubProcess]:
    """Not started yet; killed at the end."""
    path = os.pathsep.join((str(_CHECKOUT), str(_CHECKOUT / "tests")))
    spawner = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "shows.spawner",
        env={**os.environ, "PYTHONPATH": path}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    hub = HubProcess(world, spawner)
    try:
        yield hub
    finally:
        await hub.kill()
        assert spawner.stdin is not None
        spawner.stdin.close()
        await spawner.wait()


async def show(fleet: ShowFleet, kills: int, seed: int) -> list[str]:
    """One rollout of a hub that is left alone, then one by the same steps with so many kills: the same history."""
    async with hub_of(fleet.world) as hub:
        await hub.start()
        first = fleet.world.commit(fleet.clusters() | fleet_file([]) | fleet.web("1"))
        await hub.until(lambda: _is_everywhere(hub, first), "the first commit everywhere", 240)
        calm = await _history(hub, fleet, fleet_file(STEPS) | fleet.web("2"), ())
        points = points_of(kills, seed, len(fleet.names))
        killed = await _history(hub, fleet, fleet.web("3"), points)
        await hub.until(lambda: _is_everywhere(hub, fleet.world.repo.head()), "the last commit everywhere", 60)
    assert killed == calm, f"another history:\n{killed}\n{calm}"
    released, marks = calm
    assert sorted(released) == sorted(fleet.names)
    assert [text for text in marks if "is over" in text] == [
        f"web COMMIT: step {step} is over" for step in ("dev", "ok", "staging", "prod")
    ]
    assert await fleet.ready_on("3") == set(fleet.names)
    return [
        f"{kills} kills -9 of one rollout over {len(released)} clusters: the same releases in the same order, and the "
        f"same {len(marks)} steps and gates, as when it was left alone"
    ]


@dataclass(frozen=True, slots=True)
class Point:
    """Where a hub is killed: once so many clusters are Healthy, and so many requests were answered since.

    Counted in requests, not in seconds, the points are as far on a slow machine.
    """

    healthy: int
    requests: int


def points_of(kills: int, seed: int, clusters: int) -> list[Point]:
    """Over the whole rollout but its end; every other one while a hub that was killed before finds its way again."""
    dice, points = random.Random(seed), list[Point]()
    for number in range(kills):
        if number % 2:
            points.append(Point(0, dice.randrange(START_REQUESTS * clusters)))
        else:
            points.append(Point(number * (clusters - LAST_CLUSTERS) // kills, dice.randrange(clusters // 4)))
    return points


async def _history(
    hub: HubProcess, fleet: ShowFleet, files: Mapping[str, str], points: Sequence[Point]
) -> tuple[list[str], list[str]]:
    """The shape of one rollout, from its commit to its end, through kills at these points."""
    commit = fleet.world.commit(files)
    for point in points:
        found = await _live(hub, commit, lambda found, least=point.healthy: _healthy(found) >= least)
        until = _asked(fleet.world) + point.requests
        end = time.monotonic() + QUIET_SECONDS
        found = await _live(
            hub, commit, lambda _, until=until, end=end: _asked(fleet.world) >= until or time.monotonic() > end
        )
        assert found.get("state") != "done", f"the rollout was over before it was killed at {point}"
        await hub.kill()
        await hub.start()
    await _live(hub, commit, lambda found: found.get("state") == "done")
    events = await _events(hub)
    told = [one["message"] for one in events if one.get("commit") == commit and not one["cluster"]]
    return shape_of([text.replace(commit[:7], "COMMIT") for text in told])


async def _live(hub: HubProcess, commit: str, holds: Callable[[Any], bool]) -> Any:
    """Until that holds of the rollout, or it is over. A person approves the step `ok` as soon as it waits for that."""
    end = time.monotonic() + LIVE_SECONDS
    while True:
        found = await hub.call("GET", f"/api/v1/rollouts/{commit}")
        if "approval" in str(found.get("why", "")):
            await hub.call("POST", f"/api/v1/rollouts/{commit}:approve", {"step": "ok", "reason": "show"})
        if holds(found) or found.get("state") == "done":
            return found
        if time.monotonic() > end:
            raise NotSeen(f"no progress of {commit[:7]}: {found} {hub.last_words()}")
        await asyncio.sleep(0.03)


def _healthy(found: Any) -> int:
    """How many clusters are Healthy on what is rolled out."""
    return sum(step["done"] for step in found.get("steps", ()))


def _asked(world: HubWorld) -> int:
    """How many requests all simulated clusters have had."""
    return sum(cluster.ledger.sequence for cluster in world.sim.clusters.values())


async def _events(hub: HubProcess) -> list[Any]:
    """The whole timeline; each start of a hub adds some of each cluster."""
    events: list[Any] = []
    page = await hub.call("GET", "/api/v1/events?limit=1000")
    while events.extend(page["items"]) or page.get("continue"):
        page = await hub.call("GET", f"/api/v1/events?limit=1000&continue={page['continue']}")
    return events


async def _is_everywhere(hub: HubProcess, commit: str) -> bool:
    return bool((await hub.call("GET", f"/api/v1/progress?commit={commit}")).get("done"))


def shape_of(told: list[str]) -> tuple[list[str], list[str]]:
    """What must not depend on when a hub was killed: the order of releases, and the steps and gates between them."""
    marks = [re.sub(r"; ends in .*", "", text) for text in told if "goes to" not in text and "waits" not in text]
    return went(told), marks
