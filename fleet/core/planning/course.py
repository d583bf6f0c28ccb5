"""The steps that a change would go through, overlay by overlay, and how long they take at least.

How long clusters take until they are Healthy is not known without a hub: what is told is the least, by soaks and gates.
With a hub's earlier rollouts it is an interval, see estimate.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import ClusterName, OverlayName
from fleet.core.planning.change import UnitChange
from fleet.core.steps import Stage, Staged, goes_by_itself, limit_of, stages_of, unavailable_limit_of
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class CourseStep:
    """One step of a change. clusters: those that change."""

    stage: Stage
    clusters: tuple[ClusterName, ...]

    @property
    def at_once(self) -> int | None:
        """So many of them are under way at once. With other overlays of the change there may be fewer, never more."""
        return limit_of(self.stage.step.max_parallel, len(self.stage.clusters))

    @property
    def may_miss(self) -> int | None:
        """So many of its clusters may be not available, likewise."""
        return unavailable_limit_of(self.stage.step.max_unavailable, len(self.stage.clusters))


@dataclass(frozen=True, slots=True)
class Course:
    """The way of an overlay's changed clusters. No stages: all of them at once.

    staged: of all the overlay's clusters that go by steps.
    """

    overlay: OverlayName
    staged: Staged
    changed: frozenset[ClusterName]

    @property
    def steps(self) -> tuple[CourseStep, ...]:
        """Its steps up to the last one that has something to do: those behind it are not waited for."""
        found = [
            CourseStep(stage, tuple(name for name in stage.clusters if name in self.changed))
            for stage in self.staged.stages
        ]
        while found and not found[-1].clusters:
            found.pop()
        return tuple(found)

    @property
    def left_over(self) -> tuple[ClusterName, ...]:
        """Changed clusters that no step takes."""
        return tuple(name for name in self.staged.left_over if name in self.changed)

    @property
    def soak_seconds(self) -> float:
        """All soaks one after the other."""
        return sum(found.stage.step.soak_seconds for found in self.steps if found.clusters)

    @property
    def least_seconds(self) -> float:
        """Soaks, and the windows of gates that are read meanwhile: it takes no less."""
        return sum(_least_of(step) for step in self.steps)


def courses_of(units: Iterable[UnitChange], after: Fleet) -> tuple[Course, ...]:
    """Courses of all units that get another result by themselves; those that are let go of pass no step.

    Nor do those whose result stays: they show the new commit at once.
    """
    changed: dict[OverlayName, set[ClusterName]] = {}
    for change in units:
        unit = after.units.get(change.name)
        if change.has_new_result and unit is not None and goes_by_itself(unit):
            changed.setdefault(change.name.overlay, set()).add(change.name.cluster)
    members: dict[OverlayName, dict[ClusterName, Unit]] = {overlay: {} for overlay in changed}
    for name, unit in after.units.items():
        if name.overlay in members and goes_by_itself(unit):
            members[name.overlay][name.cluster] = unit
    staged: dict[OverlayName, Staged] = {}
    for overlay, found in sorted(members.items()):
        known = {name: after.clusters.get(name, unit.cluster) for name, unit in found.items()}
        staged[overlay] = stages_of(after.overlays[overlay].rollout, known, after.environments)
    return tuple(Course(overlay, found, frozenset(changed[overlay])) for overlay, found in staged.items())


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


def _least_of(found: CourseStep) -> float:
    step = found.stage.step
    if step.takes_clusters and not found.clusters:
        return 0.0
    return max(step.soak_seconds, *(gate.window_seconds for gate in step.gates), 0.0)


def words_of(course: Course) -> str:
    """`dev 1 > dev 5 > prod 15, 5 at a time, soak 10m`."""
    if not course.staged.stages:
        return "all clusters at once"
    text = " > ".join(words for found in course.steps for words in _step_words(found))
    if course.left_over:
        text += f"{'; ' if text else ''}no step takes {', '.join(course.left_over)}"
    return text


def _step_words(found: CourseStep) -> Iterator[str]:
    step, count = found.stage.step, len(found.clusters)
    limits: list[str] = []
    if found.at_once is not None and found.at_once < count:
        limits.append(f"{found.at_once} at a time")
    if step.soak_seconds and count:
        limits.append(f"soak {span_of(step.soak_seconds)}")
    if step.approvals:
        limits.append("an approval" if step.approvals == 1 else f"{step.approvals} approvals")
    if count or not step.takes_clusters:
        limits += [f"gate {gate.name}" for gate in step.gates]
    if step.one_first and count > 1:
        yield f"{found.stage.name} 1"
        count -= 1
    size = f" {count}" if step.takes_clusters else ""
    yield ", ".join([f"{found.stage.name}{size}", *limits])


def span_of(seconds: float) -> str:
    """`90s`, `10m`, `1.5h`."""
    minutes = seconds / 60
    return f"{minutes / 60:g}h" if minutes >= 60 else f"{minutes:g}m" if minutes >= 1 else f"{seconds:g}s"
