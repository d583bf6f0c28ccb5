"""`fleet demo`: a hub and simulated clusters in one process, on the example repo as a Git repo in a temporary folder.

Nothing outside that folder is written but a note in the user's state folder that tells `fleet sim` where the demo
runs; both are removed at the end.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fleet.api.rows import cluster_out
from fleet.cli.client import demo_note
from fleet.cli.stage import Demo, make_repo
from fleet.cli.story import tell
from fleet.hub.assembly import open_hub, write_private
from fleet.hub.main import run_hub
from fleet.settings import Settings
from fleet.sim import Simulation
from fleet.sim.control import Control
from fleet.telemetry import set_up_logs

CONVERGE_SECONDS = 300.0


def demo(*, script: bool, clusters: int, listen: str) -> int:
    """Run until Ctrl-C, or with `script` until the story is told; 1 when what came of it is not as it should be."""
    set_up_logs("CRITICAL")
    logging.disable(logging.CRITICAL)  # the libraries' own words, too
    folder = Path(tempfile.mkdtemp(prefix="fleet-demo-"))
    try:
        return asyncio.run(_demo(folder, script=script, clusters=clusters, listen=listen))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _demo(folder: Path, *, script: bool, clusters: int, listen: str) -> int:
    began = time.monotonic()
    names = make_repo(folder / "repo", clusters)
    credentials = folder / "credentials"
    credentials.mkdir(mode=0o700)
    outcome = 0
    async with Simulation(clusters=names, seed=1) as sim, _control_of(sim) as control:
        for name in names:
            write_private(credentials / f"{name}.kubeconfig", sim.kubeconfig(name).decode())
        opened = await open_hub(
            Settings(
                repo=str(folder / "repo"),
                data_dir=folder / "data",
                listen=listen,
                poll_seconds=2.0,
                credentials=credentials,
                allow_address=("127.0.0.0/8",),
            )
        )
        stop = asyncio.Event()
        running: list[asyncio.Task[None]] = []

        async def started(url: str) -> None:
            await opened.announce(url)
            note = demo_note()
            note.parent.mkdir(parents=True, exist_ok=True)
            write_private(note, f"{folder / 'data'}\n{control.url}\n{control.token}")
            running.append(asyncio.create_task(play(url), name="demo"))

        async def play(url: str) -> None:
            nonlocal outcome
            try:
                this = Demo(folder, folder / "repo", sim, opened, _say)
                await _converge(this, began)
                if script:
                    outcome = await tell(this)
                else:
                    _invite(this, url)
                    await asyncio.Event().wait()
            except TimeoutError as error:
                _say(f"FAILED: {error}")
                outcome = 1
            finally:
                stop.set()

        try:
            await run_hub(opened.hub, started=started, stop=stop)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            demo_note().unlink(missing_ok=True)
    return outcome


@asynccontextmanager
async def _control_of(sim: Simulation) -> AsyncGenerator[Control]:
    control = Control(sim)
    await control.start()
    try:
        yield control
    finally:
        await control.stop()


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def _converge(this: Demo, began: float) -> None:
    """Show each cluster once it is on the commit; then one line."""
    commit = this.git("rev-parse", "HEAD")
    told: set[str] = set()

    def progress() -> bool:
        view, now = this.hub.view, time.time()
        for name in this.sim.clusters:
            entry = (
                next((entry for entry in view.fleet.clusters.values() if entry.name == name), None)
                if view.fleet
                else None
            )
            if entry is None or name in told:
                continue
            status = cluster_out(view, entry, now).status
            if status.sync == "Synced" and status.health == "Healthy" and status.at_head == status.units:
                told.add(name)
                _say(f"{time.monotonic() - began:5.1f} s  {name:<10} Synced, Healthy: {status.units} units")
        return len(told) == len(this.sim.clusters)

    await this.until("all clusters on the commit", progress, CONVERGE_SECONDS)
    _say(f"{len(told)} clusters on main {commit[:7]} after {time.monotonic() - began:.0f} s.")


def _invite(this: Demo, url: str) -> None:
    _say(
        "Try, in another terminal:\n"
        f"  change something:  edit {this.repo}/overlays/web/base/kustomization.yaml, git -C {this.repo} commit -am x\n"
        "  drift:             fleet sim drift   then   fleet history\n"
        f"  look:              fleet get clusters, fleet status; the API is at {url} (fleet token create)\n"
        "Ctrl-C ends it and removes everything."
    )
