"""An approval that is given before the merge: bound to a plan's digest and to the live state of what would go (R9).

Who approves sends the plan's text along (listing.py): whoever knows the digest can see that the list is its own, and
nothing else that was said has to be believed. The approval counts for the one commit that yields the same digest, and
there for exactly the objects whose UID and content are still those that the hub read when it was given. What goes along
with a Namespace, a CRD or a claim is in no plan: where anything does, a person who sees it decides. Whatever differs
makes it void, with the reason, and a person is asked as ever.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from enum import StrEnum

from fleet.core.documents import (
    Document,
    Json,
    canonical,
    documents_at,
    items_at,
    number_at,
    parse_document,
    text_at,
)
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.inside import takes_along
from fleet.core.planning.settings import SettingChange, set_otherwise
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.values import dataclass

FALL = "sharp-fall"


class ApprovalState(StrEnum):
    """Where an approval stands; each is left once and for all."""

    WAITS = "waits"  # for the merge
    BOUND = "bound"  # a commit yielded its digest
    VOID = "void"


@dataclass(frozen=True, slots=True, order=True)
class Going:
    """One live object that was approved to go, as the hub read it when the approval was given."""

    unit: UnitName
    ref: ObjectRef
    uid: str
    content: Digest


@dataclass(frozen=True, slots=True)
class PlanApproval:
    """One approval. at, expires_at: seconds since the epoch; commit: that yielded the digest, "" before the merge."""

    digest: Digest
    units: frozenset[UnitName]
    going: tuple[Going, ...]
    leaving: frozenset[UnitName]
    by: str
    reason: str
    at: float
    expires_at: float
    standing: ApprovalState = ApprovalState.WAITS
    commit: Revision = Revision("")
    void: str = ""  # why it is void

    def voided(self, why: str) -> PlanApproval:
        """The same, void."""
        return replace(self, standing=ApprovalState.VOID, void=why)


def next_approvals(
    approvals: Sequence[PlanApproval],
    *,
    commit: Revision,
    digest: Digest,
    units: Collection[UnitName],
    settings: Sequence[SettingChange] = (),
    now: float,
    in_force: Revision | None = None,
    since: Revision | None = None,
) -> tuple[PlanApproval, ...]:
    """All approvals after a commit was taken over whose plan has this digest and says this of units and settings.

    in_force: the one that contains it, where several came at once: holds are of that one; since: the one that the plan
    begins at, where it is not the one before.
    """
    who = f"{since[:7]} to {commit[:7]} together change" if since is not None else f"{commit[:7]} changes"
    bound = commit if in_force is None else in_force
    return tuple(_next(approval, bound, who, digest, frozenset(units), settings, now) for approval in approvals)


def _next(
    approval: PlanApproval,
    commit: Revision,
    who: str,
    digest: Digest,
    units: frozenset[UnitName],
    settings: Sequence[SettingChange],
    now: float,
) -> PlanApproval:
    if approval.standing is ApprovalState.VOID:
        return approval
    if now >= approval.expires_at:
        return approval.voided("it expired")
    if approval.standing is ApprovalState.WAITS and digest == approval.digest:
        return replace(approval, standing=ApprovalState.BOUND, commit=commit)
    if touched := sorted(approval.units & units):
        return approval.voided(f"{who} {_first(touched)} in another way than the plan says")
    if touched := sorted(set_otherwise(settings, approval.units)):  # what was seen would go by other rules (R9)
        return approval.voided(f"{who} a setting of {_first(touched)} that the plan does not")
    return approval


def _first(units: Sequence[UnitName]) -> str:
    return f"{units[0]} and {len(units) - 1} more" if len(units) > 1 else str(units[0])


@dataclass(frozen=True, slots=True)
class Covered:
    """The approval allows the whole list."""


@dataclass(frozen=True, slots=True)
class NotConcerned:
    """It says nothing about this hold."""


@dataclass(frozen=True, slots=True)
class Broken:
    """It is about this hold, and what would go is not what was approved."""

    why: str


Judgement = Covered | NotConcerned | Broken


def judge_hold(approval: PlanApproval, requests: Sequence[HoldRequest], *, now: float) -> Judgement:
    """Whether an approval decides a hold: all of its list or nothing of it.

    requests: of one overlay and commit, as the hold lists them.
    """
    commits = {request.commit for request in requests}
    if approval.standing is not ApprovalState.BOUND or commits != {approval.commit} or not requests:
        return NotConcerned()
    if now >= approval.expires_at:
        return Broken("it expired")
    known = {(going.unit, going.ref): going for going in approval.going}
    for request in requests:
        if not request.deletions and (request.reason != FALL or request.unit not in approval.leaving):
            return Broken(f"the plan does not let {request.unit} go")
        for deletion in request.deletions:
            why = _differs(known.get((request.unit, deletion.ref)), request.unit, deletion)
            if why:
                return Broken(why)
    return Covered()


def lists_any(approval: PlanApproval, requests: Iterable[HoldRequest]) -> bool:
    """Whether a hold is about anything that an approval lets go, an object or a unit."""
    going = {(one.unit, one.ref) for one in approval.going}
    return any(
        any((request.unit, item.ref) in going for item in request.deletions)
        or (not request.deletions and request.unit in approval.leaving)
        for request in requests
    )


def _differs(going: Going | None, unit: UnitName, deletion: PendingDeletion) -> str:
    """Why what would go is not what was approved; "" where it is."""
    if going is None:
        return f"{deletion.ref} of {unit} was not in the plan, or not on the cluster, when it was approved"
    if deletion.content is None:
        return f"{deletion.ref} of {unit} cannot be read now"
    if not deletion.uid or deletion.uid != going.uid:
        return f"{deletion.ref} of {unit} is another object than the one that was approved"
    if deletion.content != going.content:
        return f"{deletion.ref} of {unit} changed since it was approved"
    if takes_along(deletion.ref) and deletion.inside:  # neither its UID nor its content says so (R10)
        return f"more goes with {deletion.ref} of {unit} than the plan showed"
    return ""


# Kept by the hub


def approvals_text(approvals: Iterable[PlanApproval]) -> str:
    """As the hub's state keeps them."""
    rows: list[Json] = [_row(item) for item in approvals]
    return canonical({"approvals": rows}).decode()


