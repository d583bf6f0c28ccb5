"""The steps that a change would go through, overlay by overlay, and how long they soak at least.

How long clusters take until they are Healthy is not known without a hub: what is told is the least.
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
        """All soaks one after the other: it takes no less."""
        return sum(stage.step.soak_seconds for stage in self.staged.stages if stage.clusters)


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


def words_of(course: Course) -> str:
    """`dev 1 > dev 5 > prod 15, 5 at a time, soak 10m`."""
    if not course.staged.stages:
        return "all clusters at once"
    text = " > ".join(words for stage in course.staged.stages for words in _stage_words(stage))
    if course.staged.left_over:
        text += f"; no step takes {', '.join(course.staged.left_over)}"
    soak = course.soak_seconds
    return f"{text} (soaks {_span(soak)} at least)" if soak else text


def _stage_words(stage: Stage) -> Iterator[str]:
    step, count = stage.step, len(stage.clusters)
    limits: list[str] = []
    parallel = limit_of(step.max_parallel, count)
    if parallel is not None and parallel < count:
        limits.append(f"{parallel} at a time")
    if step.soak_seconds and count:
        limits.append(f"soak {_span(step.soak_seconds)}")
    if step.approvals:
        limits.append("an approval" if step.approvals == 1 else f"{step.approvals} approvals")
    if step.one_first and count > 1:
        yield f"{stage.name} 1"
        count -= 1
    size = f" {count}" if step.takes_clusters else ""
    yield ", ".join([f"{stage.name}{size}", *limits])


def _span(seconds: float) -> str:
    minutes = seconds / 60
    return f"{minutes / 60:g}h" if minutes >= 60 else f"{minutes:g}m" if minutes >= 1 else f"{seconds:g}s"
