"""The steps that a change would go through, overlay by overlay, and how long they take at least.

How long clusters take until they are Healthy is not known without a hub: what is told is the least, by soaks and gates.
With a hub's earlier rollouts it is an interval, see estimate.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from fleet.core.fleet import Fleet
from fleet.core.ids import OverlayName
from fleet.core.planning.change import How, UnitChange
from fleet.core.steps import Stage, Staged, limit_of, stages_of


@dataclass(frozen=True, slots=True)
class Course:
    """The way of an overlay's changed clusters. No stages: all of them at once."""

    overlay: OverlayName
    staged: Staged

    @property
    def soak_seconds(self) -> float:
        """All soaks one after the other."""
        return sum(stage.step.soak_seconds for stage in self.staged.stages if stage.clusters)

    @property
    def least_seconds(self) -> float:
        """Soaks, and the windows of gates that are read meanwhile: it takes no less."""
        return sum(_least_of(stage) for stage in self.staged.stages)


def courses_of(units: Iterable[UnitChange], after: Fleet) -> tuple[Course, ...]:
    """Courses of all units that get another result; those that are let go of pass no step."""
    changed: dict[OverlayName, set[str]] = {}
    for unit in units:
        if unit.how in (How.APPEARS, How.CHANGES) and unit.name in after.units:
            changed.setdefault(unit.name.overlay, set()).add(unit.name.cluster)
    found: list[Course] = []
    for overlay, names in sorted(changed.items()):
        clusters = {name: cluster for name, cluster in after.clusters.items() if name in names}
        found.append(Course(overlay, stages_of(after.overlays[overlay].rollout, clusters, after.environments)))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long the way of one overlay takes, and by what that is said. Approvals and windows are not in it.

    least_seconds: by its soaks and gates; low, high: seconds in eight of ten cases, None where no history tells;
    words: for a line, "" where nothing can be told.
    """

    overlay: OverlayName
    least_seconds: float
    basis: str
    words: str = ""
    low: float | None = None
    high: float | None = None


def least_of(course: Course) -> Estimate:
    """What the steps alone tell."""
    least = course.least_seconds
    if not least:
        return Estimate(course.overlay, 0.0, "nothing: it depends on how soon clusters are Healthy")
    basis = "its soaks and gates alone"
    return Estimate(course.overlay, least, basis, f"{span_of(least)} at least, by {basis}")


def _least_of(stage: Stage) -> float:
    if stage.step.takes_clusters and not stage.clusters:
        return 0.0
    return max(stage.step.soak_seconds, *(gate.window_seconds for gate in stage.step.gates), 0.0)


def words_of(course: Course) -> str:
    """`dev 1 > dev 5 > prod 15, 5 at a time, soak 10m`."""
    if not course.staged.stages:
        return "all clusters at once"
    text = " > ".join(words for stage in course.staged.stages for words in _stage_words(stage))
    if course.staged.left_over:
        text += f"; no step takes {', '.join(course.staged.left_over)}"
    return text


def _stage_words(stage: Stage) -> Iterator[str]:
    step, count = stage.step, len(stage.clusters)
    limits: list[str] = []
    parallel = limit_of(step.max_parallel, count)
    if parallel is not None and parallel < count:
        limits.append(f"{parallel} at a time")
    if step.soak_seconds and count:
        limits.append(f"soak {span_of(step.soak_seconds)}")
    if step.approvals:
        limits.append("an approval" if step.approvals == 1 else f"{step.approvals} approvals")
    if step.one_first and count > 1:
        yield f"{stage.name} 1"
        count -= 1
    size = f" {count}" if step.takes_clusters else ""
    yield ", ".join([f"{stage.name}{size}", *limits])


def span_of(seconds: float) -> str:
    """`90s`, `10m`, `1.5h`."""
    minutes = seconds / 60
    return f"{minutes / 60:g}h" if minutes >= 60 else f"{minutes:g}m" if minutes >= 1 else f"{seconds:g}s"
