"""A whole hub in this process: a fleet repo in Git, simulated clusters, and the hub between them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from testbed.gitrepo import Content, GitRepo

from fleet.api.progress import commit_progress
from fleet.core.ids import UnitName
from fleet.core.status import UnitReport
from fleet.hub.assembly import Clocks, OpenedHub, open_hub
from fleet.hub.main import run_hub
from fleet.reconcile.limits import WorkerLimits
from fleet.settings import Settings
from fleet.sim import Simulation

QUICK = WorkerLimits(reconnect_first_seconds=0.05, reconnect_most_seconds=0.2, retry_first_seconds=0.1)
SECONDS = 30.0
AT_ONCE = (  # what a scenario is about is seen best when all clusters move together
    "apiVersion: fleet.internal/v1\nkind: Fleet\nmetadata: {name: default}\nspec: {rollout: {steps: []}}\n"
)


class NotSeen(AssertionError):
    """What was waited for did not happen in time."""


def cluster_file(name: str, environment: str = "prod", **spec: Any) -> str:
    lines = "".join(f"  {key}: {value}\n" for key, value in spec.items())
    region = name[:2].strip("-")
    return (
        f"apiVersion: fleet.internal/v1\nkind: Cluster\nmetadata: {{name: {name}, labels: {{region: {region}}}}}\n"
        f"spec:\n  environment: {environment}\n{lines}"
    )


def config_map(name: str, value: str, namespace: str = "default") -> str:
    return (
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {namespace}}}\ndata: {{a: '{value}'}}\n"
    )


def namespace(name: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n"


def kustomization(*resources: str) -> str:
    return "resources:\n" + "".join(f"- {name}\n" for name in resources) if resources else "resources: []\n"


def overlay(
    directory: str, objects: Mapping[str, str], *, clusters: str = "[{all: true}]", **spec: str
) -> dict[str, str]:
    """The files of one overlay: objects by file name."""
    more = "".join(f"  {key}: {value}\n" for key, value in spec.items())
    files = {f"{directory}/{name}.yaml": text for name, text in objects.items()}
    files[f"{directory}/kustomization.yaml"] = kustomization(*(f"{name}.yaml" for name in objects))
    files[f"{directory}/overlay.yaml"] = (
        f"apiVersion: fleet.internal/v1\nkind: Overlay\nmetadata: {{name: {directory.rpartition('/')[2]}}}\n"
        f"spec:\n  clusters: {clusters}\n{more}"
    )
    return files


LEAP_SECONDS = 20.0  # two looks of a hub lie no further apart
WORD_SECONDS = 120.0  # who says nothing for three is lost
LOOKED_AT_SECONDS = 3600.0


@dataclass(slots=True)
class Ahead:
    """The clocks of a hub that a test sets forward; between two such times they go on like all clocks."""

    seconds: float = 0.0

    def wall(self) -> float:
        return time.time() + self.seconds

    def steady(self) -> float:
        return time.monotonic() + self.seconds


@dataclass(slots=True)
class HubWorld:
    """Everything a test of the whole hub needs; `run` starts the hub, as often as a test wants."""

    root: Path
    repo: GitRepo
    sim: Simulation
    settings: dict[str, Any] = field(default_factory=dict)
    limits: WorkerLimits = QUICK
    ahead: Ahead = field(default_factory=Ahead)
    opened: OpenedHub = field(init=False)
    url: str = ""
    token: str = ""

    @property
    def data_dir(self) -> Path:
        return self.root / "data"

    def make_settings(self) -> Settings:
        given: dict[str, Any] = {
            "repo": str(self.repo.path),
            "data_dir": self.data_dir,
            "listen": "127.0.0.1:0",
            "credentials": self.root / "credentials",
            "allow_address": ("127.0.0.0/8",),
            "poll_seconds": 3600.0,
            **self.settings,
        }
        return Settings(**given)

    def write_credentials(self) -> None:
        folder = self.root / "credentials"
        folder.mkdir(exist_ok=True)
        for name in self.sim.clusters:
            (folder / f"{name}.kubeconfig").write_bytes(self.sim.kubeconfig(name))

    @asynccontextmanager
    async def run(self, *, kill: bool = False) -> AsyncIterator[HubWorld]:
        """The hub runs within the block. kill: it is ended abruptly, its adapters are closed without a flush."""
        self.write_credentials()
        clocks = Clocks(self.ahead.wall, self.ahead.steady)
        self.opened = await open_hub(self.make_settings(), limits=self.limits, clocks=clocks)
        stop, ready = asyncio.Event(), asyncio.Event()

        async def started(url: str) -> None:
            self.url, self.token = url, await self.opened.announce(url)
            ready.set()

        task = asyncio.create_task(run_hub(self.opened.hub, started=started, stop=stop))
        waiting = asyncio.create_task(ready.wait())
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()
        try:
            yield self
        finally:
            if kill:
                task.cancel()
            stop.set()
            await asyncio.gather(task, return_exceptions=kill)

    def commit(self, files: Mapping[str, Content], message: str = "change") -> str:
        """Commit, and ring as a webhook would."""
        revision = self.repo.commit(files, message)
        if hasattr(self, "opened"):
            self.opened.bells.fetch.set()
        return revision

    async def until(self, holds: Callable[[], Any], what: str = "", seconds: float = SECONDS) -> Any:
        """The first true value of `holds`."""
        end = time.monotonic() + seconds
        while not (value := holds()):
            if time.monotonic() > end:
                raise NotSeen(f"{what or holds} within {seconds} s\n{self.describe()}")
            await asyncio.sleep(0.01)
        return value

    async def until_everywhere(self, commit: str, seconds: float = SECONDS) -> None:
        await self.until(lambda: self.progress(commit).done, f"{commit[:7]} everywhere", seconds)

    def progress(self, commit: str) -> Any:
        return commit_progress(self.opened.view, commit, self.ahead.wall())

    async def pass_time(self, seconds: float) -> None:
        """Set the hub's clocks forward. Afterwards the worker of each cluster that is reached has spoken by them, and
        rollouts were judged by that. `limits` says how soon workers speak. What lasts no longer than an hour is looked
        at all the while, and workers speak every two minutes of it: else they see for a moment that nobody spoke, and
        nothing of it counts.
        """
        while 0 < seconds <= LOOKED_AT_SECONDS:
            for _ in range(round(WORD_SECONDS / LEAP_SECONDS)):
                self.ahead.seconds += (step := min(seconds, LEAP_SECONDS))
                seconds -= step
                await self._look()
            await self._hear()
        if seconds:
            self.ahead.seconds += seconds
            await self._hear()

    async def _look(self) -> None:
        view, now = self.opened.view, self.ahead.wall()
        self.opened.bells.rollouts.set()
        await self.until(lambda: view.outlook.wall >= now, "a look at rollouts", 120)

    async def _hear(self) -> None:
        view, now = self.opened.view, self.ahead.wall()
        reached = [name for name, known in view.clusters.items() if known.reachable]
        await self.until(lambda: all(view.clusters[name].at >= now for name in reached), "words of all", 120)
        await self._look()

    def unit(self, name: str) -> UnitReport | None:
        return self.opened.view.units.get(UnitName.parse(name))

    def describe(self) -> str:
        view = self.opened.view
        lines = [f"head {view.head.commit[:7]} {view.head.error} rendering {sorted(map(str, view.rendering))}"]
        lines += [f"{name}: {r.reachable} {r.reason} {r.message}" for name, r in view.clusters.items()]
        for name, unit in view.units.items():
            objects = [(str(item.ref), item.sync, item.health, item.message) for item in unit.objects]
            lines.append(f"{name} {unit.commit[:7]} {unit.sync} {unit.health} {unit.reason} {unit.message} {objects}")
            lines.append(f"   blocked {unit.blocked_by} holds {unit.holds}")
        lines += [f"{name} -> {result}" for name, result in view.results.items()]
        return "\n".join(lines)

    def marks(self) -> dict[str, int]:
        return {name: cluster.ledger.sequence for name, cluster in self.sim.clusters.items()}

    def writes(self, since: Mapping[str, int], *, own_only: bool = True) -> dict[str, list[str]]:
        """Successful writes of the hub since `marks()`, without those to its own parent objects."""
        found: dict[str, list[str]] = {}
        for name, cluster in self.sim.clusters.items():
            for entry in cluster.ledger.writes(since[name]):
                if not (own_only and entry.namespace == "fleet-system"):
                    found.setdefault(name, []).append(f"{entry.verb} {entry.resource} {entry.name}")
        return found

    async def recover(self, **body: Any) -> tuple[int, Any]:
        """A person's word for what waits now, once Git was read; as `call`."""
        await self.until(lambda: self.opened.view.head.is_taken, "Git is read")
        return await self.call("POST", "/api/v1/fleet:recover", body)

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, Any]:
        """One request to the API: status, and the JSON (or text)."""
        given = self.token if token is None else token
        sent = {**({"Authorization": f"Bearer {given}"} if given else {}), **headers}
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, self.url + path, json=body, headers=sent) as answer,
        ):
            is_json = "json" in answer.content_type
            return answer.status, await (answer.json(content_type=None) if is_json else answer.text())


@asynccontextmanager
async def make_world(root: Path, clusters: Sequence[str], **settings: Any) -> AsyncIterator[HubWorld]:
    """Simulated clusters and a fleet repo without clusters; no hub yet."""
    async with Simulation(clusters, seed=1) as sim:
        repo = GitRepo.create(root / "fleet.git")
        repo.commit({"fleet.yaml": AT_ONCE}, "a fleet whose clusters move together")
        yield HubWorld(root, repo, sim, settings)
