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
from fleet.render.inline import is_json_patch
from fleet.render.jobs import BuildJob
from fleet.render.limits import Finished, run_limited
from fleet.render.mentions import CLUSTER_FACTS
from fleet.render.schema import schema_for
from fleet.values import dataclass

_GOGC = "400"  # a build is short: collecting garbage less often saves a quarter of its CPU
REPO = "repo"
_TOP, _SLIM_TOP = "top", "slim"  # beside REPO, so that no path of the repo can meet them


@dataclass(frozen=True, slots=True)
class Built:
    """How the tool ended. `directory` stood for the repo's root in its messages."""

    finished: Finished
    directory: str
    slim: bool = False
    differs: bool = False


def build(job: BuildJob, files: Mapping[str, bytes], scratch: Path, parent_fd: int | None) -> Built:
    """Run the tool; where it fails with the slim schema, once more without, so that its message is its own."""
    directory = Path(tempfile.mkdtemp(dir=scratch, prefix="build-"))  # 0700
    try:
        repo = directory / REPO
        _write(repo, job, files)
        if job.charts:
            from fleet.render.charts import unpack_charts  # a worker starts sooner without archives

            unpack_charts(repo, job.charts, files, job.limits)
        schema = _slim_schema(job, files)
        if schema is not None:
            slim = _run(job, directory, parent_fd, schema=schema)
            if slim.returncode == 0 and not job.sample:
                return Built(slim, str(repo), slim=True)
            plain = _run(job, directory, parent_fd)
            if slim.returncode == 0 and plain.returncode == 0 and slim.stdout == plain.stdout:
                return Built(slim, str(repo), slim=True)
            return Built(plain, str(repo), differs=plain.returncode == 0)
        return Built(_run(job, directory, parent_fd), str(repo))
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _run(job: BuildJob, directory: Path, parent_fd: int | None, *, schema: bytes | None = None) -> Finished:
    target = _target(job, directory, schema)
    argv = [target if part == "{directory}" else part for part in job.argv]
    environment = _environment(job)
    if job.uses_charts:
        environment["TMPDIR"] = str(directory)  # where kustomize gives helm a home
    return run_limited(argv, cwd=directory, env=environment, limits=job.limits, parent_fd=parent_fd)


def _slim_schema(job: BuildJob, files: Mapping[str, bytes]) -> bytes | None:
    """None: the build is made with kustomize's own. Facts name kinds as files do."""
    if not job.slim or not _has_merge_patch(job, files):
        return None
    return schema_for([*files.values(), orjson.dumps(job.facts)])


def _has_merge_patch(job: BuildJob, files: Mapping[str, bytes]) -> bool:
    """Only a merge patch makes kustomize parse its whole built-in schema, which costs more than small builds."""
    return job.inline_merge_patch or any(not is_json_patch(files.get(path, b"")) for path in job.patch_files)


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


def _target(job: BuildJob, directory: Path, schema: bytes | None) -> str:
    """The directory to build: the unit's own, or one above it that adds components, facts and the slim schema."""
    root = posixpath.join(REPO, job.root)
    if not job.components and schema is None:
        return root
    top = directory / (_TOP if schema is None else _SLIM_TOP)
    top.mkdir()
    resources: list[Json] = [posixpath.join("..", root)]
    kustomization: dict[str, Json] = {**job.order, "resources": resources}
    if schema is not None:
        kustomization["openapi"] = {"path": "schema.json"}
        (top / "schema.json").write_bytes(schema)
    if job.components:
        kustomization["components"] = [posixpath.join("..", REPO, component) for component in job.components]
        if job.facts is not None:
            resources.append("facts.yaml")
            (top / "facts.yaml").write_bytes(orjson.dumps(_facts(job.facts)))
    (top / "kustomization.yaml").write_bytes(orjson.dumps(kustomization))
    return top.name


def _facts(facts: Json) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CLUSTER_FACTS, "annotations": {"config.kubernetes.io/local-config": "true"}},
        "data": facts,
    }
