"""The hub as a process of its own that is killed from outside, and what the clusters saw of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
from safety.killed_hub import NEVER, Meter

from fleet.sim import Simulation
from fleet.sim.requests import Target
from fleet.sim.statuses import ApiError

_TESTS = Path(__file__).parents[1]


class Seen:
    """What happened on the clusters, from their own histories."""

    def __init__(self, sim: Simulation) -> None:
        self.parents: dict[str, list[str]] = {}
        self.stamps: dict[str, int] = {}
        self.stamped: dict[str, set[int]] = {}
        self.hooks: Counter[tuple[str, int]] = Counter()
        self.made: Counter[tuple[str, str, str]] = Counter()
        self.backwards: list[str] = []
        for name, cluster in sim.clusters.items():
            cluster.store.listen("configmaps", lambda event, name=name: self._saw(name, event))

    def _saw(self, cluster: str, event: Any) -> None:
        space, name = event.key
        if event.after is None:
            return
        document = event.after.document()
        if space == "fleet-system" and name.startswith("unit-"):
            commit = document["metadata"].get("annotations", {}).get("fleet.internal/commit", "")
            commits = self.parents.setdefault(f"{name.removeprefix('unit-')}@{cluster}", [])
            if commit and commits[-1:] != [commit]:
                commits.append(commit)
            return
        if space != "default" or "data" not in document:
            return
        value = document["data"].get("a", "")
        if name == "stamp":
            if int(value) < self.stamps.get(cluster, -1):
                self.backwards.append(f"stamp on {cluster} went from {self.stamps[cluster]} to {value}")
            self.stamps[cluster] = int(value)
            self.stamped.setdefault(cluster, set()).add(int(value))
        if event.before is None and name == "hook":
            self.hooks[cluster, int(value)] += 1
        elif event.before is None:
            self.made[cluster, space, name] += 1


class Child:
    """The hub's process: `fleet hub` with a meter of its commits."""

    def __init__(self, root: Path, sim: Simulation) -> None:
        self._root, self._sim = root, sim
        self.asked = self.answered = 0
        self.starts = 0
        self.listens = False
        self._process: asyncio.subprocess.Process | None = None
        self._url = self._token = ""
        self._order: tuple[str, int] | None = None  # phase, and how many requests are left to it
        self._met = ""
        self._meter = Meter(root / "meter")
        (root / "credentials").mkdir()
        for name, cluster in sim.clusters.items():
            (root / "credentials" / f"{name}.kubeconfig").write_bytes(sim.kubeconfig(name))
            cluster.faults.tripwire = self._tripwire(name)

    async def start(self) -> None:
        """Start the next one, and wait until it listens."""
        given = {
            "FLEET_REPO": str(self._root / "fleet.git"),
            "FLEET_DATA_DIR": str(self._root / "data"),
            "FLEET_LISTEN": "127.0.0.1:0",
            "FLEET_CREDENTIALS": str(self._root / "credentials"),
            "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
            "FLEET_POLL_SECONDS": "1",
            "FLEET_RENDER_WORKERS": "1",
            "FLEET_LOG_LEVEL": "WARNING",
            "FLEET_KILL_METER": str(self._root / "meter"),
            "PYTHONPATH": f"{_TESTS}:{_TESTS.parent}",
        }
        self.starts += 1
        with (self._root / "hub.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "safety.killed_hub",
                env={**os.environ, **given},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self.listens = False
        self._announced = asyncio.create_task(self._listen(self._process))

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while line := (await process.stdout.readline()).decode():
            if " on " in line:
                self._url = line.split(" on ")[1].split(",")[0].strip()
                self._token = (self._root / "data" / "admin.token").read_text().strip()
                self.listens = True

    async def must_live(self) -> None:
        """Raises RuntimeError where the hub ended by itself."""
        if self._process is not None and self._process.returncode is not None:
            raise RuntimeError(f"the hub ended by itself with {self._process.returncode}")

    async def die(self, way: str, count: int, late: float) -> str:
        """Kill it at its point, and where that does not come to pass in time, then; where that was."""
        assert self._process is not None
        self._met = ""
        match way:
            case "moment":
                await asyncio.sleep(late)
            case "after a commit":
                self._meter.order(self._meter.count + count // 4 + 1)
            case _:
                self._order = (way.partition(" ")[0], count)
        if way != "moment":
            with suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), 20.0)
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            self._met = self._met or f"a moment ({way} did not come)" if way != "moment" else f"{late:.2f} s"
        await self._process.wait()
        self._announced.cancel()
        await asyncio.gather(self._announced, return_exceptions=True)
        if self._process.returncode != -signal.SIGKILL:
            raise RuntimeError(f"the hub ended by itself with {self._process.returncode}")
        if way == "after a commit" and not self._met:
            self._met = f"commit {self._meter.count}"
        self._order = None
        self._meter.order(NEVER)
        return self._met

    async def end(self) -> None:
        """As an orchestrator does."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 20.0)
        except TimeoutError:
            process.kill()
            await process.wait()
        await asyncio.gather(self._announced, return_exceptions=True)

    def log(self) -> str:
        return (self._root / "hub.log").read_text()[-2000:]

    def _tripwire(self, cluster: str) -> Callable[[str, Target, str], Any]:
        async def meet(phase: str, target: Target, agent: str) -> bool:
            if not agent.startswith("fleet"):
                return False
            if self._order is not None and self._order[0] == phase:
                self._order = (phase, self._order[1] - 1)
                if self._order[1] <= 0:
                    assert self._process is not None
                    self._order = None
                    self._met = f"{target.verb} {target.resource or target.path} {target.name} on {cluster}"
                    self._process.send_signal(signal.SIGKILL)
                    if phase == "before":
                        raise ApiError(500, "InternalError", "the one who asked is dead")
            return False

        return meet

    async def call(self, method: str, path: str, body: Any = None, *, key: str = "") -> tuple[int, Any]:
        """One request to the API, again while there is no hub."""
        while True:
            starts = self.starts
            headers = {"Authorization": f"Bearer {self._token}", **({"Idempotency-Key": key} if key else {})}
            try:
                async with (
                    asyncio.timeout(10),
                    aiohttp.ClientSession() as session,
                    session.request(method, self._url + path, json=body, headers=headers) as answer,
                ):
                    told = json.loads(await answer.read())
                    if answer.status < 500 and starts == self.starts:
                        self.answered += bool(key and answer.status == 202)
                        return answer.status, told
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
                pass
            await asyncio.sleep(0.2)
