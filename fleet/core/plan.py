"""One unit's plan: bundle, record and live view in; what to create, change, keep and let go out. Nothing is written.

Deletions are computed from a `Complete` value alone, which exists only where desired, live lists and record are all
complete: Unknown is not empty (R5), as a type.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import InitVar, replace
from enum import StrEnum
from typing import Protocol

from fleet.core.fingerprint import SyncState, SyncVerdict
from fleet.core.guard import Doomed
from fleet.core.ids import Digest, ObjectRef, OverlayName, UnitName
from fleet.core.objects import BundleObject, PruneRule
from fleet.core.record import MarkKind, MarkVerdict, Row, RowState
from fleet.core.sync_policy import Adopt
from fleet.values import dataclass, field

Kind = tuple[str, str]  # group, kind
_GENERATED = re.compile(r"(?P<base>.+)-[2456789bcdfghkmt]{10}\Z")  # kustomize's suffix: its encoding of hex digits
_SEAL = object()


@dataclass(frozen=True, slots=True)
class DesiredObject:
    """One object of the bundle as this cluster knows it."""

    ref: ObjectRef  # without namespace where the kind has none on this cluster
    source: BundleObject
    digest: Digest  # `record.desired_digest_of`
    served: bool = True  # False: this cluster does not serve the kind (yet)


@dataclass(frozen=True, slots=True)
class Seen:
    """A live object, as the plan needs it."""

    mark: MarkVerdict
    verdict: SyncVerdict
    uid: str
    resource_version: str
    content: Digest = Digest("")
    managers: tuple[str, ...] = ()  # who else writes it, for messages
    deleting: bool = False
    prune: PruneRule = PruneRule.ALLOWED


LiveView = Mapping[ObjectRef, Seen | None]  # None: known not to be there; no key: Unknown


class Claims(Protocol):
    """What the units of this cluster want, now."""

    def others(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        """Other overlays that want this object."""
        ...

    def takers(self, ref: ObjectRef, overlay: OverlayName) -> frozenset[OverlayName]:
        """Those of them that apply it over what is there: not where it is `ifAbsent` or `disabled` to them."""
        ...

    def is_known(self, overlay: OverlayName) -> bool:
        """Whether the whole list of an overlay is known now (R5)."""
        ...

    def is_gone(self, overlay: OverlayName) -> bool:
        """Whether nothing is left here of an overlay but marks: neither a unit of ours nor anybody's parent (R4)."""
        ...

    def keeps(self, overlay: OverlayName) -> bool:
        """Whether an overlay gives nothing up now, although it wants it no more: it waits for a person (R17, R24)."""
        ...


@dataclass(frozen=True, slots=True)
class Complete:
    """Proof that a unit's deletions may be computed at all. `prove_complete` alone can make one: it has the seal."""

    unit: UnitName
    seal: InitVar[object]

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("a proof is made by prove_complete, from what it proves")


@dataclass(frozen=True, slots=True)
class Incomplete:
    """Why they may not: shown to users, and never followed by a prune."""

    reason: str


def prove_complete(
    unit: UnitName,
    *,
    bundle: Digest | None,
    expected: Digest | None,
    listed: Collection[Kind],
    rows: Iterable[Row],
    confirmed: bool,
    silent: Collection[str] = (),
) -> Complete | Incomplete:
    """Whether desired, live lists and record are complete.

    bundle: what was read in full; expected: what Desired says now; listed: kinds whose lists are complete at this
    moment wherever the record has any, or that surely exist no more; rows: of the record; confirmed:
    `UnitMemory.confirmed`; silent: groups of the API that do not answer.
    """
    if bundle is None or bundle != expected:
        return Incomplete("what the unit should hold is not known in full")
    if not confirmed:
        return Incomplete("its list of objects was rebuilt from the cluster and is not confirmed yet")
    missing = sorted({(row.ref.group, row.ref.kind) for row in rows} - set(listed))
    if missing:
        why = next((f"API group {group} does not answer" for group, _ in missing if group in silent), "")
        kinds = ", ".join(sorted({kind for _, kind in missing}))
        told = f"the cluster has not told yet which {kinds} objects there are"
        return Incomplete(f"{told}: its {why}" if why else told)
    return Complete(unit, _SEAL)


class Cause(StrEnum):
    """Why an object is applied."""

    NEW = "new"
    GONE = "gone"  # it was there and has vanished
    CHANGED = "changed"
    DRIFTED = "drifted"
    LABEL_LOST = "label-lost"
    MOVED = "moved"  # another unit of ours gave it up in favour of this one
    ADOPTED = "adopted"  # it was there without our mark, and sync.adopt says to take it over


@dataclass(frozen=True, slots=True)
class Step:
    """One object to apply. seen: the live object it is applied over, None where there is none."""

    wanted: DesiredObject
    cause: Cause
    seen: Seen | None = None


