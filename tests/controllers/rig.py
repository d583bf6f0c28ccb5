"""The hub's controllers on real parts, Git mirror and renderer among them, and workers that only say yes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from testbed.gitrepo import Content, GitRepo

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
from fleet.core.audit import AuditEntry
from fleet.core.fleet import Mode
from fleet.core.gates import Read
from fleet.core.ids import ClusterName, Identity, ObjectRef, Revision, UnitName
from fleet.core.rollout import Apply, Desired, Detach, UnitDesired
from fleet.core.rollout_policy import HttpCheck, PrometheusCheck
from fleet.core.status import (
    Blocker,
    Health,
    HoldRequest,
    ObjectStatus,
    OperationResult,
    PendingDeletion,
    Report,
    Standing,
    Sync,
    UnitReport,
)
from fleet.core.view import Head, View
from fleet.errors import ClusterUnreachable
from fleet.ports.state import Bells
from fleet.reconcile.standing import judge_leave
from fleet.render.cache import DEFAULT_CAP_BYTES, DiskCache
from fleet.render.service import Renderer
from fleet.render.tools import Tool
from fleet.source.mirror import Mirror, MirrorSettings
from fleet.store.memory import MemoryState

KEY = b"k" * 32


class Clock:
    """Wall-clock seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


@dataclass
class Brain:
    """Everything of a hub but clusters and API; `restart` makes a new one over the same state, mirror and cache."""

    root: Path
    repo: GitRepo
    tool: Tool
    state: MemoryState = field(default_factory=MemoryState)
    wall: Clock = field(default_factory=Clock)
    cache_bytes: int = DEFAULT_CAP_BYTES

    def __post_init__(self) -> None:
        self.state.run_time = self.wall  # both go on as a test says
        self.view = View(Head("main"))
        self.bells = Bells()
        settings = MirrorSettings(str(self.repo.path), "main", allow_path=True)
        self.source = Mirror(settings, self.root / "mirror")
        cache = DiskCache(self.root / "cache", KEY, cap_bytes=self.cache_bytes)
        self.renderer = Renderer(cache, self.state.vault, KEY, self.tool, None, 1, scratch=self.root / "scratch")
        self.board = Board(self.state, self.view, self.renderer.bundle, self.state.vault, self.wall)
        self.renderer.spare(self.board.books.in_use)
        self.releases = Releases(self.state, self.view, self.board)
        self.claims = Claims(self.view, self.board, self.releases)
        traces = telemetry.Traces("", version="0")
        self.convergence = Convergence(self.view, self.state, traces, self.wall)
        self.refusals = Refusals(self.state, self.wall)
        self.intake = Intake(
            view=self.view, state=self.state, board=self.board, releases=self.releases, claims=self.claims,
            bells=self.bells, convergence=self.convergence, refusals=self.refusals, wall=self.wall,
        )  # fmt: skip
        self.commits = Commits(
            source=self.source, renderer=self.renderer, board=self.board, releases=self.releases, view=self.view,
            state=self.state, bells=self.bells, convergence=self.convergence, traces=traces, refusals=self.refusals,
            poll_seconds=3600, wall=self.wall,
        )  # fmt: skip
        self.orders = Orders(
            state=self.state, board=self.board, releases=self.releases, claims=self.claims, view=self.view,
            bells=self.bells, refusals=self.refusals, wall=self.wall,
        )  # fmt: skip
        jobs = GateJobs(
            connector=NoClusters(), fence_of=lambda _: None, identity_of=self.board.identities.of,
            suspensions_of=self.board.standing.suspensions_at, source=self.source, audit=self.state, view=self.view,
            wall=self.wall,
        )  # fmt: skip
        self.measure = Told()
        self.gates = Gates(measure=self.measure, jobs=jobs, bells=self.bells, wall=self.wall)
        self.workers: dict[str, YesWorker] = {}

    async def restart(self, *, lost_mirror: bool = False) -> Brain:
        await self.close()
        root = self.root / "again" if lost_mirror else self.root
        made = Brain(root, self.repo, self.tool, self.state, self.wall, self.cache_bytes)
        made.view.restore(await self.state.cluster_reports(), await self.state.unit_reports())
        await made.board.start()
        made.workers = {name: YesWorker(made, name, sequence=worker.sequence) for name, worker in self.workers.items()}
        return made

    async def close(self) -> None:
        await self.source.close()
        await self.renderer.close()

    async def commit(self, files: Mapping[str, Content]) -> str:
        """Commit, fetch, and let every worker that listens answer."""
        revision = self.repo.commit(files)
        await self.commits.fetch_once()
        await self.answer()
        await self.board.publish()  # what the answers brought: identities, units let go
        await self.answer()
        return revision

    async def answer(self, *silent: str) -> dict[str, list[str]]:
        """Each worker carries out what is new for it; who got news of which units. `silent` ones do nothing."""
        told: dict[str, list[str]] = {}
        for name in self.board.entries():
            worker = self.workers.setdefault(str(name), YesWorker(self, str(name)))
            if name not in silent and (units := await worker.obey()) is not None:
                told[str(name)] = units
        return told

    def desired(self, unit: str) -> UnitDesired | None:
        name = UnitName.parse(unit)
        slot = self.board.publisher.slot(name.cluster)
        found = slot.desired.units if slot.desired is not None else ()
        return next((each for each in found if each.unit == name), None)


