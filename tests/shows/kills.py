"""`fleet hub` as a process of its own, killed at seeded points of one rollout: its history is that of a calm run."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from hubworld import HubWorld, NotSeen
from shows.fleets import app, clusters, fleet_file, went

_CHECKOUT = Path(__file__).parents[2]
STEPS = (
    "{name: dev, environments: [dev], maxParallel: 1, soak: 2s}",
    "{name: ok, approve: 1}",
    "{name: staging, environments: [staging], maxParallel: 2}",
    "{name: prod, rest: true, maxParallel: 1}",
)
UP_SECONDS = 180.0
QUIET_SECONDS = 4.0  # amid a soak nothing is asked


class HubProcess:
    """Starts it, kills it, asks it; `restarts` counts."""

    def __init__(self, world: HubWorld) -> None:
        self._world = world
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.kills = 0

    async def start(self) -> None:
        """Until it listens."""
        settings = self._world.make_settings()
        given = {
            "FLEET_REPO": settings.repo,
            "FLEET_DATA_DIR": str(settings.data_dir),
            "FLEET_LISTEN": settings.listen,
            "FLEET_CREDENTIALS": str(self._world.root / "credentials"),
            "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
            "FLEET_POLL_SECONDS": "1",
            "FLEET_RENDER_WORKERS": "1",
            "FLEET_LOG_LEVEL": "ERROR",
            "PYTHONPATH": str(_CHECKOUT),
        }
        log = (self._world.root / "hub.log").open("ab")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "from fleet.cli.start import main; main()", "hub",
            env={**os.environ, **given}, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        assert self._process.stdout is not None
        async with asyncio.timeout(UP_SECONDS):
            said = (await self._process.stdout.readline()).decode()
        if " on " not in said:
            raise NotSeen(f"the hub did not start: {(self._world.root / 'hub.log').read_text()[-3000:]}")
        self.url = said.split(" on ")[1].split(",")[0].strip()

    async def kill(self) -> None:
        """As the machine does that loses its power."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.kill()
            self.kills += 1
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(self._process.wait(), 30)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        token = (self._world.data_dir / "admin.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=headers) as answer,
        ):
            return await answer.json(content_type=None)

    async def until(self, holds: Callable[[], Any], what: str, seconds: float = 120.0) -> Any:
        """Ask until it says so; `holds` is awaited."""
        end = time.monotonic() + seconds
        while not (value := await holds()):
            if time.monotonic() > end:
                raise NotSeen(f"{what} within {seconds:g} s: {(self._world.root / 'hub.log').read_text()[-2000:]}")
            await asyncio.sleep(0.05)
        return value


async def history_of(world: HubWorld, kills: int, seed: int, spread: int = 10) -> tuple[list[str], int]:
    """One rollout from its commit to its end, with so many kills; its history, and how many kills there were.

    Two kills are up to `spread` requests a cluster apart. A person approves the step `ok` as soon as it waits for that,
    whenever the hub is there to be asked.
    """
    dice, hub = random.Random(seed), HubProcess(world)
    names = list(world.sim.clusters)
    world.write_credentials()
    first = world.commit(clusters(names) | fleet_file(STEPS) | app("1"))
    try:
        await hub.start()
        await hub.until(lambda: _is_done(hub, first), "the first commit everywhere", 180)
        commit = world.commit(app("2"))
        while not await _ended(hub, commit):
            if hub.kills < kills:
                # Points are counted in requests to clusters, not in seconds: they are as far on a slow machine.
                await _live(hub, commit, _asked(world) + dice.randrange(spread * len(names)), world)
                if await _ended(hub, commit):
                    break
                await hub.kill()
                await hub.start()
            else:
                await _live(hub, commit, _asked(world), world)
        told = [one["message"] for one in await _events(hub) if one.get("commit") == commit and not one["cluster"]]
    finally:
        await hub.kill()
    return [text.replace(commit[:7], "COMMIT") for text in told], hub.kills - 1


def _asked(world: HubWorld) -> int:
    """How many requests all clusters have had."""
    return sum(cluster.ledger.sequence for cluster in world.sim.clusters.values())


async def _live(hub: HubProcess, commit: str, until_asked: int, world: HubWorld) -> None:
    """Let it work up to so many requests, or until it is quiet; approve what waits for that."""
    end = time.monotonic() + QUIET_SECONDS
    while True:
        found = await hub.call("GET", f"/api/v1/rollouts/{commit}")
        if "approval" in str(found.get("why", "")):
            body = {"step": "ok", "reason": "show"}
            await hub.call("POST", f"/api/v1/rollouts/{commit}:approve", body)
        if _asked(world) >= until_asked or time.monotonic() > end or found.get("state") == "done":
            return
        await asyncio.sleep(0.05)


async def _events(hub: HubProcess) -> list[Any]:
    """The whole timeline; each start of a hub adds some of each cluster."""
    events: list[Any] = []
    page = await hub.call("GET", "/api/v1/events?limit=1000")
    while events.extend(page["items"]) or page.get("continue"):
        page = await hub.call("GET", f"/api/v1/events?limit=1000&continue={page['continue']}")
    return events


async def _is_done(hub: HubProcess, commit: str) -> bool:
    return bool((await hub.call("GET", f"/api/v1/progress?commit={commit}")).get("done"))


async def _ended(hub: HubProcess, commit: str) -> bool:
    return (await hub.call("GET", f"/api/v1/rollouts/{commit}")).get("state") == "done"


def shape_of(told: list[str]) -> tuple[list[str], list[str]]:
    """What must not depend on when a hub was killed: the order of releases, and the steps and gates between them."""
    marks = [re.sub(r"; ends in .*", "", text) for text in told if "goes to" not in text and "waits" not in text]
    return went(told), marks
