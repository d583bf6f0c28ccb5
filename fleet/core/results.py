"""What goes into the rendering of a unit, what came of it, and whether its team may have that (R29)."""

from __future__ import annotations

from fleet.core.documents import Json, canonical, digest_of_bytes
from fleet.core.fleet import Unit
from fleet.core.guard import judge_team_rights
from fleet.core.ids import Digest, Revision
from fleet.core.objects import Bundle
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Rendered:
    """A unit's result at the newest commit: its bundle and the commit that first brought that bundle."""

    bundle: Digest
    commit: Revision


@dataclass(frozen=True, slots=True)
class RenderProblem:
    """A unit that could not be rendered at the newest commit."""

    reason: str  # the error's class name
    message: str
    commit: Revision
    next_step: str = ""


EMPTY_BUNDLE = Bundle(digest_of_bytes(b"fleet: no objects"), ())  # what an overlay with `state: absent` holds


Result = Rendered | RenderProblem


def facts_of(unit: Unit) -> bytes:
    """The cluster's own values as canonical JSON, for `RenderRequest.facts`."""
    variables: dict[str, Json] = {name: variable.value for name, variable in unit.variables.items()}
    labels: dict[str, Json] = dict(unit.cluster.labels)
    return canonical(
        {
            "name": unit.cluster.name,
            "environment": unit.cluster.environment,
            "location": unit.cluster.location,
            "labels": labels,
            "variables": variables,
        }
    )


def judge_rights(unit: Unit, bundle: Bundle, commit: Revision) -> RenderProblem | None:
    """Whether a unit's objects are all within its team's rights (R29)."""
    if unit.team is None:
        return None
    refused = judge_team_rights(bundle.objects, unit.team, where=str(unit.overlay.origin))
    if not refused:
        return None
    first, more = refused[0], len(refused) - 1
    message = f"{first.what}: {first.why}" + (f", and {more} more" if more else "")
    return RenderProblem(first.reason, message, commit, first.next_step)
