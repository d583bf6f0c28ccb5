"""The process ends in order and in time, also when a part of it does not want to."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiohttp import web
from hubworld import cluster_file, config_map, overlay
from testbed.gitrepo import GitRepo

from fleet.errors import UsageInvalid
from fleet.hub.loops import Service, Troubles
from fleet.hub.main import Hub, run_hub


async def nothing() -> None:
    return


def hub_of(*services: Service, listen: tuple[str, int] = ("127.0.0.1", 0)) -> Hub:
    return Hub(services, Troubles(), nothing, web.Application(), listen, None, None, nothing)


async def test_a_loop_that_hangs_is_left_behind_within_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.hub.main.LOOPS_SECONDS", 0.2)
    may_end = asyncio.Event()

    async def stubborn() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue

    stop, closed = asyncio.Event(), []

    async def close() -> None:
        closed.append(True)

    hub = hub_of(Service("stubborn", stubborn))
    hub = Hub(hub.services, hub.troubles, nothing, hub.app, hub.listen, None, None, close)

    async def started(_: str) -> None:
        asyncio.get_running_loop().call_later(0.05, stop.set)

    async with asyncio.timeout(5):
        await run_hub(hub, started=started, stop=stop)
    assert closed == [True]
    may_end.set()


async def test_an_address_in_use_is_said_in_words() -> None:
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = runner.addresses[0][1]
    with pytest.raises(UsageInvalid, match=f"cannot listen on 127.0.0.1:{port}"):
        await run_hub(hub_of(listen=("127.0.0.1", port)), started=lambda _: nothing())
    await runner.cleanup()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_the_process_within_ten_seconds(tmp_path: Path, number: int) -> None:
    repo = GitRepo.create(tmp_path / "fleet.git")
    repo.commit({"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/web", {"a": config_map("a", "1")})})
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-m", "fleet.cli.start", "hub", "--repo", str(repo.path), "--listen", "127.0.0.1:0"]
    command = [
        sys.executable, "-c", "import sys; from fleet.cli.app import run; sys.exit(run(sys.argv[1:]))", *command[3:],
    ]  # fmt: skip
    process = subprocess.Popen(
        [*command, "--data-dir", str(tmp_path / "data")],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        line = process.stdout.readline()
        assert line.startswith("fleet hub on http://127.0.0.1:"), process.stderr.read()
        assert (tmp_path / "data" / "admin.token").stat().st_mode & 0o777 == 0o600
        began = time.monotonic()
        process.send_signal(number)
        assert process.wait(timeout=20) == 0
        assert time.monotonic() - began <= 10
    finally:
        process.kill()
        output = process.communicate()
    assert "Traceback" not in "".join(output)
