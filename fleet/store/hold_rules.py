"""What becomes of a hold when it is asked for again, decided or closed (R9): pure, and the same in every store."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from fleet.core.audit import DELETED, AuditEntry
from fleet.core.ids import Digest
from fleet.core.release import list_digest_of
from fleet.core.status import HoldRequest
from fleet.errors import NotKnown, PreconditionFailed, Withdrawn
from fleet.ports.state import HoldRow

VOID = "void"
Listed = tuple[str, str, str]  # unit, object (ref key) and UID


def renewed_hold(known: HoldRow, now: HoldRow) -> HoldRow:
    """The hold after its overlay and commit asked again with `now` (whose `created_at` is the time of asking).

    The same list keeps a decision that is in force; another list, or an approval that expired, asks anew (R9), and of
    a rejected one that stays known. A hold that was void opens again.
    """
    same_list = known.list_digest == now.list_digest
    expired = known.decision == "approved" and now.created_at >= known.expires_at
    if same_list and known.decision in {"approved", "rejected"} and not expired:
        return replace(known, requests=now.requests)
    if same_list and known.decision == "":
        return replace(known, requests=now.requests, expires_at=now.expires_at)
    asked = replace(now, id=known.id, decision="", decided_by="", decided_at=0.0, reason="")
    return replace(asked, rejected=known.rejected, rejected_at=known.rejected_at)


def overrules(known: HoldRow, decision: str) -> bool:
    """Whether this word goes before the one that was said: a rejection before an approval, and never the reverse."""
    return known.decision == "approved" and decision == "rejected"


def decided_hold(
    known: HoldRow,
    *,
    list_digest: Digest,
    decision: str,
    actor: str,
    reason: str,
    at: float,
    gone: Container[Listed] = frozenset(),
) -> HoldRow:
    """The hold after a person's word. Raises PreconditionFailed (other list, expired, decided already, all is gone).

    gone: of a word that overrules, what has gone or is on its way: the hold is about the rest from then on.
    """
    later = overrules(known, decision)
    if known.decision and not later:
        raise PreconditionFailed(
            f"hold {known.id} is decided already",
            why=f"{known.decision} by {known.decided_by or 'fleet'}",
            next_step="fleet get holds",
        )
    if known.list_digest != list_digest:
        raise PreconditionFailed(
            f"hold {known.id} is about another list now",
            why="what would be deleted changed since it was shown",
            next_step=f"look again with fleet describe hold {known.id}, and approve that list",
        )
    if at >= known.expires_at and not later:
        raise PreconditionFailed(
            f"hold {known.id} has expired",
            why="the live objects may have changed since its list was made",
            next_step="fleet get holds shows the renewed one",
        )
    shown = _without(known, gone) if later else known
    rejected, rejected_at = _not_shown(known.rejected, shown.requests), known.rejected_at
    if decision == "rejected":
        rejected, rejected_at = (*rejected, *shown.requests), at
    said = replace(shown, decision=decision, decided_by=actor, decided_at=at, reason=reason)
    return replace(said, rejected=rejected, rejected_at=rejected_at if rejected else 0.0)


def _not_shown(rejected: Iterable[HoldRequest], listed: Sequence[HoldRequest]) -> tuple[HoldRequest, ...]:
    """What was rejected, without what a list shows: a word is for that alone (R9)."""
    shown = {(request.unit, item.ref) for request in listed for item in request.deletions}
    units = {request.unit for request in listed if not request.deletions}
    rest: list[HoldRequest] = []
    for request in rejected:
        left = tuple(item for item in request.deletions if (request.unit, item.ref) not in shown)
        if left or (not request.deletions and request.unit not in units):
            rest.append(replace(request, deletions=left))
    return tuple(rest)


def _without(hold: HoldRow, gone: Container[Listed]) -> HoldRow:
    left: list[HoldRequest] = []
    for request in hold.requests:
        stay = tuple(item for item in request.deletions if (str(request.unit), item.ref.key, item.uid) not in gone)
        if stay or not request.deletions:
            left.append(replace(request, deletions=stay))
    if not left:
        raise PreconditionFailed(
            f"nothing is left of hold {hold.id} that could stay",
            why="all that was approved has gone or is on its way",
            next_step="put it back in Git; fleet rollout pause stops what later steps would delete",
        )
    # Their workers ask again once they are told.
    requests = tuple(replace(request, left=bool(request.deletions)) for request in left)
    return replace(hold, requests=requests, list_digest=list_digest_of(requests))


def gone_by(entries: Iterable[AuditEntry]) -> frozenset[Listed]:
    """What has gone or is on its way by the audit log's entries of deletions, oldest first.

    What failed stays, and so does what nobody knows the end of: the hold goes on naming it.
    """
    outcomes = {about_of(entry): entry.outcome for entry in entries if entry.action == "delete"}
    return frozenset(about for about, outcome in outcomes.items() if outcome in ("", *DELETED))


def withhold(entry: AuditEntry, hold: str, by: str, commit: str, listed: Container[Listed]) -> None:
    """Raise Withdrawn where an entry begins a deletion that a person rejected by then, for this very commit (R9).

    Its worker may not have been told yet that an approval was taken back. hold: a rejected one, by whom, and its list.
    """
    if entry.action == "delete" and not entry.outcome and entry.commit == commit and about_of(entry) in listed:
        raise Withdrawn(
            f"{entry.object} of {entry.unit} is not deleted",
            why=f"{by} rejected hold {hold}",
            next_step=f"fleet describe hold {hold}",
        )


def closed_hold(known: HoldRow, at: float) -> HoldRow:
    """The hold when it asks for nothing any more, or its approval's time is over; a rejection stays one."""
    if known.decision in {"rejected", VOID}:
        return known
    is_over = known.decision == "approved" and at >= known.expires_at
    reason = "the approval expired" if is_over else "nothing is to be deleted any more"
    return replace(known, decision=VOID, decided_at=at, reason=reason)


def about_of(entry: AuditEntry) -> Listed:
    """The very object that an entry is about."""
    return entry.unit, entry.object, entry.uid


def listed_in(requests: Iterable[HoldRequest]) -> frozenset[Listed]:
    """The very objects that a hold lists."""
    return frozenset(
        (str(request.unit), deletion.ref.key, deletion.uid) for request in requests for deletion in request.deletions
    )


def hold_unknown(hold: str) -> NotKnown:
    """There is no such hold."""
    return NotKnown(f"no hold {hold}", next_step="fleet get holds lists them")
