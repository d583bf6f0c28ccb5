"""Why an object is left alone: it is not this unit's, by mark or by place."""

from __future__ import annotations

from fleet.core.ids import ObjectRef
from fleet.core.record import MarkKind, MarkVerdict
from fleet.errors import NotAllowedForTeam, ObjectForeign, OwnedByOther, ReconcileError, Released


class NotOurs(Exception):
    """A refusal about one object's mark or place, kept apart from the fence's OwnedByOther, which ends the session."""

    def __init__(self, error: ReconcileError | NotAllowedForTeam) -> None:
        super().__init__(str(error))
        self.error = error


def refusal_of(ref: ObjectRef, verdict: MarkVerdict, *, moved: bool, left: bool = False) -> ReconcileError | None:
    """Why a live object is left alone (R4, R16); None where this unit may write it.

    moved: the record of this unit holds exactly this object, taken over from the unit that had it before; left: nothing
    but such marks is there of the overlay that it names.
    """
    match verdict.kind:
        case MarkKind.OURS | MarkKind.LABEL_LOST:
            return None
        case MarkKind.OTHER_UNIT:
            if moved:
                return None
            if left:
                return _foreign(ref, f"it carries the mark of overlay {verdict.who}, which is gone")
            return OwnedByOther(
                f"{ref} belongs to overlay {verdict.who}",
                why="two overlays may not claim one object",
                next_step=f"take it out of one of the two overlays; {verdict.who} keeps it meanwhile",
            )
        case MarkKind.OTHER_INSTALLATION | MarkKind.FORGED:
            return OwnedByOther(
                f"{ref} carries the mark of {verdict.who}",
                why="another installation manages it",
                next_step="let the other installation detach it, or take it out of the overlay",
            )
        case MarkKind.ANNOTATION_LOST:
            return Released(
                f"{ref} was released: our annotation was taken off",
                why="someone removed fleet.internal/owner from it",
                next_step="put the annotation back to manage it again, or take the object out of the overlay",
            )
        case MarkKind.UNMARKED | MarkKind.COPIED:
            return _foreign(ref, "it carries no mark of this installation")


def _foreign(ref: ObjectRef, why: str) -> ObjectForeign:
    return ObjectForeign(
        f"{ref} exists already and is not ours",
        why=why,
        next_step="set sync.adopt to ifNoDiff or always for this overlay, or take the object out of it",
    )
