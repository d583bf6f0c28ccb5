"""The hub as a process of its own, killed in the middle of its writes: the next one converges without hands (R22)."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
from scenarios.real import NotSeen, World, config_map, namespace_of, writes
from testbed.controlplane import ControlPlane

OBJECTS = 300
pytestmark = pytest.mark.timeout(400)  # it waits for minutes on a busy machine
_CHECKOUT = Path(__file__).parents[2]


@contextmanager
def hub_process(world: World) -> Iterator[subprocess.Popen[bytes]]:
    """`fleet hub` in a process group of its own; what is left of it is ended with the block."""
    settings = world.settings(log_level="WARNING")
    given = {
        "FLEET_REPO": settings.repo,
        "FLEET_DATA_DIR": str(settings.data_dir),
        "FLEET_LISTEN": settings.listen,
        "FLEET_CREDENTIALS": str(world.credentials),
        "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
        "FLEET_POLL_SECONDS": "1",
        "FLEET_RENDER_WORKERS": "1",
        "PYTHONPATH": str(_CHECKOUT),
    }
    argv = [sys.executable, "-c", "from fleet.cli.start import main; main()", "hub"]
    with (world.folder / "hub.log").open("ab") as output:
        process = subprocess.Popen(
            argv, env={**os.environ, **given}, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(15)


async def until(found: Callable[[], Any], what: str, *, seconds: float = 120.0) -> Any:
    """Look until `found` (in a thread) gives something true."""
    deadline = time.monotonic() + seconds
    while not (value := await asyncio.to_thread(found)):
        if time.monotonic() > deadline:
            raise NotSeen(f"{what} within {seconds} s")
        await asyncio.sleep(0.05)
    return value


async def progress_of(world: World, commit: str) -> dict[str, Any]:
    """As the local command line asks."""
    data = world.settings().data_dir
    url, token = ((data / name).read_text().strip() for name in ("url", "admin.token"))
    where = f"{url}/api/v1/progress"
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as client,
        client.get(where, params={"commit": commit}) as answer,
    ):
        return await answer.json()


async def until_done(world: World, commit: str, *, seconds: float = 120.0) -> None:
    told: object = None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            told = await progress_of(world, commit)
            if told["done"]:
                return
        except (OSError, aiohttp.ClientError) as error:
            told = error
        await asyncio.sleep(0.02)
    raise NotSeen(f"{commit[:7]} within {seconds} s: {told}\n{(world.folder / 'hub.log').read_text()[-3000:]}")


async def test_a_hub_killed_amid_its_writes_converges_when_it_is_started_again(
    world: World, api_server: ControlPlane, namespace: str
) -> None:
    admin = api_server.client()
    world.cluster("bare", api_server, "web")
    world.overlay("web", [namespace_of(namespace), *(config_map(f"c{n:03}", namespace) for n in range(OBJECTS))])
    first = world.commit()
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    mark = api_server.ledger_mark()

    def uids() -> dict[str, str]:
        return {item["metadata"]["name"]: item["metadata"]["uid"] for item in admin.get(path)["items"]}

    with hub_process(world) as hub:
        await until(lambda: len(uids()) > 10, "the first objects")
        children = psutil.Process(hub.pid).children(recursive=True)
        hub.kill()
        hub.wait(10)
    before = await asyncio.to_thread(uids)
    assert len(before) < OBJECTS, "killed too late to prove anything"
    await until(lambda: not any(child.is_running() for child in children), "its children ended with it", seconds=15)

    with hub_process(world) as hub:
        await until_done(world, first)
        after = uids()
        assert len([name for name in after if name.startswith("c")]) == OBJECTS
        assert before.items() <= after.items()
        deletes = [line for line in writes(api_server.ledger(mark, user_agent="fleet"), namespace) if "delete" in line]
        assert deletes == []

        # Killed amid a change: the half that was written and the half that was not both end at the commit.
        changed = [config_map(f"c{n:03}", namespace, {"a": "2"}) for n in range(OBJECTS)]
        world.overlay("web", [namespace_of(namespace), *changed])
        second = world.commit()
        await until(lambda: len(at_two(admin, path)) > 5, "the change began")
        hub.kill()
        hub.wait(10)
    assert len(at_two(admin, path)) < OBJECTS, "killed too late to prove anything"
    with hub_process(world):
        await until_done(world, second)
        assert len(at_two(admin, path)) == OBJECTS
    assert uids() == after


def at_two(admin: Any, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in admin.get(path)["items"] if item.get("data") == {"a": "2"}]