@dataclass(frozen=True, slots=True)
class Foreign:
    """An object that exists and is not ours. `adopt` says whether it may be taken over, after a dry-run if NO_DIFF."""

    wanted: DesiredObject
    seen: Seen
    adopt: Adopt


@dataclass(frozen=True, slots=True)
class Disputed:
    """An object that carries another's mark, or that several units want. Neither changes it (R4, R16)."""

    ref: ObjectRef
    who: str
    message: str


@dataclass(frozen=True, slots=True)
class Replacement:
    """A generated name and its successor in the same bundle: pruned only once the unit is Healthy on the new one."""

    old: ObjectRef
    new: ObjectRef


@dataclass(slots=True)
class UnitPlan:
    """What a pass would do. Fields are lists while it is built; the worker does not change them."""

    unit: UnitName
    create: list[Step] = field(default_factory=list[Step])
    change: list[Step] = field(default_factory=list[Step])
    drifted: list[Step] = field(default_factory=list[Step])  # to heal, or with selfHeal: false to report
    unchanged: list[ObjectRef] = field(default_factory=list[ObjectRef])
    ask: list[Step] = field(default_factory=list[Step])  # a dry-run must tell
    foreign: list[Foreign] = field(default_factory=list[Foreign])
    disputed: list[Disputed] = field(default_factory=list[Disputed])
    released: list[ObjectRef] = field(default_factory=list[ObjectRef])
    skipped: list[ObjectRef] = field(default_factory=list[ObjectRef])  # reconcile: disabled
    kind_missing: list[DesiredObject] = field(default_factory=list[DesiredObject])
    terminating: list[ObjectRef] = field(default_factory=list[ObjectRef])  # to be made anew once they are gone
    unknown: list[ObjectRef] = field(default_factory=list[ObjectRef])  # the live view cannot tell
    moving: list[Disputed] = field(default_factory=list[Disputed])  # another unit wants it: it takes it over
    awaited: list[Disputed] = field(default_factory=list[Disputed])  # to be taken over, once who has it gives it up
    gone: list[ObjectRef] = field(default_factory=list[ObjectRef])  # not wanted and not there: drop the row
    let_go: list[ObjectRef] = field(default_factory=list[ObjectRef])  # no longer ours: drop the row, delete nothing
    unlabelled: list[ObjectRef] = field(default_factory=list[ObjectRef])  # let go as well, which nothing else tells
    replacements: list[Replacement] = field(default_factory=list[Replacement])
    doomed: list[Doomed] | None = None  # None: not known which, see `incomplete`
    incomplete: str = ""

    @property
    def writes(self) -> bool:
        """Whether anything would be applied (deletions aside)."""
        return bool(self.create or self.change or self.drifted)


def plan_unit(
    unit: UnitName,
    wanted: Sequence[DesiredObject],
    rows: Mapping[ObjectRef, Row],
    live: LiveView,
    *,
    claims: Claims,
    adopt: Adopt,
    complete: Complete | Incomplete,
) -> UnitPlan:
    """Sort every object of the bundle and of the record into what happens to it.

    wanted: the whole bundle without hooks; rows: the unit's record; complete: as proven by `prove_complete`.
    """
    plan = UnitPlan(unit)
    for item in wanted:
        _place(plan, item, rows.get(item.ref), live, claims, adopt)
    refs = {item.ref for item in wanted}
    left = [row for ref, row in sorted(rows.items()) if ref not in refs]
    match complete:
        case Complete():
            plan.doomed = _doomed_of(plan, complete, left, live, claims, wanted)
        case Incomplete(reason):
            plan.incomplete = reason
    return plan


def _place(plan: UnitPlan, item: DesiredObject, row: Row | None, live: LiveView, claims: Claims, adopt: Adopt) -> None:
    """Sort one wanted object into the plan."""
    ref, overlay = item.ref, plan.unit.overlay
    if not item.source.options.reconcile:
        plan.skipped.append(ref)
        return
    rivals = claims.others(ref, overlay)
    if rivals:
        who = ", ".join(sorted(rivals))
        plan.disputed.append(Disputed(ref, who, f"{ref} is also in overlay {who}: neither changes it"))
        return
    if not item.served:
        plan.kind_missing.append(item)
        return
    if row is not None and row.state is RowState.RELEASED:
        plan.released.append(ref)
        return
    if ref not in live:
        plan.unknown.append(ref)
        return
    seen = live[ref]
    if seen is None:
        if row is not None and row.state.is_end and row.desired == item.digest:
            plan.unchanged.append(ref)
            return
        had = row is not None and bool(row.uid)
        plan.create.append(Step(item, Cause.GONE if had else Cause.NEW))
    elif seen.deleting:
        plan.terminating.append(ref)
    elif item.source.options.only_if_absent:
        plan.unchanged.append(ref)
    else:
        _place_seen(plan, item, row, seen, claims, adopt)


