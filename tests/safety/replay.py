"""An ordinary history through the hub's own decisions, on a clock that is moved: how often is a person asked in vain.

Real are the Git mirror, the inventory, kustomize and its closures, the board with its judgement across clusters, the
rollouts by default (environment by environment, one cluster first), holds and approvals, and of each cluster's worker
the plan and the guards. A cluster itself is a table of objects that become Healthy at once: what is deleted is deleted.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from controllers.rig import Brain, deleted
from safety import replay_history as past
from testbed import binaries
from testbed.gitrepo import GitRepo

from fleet.controllers.rollouts import Rollouts
from fleet.core.asked import Asked, asked_of, still_asked
from fleet.core.audit import AuditEntry
from fleet.core.fingerprint import SyncState, SyncVerdict
from fleet.core.guard import Approved, GuardHold, judge_prune, list_of
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, UnitName
from fleet.core.plan import DesiredObject, Seen, plan_unit, prove_complete
from fleet.core.record import MarkKind, MarkVerdict, Row, RowState
from fleet.core.rollout import Apply, Desired, Detach, UnitDesired
from fleet.core.status import (
    Blocker,
    Health,
    HoldRequest,
    ObjectStatus,
    PendingDeletion,
    Report,
    Standing,
    Sync,
    UnitReport,
)
from fleet.core.sync_policy import Adopt
from fleet.ports.state import OPEN
from fleet.render.tools import find_tool

LOOKS = 80  # until nothing moves any more


@dataclass(frozen=True, slots=True)
class _Claims:
    wants: Mapping[ObjectRef, frozenset[OverlayName]]

    def others(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        return self.wants.get(ref, frozenset()) - {overlay}

    def takers(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        return self.others(ref, overlay)

    def is_known(self, overlay: OverlayName) -> bool:
        return True

    def is_gone(self, overlay: OverlayName) -> bool:
        return False

    def keeps(self, overlay: OverlayName) -> bool:
        return False

    @property
    def known(self) -> frozenset[OverlayName]:
        return frozenset().union(*self.wants.values())


@dataclass(slots=True)
class _Thing:
    uid: str
    overlay: OverlayName
    digest: Digest


class ModelWorker:
    """One cluster as a table of objects, and its worker: the real plan and the real guards over it."""

    def __init__(self, brain: Brain, cluster: str) -> None:
        self._brain, self._cluster = brain, ClusterName(cluster)
        self.things: dict[ObjectRef, _Thing] = {}
        self.rows: dict[UnitName, dict[ObjectRef, Row]] = {}
        self.deletions: list[tuple[UnitName, ObjectRef, float, bool]] = []  # the last: approved
        self._counted: list[tuple[UnitName, float]] = []
        self._asked: dict[UnitName, tuple[Asked, ...]] = {}
        self._unsaid: list[AuditEntry] = []  # of deletions, for the audit log
        self._seen, self._sequence, self._births = -1, 0, 0
        self._last: Desired | None = None

    async def obey(self) -> list[str] | None:
        """Carry out what is new; None where nothing is."""
        slot = self._brain.board.publisher.slot(self._cluster)
        if slot.desired is None or slot.desired.sequence <= self._seen:
            return None
        self._last = await self._brain.board.feed(self._cluster).next(self._seen)
        self._seen = self._last.sequence
        reports = await self._pass(self._last)
        reports = await self._pass(self._last)  # what moved between units in the first is let go of in the second
        for entry in self._unsaid:
            await self._brain.state.write(entry)
        self._unsaid.clear()
        await self._send(reports)
        return [str(report.unit) for report in reports]

    async def beat(self) -> None:
        """Say that all is as it was, now."""
        if self._last is not None:
            await self._send([])

    async def _send(self, units: list[UnitReport]) -> None:
        self._sequence += 1
        await self._brain.intake.send(
            Report(self._cluster, 1, self._sequence, self._brain.wall(), self._seen, Identity(f"uid-{self._cluster}"),
                   True, "v1.36.3", units=tuple(units))
        )  # fmt: skip

    async def _pass(self, desired: Desired) -> list[UnitReport]:
        feed = self._brain.board.feed(self._cluster)
        bundles = {
            order.unit: await feed.bundle(order.action.bundle)
            for order in desired.units
            if isinstance(order.action, Apply)
        }
        wants: dict[ObjectRef, frozenset[OverlayName]] = {}
        for unit, bundle in bundles.items():
            for item in bundle.objects:
                wants[item.ref] = wants.get(item.ref, frozenset()) | {unit.overlay}
        return [self._unit(order, bundles.get(order.unit), _Claims(wants)) for order in desired.units]

    def _unit(self, order: UnitDesired, bundle: Any, claims: _Claims) -> UnitReport:
        name, now = order.unit, self._brain.wall()
        if isinstance(order.action, Detach) and not order.action.waits:
            for ref in self.rows.pop(name, {}):
                self.things.pop(ref, None)  # it stays, and is nobody's
            return UnitReport(name, order.commit, None, Sync.SYNCED, Health.HEALTHY, now, detached=True)
        if not isinstance(order.action, Apply):
            known = self._brain.view.units.get(name)
            return known or UnitReport(name, order.commit, None, Sync.UNKNOWN, Health.UNKNOWN, now)
        rows = self.rows.setdefault(name, {})
        wanted = [DesiredObject(item.ref, item, item.digest) for item in bundle.objects]
        live = {ref: self._look(ref, name, bundle) for ref in {*rows, *(item.ref for item in wanted)}}
        proof = prove_complete(
            name, bundle=bundle.digest, expected=order.action.bundle,
            listed={(ref.group, ref.kind) for ref in live}, rows=rows.values(), confirmed=True,
        )  # fmt: skip
        plan = plan_unit(name, wanted, rows, live, claims=claims, adopt=Adopt.NEVER, complete=proof)
        for step in (*plan.create, *plan.change):
            self._apply(name, step.wanted)
        for ref in (*plan.gone, *plan.let_go):
            rows.pop(ref)
        digests = {item.ref: item.digest for item in wanted}
        self._asked[name] = still_asked(self._asked.get(name, ()), rows, digests.get)
        hold = self._prune(order, order.action, plan.doomed or [])
        return self._report(order, order.action, wanted, hold)

    def _look(self, ref: ObjectRef, name: UnitName, bundle: Any) -> Seen | None:
        thing = self.things.get(ref)
        if thing is None:
            return None
        ours = thing.overlay == name.overlay
        mark = MarkVerdict(MarkKind.OURS) if ours else MarkVerdict(MarkKind.OTHER_UNIT, thing.overlay)
        same = any(item.ref == ref and item.digest == thing.digest for item in bundle.objects)
        verdict = SyncVerdict(SyncState.IN_SYNC if same else SyncState.CHANGED)
        return Seen(mark, verdict, thing.uid, "1", thing.digest)

    def _apply(self, name: UnitName, wanted: DesiredObject) -> None:
        known = self.things.get(wanted.ref)
        self._births += known is None
        uid = known.uid if known is not None else f"{self._cluster}-{self._births}"
        self.things[wanted.ref] = _Thing(uid, name.overlay, wanted.digest)
        self.rows[name][wanted.ref] = Row(name, wanted.ref, RowState.APPLIED, uid=uid, desired=wanted.digest)

    def _prune(self, order: UnitDesired, action: Apply, doomed: list[Any]) -> GuardHold | None:
        """As reconcile/prune.py judges."""
        name, rows, now = order.unit, self.rows[order.unit], self._brain.wall()
        doomed = [replace(item, inside=()) for item in doomed]  # nothing is in anything here
        approved = {Approved(item.ref, item.uid, item.content) for item in doomed} & action.approved
        names = {each.old for each in action.renames}
        stays = {move.ref for move in action.moves}
        doomed = [
            replace(item, replaced=item.replaced or item.ref in names) for item in doomed if item.ref not in stays
        ]
        recent = sum(unit == name and at > now - past.HOUR for unit, at in self._counted)
        verdict = judge_prune(
            doomed, owned=len(rows), recent=recent, budget=order.policy.budget,
            permits=action.permits, approved=action.approved, before=self._asked[name], prune=order.policy.sync.prune,
        )  # fmt: skip
        if verdict.hold is not None:
            refs = {item.ref for item in verdict.hold.doomed}
            self._asked[name] = asked_of(self._asked[name], verdict.hold.reason, refs)
        for item in verdict.allowed:
            is_approved = Approved(item.ref, item.uid, item.content) in approved
            self.deletions.append((name, item.ref, now, is_approved))
            self._counted += [] if item.replaced else [(name, now)]
            self._unsaid.append(deleted(order, item.ref, now))
            del self.things[item.ref], rows[item.ref]
        if verdict.hold is None and verdict.waiting:
            message = f"would delete {list_of([item.ref for item in verdict.waiting])}, as on many clusters at once"
            return GuardHold("prune-budget", message, verdict.waiting)
        if verdict.hold is not None:
            return replace(verdict.hold, doomed=(*verdict.hold.doomed, *verdict.waiting))
        return None

    def _report(
        self, order: UnitDesired, action: Apply, wanted: list[DesiredObject], hold: GuardHold | None
    ) -> UnitReport:
        name, now = order.unit, self._brain.wall()
        objects = tuple(ObjectStatus(ref, Sync.SYNCED, Health.HEALTHY) for ref in self.rows[name])
        holds: tuple[HoldRequest, ...] = ()
        blocked: tuple[Blocker, ...] = ()
        if hold is not None:
            pending = tuple(PendingDeletion(item.ref, item.uid, item.content) for item in hold.doomed)
            holds = (HoldRequest(name, order.commit, hold.reason, hold.message, pending),)
            blocked = (Blocker(Standing.HELD, str(name), hold.message, now),)
        stays = {move.ref for move in action.moves}
        is_synced = hold is None and {item.ref for item in wanted} == set(self.rows[name]) - stays
        return UnitReport(
            name, order.commit, action.bundle, Sync.SYNCED if is_synced else Sync.OUT_OF_SYNC, Health.HEALTHY, now,
            observed_commit=order.commit, objects=objects, holds=holds, blocked_by=blocked,
        )  # fmt: skip


@dataclass(slots=True)
class Replayed:
    """What came of a history. false_holds and wrong: in words, with the commit they belong to."""

    commits: int = 0
    shape: Counter[str] = field(default_factory=Counter)  # commits by how many files they delete
    held: int = 0  # commits with at least one hold
    rightly: Counter[str] = field(default_factory=Counter)  # by the rule that asks
    false_holds: list[str] = field(default_factory=list)  # one for each commit
    deletions: int = 0
    wrong: list[str] = field(default_factory=list)


class Replay:
    """One history through one hub."""

    def __init__(self, brain: Brain) -> None:
        self.brain, self.judge, self.found = brain, past.Judge(), Replayed()
        self.rollouts = Rollouts(
            state=brain.state, board=brain.board, releases=brain.releases, view=brain.view, bells=brain.bells,
            gates=brain.gates, wall=brain.wall, clock=lambda: brain.wall.now,
        )  # fmt: skip
        self.workers = {name: ModelWorker(brain, name) for name in past.CLUSTERS}
        brain.workers.update(self.workers)

    async def take(self, number: int, commit: past.Commit) -> None:
        """One commit, until nothing moves any more; a person approves what is held, and it goes on."""
        brain, label = self.brain, f"{number} ({commit.said})"
        brain.wall.now += commit.wait
        for worker in self.workers.values():
            await worker.beat()
        done = {name: len(worker.deletions) for name, worker in self.workers.items()}
        brain.repo.commit(commit.changes, commit.said)
        await brain.commits.fetch_once()
        asked: dict[tuple[str, str], str] = {}  # app and cluster -> what was said
        quiet = 0
        for _ in range(LOOKS):
            await self.rollouts.look()
            moved = await brain.answer()
            await brain.orders.look()
            for hold in await brain.state.holds(decisions=OPEN):
                if not hold.decision:
                    moved["approved"] = []
                    asked |= {(one.unit.overlay, one.unit.cluster): one.message for one in hold.requests}
                    await brain.state.decide_hold(
                        hold.id, list_digest=hold.list_digest, decision="approved", actor="jo", reason="",
                        at=brain.wall(),
                    )  # fmt: skip
            quiet = 0 if moved else quiet + 1
            if quiet > 1:  # what the last look brought was carried out too
                break
        else:
            self.found.wrong.append(f"{label}: it never comes to rest")
        self._judge(label, commit, asked, done)

    def _judge(self, label: str, commit: past.Commit, asked: dict[tuple[str, str], str], done: dict[str, int]) -> None:
        found, now = self.found, self.brain.wall.now
        found.commits += 1
        files = commit.deleted_files
        found.shape["0" if not files else "1-10" if files <= 10 else "more"] += 1
        rules = {
            (app, cluster): self.judge.must_ask(commit, app, cluster, now) or "R8" * self.judge.leaves(commit, app)
            for app in commit.before.apps
            for cluster in past.CLUSTERS
        }  # fmt: skip
        found.held += bool(asked)
        falsely = [
            f"{app}@{cluster}: {text}" for (app, cluster), text in asked.items() if not rules.get((app, cluster))
        ]
        if falsely:
            found.false_holds.append(f"{label}: {falsely[0]}" + (f" and {len(falsely) - 1} more" * (len(falsely) > 1)))
        elif asked:
            found.rightly[next(rules[key] for key in asked)] += 1
        for cluster, worker in self.workers.items():
            self._judge_deletions(label, commit, worker, done[cluster], cluster, rules)
            for app in commit.after.apps:
                self._compare(label, commit, worker, app, cluster)
        self.judge.note(commit, now)

    def _judge_deletions(
        self, label: str, commit: past.Commit, worker: ModelWorker, begin: int, cluster: str,
        rules: Mapping[tuple[str, str], str],
    ) -> None:  # fmt: skip
        for unit, ref, _, approved in worker.deletions[begin:]:
            self.found.deletions += 1
            app, thing = str(unit.overlay), _thing_of(ref, str(unit.overlay))
            if thing[2] == f"{app}-cfg" and thing in commit.after.things(app, cluster):
                continue  # an old name of what is generated
            if thing not in self.judge.gone(commit, app, cluster):
                self.found.wrong.append(f"{label}: {ref} on {cluster} was deleted, and nobody dropped it")
            elif rules[app, cluster] and not approved:
                self.found.wrong.append(f"{label}: {ref} on {cluster} was deleted unasked ({rules[app, cluster]})")

    def _compare(self, label: str, commit: past.Commit, worker: ModelWorker, app: str, cluster: str) -> None:
        held = [ref for ref, thing in worker.things.items() if thing.overlay == app]
        stands, wanted = {_thing_of(ref, app) for ref in held}, commit.after.things(app, cluster)
        if stands != wanted or len(held) != len(wanted):
            differ = sorted(stands ^ wanted)[:3]
            self.found.wrong.append(f"{label}: {app} on {cluster} holds {len(held)} for {len(wanted)}: {differ}")


def _thing_of(ref: ObjectRef, app: str) -> past.Thing:
    """As the judge names it: a generated name without its ten last letters."""
    generated = f"{app}-cfg-"
    is_generated = ref.kind == "ConfigMap" and ref.name.startswith(generated) and len(ref.name) == len(generated) + 10
    return (ref.kind, ref.namespace, f"{app}-cfg" if is_generated else ref.name)


async def replay(root: Path, commits: int, seed: int, *, apps: int = 9, progress: Any = None) -> Replayed:
    """The whole history; progress is called with each commit's number."""
    tool = await find_tool({"FLEET_KUSTOMIZE": str(binaries.find("kustomize"))})
    brain = Brain(root, GitRepo.create(root / "fleet.git"), tool)
    await brain.board.start()
    try:
        made = Replay(brain)
        for number, commit in enumerate(past.history(seed, commits, apps)):
            await made.take(number, commit)
            if progress is not None:
                progress(number, made.found)
        return made.found
    finally:
        await brain.close()


def run(commits: int, seed: int) -> Replayed:
    """In a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="fleet-replay-") as folder:
        return asyncio.run(replay(Path(folder), commits, seed))
