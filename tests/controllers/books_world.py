"""A hub's controllers over a repo, a state and clusters in memory: the hub may be killed at any write, and begins anew.

Only what is around them is played: Git answers from a list of commits, a build is a lookup, a worker is one call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controllers.rig import NoClusters, Told
from controllers.test_wanted_again import bundle
from inventory.snapshots import MemorySnapshot, cluster, fleet, overlay

from fleet import telemetry
from fleet.controllers.board import Board
from fleet.controllers.claims import Claims
from fleet.controllers.commits import Commits
from fleet.controllers.convergence import Convergence
from fleet.controllers.gate_jobs import GateJobs
from fleet.controllers.gates import Gates
from fleet.controllers.orders import Orders
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.controllers.reports import Intake
from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import Digest, Revision
from fleet.core.objects import Bundle
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.view import Head, View
from fleet.errors import RefMissing, RenderFailed, StateDamaged
from fleet.ports.render import RenderRequest
from fleet.ports.source import CommitInfo, Fetched
from fleet.ports.state import Bells
from fleet.store.memory import MemoryState

STAGES = {"A": "dev", "B": "prod", "C": "prod"}  # clusters by what they are, whatever their entries are called
OVERLAYS = ("api", "web")
STEPS = "[{name: dev, environments: [dev]}, {name: prod, rest: true}]"
POLICIES = {"steps": f"{{steps: {STEPS}}}", "at once": "{steps: []}", "default": "{healthTimeout: 10m}"}
POLICIES["back"] = f"{{steps: {STEPS}, onFailure: rollback}}"
CONTENTS = ({"k"}, {"k", "x"}, {"k", "y"}, {"k", "x", "y"})  # objects of the versions of an overlay
BROKEN = 0

Key = tuple[str, str]  # an overlay and a cluster


class Killed(BaseException):
    """The process ended; nothing in it goes on."""


@dataclass(frozen=True)
class Entry:
    """What Git says of one cluster. name: "" where it is not in the repo."""

    name: str
    mode: str = "manage"
    is_suspended: bool = False


@dataclass(frozen=True)
class Policy:
    """What Git says of one overlay."""

    rollout: str = "steps"
    sync: str = "auto"


@dataclass(frozen=True)
class Repo:
    """All that one commit says."""

    number: int
    entries: Mapping[str, Entry]
    policies: Mapping[str, Policy]
    versions: Mapping[Key, int]

    @property
    def revision(self) -> Revision:
        return Revision(hashlib.sha1(f"commit {self.number}".encode()).hexdigest())

    def has(self, key: Key) -> bool:
        return bool(self.entries[key[1]].name)

    def result(self, key: Key) -> Digest | None:
        """None for what is not in the repo, or is not built."""
        version = self.versions[key]
        return made(key[0], version).digest if self.has(key) and version != BROKEN else None

    def files(self) -> dict[str, str]:
        files = {"fleet.yaml": fleet("environments: [dev, prod]")}
        for name, entry in self.entries.items():
            if entry.name:
                suspend = ", suspend: {reason: night}" if entry.is_suspended else ""
                spec = f"{{environment: {STAGES[name]}, mode: {entry.mode}{suspend}}}"
                files[f"clusters/{name}.yaml"] = cluster(entry.name, spec)
        for name, policy in self.policies.items():
            spec = f"clusters: [{{all: true}}]\nsync: {{mode: {policy.sync}}}\nrollout: {POLICIES[policy.rollout]}"
            files[f"overlays/{name}/overlay.yaml"] = overlay(spec)
        for (name, where), version in self.versions.items():
            if entry := self.entries[where].name:
                path = f"overlays/{name}/{entry}/kustomization.yaml"
                files[path] = f"kind: Kustomization\nresources: []\n# {version}\n"
        return files


MADE: dict[tuple[str, int], Bundle] = {}
BUNDLES: dict[Digest, Bundle] = {EMPTY_BUNDLE.digest: EMPTY_BUNDLE}


def made(overlay: str, version: int) -> Bundle:
    if (overlay, version) not in MADE:
        names = sorted(f"{overlay}-{name}" for name in CONTENTS[version % len(CONTENTS)])
        found = MADE[overlay, version] = bundle(*names, value=str(version))
        BUNDLES[found.digest] = found
    return MADE[overlay, version]


def refs_in(digest: Digest) -> frozenset[Any]:
    return frozenset(item.ref for item in BUNDLES[digest].objects)


class Commit(MemorySnapshot):
    """A `Snapshot` of one commit."""

    def __init__(self, repo: Repo) -> None:
        super().__init__(repo.files())
        self.number, self.named = repo.number, repo.revision

    @property
    def revision(self) -> Revision:
        return self.named


class Git:
    """A `Source` whose branch is a list, as one process has it."""

    def __init__(self, branch: list[Repo]) -> None:
        self.branch, self.last = branch, None
        self.has_lost = False  # its mirror: what was in force cannot be read before it is fetched

    async def fetch(self) -> Fetched:
        snapshot, before = Commit(self.branch[-1]), self.last
        self.last = snapshot
        changed = None
        if before is not None:
            paths = before.tree.keys() | snapshot.tree.keys()
            changed = frozenset(path for path in paths if before.tree.get(path) != snapshot.tree.get(path))
        return Fetched(snapshot, CommitInfo(snapshot.revision, f"commit {snapshot.number}", "jo", 0.0), changed)

    async def at(self, revision: Revision) -> Commit:
        if self.has_lost:
            raise RefMissing(f"no commit {revision}", why="the mirror is new")
        return next(Commit(repo) for repo in self.branch if repo.revision == revision)

    async def is_ancestor(self, older: Revision, newer: Revision) -> bool:
        order = [repo.revision for repo in self.branch]
        return order.index(older) <= order.index(newer)

    async def close(self) -> None:
        """Nothing is open."""


class Builds:
    """A `Renderer` that reads the version which a kustomization says."""

    def __init__(self) -> None:
        self.known: set[RenderRequest] = set()

    async def render(self, snapshot: Commit, request: RenderRequest, *, remember: bool = True) -> Bundle:
        self.known.add(request)
        version = int(snapshot.files[f"{request.path}/kustomization.yaml"].split()[-1])
        if version == BROKEN:
            raise RenderFailed(f"{request.path} is not built", why="it names a file that is not there")
        return made(request.path.split("/")[1], version)

    def affected(self, changed: frozenset[str]) -> frozenset[RenderRequest]:
        return frozenset(each for each in self.known if f"{each.path}/kustomization.yaml" in changed)

    def forget(self, requests: list[RenderRequest]) -> None:
        self.known -= set(requests)

    async def bundle(self, digest: Digest) -> Bundle:
        if digest not in BUNDLES:
            raise StateDamaged(f"no bundle {digest}")
        return BUNDLES[digest]


WRITES = {
    "set_value", "change_value", "next_sequence", "record_identity", "forget_cluster", "rename_cluster", "put_released",
    "add_events", "write", "end_operation", "put_hold", "close_hold",
}  # fmt: skip


class Process:
    """The state as one process of a hub reaches it: dead after it was killed, and so are reports not written yet."""

    def __init__(self, durable: MemoryState, watch: Callable[[], None]) -> None:
        self.durable, self.watch = durable, watch
        self.is_dead = False
        self.dies_after: int | None = None  # so many writes from now
        self.reports: list[Any] = []

    def put_reports(self, reports: Any) -> None:
        self.reports.append(reports)

    async def flush(self) -> None:
        for reports in self.reports:
            self.durable.put_reports(reports)
        self.reports.clear()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.durable, name)
        if name in WRITES:
            return lambda *given, **named: self._written(found(*given, **named))
        return found

    async def _written(self, work: Any) -> Any:
        if self.is_dead:
            work.close()
            raise Killed
        self.watch()
        answer = await work
        if self.dies_after is not None:
            self.dies_after -= 1
            if self.dies_after <= 0:
                self.is_dead = True
                raise Killed
        return answer


@dataclass
class Hub:
    """Everything of a hub but clusters and API, in one process."""

    state: Process
    branch: list[Repo]
    clock: Callable[[], float]
    number: int
    view: View = field(default_factory=lambda: View(Head("main")))
    bells: Bells = field(default_factory=Bells)

    def __post_init__(self) -> None:
        state: Any = self.state
        builds, self.source = Builds(), Git(self.branch)
        self.board = Board(state, self.view, builds.bundle, None, self.clock)  # type: ignore[arg-type]
        self.books = self.board.books
        self.releases = Releases(state, self.view, self.board)
        self.claims = Claims(self.view, self.board, self.releases)
        traces, refusals = telemetry.Traces("", version="0"), Refusals(state, self.clock)
        convergence = Convergence(self.view, state, traces, self.clock)
        self.intake = Intake(
            view=self.view, state=state, board=self.board, releases=self.releases, claims=self.claims,
            bells=self.bells, convergence=convergence, refusals=refusals, wall=self.clock,
        )  # fmt: skip
        self.commits = Commits(
            source=self.source, renderer=builds, board=self.board, releases=self.releases, view=self.view,  # type: ignore[arg-type]
            state=state, bells=self.bells, convergence=convergence, traces=traces, refusals=refusals,
            poll_seconds=3600, wall=self.clock,
        )  # fmt: skip
        self.orders = Orders(
            state=state, board=self.board, releases=self.releases, claims=self.claims, view=self.view,
            bells=self.bells, refusals=refusals, wall=self.clock,
        )  # fmt: skip
        jobs = GateJobs(
            connector=NoClusters(), fence_of=lambda _: None, identity_of=self.board.identities.of,
            suspensions_of=self.board.standing.suspensions_at, source=self.source, audit=state, view=self.view,  # type: ignore[arg-type]
            wall=self.clock,
        )  # fmt: skip
        gates = Gates(measure=Told(), jobs=jobs, bells=self.bells, wall=self.clock)
        self.rollouts = Rollouts(
            state=state, board=self.board, releases=self.releases, view=self.view, bells=self.bells, gates=gates,
            wall=self.clock, clock=self.clock,
        )  # fmt: skip

    async def begin(self) -> None:
        """As the hub's assembly does."""
        self.view.restore(await self.state.cluster_reports(), await self.state.unit_reports())
        await self.board.start()
        await self.rollouts.start()
        await self.commits.resume()
