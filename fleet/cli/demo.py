"""`fleet demo`: a hub and simulated clusters in one process, on the example repo as a Git repo in a temporary folder.

Nothing outside that folder is written but a note in the user's state folder that tells `fleet sim` where the demo
runs; both are removed at the end.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet.api.revisions import commit_progress
from fleet.api.rows import cluster_out, units_by_cluster
from fleet.cli.client import demo_note
from fleet.errors import UsageInvalid
from fleet.hub.assembly import OpenedHub, open_hub, write_private
from fleet.hub.main import run_hub
from fleet.inventory.load import load_fleet
from fleet.inventory.worktree import WorkingTree
from fleet.settings import Settings
from fleet.sim import Simulation
from fleet.sim.control import Control
from fleet.telemetry import set_up_logs

PARTS = ("fleet.yaml", "clusters", "overlays", "components")
CONVERGE_SECONDS = 300.0
_GIT = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@dataclass(slots=True)
class Demo:
    """A running demo."""

    folder: Path
    repo: Path
    sim: Simulation
    hub: OpenedHub
    say: Callable[[str], None]

    def git(self, *arguments: str) -> str:
        """Run git in the demo's own repo."""
        return _git(self.repo, *arguments)

    def commit(self, message: str) -> str:
        """Commit everything and ask the hub to look."""
        self.git("commit", "-q", "-a", "-m", message)
        self.hub.bells.fetch.set()
        return self.git("rev-parse", "HEAD")

    async def until(self, what: str, is_so: Callable[[], bool], seconds: float = 60.0) -> float:
        """Wait for something; returns how long it took, raises TimeoutError with what was waited for."""
        began = time.monotonic()
        while not is_so():
            if time.monotonic() - began > seconds:
                raise TimeoutError(f"{what} did not happen within {seconds:g} s")
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    def is_everywhere(self, commit: str) -> bool:
        """Whether every unit observed a commit, Synced and Healthy."""
        return commit_progress(self.hub.view, commit, time.time()).done


def example() -> Path:
    """The example repo: of this checkout, or as shipped in the package."""
    package = Path(__file__).resolve().parents[1]
    for place in (package.parent, package / "example"):
        if (place / "fleet.yaml").exists() and (place / "clusters").is_dir():
            return place
    raise UsageInvalid("the example repo is not there", where=str(package), next_step="run this from a checkout")


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=demo", "-c", "user.email=demo@acme.example", *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **_GIT}, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def make_repo(folder: Path, clusters: int) -> list[str]:
    """Copy the example into a Git repo with at most so many clusters; returns their names."""
    source = example()
    folder.mkdir()
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, folder / part)
        elif (source / part).exists():
            shutil.copy2(source / part, folder / part)
    fleet = load_fleet(WorkingTree(folder)).fleet
    order = {environment.name: number for number, environment in enumerate(fleet.environments)}
    names = sorted(fleet.clusters, key=lambda name: (order.get(fleet.clusters[name].environment, 99), name))
    if clusters < 1 or clusters > len(names):
        raise UsageInvalid(f"the example has 1 to {len(names)} clusters")
    _drop(folder, {str(name) for name in names[clusters:]})
    _git(folder, "init", "-q", "-b", "main")
    _git(folder, "add", ".")
    _git(folder, "commit", "-q", "-m", "the example fleet")
    return [str(name) for name in names[:clusters]]


def _drop(folder: Path, names: set[str]) -> None:
    """Take clusters out of the repo: their documents, and files that hold no other."""
    for path in (folder / "clusters").rglob("*.yaml"):
        documents = re.split(r"(?m)^---\s*$", path.read_text(encoding="utf-8"))
        kept = [text for text in documents if not any(re.search(rf"(?m)^  name: {name}$", text) for name in names)]
        if not "".join(kept).strip():
            path.unlink()
        elif kept != documents:
            path.write_text("---".join(kept), encoding="utf-8")


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
                    from fleet.cli.story import tell

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
        groups = units_by_cluster(view)
        for name in this.sim.clusters:
            entry = (
                next((entry for entry in view.fleet.clusters.values() if entry.name == name), None)
                if view.fleet
                else None
            )
            if entry is None or name in told:
                continue
            status = cluster_out(view, entry, now, groups.get(entry.name, [])).status
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