def _row(item: PlanApproval) -> Document:
    going: list[Json] = [[str(one.unit), one.ref.key, one.uid, one.content] for one in item.going]
    units: list[Json] = [*sorted(map(str, item.units))]
    leaving: list[Json] = [*sorted(map(str, item.leaving))]
    return {
        "digest": item.digest,
        "units": units,
        "going": going,
        "leaving": leaving,
        "by": item.by,
        "reason": item.reason,
        "at": int(item.at),
        "expiresAt": int(item.expires_at),
        "standing": item.standing.value,
        "commit": item.commit,
        "void": item.void,
    }


def approvals_of_text(text: str) -> tuple[PlanApproval, ...]:
    """The inverse; raises ValueError for anything else, which is never read as "approved"."""
    if not text:
        return ()
    found: list[PlanApproval] = []
    for row in documents_at(parse_document(text.encode()), "approvals"):
        going: list[Going] = []
        for entry in items_at(row, "going"):
            if not isinstance(entry, list) or len(entry) != 4:
                raise ValueError("an approval that is damaged")
            unit, key, uid, content = map(str, entry)
            going.append(Going(UnitName.parse(unit), ObjectRef.from_key(key), uid, Digest(content)))
        found.append(
            PlanApproval(
                digest=Digest(text_at(row, "digest")),
                units=frozenset(UnitName.parse(str(name)) for name in items_at(row, "units")),
                going=tuple(going),
                leaving=frozenset(UnitName.parse(str(name)) for name in items_at(row, "leaving")),
                by=text_at(row, "by"),
                reason=text_at(row, "reason"),
                at=number_at(row, "at"),
                expires_at=number_at(row, "expiresAt"),
                standing=ApprovalState(text_at(row, "standing")),
                commit=Revision(text_at(row, "commit")),
                void=text_at(row, "void"),
            )
        )
    return tuple(found)
