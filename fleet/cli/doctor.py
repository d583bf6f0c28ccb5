"""`fleet doctor`: what this machine has, one line a check; exit 1 if something that is needed is missing."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TextIO

from fleet.cli.client import state_folder
from fleet.cli.output import clean
from fleet.errors import FleetError


def doctor(root: Path, out: TextIO) -> int:
    """Print the checks."""
    lines = [_python(), _git(), asyncio.run(_renderer()), _data_directory(), _repo(root)]
    for good, what in lines:
        out.write(f"{'ok  ' if good else 'MISS'}  {clean(what)}\n")
    return 0 if all(good for good, _ in lines) else 1


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"python {sys.version.split()[0]}"


def _git() -> tuple[bool, str]:
    path = shutil.which("git")
    if path is None:
        return False, "git is not on PATH; install it"
    found = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=False)
    return True, f"{found.stdout.strip()} at {path}"


async def _renderer() -> tuple[bool, str]:
    from fleet.render.tools import find_tool

    try:
        tool = await find_tool(os.environ)
    except FleetError as error:
        return False, f"{error.what}; {error.next_step}"
    return True, f"renderer {tool.name} at {tool.path}"


def _data_directory() -> tuple[bool, str]:
    folder = Path(os.environ.get("FLEET_DATA_DIR") or state_folder())
    if not folder.exists():
        return True, f"no hub has run here yet ({folder})"
    mode = folder.stat().st_mode & 0o077
    key = folder / "key"
    if mode:
        return False, f"{folder} can be read by others; chmod 700 {folder}"
    free = shutil.disk_usage(folder).free >> 20
    if free < 500:
        return False, f"{folder}: only {free} MiB free"
    return True, f"data in {folder}, {free >> 10} GiB free, key {'there' if key.exists() else 'not made yet'}"


def _repo(root: Path) -> tuple[bool, str]:
    from fleet.cli.checkout import open_checkout

    if not (root / "fleet.yaml").exists() and not (root / "clusters").exists():
        return True, f"{root.resolve()} is no fleet repo; fleet init makes one"
    fleet = open_checkout(root).fleet
    errors = sum(1 for problem in fleet.problems if problem.severity == "error")
    text = f"fleet repo: {len(fleet.clusters)} clusters, {len(fleet.overlays)} overlays, {len(fleet.units)} units"
    return errors == 0, text + (f", {errors} errors; fleet validate" if errors else "")