def _place_seen(plan: UnitPlan, item: DesiredObject, row: Row | None, seen: Seen, claims: Claims, adopt: Adopt) -> None:
    """Sort one wanted object that is there, by whose mark it carries."""
    ref, known = item.ref, row is not None and bool(row.uid) and row.uid == seen.uid
    match seen.mark.kind:
        case MarkKind.OURS:
            _place_ours(plan, item, seen)
        case MarkKind.LABEL_LOST:
            # Its label is put back with whatever the object becomes: alone only where that is what was applied last.
            if row is not None and row.desired == item.digest:
                plan.drifted.append(Step(item, Cause.LABEL_LOST, seen))
            else:
                _place_ours(plan, item, seen)
        case MarkKind.ANNOTATION_LOST:
            plan.released.append(ref)
        case MarkKind.UNMARKED | MarkKind.COPIED:
            # Both labels and annotation are off the very object that we applied: released, not foreign.
            if known:
                plan.released.append(ref)
            else:
                plan.foreign.append(Foreign(item, seen, adopt))
        case MarkKind.OTHER_UNIT:
            other = OverlayName(seen.mark.who)
            if claims.is_gone(other) and not known:
                left = replace(seen, managers=(f"overlay {other}, which is gone",))
                plan.foreign.append(Foreign(item, left, adopt))  # left with its mark, and nobody's since
            elif not claims.is_known(other) and not claims.is_gone(other):
                message = f"{ref} belongs to overlay {other}, whose objects are not known now"
                plan.disputed.append(Disputed(ref, other, message))
            elif claims.keeps(other):
                plan.awaited.append(Disputed(ref, other, f"{ref} moves here once overlay {other} gives it up"))
            else:
                plan.change.append(Step(item, Cause.MOVED, seen))
        case MarkKind.OTHER_INSTALLATION:
            plan.disputed.append(Disputed(ref, seen.mark.who, f"{ref} belongs to {seen.mark.who}"))
        case MarkKind.FORGED:
            plan.disputed.append(Disputed(ref, seen.mark.who, f"{ref} carries a mark that contradicts itself"))


def _place_ours(plan: UnitPlan, item: DesiredObject, seen: Seen) -> None:
    match seen.verdict.state:
        case SyncState.IN_SYNC:
            plan.unchanged.append(item.ref)
        case SyncState.DRIFTED:
            plan.drifted.append(Step(item, Cause.DRIFTED, seen))
        case SyncState.CHANGED:
            plan.change.append(Step(item, Cause.CHANGED, seen))
        case SyncState.ASK_ARBITER:
            plan.ask.append(Step(item, Cause.DRIFTED, seen))
        case SyncState.MISSING:
            plan.unknown.append(item.ref)


def _doomed_of(
    plan: UnitPlan,
    proof: Complete,
    left: Sequence[Row],
    live: LiveView,
    claims: Claims,
    wanted: Sequence[DesiredObject],
) -> list[Doomed]:
    """Prune candidates among the rows that are no longer wanted. Only with the proof can this be asked."""
    if proof.unit != plan.unit:
        raise ValueError(f"the proof is for {proof.unit}, not for {plan.unit}")
    successors = {
        (item.ref.group, item.ref.kind, item.ref.namespace, item.source.generated_from): item.ref
        for item in wanted
        if item.source.generated_from
    }
    doomed: list[Doomed] = []
    for row in left:
        ref = row.ref
        if ref not in live:
            plan.unknown.append(ref)
            continue
        seen = live[ref]
        if seen is None:
            plan.gone.append(ref)
            continue
        others, takers = claims.others(ref, plan.unit.overlay), claims.takers(ref, plan.unit.overlay)
        if row.state is RowState.RELEASED or not seen.mark.ours or seen.uid != row.uid:
            plan.let_go.append(ref)
        elif takers:
            who = ", ".join(sorted(takers))
            plan.moving.append(Disputed(ref, who, f"{ref} moves to overlay {who}"))
        elif others:
            plan.let_go.append(ref)  # they leave it as it is, and so would wait for it for ever
        elif seen.mark.kind is not MarkKind.OURS:
            plan.unlabelled.append(ref)  # without exactly our mark it is never deleted (R11)
        else:
            new = _successor(ref, successors)
            if new is not None:
                plan.replacements.append(Replacement(ref, new))
            doomed.append(Doomed(ref, seen.uid, seen.content, seen.prune, replaced=new is not None))
    return doomed


def _successor(ref: ObjectRef, successors: Mapping[tuple[str, str, str, str], ObjectRef]) -> ObjectRef | None:
    """The object that replaces this one under a new generated name, if the bundle holds it."""
    match = _GENERATED.match(ref.name)
    return successors.get((ref.group, ref.kind, ref.namespace, match["base"])) if match else None
