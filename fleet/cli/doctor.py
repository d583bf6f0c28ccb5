"""`fleet doctor`: whether a hub can work here, one line a check, and what to do about each that is not well.

What is judged is judged by the plain functions of `checkup.py`; here is how it is found out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from fleet.cli.checkup import Check, Level, judge_builds, judge_descriptors, judge_disk, judge_keys, judge_lost_key
from fleet.cli.client import data_folder
from fleet.cli.output import clean_line
from fleet.errors import FleetError, HubUnreachable


def doctor(root: Path, out: TextIO, *, data_dir: Path | None = None, ask_clusters: bool = True) -> int:
    """Print the checks; 1 if something that is needed is missing or will fail, warnings apart."""
    worst = Level.OK
    for check in _checks(root, data_dir or data_folder(), ask_clusters):
        out.write(f"{check.level.value:4}  {clean_line(check.what)}\n")
        if check.next_step:
            out.write(f"      next: {clean_line(check.next_step)}\n")
        out.flush()
        worst = max(worst, check.level, key=list(Level).index)
    return 1 if worst is Level.MISS else 0


def _checks(root: Path, folder: Path, ask_clusters: bool) -> Iterator[Check]:
    yield _python()
    yield _git()
    yield asyncio.run(_renderer())
    yield asyncio.run(_builds())
    yield _hub()
    yield from _data_directory(folder, ask_clusters)
    yield _repo(root)


def _python() -> Check:
    return Check(Level.OK, f"python {sys.version.split()[0]}")  # an older one does not get as far as this


def _git() -> Check:
    path = shutil.which("git")
    if path is None:
        return Check(Level.MISS, "git is not on PATH", "install it (Debian: apt-get install git)")
    try:
        found = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Check(Level.MISS, f"git at {path} does not run: {error}", "install it anew")
    return Check(Level.OK, f"{found.stdout.strip()} at {path}")


async def _renderer() -> Check:
    from fleet.render.tools import find_helm, find_tool

    try:
        tool, helm = await find_tool(os.environ), await find_helm(os.environ)
    except FleetError as error:
        return _of(error)
    charts = f", charts by {helm.name} at {helm.path}" if helm else ""
    return Check(Level.OK, f"renderer {tool.name} at {tool.path}{charts}")


async def _builds() -> Check:
    from fleet.render.scratch import make_scratch
    from fleet.render.workers import WorkerPool

    scratch = make_scratch(None)
    pool = WorkerPool(b"", scratch, (), 1)
    try:
        return judge_builds(await pool.measured())
    except FleetError as error:
        return _of(error)
    finally:
        await pool.close()
        shutil.rmtree(scratch, ignore_errors=True)


def _hub() -> Check:
    from fleet.cli.client import Client

    try:
        client = Client(timeout_seconds=5)
    except HubUnreachable:
        return Check(Level.OK, "no hub is known here; fleet hub --repo . starts one")
    except FleetError as error:
        return _of(error)
    try:
        answer = client.text("/readyz")
    except HubUnreachable as error:
        return Check(Level.WARN, error.brief, error.next_step)
    if answer != "ok":
        return Check(Level.MISS, f"hub at {client.url} is not ready: {answer}", "fleet status, and the hub's log")
    return Check(Level.OK, f"hub at {client.url} is ready")


def _data_directory(folder: Path, ask_clusters: bool) -> Iterator[Check]:
    if not folder.exists():
        yield Check(Level.OK, f"no hub has run here yet ({folder})")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o077:
        yield Check(Level.MISS, f"{folder} can be read by others (mode {mode:04o})", f"chmod 700 {folder}")
    elif not os.access(folder, os.W_OK):
        yield Check(Level.MISS, f"{folder} cannot be written", "make it writable for the user of the hub")
    usage = shutil.disk_usage(folder)
    yield judge_disk(folder, usage.free, usage.total, {name: size_of(folder / name) for name in _PARTS})
    yield from _state(folder, ask_clusters)


_PARTS = ("state.db", "cache", "mirror")


def size_of(path: Path) -> int:
    """Bytes in a file or below a directory; what goes meanwhile is not counted, a hub beside it sweeps its cache."""
    below = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    total = 0
    for file in below if path.is_dir() else (path,):
        with contextlib.suppress(OSError):
            about = file.lstat()
            total += about.st_size if stat.S_ISREG(about.st_mode) else 0
    return total


def _state(folder: Path, ask_clusters: bool) -> Iterator[Check]:
    from fleet.cli.doctor_clusters import check_clusters
    from fleet.settings import Settings
    from fleet.store.crypto import find_key, name_of_key
    from fleet.store.inspect import inspect_state
    from fleet.store.tables import SCHEMA

    try:
        found = find_key(folder, os.environ)
        facts = inspect_state(folder, found)
    except FleetError as error:
        yield _of(error)
        return
    stored: dict[str, bytes] = {}
    if found is None and facts is None:
        yield Check(Level.OK, "key not made yet: the first start makes it; keep a copy then")
    elif found is None or (facts is not None and not facts.keys.all_here):
        here = "" if found is None else f"key {name_of_key(found.key)} ({found.where})"
        assert facts is not None, "without a key and a state there is nothing to open"
        yield judge_lost_key(here, facts.keys.names, facts.keys.missing)
    else:
        yield Check(Level.OK, f"key {name_of_key(found.key)} ({found.where}); keep a copy of it elsewhere")
        if facts is not None:
            needs = {name: facts.older.get(name, 0) for name in map(name_of_key, found.older)}
            yield from judge_keys(needs, facts.unreadable)
    if facts is not None:
        stored.update(facts.credentials)
        what = f"state of {facts.installation or 'an installation without a commit yet'}: {facts.clusters} clusters, "
        what += f"{facts.audit_entries} audit entries, schema {facts.schema}"
        if facts.schema == SCHEMA:
            yield Check(Level.OK, what)
        else:
            yield Check(Level.WARN, f"{what}; this version writes {SCHEMA}", "fleet backup, then start the hub")
        yield judge_descriptors(resource.getrlimit(resource.RLIMIT_NOFILE)[0], facts.clusters)
    settings = Settings()
    try:
        allowed = settings.allowed_networks()
    except ValueError as error:
        yield Check(Level.MISS, f"FLEET_ALLOW_ADDRESS: {error}", "give networks as 10.0.0.0/8")
        return
    yield from asyncio.run(check_clusters(settings.credentials, stored, ask=ask_clusters, allowed=allowed))


def _repo(root: Path) -> Check:
    from fleet.cli.checkout import open_checkout

    if not (root / "fleet.yaml").exists() and not (root / "clusters").exists():
        return Check(Level.OK, f"{root.resolve()} is no fleet repo; fleet init makes one")
    try:
        fleet = open_checkout(root).fleet
    except FleetError as error:
        return _of(error)
    errors = sum(1 for problem in fleet.problems if problem.severity == "error")
    text = f"fleet repo: {len(fleet.clusters)} clusters, {len(fleet.overlays)} overlays, {len(fleet.units)} units"
    return Check(Level.MISS, f"{text}, {errors} errors", "fleet validate") if errors else Check(Level.OK, text)


def _of(error: FleetError) -> Check:
    where = f" ({error.where})" if error.where else ""
    return Check(Level.MISS, error.brief + where, error.next_step)
