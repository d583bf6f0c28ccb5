"""What all parts of a worker share while it is connected: one proven cluster, and the worker's own ports."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import structlog

from fleet.core.audit import AuditEntry
from fleet.core.documents import Document
from fleet.core.fold import Age, judge_age
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, UnitName
from fleet.core.ignore import rules_for
from fleet.core.objects import Bundle, BundleObject, Mark
from fleet.core.record import MarkKind, MarkVerdict, Row
from fleet.core.renames import renames_of
from fleet.core.retry import Backoff, bounds_for, next_wait
from fleet.core.sync_policy import HealthRule, IgnoreRule
from fleet.errors import (
    AnswerInvalid,
    ClusterTimeout,
    ClusterUnreachable,
    FleetError,
    ServerFailed,
    StateDamaged,
)
from fleet.ports.kube import Catalog, Kube, May, ServedKind
from fleet.ports.worker import Audit, Feed, Journal
from fleet.reconcile.claims import UnitClaims
from fleet.reconcile.judging import live_of
from fleet.reconcile.limits import WorkerLimits
from fleet.reconcile.memory import NOT_LISTED, Kind, Live, LiveView, Part, UnitState, kind_of
from fleet.reconcile.neighbours import Neighbours
from fleet.reconcile.outbox import Outbox
from fleet.reconcile.pace import Pace
from fleet.reconcile.rush import Share
from fleet.reconcile.standing import bundle_of
from fleet.values import dataclass, field

log = structlog.get_logger("reconcile")
UNKNOWN_RESULT = (ClusterTimeout, ClusterUnreachable, ServerFailed, AnswerInvalid)  # what was asked may have happened


def serves(kind: ServedKind, version: str) -> bool:
    """Whether a kind is served at this version."""
    return version == kind.version or version in kind.versions


def outcome_of(error: FleetError) -> str:
    """The last word on an action that ended in this error, as the audit log has it."""
    return f"{'unknown' if isinstance(error, UNKNOWN_RESULT) else 'failed'}: {error.reason}"


class Library:
    """Bundles by digest: the last few stay in memory, so that a drifted object is healed without a read."""

    def __init__(self, feed: Feed, kept: int) -> None:
        self._feed, self._kept = feed, kept
        self._bundles: OrderedDict[Digest, Bundle] = OrderedDict()
        self._bodies: dict[Digest, dict[ObjectRef, BundleObject]] = {}
        self._renames: OrderedDict[tuple[Digest, Digest], Mapping[ObjectRef, ObjectRef]] = OrderedDict()

    async def bundle(self, digest: Digest) -> Bundle:
        """The bundle; raises StateDamaged."""
        if found := self._bundles.get(digest):
            self._bundles.move_to_end(digest)
            return found
        bundle = await self._feed.bundle(digest)
        self._bundles[digest] = bundle
        while len(self._bundles) > self._kept:
            old, _ = self._bundles.popitem(last=False)
            self._bodies.pop(old, None)
        return bundle

    async def object(self, digest: Digest, source: BundleObject) -> BundleObject:
        """One object with its body; `source` is its bodiless twin, of this bundle or of one read before it.

        A heal may be under way with the twin of a bundle that was replaced meanwhile: it must write what that one said,
        because the new one has not been validated yet, and its hooks have not run.
        """
        await self.bundle(digest)
        for known in (digest, *reversed(self._bundles)):
            if found := self._body(known, source):
                return found
        raise StateDamaged(
            f"{source.ref} is not in bundle {digest[:12]}",
            why="the store gave another bundle",
            next_step="restart the hub; if it says so again, restore the data directory from a backup",
        )

    def _body(self, digest: Digest, source: BundleObject) -> BundleObject | None:
        bundle, bodies = self._bundles[digest], self._bodies.get(digest)
        if bodies is None:
            bodies = self._bodies[digest] = {found.ref: found for found in bundle.objects}
        found = bodies.get(source.ref)
        if found is not None and found.digest == source.digest:
            return found
        # A twin whose scope only the cluster knew may have lost its namespace.
        return next((other for other in bundle.objects if other.digest == source.digest), None)

    async def renames(self, before: Digest, after: Digest) -> Mapping[ObjectRef, ObjectRef]:
        """`renames_of` two bundles; raises StateDamaged."""
        if (found := self._renames.get((before, after))) is None:
            old, new = await self.bundle(before), await self.bundle(after)
            found = self._renames[before, after] = await asyncio.to_thread(renames_of, old.objects, new.objects)
            if len(self._renames) > self._kept:
                self._renames.popitem(last=False)
        return found

    async def secrets(self, sealed: tuple[str, ...]) -> Mapping[str, bytes]:
        """Clear values, for one write."""
        return await self._feed.secrets(sealed)


@dataclass(slots=True)
class Site:
    """One connected cluster. Everything here belongs to one event loop."""

    cluster: ClusterName
    installation: str
    identity: Identity
    kube: Kube
    catalog: Catalog
    view: LiveView
    library: Library
    journal: Journal
    audit: Audit
    outbox: Outbox
    pace: Pace
    share: Share  # in what is new to many clusters at once
    limits: WorkerLimits
    wall: Callable[[], float]
    clock: Callable[[], float]  # monotonic
    key: bytes  # of digests of Secrets
    units: dict[UnitName, UnitState]
    claims: UnitClaims
    neighbours: Neighbours
    spawn: Callable[[Coroutine[Any, Any, None], str], None]
    wake: Callable[[UnitName | None], None]  # this unit (None: all) is due
    random: Callable[[], float]
    wake_at: Callable[[UnitName, float], None]  # not before this loop time
    verify: Callable[[ObjectRef], None]  # read by name, soon
    arrived: Callable[[ObjectRef, Document], None]  # an event that waited for a write to end
    catalog_version: int = 0
    catalog_at: float = float("-inf")  # loop time at which it was asked for anew
    answered_at: float = float("-inf")  # loop time of the last question that was answered
    missing_kinds: dict[Kind, float] = field(default_factory=dict[Kind, float])  # of the record: left out since when
    epoch: int = 0
    verdicts: dict[str, bool] = field(default_factory=dict[str, bool])  # of the arbiter: desired/fingerprint
    in_flight: set[ObjectRef] = field(default_factory=set[ObjectRef])  # being written
    stash: dict[ObjectRef, Document] = field(default_factory=dict[ObjectRef, Document])  # events of these meanwhile
    prunes_wait: set[UnitName] = field(default_factory=set[UnitName])  # for `all_read`: what they dropped may move
    gone: set[ObjectRef] = field(default_factory=set[ObjectRef])  # read by name: not there
    changed_rows: list[Row] = field(default_factory=list[Row])  # written, not jotted yet
    owners: dict[ObjectRef, UnitName] = field(default_factory=dict[ObjectRef, UnitName])  # by the record
    polls: dict[UnitName, float] = field(default_factory=dict[UnitName, float])  # loop time of the one that is set

    def wall_there(self) -> float:
        """Now, by the cluster's own clock: for what it has dated."""
        return self.wall() + self.kube.clock_ahead

    def as_ours(self, there: float) -> float:
        """A time that the cluster wrote down, by our clock; 0.0 is none."""
        return there - self.kube.clock_ahead if there else there

    def mark(self, unit: UnitName) -> Mark:
        """The mark of a unit's objects."""
        return Mark(self.installation, self.identity, unit.overlay)

    def is_nobodys(self, verdict: MarkVerdict) -> bool:
        """Whether what bears this mark may be taken over where `sync.adopt` asks for it (R4)."""
        left = verdict.kind is MarkKind.OTHER_UNIT and self.claims.is_gone(OverlayName(verdict.who))
        return left or verdict.kind in (MarkKind.UNMARKED, MarkKind.COPIED)

    def served(self, ref: ObjectRef, version: str = "") -> ServedKind | None:
        """The kind as served, at this version where it is served, else at the preferred one."""
        found = self.catalog.find(ref.group, ref.kind)
        return found.at(version) if found is not None and serves(found, version) else found

    def version_of(self, kind: Kind) -> str:
        """The version at which a kind is applied: the one it is watched at; "" where nothing says one."""
        served = self.catalog.find(*kind)
        for unit in self.units.values():
            for item in unit.wanted.values():
                if kind_of(item.ref) == kind and served is not None and item.source.version in served.versions:
                    return item.source.version
        for unit in self.units.values():
            for ref, row in unit.rows.items():
                if kind_of(ref) == kind and served is not None and row.version in served.versions:
                    return row.version
        return ""

    def rules(self, unit: UnitState, ref: ObjectRef) -> tuple[IgnoreRule, ...]:
        """The ignore rules that concern an object of the unit."""
        policy = unit.desired.policy if unit.desired else None
        return rules_for(ref, policy.ignore) if policy and policy.ignore else ()

    def own_all(self) -> None:
        """Learn from all records who owns what; for the start of a session."""
        self.owners.update((ref, unit.name) for unit in self.units.values() for ref in unit.rows)

    def health_rules(self, unit: UnitState) -> tuple[HealthRule, ...]:
        """The unit's own rules of health."""
        return unit.desired.policy.health if unit.desired else ()

    def put_row(self, unit: UnitState, row: Row) -> None:
        """Change the record in memory; the journal is the caller's."""
        unit.rows[row.ref] = row
        self.owners[row.ref] = unit.name

    def drop_row(self, unit: UnitState, ref: ObjectRef) -> None:
        """Forget a row; the journal is the caller's."""
        unit.rows.pop(ref, None)
        if self.owners.get(ref) == unit.name:
            del self.owners[ref]

    def judge(self, unit: UnitState, ref: ObjectRef, document: Document) -> Live:
        """The row for a document of an object that this unit owns or wants."""
        return live_of(
            document,
            self.mark(unit.name),
            unit.rows.get(ref),
            self.rules(unit, ref),
            self.health_rules(unit),
            key=self.key,
            at=self.wall(),
        )

    def see(self, unit: UnitState, ref: ObjectRef, document: Document) -> Live:
        """Believe a document (an event, the answer of a write, a read by name); returns the row in the view."""
        live = self.judge(unit, ref, document)
        self.put_live(ref, live)
        return live

    def put_live(self, ref: ObjectRef, live: Live) -> None:
        """Put a row into the view, where its kind is followed."""
        self.gone.discard(ref)
        if kind_of(ref) in self.view.kinds:
            self.view.put(ref, live)

    def unstash(self, ref: ObjectRef) -> None:
        """Take the event that came while the object was being written; one older than the write says nothing."""
        document = self.stash.pop(ref, None)
        if document is not None:
            self.arrived(ref, document)

    def unlisted(self, unit: UnitState) -> list[str]:
        """Names of kinds that never answered where it has any; what is Unknown since then concerns itself alone."""
        refs = {(ref.group, ref.kind, ref.namespace) for ref in (*unit.refs(), *(hook.ref for hook in unit.hooks))}
        found: set[str] = set()
        for group, kind, namespace in refs:
            view = self.view.kinds.get((group, kind))
            part = view.part(namespace) if view is not None else None
            if self.catalog.find(group, kind) is not None and (part is None or part.unknown == NOT_LISTED):
                found.add(kind)
        return sorted(found)

    def is_stale(self, part: Part) -> bool:
        """Whether nobody vouches any more for what this told: its stream broke, and three intervals have passed (R21).

        Of a cluster that is not reached at all the hub says so, and how it was.
        """
        interval = self.limits.watched_seconds
        is_old = part.is_lost and judge_age(part.told_at, self.clock(), interval) is Age.UNKNOWN
        return is_old and self.outbox.reach.reachable

    def all_read(self) -> bool:
        """Whether the objects of every ordered unit are known: else one that moves would look dropped (R5, R16)."""
        return all(unit.bundle == wanted for unit in self.units.values() if (wanted := bundle_of(unit.desired)))

    def retry(self, unit: UnitState, error: FleetError) -> None:
        """Pass over the unit again when waiting may help."""
        soon = Backoff(self.limits.retry_first_seconds, self.limits.retry_most_seconds)
        unit.wait = next_wait(unit.wait, self.random(), bounds_for(error, soon))
        self.wake_at(unit.name, self.clock() + unit.wait)

    def poll(self, name: UnitName, seconds: float) -> None:
        """Pass over a unit in this time, where each pass asks for the next: one timer, whatever else wakes it."""
        now = self.clock()
        if not now < self.polls.get(name, now) <= now + seconds:
            self.polls[name] = now + seconds
            self.wake_at(name, now + seconds)

    async def audited(
        self, unit: UnitState, ref: ObjectRef, action: str, *, uid: str, reason: str, outcome: str, after: str = ""
    ) -> None:
        """Durable evidence; raises StateNotWritable, and then the action must not happen (R43).

        uid, after: the object's UID before the action and after it. Once it happened the chain's head goes to the log,
        and with the next write of the unit's parent to the cluster, which is due at the end of the pass. A heal outside
        of a pass takes nothing away and shall cost one write: there the head goes with what is written next.
        """
        commit = unit.desired.commit if unit.desired else unit.memory.commit
        head = await self.audit.write(
            AuditEntry(
                at=self.wall(),
                actor=f"worker {self.cluster}",
                action=action,
                cluster=self.cluster,
                identity=self.identity,
                unit=str(unit.name),
                object=ref.key,
                uid=uid,
                commit=commit,
                reason=reason,
                outcome=outcome,
                uid_after=after,
            )
        )
        if outcome:
            unit.memory = replace(unit.memory, audit_head=str(head))
            unit.audit_due |= action != "force"
            log.info("audited", action=action, unit=str(unit.name), object=str(ref), outcome=outcome, head=str(head))

    async def delete(
        self, unit: UnitState, ref: ObjectRef, served: ServedKind, may: May, *, uid: str, reason: str, version: str
    ) -> Document | None:
        """Delete with preconditions (R11) and evidence before and after; what is left of the object, None if gone.

        may: asked just before it is sent (R17); raises Withdrawn.
        """
        await self.audited(unit, ref, "delete", uid=uid, reason=reason, outcome="")
        try:
            left = await self.kube.delete(served, ref.namespace, ref.name, uid=uid, resource_version=version, may=may)
        except FleetError as error:
            await self.audited(unit, ref, "delete", uid=uid, reason=reason, outcome=outcome_of(error), after=uid)
            raise
        await self.audited(
            unit, ref, "delete", uid=uid, reason=reason, outcome="done", after=uid if left is not None else ""
        )
        return left
