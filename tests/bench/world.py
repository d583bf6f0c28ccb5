"""The world of a benchmark: an API server, a fleet repo served over http, and the hub as a process of its own.

The hub runs as `fleet hub` does (see hub_process.py, which adds two counters), so that its CPU is its own; the
benchmark only writes to Git, rings the webhook and reads ledgers.
"""

from __future__ import annotations

import compileall
import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from bench.processes import Memory, tree_cpu, tree_memory
from testbed import binaries
from testbed.controlplane import ControlPlane
from testbed.gitrepo import Content, GitRepo
from testbed.gitserver import GitHttpServer
from testbed.processes import Run
from testbed.rest import path_of

from fleet.core.webhook import webhook_signature

SECRET = b"bench"
SECONDS = 300.0
_API = "fleet.internal/v1"
_TESTS = Path(__file__).parents[1]


@contextmanager
def api_server() -> Iterator[ControlPlane]:
    """One real API server without controllers, ended with the block."""
    run = Run.begin()
    try:
        yield ControlPlane.shared(run, "bench")
    finally:
        run.end()


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of one run. Bytecode is made before, as an installed package has it: compiling is not measured."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    compileall.compile_dir(str(_TESTS.parent / "fleet"), quiet=2)
    folder = Path(tempfile.mkdtemp(prefix="fleet-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# The fleet repo


def fleet_file(name: str, **spec: Any) -> dict[str, Content]:
    layout = [{"dirs": "overlays/*", "paths": ["{cluster}", "."]}]
    whole = {
        "overlays": layout,
        "sync": {"validate": "schema"},
        "environments": ["prod"],
        "rollout": {"steps": []},
        **spec,
    }
    return {"fleet.yaml": yaml.safe_dump(_document("Fleet", name, whole))}


def cluster_file(name: str, **spec: Any) -> dict[str, Content]:
    return {f"clusters/{name}.yaml": yaml.safe_dump(_document("Cluster", name, {"environment": "prod", **spec}))}


def overlay_files(
    name: str,
    documents: list[dict[str, Any]],
    *,
    clusters: Any,
    patches: Mapping[str, dict[str, Any]] | None = None,
    **spec: Any,
) -> dict[str, Content]:
    """One overlay: its objects in one file (JSON is YAML), strategic-merge patches by file name."""
    folder = f"overlays/{name}"
    kustomization: dict[str, Any] = {"resources": ["objects.yaml"]}
    if patches:
        kustomization["patches"] = [{"path": path} for path in patches]
    entry = _document("Overlay", name, {"clusters": clusters, **spec})
    return {
        f"{folder}/overlay.yaml": yaml.safe_dump(entry),
        f"{folder}/kustomization.yaml": yaml.safe_dump(kustomization),
        f"{folder}/objects.yaml": "---\n".join(json.dumps(document, indent=1) + "\n" for document in documents),
        **{f"{folder}/{path}": yaml.safe_dump(patch) for path, patch in (patches or {}).items()},
    }


def _document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": _API, "kind": kind, "metadata": {"name": name}, "spec": dict(spec)}


@contextmanager
def git_host(folder: Path) -> Iterator[GitHttpServer]:
    """Serves the repositories below a folder over http."""
    server = GitHttpServer(folder)
    try:
        yield server
    finally:
        server.close()


# The hub


@dataclass
class Hub:
    """A hub in a process of its own; `start` again after `stop` is a restart."""

    folder: Path
    repo: str
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None
    url: str = ""
    token: str = ""

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"

    def give(self, cluster: str, kubeconfig: bytes) -> None:
        """The credential of a cluster."""
        self.credentials.mkdir(parents=True, exist_ok=True)
        path = self.credentials / f"{cluster}.kubeconfig"
        path.touch(mode=0o600)
        path.write_bytes(kubeconfig)

    def start(self) -> Hub:
        """Start, and wait until it listens."""
        secret = self.folder / "webhook"
        secret.write_bytes(SECRET)
        own = {
            "FLEET_REPO": self.repo,
            "FLEET_DATA_DIR": str(self.folder / "data"),
            "FLEET_LISTEN": "127.0.0.1:0",
            "FLEET_CREDENTIALS": str(self.credentials),
            "FLEET_ALLOW_ADDRESS": "127.0.0.0/8",
            "FLEET_GIT_ALLOW_HTTP": "true",
            "FLEET_WEBHOOK_SECRET_FILE": str(secret),
            "FLEET_LOG_LEVEL": "ERROR",
            "FLEET_KUSTOMIZE": str(binaries.find("kustomize")),
            "FLEET_BENCH_COUNTS": str(self.folder / "counts"),
            **self.settings,
        }
        environment = {**os.environ, "PYTHONPATH": str(_TESTS), **own}
        with (self.folder / "hub.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bench.hub_process"],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout
        said = self.process.stdout.readline()
        if " on " not in said:
            raise RuntimeError(f"the hub did not start: {(self.folder / 'hub.log').read_text()[-3000:]}")
        self.url = said.split(" on ")[1].split(",")[0].strip()
        self.token = (self.folder / "data" / "admin.token").read_text().strip()
        return self

    def stop(self) -> None:
        """As an orchestrator does: SIGTERM, and wait for the drain."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(20)
            self.process = None

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def cpu(self) -> float:
        """CPU seconds so far, with render workers, kustomize and git."""
        return tree_cpu(self.pid)

    def memory(self) -> Memory:
        return tree_memory(self.pid)

    def ring(self) -> float:
        """Ask for a fetch, as a Git host does; returns when it was asked (seconds since the epoch)."""
        body = b"{}"
        began = time.time()
        self._call("POST", "/hooks/git", body, {"X-Fleet-Signature": webhook_signature(body, SECRET)})
        return began

    def get(self, path: str) -> Any:
        return json.loads(self._call("GET", path, None, {"Authorization": f"Bearer {self.token}"}))

    def is_done(self, commit: str) -> bool:
        """Whether every unit of every cluster holds what this commit says, Synced. Health is left to controllers."""
        head = self.get("/api/v1/revisions")
        if head["commit"] != commit or head["rendering"]:
            return False
        found = [one["status"] for one in self.get("/api/v1/clusters?limit=500")["items"]]
        return bool(found) and all(one["units"] and one["atHead"] == one["units"] for one in found)

    def until_done(self, commit: str, *, every: float = 0.05, seconds: float = SECONDS) -> float:
        """Wait until the commit is everywhere; returns when it was seen (seconds since the epoch)."""
        end = time.monotonic() + seconds
        while not self.is_done(commit):
            if time.monotonic() > end:
                shown = [(one["metadata"]["name"], one["status"]) for one in self.get("/api/v1/clusters")["items"]]
                raise TimeoutError(f"{commit[:7]} is not everywhere: {self.get('/api/v1/revisions')} {shown[:3]}")
            time.sleep(every)
        return time.time()

    def counts(self) -> list[str]:
        """What the hub started so far, one word each: a git command as `git fetch`, a build as `render`."""
        path = self.folder / "counts"
        return path.read_text().splitlines() if path.exists() else []

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        where = urlsplit(self.url)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
        return text


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    """Start a hub, and stop it with the block."""
    hub.folder.mkdir(parents=True, exist_ok=True)
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


def make_repo(root: Path, name: str, files: Mapping[str, Content]) -> GitRepo:
    repo = GitRepo.create(root / f"{name}.git")
    repo.commit(files, "begin")
    return repo


def kubeconfig_of(plane: ControlPlane) -> bytes:
    return json.dumps(plane.kubeconfig()).encode()


# The simulated clusters


@dataclass
class Simulated:
    """Simulated clusters in a process of their own, whose CPU counts for nobody."""

    process: subprocess.Popen[str]
    control: str
    control_token: str
    kubeconfigs: dict[str, str]

    def call(self, method: str, path: str, body: Any = None) -> Any:
        where = urlsplit(self.control)
        connection = http.client.HTTPConnection(where.hostname or "", where.port, timeout=60)
        try:
            headers = {"Authorization": f"Bearer {self.control_token}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            found = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {found}")
        return found

    def marks(self) -> dict[str, int]:
        """How many requests each cluster has had."""
        return {one["name"]: one["requests"] for one in self.call("GET", "/clusters")["clusters"]}

    def since(self, marks: Mapping[str, int]) -> list[dict[str, Any]]:
        """All requests after `marks()`, cluster by cluster."""
        now = self.marks()
        found: list[dict[str, Any]] = []
        for name, mark in marks.items():
            if now[name] > mark:
                found += self.call("GET", f"/ledger?cluster={name}&since={mark}")["entries"]
        return found


@contextmanager
def simulation(*clusters: str) -> Iterator[Simulated]:
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.sim_process", *clusters],
        env={**os.environ, "PYTHONPATH": str(_TESTS)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdin
    try:
        said = json.loads(process.stdout.readline())
        yield Simulated(process, said["url"], said["token"], said["kubeconfigs"])
    finally:
        process.stdin.close()
        process.wait(20)


def is_own_write(entry: Mapping[str, Any]) -> bool:
    """Whether a simulated cluster's request wrote a unit's own object (parents are counted beside)."""
    verbs = ("create", "update", "patch", "delete", "deletecollection")
    return entry["verb"] in verbs and not entry["dry_run"] and entry["namespace"] != "fleet-system"


def clear(plane: ControlPlane, documents: list[dict[str, Any]]) -> None:
    """Delete what a round made, so that the next meets the same server."""
    admin = plane.client()
    for path in sorted({path_of(document).rpartition("/")[0] for document in documents}):
        admin.request("DELETE", path, query={"propagationPolicy": "Background"})
    plane.forget_parents()
