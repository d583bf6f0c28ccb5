"""A whole hub on real control planes: a fleet repo that tests write, and a hub that runs in the test's own loop.

Servers are shared by the run, so each world is an installation of its own with names of its own; what a world made on
a shared server stays there and disturbs nobody.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from testbed.controlplane import ControlPlane
from testbed.gitrepo import Content, GitRepo

from fleet.api.models_fleet import CommitProgress
from fleet.api.progress import commit_progress
from fleet.core.fold import UnitSummary
from fleet.core.ids import ClusterName, UnitName
from fleet.core.status import Event, EventKind, Health, ObjectStatus, Sync, UnitReport
from fleet.core.summaries import unit_summary
from fleet.core.view import View
from fleet.hub.assembly import OpenedHub, open_hub
from fleet.hub.main import run_hub
from fleet.settings import Settings

SECONDS = 30.0
_LOOK_SECONDS = 0.01
KUSTOMIZATION = "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [objects.yaml]\n"
_API = "apiVersion: fleet.internal/v1\n"
# A test about something else spends no dry-runs.
DEFAULTS: Mapping[str, Any] = {"validate": "schema"}


class NotSeen(Exception):
    """What a test waited for did not come to be; the text carries what was there instead."""


@dataclass
class World:
    """A fleet repo and the credentials of its clusters. `commit` after a change; `hub` runs one on it."""

    folder: Path
    repo: GitRepo
    installation: str = field(default_factory=lambda: f"i-{uuid.uuid4().hex[:8]}")
    fleet: dict[str, Any] = field(default_factory=dict)
    _files: dict[str, Content] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.credentials.mkdir()
        self.describe()

    @property
    def credentials(self) -> Path:
        return self.folder / "credentials"

    def describe(self, **spec: Any) -> None:
        """Write fleet.yaml; `spec` over the defaults."""
        layout = [{"dirs": "overlays/*", "paths": ["{cluster}", "."]}]
        whole = {"overlays": layout, "sync": dict(DEFAULTS), "environments": ["prod"], "rollout": {"steps": []}}
        whole |= {**self.fleet, **spec}
        document = {"kind": "Fleet", "metadata": {"name": self.installation}, "spec": whole}
        self._files["fleet.yaml"] = _API + yaml.safe_dump(document)

    def cluster(self, name: str, plane: ControlPlane, *overlays: str, user: str = "admin", **spec: Any) -> None:
        """An entry that runs these overlays, and its credential."""
        document = {
            "kind": "Cluster",
            "metadata": {"name": name},
            "spec": {"environment": "prod", "overlays": list(overlays), **spec},
        }
        self._files[f"clusters/{name}.yaml"] = _API + yaml.safe_dump(document)
        self.give(name, plane, user)

    def give(self, name: str, plane: ControlPlane, user: str = "admin", **options: Any) -> None:
        """The credential of this name leads to that control plane from now on."""
        fresh = self.credentials / f".{name}"
        plane.write_kubeconfig(fresh, user, **options)
        fresh.rename(self.credentials / f"{name}.kubeconfig")

    def overlay(self, name: str, documents: Iterable[Mapping[str, Any]], **spec: Any) -> None:
        """What an overlay holds (JSON is YAML); `spec` is its overlay.yaml."""
        self._files[f"overlays/{name}/kustomization.yaml"] = KUSTOMIZATION
        self._files[f"overlays/{name}/objects.yaml"] = "---\n".join(
            json.dumps(document, indent=1) + "\n" for document in documents
        )
        if spec:
            document = {"kind": "Overlay", "metadata": {"name": name}, "spec": spec}
            self._files[f"overlays/{name}/overlay.yaml"] = _API + yaml.safe_dump(document)

    def write(self, files: Mapping[str, Content]) -> None:
        """Further files of the next commit; None deletes."""
        self._files.update(files)

    def move(self, old: str, new: str) -> None:
        """What is below a directory of the next commit lies elsewhere in it."""
        for path in [path for path in self._files if path.startswith(f"{old}/")]:
            self._files[new + path.removeprefix(old)] = self._files.pop(path)

    def commit(self, message: str = "change") -> str:
        """Commit what was written since the last one; returns the revision."""
        files, self._files = self._files, {}
        return self.repo.commit(files, message)

    def settings(self, **given: Any) -> Settings:
        """A hub that asks Git only when it is rung; loopback allowed."""
        plain = {
            "repo": str(self.repo.path),
            "data_dir": self.folder / "data",
            "listen": "127.0.0.1:0",
            "poll_seconds": 3600.0,
            "credentials": self.credentials,
            "allow_address": ("127.0.0.0/8",),
            "render_workers": 1,
            "log_level": "ERROR",
        }
        return Settings(**{**plain, **given})

    @asynccontextmanager
    async def hub(self, **given: Any) -> AsyncIterator[RunningHub]:
        """Run a hub until the block ends; a loop of it that failed fails the test."""
        opened = await open_hub(self.settings(**given))
        stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()

        async def started(url: str) -> None:
            listening.set_result((url, await opened.announce(url)))

        task = asyncio.create_task(run_hub(opened.hub, started=started, stop=stop))
        await asyncio.wait({task, listening}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        url, token = listening.result()
        try:
            yield RunningHub(opened, url, token)
        finally:
            stop.set()
            await task


@dataclass(frozen=True)
class RunningHub:
    """A hub at work, as its API sees it."""

    opened: OpenedHub
    url: str
    token: str

    @property
    def view(self) -> View:
        return self.opened.view

    def fetch(self) -> None:
        """As a webhook does."""
        self.opened.bells.fetch.set()

    def progress(self, commit: str) -> CommitProgress:
        """What `fleet wait --commit` is told."""
        return commit_progress(self.view, commit, time.time())

    def unit(self, name: str) -> UnitReport | None:
        return self.view.units.get(UnitName.parse(name))

    def summary(self, name: str) -> UnitSummary:
        return unit_summary(self.view, UnitName.parse(name), time.time())

    def reason(self, name: str) -> str:
        """Why a unit is not well, "" when it is (or is not known yet)."""
        return self.summary(name).reason

    def object(self, name: str, kind: str, called: str) -> ObjectStatus | None:
        report = self.unit(name)
        found = (one for one in report.objects if (one.ref.kind, one.ref.name) == (kind, called)) if report else ()
        return next(iter(found), None)

    def cluster_reason(self, cluster: str) -> str:
        report = self.view.clusters.get(ClusterName(cluster))
        return report.reason if report else ""

    def is_well(self, name: str) -> bool:
        shown = self.summary(name)
        return shown.sync is Sync.SYNCED and shown.health is Health.HEALTHY

    async def events(self, kind: EventKind | None = None, text: str = "") -> list[Event]:
        rows = await self.opened.adapters.state.events(limit=10_000)
        return [row.event for row in rows if kind in (None, row.event.kind) and text in row.event.message]

    async def until(self, found: Callable[[], Any], what: str = "", *, seconds: float = SECONDS) -> Any:
        """Look at the view until `found` gives something true, and return that."""
        try:
            async with asyncio.timeout(seconds):
                while not (value := found()):
                    if bugs := [one.cluster for one in self.view.clusters.values() if one.reason == "WorkerFailed"]:
                        raise NotSeen(f"a bug ended the worker of {', '.join(bugs)}")
                    await asyncio.sleep(_LOOK_SECONDS)
                return value
        except TimeoutError:
            raise NotSeen(f"{what or found} within {seconds} s\n{self.shown()}") from None

    async def until_done(self, commit: str, *, seconds: float = SECONDS) -> float:
        """Fetch, and wait until the commit is at every target; returns the seconds it took."""
        began = time.monotonic()
        self.fetch()
        await self.until(lambda: self.progress(commit).done, f"commit {commit[:7]} everywhere", seconds=seconds)
        return time.monotonic() - began

    def shown(self) -> str:
        """Everything a failing test should tell."""
        head = self.view.head
        lines = [f"head {head.commit[:7]} {head.error}"]
        lines += [f"problem {problem}" for problem in (self.view.fleet.problems if self.view.fleet else ())]
        for cluster in self.view.clusters.values():
            lines.append(f"{cluster.cluster}: {cluster.reachable} {cluster.reason} {cluster.message}")
        for name in self.view.fleet.units if self.view.fleet else ():
            report = self.view.units.get(name)
            shown = self.summary(str(name))
            lines.append(f"{name}: {shown.sync} {shown.health} {shown.commit[:7]} {shown.reason} {shown.message}")
            lines += [f"  {link.state}: {link.reason}" for link in shown.blocked_by]
            for one in report.objects if report else ():
                if one.sync is not Sync.SYNCED or one.health is not Health.HEALTHY:
                    lines.append(f"  {one.ref} {one.sync} {one.health} {one.reason} {one.message} {one.drift}")
        return "\n".join(lines)


def config_map(name: str, namespace: str, data: Mapping[str, str] | None = None, **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": dict(data or {"a": "1"}),
    }


def namespace_of(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def writes(requests: Iterable[Any], namespace: str = "") -> list[str]:
    """Writes among requests of a ledger (in one namespace), as text for an assertion."""
    return [
        f"{r.verb} {r.resource} {r.namespace}/{r.name} {r.code}"
        for r in requests
        if r.is_write and namespace in ("", r.namespace)
    ]


def lined_up(requests: Iterable[Any]) -> list[str]:
    """All requests but watches, as text."""
    return [f"{r.verb} {r.resource or r.path} {r.namespace}/{r.name} {r.code}" for r in requests if r.verb != "watch"]