class Told:
    """A fake `Measure`: it reads what a test says, and until then does not answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: asyncio.Queue[Read] = asyncio.Queue()

    async def read(self, check: PrometheusCheck | HttpCheck, seconds: float) -> Read:
        self.asked.append(check.url)
        return await self.answers.get()

    async def close(self) -> None:
        """Nothing is held."""


class NoClusters:
    """A fake `Connector` that reaches nothing."""

    async def connect(self, cluster, connection, *, expected, fence):
        raise ClusterUnreachable(f"{cluster} is not there", next_step="none")


class YesWorker:
    """A fake worker: it reports as carried out whatever is ordered, and never fails.

    It holds what it has no permit to delete, and volumes as all workers do; what it applied beside a hold starts then,
    and is Healthy with its next answer. Nothing new is carried out while a window is closed; once it opens, what waited
    is.
    """

    def __init__(self, brain: Brain, cluster: str, *, sequence: int = 0) -> None:
        self._brain, self._cluster, self.sequence = brain, ClusterName(cluster), sequence
        self.seen = -1
        self.last: Desired | None = None
        self.waits: tuple[UnitDesired, ...] = ()  # for a window
        self.starts = False  # something of it was not Healthy when it reported last

    async def obey(self) -> list[str] | None:
        feed = self._brain.board.feed(self._cluster)
        slot = self._brain.board.publisher.slot(self._cluster)
        is_new = slot.desired is not None and slot.desired.sequence > self.seen
        if not is_new and not self.starts and not any(not self._stops(each) for each in self.waits):
            return None
        desired = await feed.next(self.seen) if is_new or self.last is None else self.last
        before = {each.unit: each for each in self.last.units} if self.last and is_new else {}
        self.seen, self.last = desired.sequence, desired
        self.waits = tuple(each for each in desired.units if self._stops(each))
        units = [await self._report(each, feed) for each in desired.units]
        self.starts = any(each.health is Health.PROGRESSING for each in units)
        self.sequence += 1
        await self._brain.intake.send(
            Report(
                self._cluster,
                1,
                self.sequence,
                self._brain.wall(),
                desired.sequence,
                Identity(f"uid-{self._cluster}"),
                True,
                "v1.36.3",
                units=tuple(units),
                operations=tuple(OperationResult(each.operation, "done") for each in desired.requests),
            )
        )
        return sorted(str(each.unit) for each in desired.units if before.get(each.unit) != each)

    def _stops(self, order: UnitDesired) -> tuple[Blocker, ...]:
        """What keeps a new bundle away now, by the window as a worker judges it."""
        known, now = self._brain.view.units.get(order.unit), self._brain.wall()
        if not isinstance(order.action, Apply) or not order.policy.sync.windows:
            return ()
        if known is not None and known.bundle == order.action.bundle:
            return ()
        leave = judge_leave(order, mode=Mode.MANAGE, confirmed=True, request=None, waits_for=(), now=now, since=now)
        return () if leave.apply else leave.blockers

    async def _report(self, order: UnitDesired, feed) -> UnitReport:
        name, known = order.unit, self._brain.view.units.get(order.unit)
        now = self._brain.wall()
        if isinstance(order.action, Detach):
            gone = UnitReport(name, order.commit, None, Sync.SYNCED, Health.HEALTHY, now, detached=True)
            return replace(known or gone, message=order.action.waits) if order.action.waits else gone
        if stops := self._stops(order):
            unknown = UnitReport(name, order.commit, None, Sync.UNKNOWN, Health.UNKNOWN, now)
            return replace(known or unknown, observed_at=now, blocked_by=stops)
        if not isinstance(order.action, Apply):
            return known or UnitReport(name, order.commit, order.action.bundle, Sync.UNKNOWN, Health.UNKNOWN, now)
        wanted = [item.ref for item in (await feed.bundle(order.action.bundle)).objects]
        owned = {item.ref for item in known.objects} if known else set()
        approved = {item.ref for item in order.action.approved}
        stays = {move.ref for move in order.action.moves} & owned
        permits = {ref for ref in order.action.permits if ref.kind != "PersistentVolumeClaim"} | approved
        kept = sorted(owned - set(wanted) - permits - stays)
        for ref in sorted(owned - set(wanted) - set(kept) - stays):
            await self._brain.state.write(deleted(order, ref, now))
        holds, links, health = (), (), Health.HEALTHY
        if kept:
            links = (Blocker(Standing.HELD, str(name), f"would delete {len(kept)}", now, "", "fleet get holds"),)
            if known is None or known.bundle != order.action.bundle:
                health = Health.PROGRESSING
            deletions = tuple(PendingDeletion(ref, f"uid-{ref.name}", order.action.bundle) for ref in kept)
            holds = (HoldRequest(name, order.commit, "prune-budget", f"would delete {len(kept)}", deletions),)
        objects = tuple(ObjectStatus(ref, Sync.SYNCED, Health.HEALTHY) for ref in (*wanted, *kept, *sorted(stays)))
        sync = Sync.OUT_OF_SYNC if kept else Sync.SYNCED
        return UnitReport(
            name, order.commit, order.action.bundle, sync, health, now,
            observed_commit=Revision(order.commit), objects=objects, blocked_by=links, holds=holds,
        )  # fmt: skip


def deleted(order: UnitDesired, ref: ObjectRef, at: float) -> AuditEntry:
    """What a worker says in the audit log of an object that it deleted."""
    return AuditEntry(
        at, "worker", "delete", order.unit.cluster, "", str(order.unit), ref.key, f"uid-{ref.name}", order.commit,
        outcome="done",
    )  # fmt: skip
