"""What becomes of a hold when it is asked for again, decided or closed (R9): pure, and the same in every store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fleet.core.ids import Digest
from fleet.core.status import HoldRequest
from fleet.errors import NotKnown, PreconditionFailed
from fleet.ports.state import HoldRow

VOID = "void"


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
    return replace(asked, rejected_at=known.rejected_at)


def decided_hold(known: HoldRow, *, list_digest: Digest, decision: str, actor: str, reason: str, at: float) -> HoldRow:
    """The hold after a person's word. Raises PreconditionFailed (other list, expired, decided already)."""
    if known.decision:
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
    if at >= known.expires_at:
        raise PreconditionFailed(
            f"hold {known.id} has expired",
            why="the live objects may have changed since its list was made",
            next_step="fleet get holds shows the renewed one",
        )
    rejected_at = at if decision == "rejected" else 0.0
    return replace(known, decision=decision, decided_by=actor, decided_at=at, reason=reason, rejected_at=rejected_at)


def closed_hold(known: HoldRow, at: float) -> HoldRow:
    """The hold when it asks for nothing any more, or its approval's time is over; a rejection stays one."""
    if known.decision in {"rejected", VOID}:
        return known
    is_over = known.decision == "approved" and at >= known.expires_at
    reason = "the approval expired" if is_over else "nothing is to be deleted any more"
    return replace(known, decision=VOID, decided_at=at, reason=reason)


Listed = tuple[str, str, str]  # unit, object (ref key) and UID


def listed_in(requests: Iterable[HoldRequest]) -> frozenset[Listed]:
    """The very objects that a hold lists."""
    return frozenset(
        (str(request.unit), deletion.ref.key, deletion.uid) for request in requests for deletion in request.deletions
    )


def hold_unknown(hold: str) -> NotKnown:
    """There is no such hold."""
    return NotKnown(f"no hold {hold}", next_step="fleet get holds lists them")
