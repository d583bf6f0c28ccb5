"""A hub that can write no file any more: it stops writing to clusters, goes on looking, and recovers by itself (R24).

The limit on the size of files (RLIMIT_FSIZE) of the running process stands for the full disk: each write fails.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hubworld import HubWorld, cluster_file, config_map, kustomization, make_world, overlay

from fleet.core.retry import Backoff
from fleet.errors import StateNotWritable

SECONDS = 60.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1",)) as made:
        yield made


class Process:
    """`fleet hub` as a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, token: str) -> None:
        self.process, self.url, self.token = process, url, token

    async def ask(self, method: str, path: str) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, headers=headers) as answer,
        ):
            text = await answer.text()
            return (answer.status, json.loads(text)) if "json" in answer.content_type else (answer.status, text)

    async def until(self, path: str, holds: Any, what: str) -> Any:
        try:
            async with asyncio.timeout(SECONDS):
                while not holds(found := await self.ask("GET", path)):
                    await asyncio.sleep(0.1)
                return found
        except TimeoutError:
            raise AssertionError(f"not seen: {what}; last {found}") from None

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        hard = resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (0, hard))
        try:
            yield
        finally:
            resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (hard, hard))


async def start(world: HubWorld) -> Process:
    world.write_credentials()
    environment = {
        **os.environ,
        "FLEET_CREDENTIALS": str(world.root / "credentials"),
        "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
        "FLEET_POLL_SECONDS": "3600",
    }
    words = ("hub", "--repo", str(world.repo.path), "--data-dir", str(world.data_dir), "--listen", "127.0.0.1:0")
    log = (world.root / "hub.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "fleet"),
        *words,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
    )
    assert process.stdout is not None
    line = (await process.stdout.readline()).decode()
    log.close()
    assert " on http" in line, (world.root / "hub.log").read_text()
    token = (world.data_dir / "admin.token").read_text().strip()
    return Process(process, line.split(" on ")[1].split(",")[0].strip(), token)


async def test_a_full_disk_stops_writes_not_the_hub_and_it_recovers_by_itself(world: HubWorld) -> None:
    world.commit({"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/web", {"a": config_map("a", "1")})})
    cluster, unit = world.sim.cluster("eu-1"), "/api/v1/units/web@eu-1"
    hub = await start(world)
    try:
        await hub.until(unit, lambda found: found[0] == 200 and status_of(found, "health") == "Healthy", "well")
        assert (await hub.ask("GET", "/readyz"))[0] == 200
        with hub.full_disk():
            await hub.until("/readyz", lambda found: found[0] == 503, "told")
            before = world.marks()
            second = world.commit({"overlays/web/b.yaml": config_map("b", "1"), **both()})
            await hub.ask("POST", f"{unit}:sync")
            cluster.drift("", "ConfigMap", "default", "a", {"data": {"a": "by hand"}})
            await hub.until(unit, lambda found: status_of(found, "sync") != "Synced", "the drift is seen")
            cluster.remove("", "ConfigMap", "default", "a")  # this needs no word in the record before it is made anew
            await asyncio.sleep(2)
            _, metrics = await hub.ask("GET", "/metrics")
            assert "fleet_state_writable 0.0" in metrics
            assert world.writes(before, own_only=False) == {}
        await hub.until("/metrics", lambda found: "fleet_state_writable 1.0" in found[1], "writable again")
        await hub.until(unit, lambda found: status_of(found, "sync") == "Synced", "healed by itself")
        await hub.ask("POST", f"{unit}:sync")
        await hub.until(unit, lambda found: found[1]["status"]["commit"] == second, "the commit")
        assert sorted(set(world.writes(before)["eu-1"])) == ["patch configmaps a", "patch configmaps b"]
        assert cluster.get("", "ConfigMap", "default", "a")["data"] == {"a": "1"}
    finally:
        hub.process.terminate()
        await hub.process.wait()


def both() -> dict[str, str]:
    return {"overlays/web/kustomization.yaml": kustomization("a.yaml", "b.yaml")}


def status_of(found: tuple[int, Any], name: str) -> str:
    return found[1]["status"][name]


@pytest.mark.parametrize("fails", [True, False])
async def test_the_hub_goes_on_taking_commits_after_what_it_released_could_not_be_written(
    world: HubWorld, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    """The loop of the commits ended for good, as if it had been asked to: no revert in Git came through any more."""
    monkeypatch.setattr("fleet.hub.loops.BACKOFF", Backoff(0.05, 0.1))

    def shop(value: str) -> dict[str, str]:
        both = (overlay(f"overlays/{name}", {"cm": config_map(name, value)}) for name in ("shop", "web"))
        return {path: text for files in both for path, text in files.items()}

    world.commit({"clusters/eu-1.yaml": cluster_file("eu-1"), **shop("1")})
    async with world.run():
        await world.until_everywhere(world.repo.head())
        state, failures = world.opened.adapters.state, [fails]
        put, tried = state.put_released, asyncio.Event()

        async def once(rows: Any, **options: Any) -> Any:
            if rows:
                tried.set()
                if failures and failures.pop():
                    raise StateNotWritable("the state cannot be written", why="the disk is full")
            return await put(rows, **options)

        monkeypatch.setattr(state, "put_released", once)
        world.commit(shop("2"))
        async with asyncio.timeout(SECONDS):
            await tried.wait()
        await world.until_everywhere(world.commit(shop("3")))
