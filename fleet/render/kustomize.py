"""One run of kustomize over the files of a closure, in a private directory that is gone afterwards."""

from __future__ import annotations

import os
import posixpath
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import orjson

from fleet.core.documents import Json
from fleet.errors import RenderTooLarge
from fleet.render.jobs import BuildJob
from fleet.render.kustomization import CLUSTER_FACTS
from fleet.render.limits import Finished, run_limited

_GOGC = "400"  # a build is short: collecting garbage less often saves a quarter of its CPU
REPO = "repo"
_TOP = "fleet-build"  # a name that no repo path can have beside REPO


def build(job: BuildJob, files: Mapping[str, bytes], scratch: Path, parent_fd: int | None) -> tuple[Finished, str]:
    """Run the tool; returns how it ended and the directory that stood for the repo in its messages."""
    directory = Path(tempfile.mkdtemp(dir=scratch, prefix="build-"))  # 0700
    try:
        repo = directory / REPO
        _write(repo, job, files)
        target = _target(job, directory)
        argv = [target if part == "{directory}" else part for part in job.argv]
        finished = run_limited(argv, cwd=directory, env=_environment(job), limits=job.limits, parent_fd=parent_fd)
        return finished, str(repo)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _environment(job: BuildJob) -> dict[str, str]:
    return {"GOGC": _GOGC, "GOMEMLIMIT": f"{job.limits.memory_bytes * 9 // 10}", "HOME": "/nonexistent", "PATH": ""}


def _write(repo: Path, job: BuildJob, files: Mapping[str, bytes]) -> None:
    total = sum(len(content) for content in files.values())
    if len(files) > job.limits.files or total > job.limits.input_bytes:
        raise RenderTooLarge(
            f"the input of this build is too large: {len(files)} files, {total} bytes",
            where=job.root,
            why=f"the limits are {job.limits.files} files and {job.limits.input_bytes} bytes",
            next_step="split the overlay",
        )
    made: set[str] = set()
    base = os.fspath(repo)
    for directory in (job.root, *job.components):
        os.makedirs(f"{base}/{directory}" if directory else base, exist_ok=True)  # noqa: PTH103 - a third of the time
    for path, content in files.items():
        _parent(base, path, made)
        handle = os.open(f"{base}/{path}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, content) if len(content) < 1 << 20 else _write_all(handle, content)
        finally:
            os.close(handle)
    for path, target in job.links:
        _parent(base, path, made)
        os.symlink(target, f"{base}/{path}")  # noqa: PTH211 - checked by the closure: it stays inside


def _write_all(handle: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(handle, view) :]


def _parent(base: str, path: str, made: set[str]) -> None:
    parent = path.rpartition("/")[0]
    if parent not in made:
        os.makedirs(f"{base}/{parent}", exist_ok=True)  # noqa: PTH103
        made.add(parent)


def _target(job: BuildJob, directory: Path) -> str:
    """The directory to build: the unit's own, or one above it that adds components and the cluster's facts."""
    root = posixpath.join(REPO, job.root)
    if not job.components:
        return root
    top = directory / _TOP
    top.mkdir()
    kustomization: dict[str, Json] = {
        **job.order,
        "resources": [posixpath.join("..", root)],
        "components": [posixpath.join("..", REPO, component) for component in job.components],
    }
    if job.facts is not None:
        kustomization["resources"] = [posixpath.join("..", root), "facts.yaml"]
        (top / "facts.yaml").write_bytes(orjson.dumps(_facts(job.facts)))
    (top / "kustomization.yaml").write_bytes(orjson.dumps(kustomization))
    return _TOP


def _facts(facts: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CLUSTER_FACTS, "annotations": {"config.kubernetes.io/local-config": "true"}},
        "data": facts,
    }
