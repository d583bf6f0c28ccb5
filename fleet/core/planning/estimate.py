"""How long a change takes through its steps, by how a hub's earlier rollouts of the same overlays went."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.core.forecast import Course as Past
from fleet.core.forecast import forecast_of_plan, span
from fleet.core.planning.course import Course, Estimate, least_of
from fleet.core.rollout_facts import RowFacts


def estimate_of(course: Course, past: Sequence[Past], *, patience_seconds: float) -> Estimate:
    """An 80 % interval where enough rollouts went through the same steps; else the least, and why there is no more.

    All clusters count as within reach: a plan does not know which are not.
    """
    facts = RowFacts(course.staged.stages, {}, patience_seconds)
    found = forecast_of_plan(course.overlay, sorted(course.changed), facts, {course.overlay: past})
    least = least_of(course)
    if found.low is None or found.high is None:
        words = f"{least.words}; {found.basis}" if least.words else found.basis
        return Estimate(course.overlay, least.least_seconds, found.basis, words)
    words = f"{span(found.low, found.high)} (80 %, {found.basis})"
    return Estimate(course.overlay, least.least_seconds, found.basis, words, found.low, found.high)
