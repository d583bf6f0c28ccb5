"""The stage of the demo: the example repo as a Git repo of its own, the simulated clusters, the hub."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from fleet.api.progress import commit_progress
from fleet.errors import UsageInvalid
from fleet.hub.assembly import OpenedHub
from fleet.inventory.load import load_fleet
from fleet.inventory.worktree import WorkingTree
from fleet.sim import Simulation
from fleet.values import dataclass

PARTS = ("fleet.yaml", "clusters", "overlays", "components")
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

    def commit(self, message: str, *options: str) -> str:
        """Commit everything and ask the hub to look."""
        self.git("commit", "-q", "-a", "-m", message, *options)
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
        raise UsageInvalid(
            f"the example has 1 to {len(names)} clusters", next_step=f"give --clusters between 1 and {len(names)}"
        )
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
