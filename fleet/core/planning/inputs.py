"""What one side of a unit is made from, and whether a change touches the unit, also where it cannot be built."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet.core.fleet import Unit
from fleet.core.ids import Digest
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class RenderInputs:
    """What a result is made from, by Git ids. files: of the build alone; all: with the facts that enter it.

    is_partial: it failed as it was read, so that other files may belong to it; is_whole: it is taken to be the whole
    commit, as what belongs to it cannot be told.
    """

    files: Digest
    all: Digest
    is_partial: bool = False
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class UnitInput:
    """What one side of a unit is made from. asked: what is asked of the renderer, and of whom; None: nothing is built,
    the overlay is absent. The result is the same where both are equal on both sides.
    """

    unit: Unit
    made_from: RenderInputs
    asked: object

    def gives_as(self, other: UnitInput) -> bool:
        """Whether the results of both must be equal."""
        return (self.made_from.all, self.asked) == (other.made_from.all, other.asked)


def is_unit_touched(before: UnitInput, after: UnitInput, differing: Callable[[], Iterable[str]]) -> bool:
    """Whether a unit is changed, also where it fails on both sides. What belongs to it may not be known then: what
    lies in the directories of it and its overlay does, and what lies elsewhere may not.

    differing: all paths that differ between the two commits; asked for where nothing else decides.
    """
    if before.asked != after.asked:
        return True
    inputs = before.made_from, after.made_from
    if not any(one.is_whole for one in inputs) and inputs[0].all != inputs[1].all:
        return True
    if not any(one.is_partial or one.is_whole for one in inputs):
        return False
    places = {place for one in (before, after) for place in (one.unit.path, one.unit.overlay.directory)}
    starts = tuple(f"{place}/" for place in places if place)
    return any(path.startswith(starts) for path in differing())
