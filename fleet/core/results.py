"""What goes into the rendering of a unit, what came of it, and whether its team may have that (R29)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.core.documents import Json, canonical, digest_of, digest_of_bytes
from fleet.core.fleet import Unit
from fleet.core.guard import judge_team_rights
from fleet.core.ids import Digest, Revision
from fleet.core.objects import Bundle, is_secret
from fleet.values import dataclass, field


@dataclass(frozen=True, slots=True)
class Rendered:
    """A unit's result at the newest commit: its bundle and the commit that first brought that bundle.

    inputs: what it is made from, where it holds a Secret, as `inputs_of` says; else "". A bundle with a Secret has
    another digest under another installation key, this stays. It is no part of what makes two results equal.
    """

    bundle: Digest
    commit: Revision
    inputs: Digest = field(default=Digest(""), compare=False)

    @property
    def names(self) -> tuple[Digest, ...]:
        """All that it is known by where it was taken back."""
        return (self.bundle, self.inputs) if self.inputs else (self.bundle,)


@dataclass(frozen=True, slots=True)
class RenderProblem:
    """A unit that could not be rendered at the newest commit."""

    reason: str  # the error's class name
    message: str
    commit: Revision
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a unit that does not go by itself was shown last, and did not hold then.

    operation: the sync that its cluster was told of, which brings it, "" for none; is_over: the unit goes by itself
    since, and what its cluster had then was known; is_begun: it went by itself before, so that a part of what it holds
    may be there; is_back: it left since and is back, so that it does not begin with this.
    """

    result: Rendered
    operation: str = ""
    is_over: bool = False
    is_begun: bool = False
    is_back: bool = False


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


def holds_secret(bundle: Bundle) -> bool:
    """Whether there are values in it that must never be shown."""
    return any(is_secret(item.ref) for item in bundle.objects)


def takes_values(unit: Unit) -> bool:
    """Whether values of variables may enter its result."""
    return unit.overlay.substitute or bool(unit.components)


def inputs_of(unit: Unit, files: Digest, ids: Mapping[str, str]) -> Digest:
    """What a unit's result is made from, whatever key seals its Secrets and whatever version builds it.

    It is written to clusters, so no value that may enter a Secret is in it (R32). files: of its build, by Git ids;
    ids: of the files in which its variables are written, by path: they stand for the variables.
    """
    overlay, enter = unit.overlay, takes_values(unit)
    said: Json = [[path, ids[path]] for path in sorted(ids)] if enter else []
    facts = facts_of(replace(unit, variables={})).decode() if enter else ""
    compat: list[Json] = [*sorted(overlay.compat)]
    return digest_of(["inputs", files, facts, said, overlay.substitute, compat])


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
