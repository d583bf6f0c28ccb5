"""A hub that can be killed at an instant, clusters whose every request can be met, and the reference run.

A kill is exact: in the same step of the event loop the durable state is copied and all further requests are cut off;
then the hub is torn down, the copy put in its place, and another hub started on it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from hubworld import HubWorld, NotSeen
from safety.checker import SETTLED_SECONDS, History, Key, Script, judge, landed_of, read_disk, v7_secrets

from fleet.errors import StateInUse
from fleet.sim.requests import Target

SECONDS = 60.0
Boundary = tuple[str, str, str, int]  # verb, resource (or path), name, and which of these it is, from 1
Meets = Callable[[str, "Boundary", str], Awaitable[bool]]


class Dead(Exception):
    """The hub is being killed: its requests go nowhere any more."""


@dataclass
class Rig:
    """One fleet for one run."""

    world: HubWorld
    script: Script = field(default_factory=Script)
    meets: Meets | None = None  # called for every request of the hub
    boundaries: list[tuple[str, Boundary]] = field(default_factory=list)  # with their cluster, as they came
    killed_at: list[float] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)  # what the holds said that were approved
    _counts: dict[tuple[str, str, str, str], int] = field(default_factory=dict)
    _run: Any = None
    _dead: bool = False
    _killing: asyncio.Task[None] | None = None
    _parents: dict[str, list[str]] = field(default_factory=dict)

    def watch_clusters(self) -> None:
        """Listen to everything that happens on the clusters from now on."""
        for name, cluster in self.world.sim.clusters.items():
            self.script.identities[name] = cluster.identity
            cluster.faults.tripwire = self._tripwire(name)
            cluster.store.listen("configmaps", lambda event, name=name: self._parent(name, event))

    def _parent(self, cluster: str, event: Any) -> None:
        namespace, name = event.key
        if namespace == "fleet-system" and event.after is not None and name.startswith("unit-"):
            notes = event.after.document()["metadata"].get("annotations", {})
            commits = self._parents.setdefault(f"{name.removeprefix('unit-')}@{cluster}", [])
            commit = notes.get("fleet.internal/commit", "")
            if commit and (not commits or commits[-1] != commit):
                commits.append(commit)

    def _tripwire(self, cluster: str) -> Callable[[str, Target, str], Awaitable[bool]]:
        async def meet(phase: str, target: Target, agent: str) -> bool:
            if not agent.startswith("fleet"):
                return False
            while self._dead:
                await asyncio.sleep(0.01)  # its connection is cut with the hub that sent it
            key = (target.verb, target.resource or target.path, target.name)
            if phase == "before":
                number = self._counts[cluster, *key] = self._counts.get((cluster, *key), 0) + 1
                self.boundaries.append((cluster, (*key, number)))
            boundary = (*key, self._counts[cluster, *key])
            return self.meets is not None and await self.meets(phase, boundary, cluster)

        return meet

    # The hub

    @property
    def is_changing(self) -> bool:
        """One hub is being killed, or the next one started."""
        return self._killing is not None and not self._killing.done()

    async def start(self) -> None:
        run = self.world.run(kill=True)
        await run.__aenter__()
        self._run = run

    async def stop(self) -> None:
        if self._killing is not None:
            await self._killing
        if self._run is not None:
            run, self._run = self._run, None
            await run.__aexit__(None, None, None)

    def kill(self) -> None:
        """At once; a new hub starts by itself on what was durable."""
        if self._dead:
            return
        self.killed_at.append(time.time())
        self._dead = True
        copy = self.world.root / "crash.db"
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(self.world.data_dir / "state.db")) as now, closing(sqlite3.connect(copy)) as then:
            now.backup(then)
        for cluster in self.world.sim.clusters.values():
            cluster.cut()  # also what a fault holds back
        self._killing = asyncio.create_task(self._start_again(copy), name="kill")

    async def _start_again(self, copy: Path) -> None:
        run, self._run = self._run, None
        await run.__aexit__(None, None, None)
        for cluster in self.world.sim.clusters.values():
            cluster.cut()
        for side in ("-wal", "-shm"):
            (self.world.data_dir / f"state.db{side}").unlink(missing_ok=True)
        copy.replace(self.world.data_dir / "state.db")  # another file: whoever has the old one open writes to that
        self._dead = False
        end = time.monotonic() + SECONDS
        while True:
            try:
                return await self.start()
            except StateInUse:  # a thread of the dead one has the lock a moment longer, on a busy machine
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.1)

    @property
    def kills(self) -> int:
        return len(self.killed_at)

    def _story(self) -> str:
        """What is missing and what is held, before all else that is known."""
        view = self.world.opened.view
        missing = [f"missing {one.unit}: {one.reason}" for one in self.world.progress(view.head.commit or "-").missing]
        held = [f"held {unit.unit}: {hold.message}" for unit in view.units.values() for hold in unit.holds]
        return "\n".join([*missing, *held, self.world.describe()])

    # What a person does

    def commit(self, files: Mapping[str, Any], *, drops: Iterator[Key] | list[Key] = (), wants: list[Key] = ()) -> str:
        now = time.time()
        for cluster in self.world.sim.clusters:
            self.script.dropped += [(now, cluster, key) for key in drops]
            self.script.wanted += [(now, cluster, key) for key in wants]
        revision = self.world.commit(files)
        self.script.commits.append(revision)
        return revision

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request to the API, again while there is no hub."""
        end = time.monotonic() + SECONDS
        while True:
            kills = self.kills
            try:
                async with asyncio.timeout(10):
                    answer = await self.world.call(method, path, body)
                if kills == self.kills and not self.is_changing:
                    return answer  # of a hub that is not dead: what a dying one says is not on the disk of the next
            except (aiohttp.ClientError, OSError, TimeoutError):
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.05)

    async def until(self, holds: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
        """The first true value, over kills of the hub."""
        end = time.monotonic() + seconds
        while True:
            with suppress(AttributeError, KeyError, TypeError):  # while one hub is gone and the next not there
                if value := holds():
                    return value
            if time.monotonic() > end:
                raise NotSeen(f"{what} within {seconds} s\n{self._story()}")
            if self._killing is not None and self._killing.done():
                self._killing.result()
            self.world.opened.bells.fetch.set()
            await asyncio.sleep(0.02)

    async def approve(self, overlay: str, gone: Callable[[], bool], *keys: Key) -> None:
        """Approve holds of the overlay until what they list is gone; each approval is of the very list shown."""
        end = time.monotonic() + SETTLED_SECONDS
        while not gone():
            _, answer = await self.call("GET", "/api/v1/holds?openOnly=true")
            for hold in answer.get("items", []):
                if hold["overlay"] == overlay and not hold["decision"]:
                    self.script.approved += [(time.time(), key) for key in keys]
                    self.asked += hold["messages"]
                    name, body = hold["metadata"]["name"], {"listDigest": hold["listDigest"], "reason": "reviewed"}
                    await self.call("POST", f"/api/v1/holds/{name}:approve", body)
            if time.monotonic() > end:
                raise NotSeen(f"{keys} gone after their approval within {SETTLED_SECONDS} s\n{self._story()}")
            await asyncio.sleep(0.05)

    # Afterwards

    def violations(self) -> list[str]:
        """After `stop`: what the checker finds."""
        landed = [
            write for name, cluster in self.world.sim.clusters.items() for write in landed_of(name, cluster.ledger)
        ]
        operations, audited = read_disk(self.world.data_dir)
        found = judge(self.script, History(landed, self._parents, operations, audited))
        if self.script.secret:
            found += [
                line for line in v7_secrets(self.script.secret.encode(), self.world.data_dir) if "mirror" not in line
            ]
        return found
