"""When a rollout ends: an 80 % interval out of how earlier rollouts of the same overlays went, with its basis in words.

A row's way through its steps is kept as a course: for each step, when which share of its clusters was Healthy. The
courses that also had come as far, and stood there as long, are asked how long they took from there; where fewer than
three of them stood as long, the slowest are stretched until they did. From nine of them the interval lies between their
own ranks, so that no shape of the durations is supposed; from three to eight it supposes that they are log-normal; of
fewer earlier rollouts nothing is said. Time that people take for approvals is in no course, and a rollout that
somebody or something stopped leaves none. Pure.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fleet.core.approving import missing_of
from fleet.core.gates import Verdict, key_of
from fleet.core.ids import ClusterName, OverlayName
from fleet.core.passage import Passage, Row
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import JobCheck
from fleet.core.standings import away_since
from fleet.core.steps import Stage, limit_of
from fleet.values import dataclass

_LEFT_OUT = (Condition.STOPPED, Condition.HELD)
COURSES_KEPT = 30  # of one overlay
POINTS = 20  # of one step
FEWEST = 3
BY_RANK = 9  # so many leave a tenth on both sides
LOW, HIGH = 0.1, 0.9
_T90 = (3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415)  # Student's t, 90 %, by degrees of freedom


@dataclass(frozen=True, slots=True)
class Leg:
    """One step of a course. landed: seconds after its beginning at which each twentieth of its clusters was Healthy.

    waves: how often it went to as many clusters as it may take at once; seconds: until all were, its soak aside.
    """

    waves: int
    seconds: float
    landed: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """How one row went, by the names of its steps."""

    legs: Mapping[str, Leg]


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds from now to the end, at best and at worst in eight of ten cases. None: no forecast, basis says why.

    after: what a person must do first, "" for nothing; the seconds count from then.
    """

    low: float | None
    high: float | None
    basis: str
    after: str = ""


@dataclass(frozen=True, slots=True)
class _Ahead:
    """What one row has before it: samples of the rest without soaks, sorted, and what is added to each."""

    samples: tuple[float, ...]
    fixed: float
    late: float  # so much more at worst, for clusters that cannot be reached
    known: int  # courses that went through these steps
    stretched: bool = False


Courses = Mapping[OverlayName, Sequence[Course]]


# What is kept


def is_through(row: Row, stages: Iterable[Stage]) -> bool:
    """Whether all steps that change a cluster are over; clusters that were left out follow later."""
    return all(stage.name in row.passed for stage in stages if _touched(row, stage))


def course_of(row: Row, facts: RowFacts) -> Course | None:
    """The course of a row that is through its steps; None where it was stopped, or a step was not gone through."""
    legs: dict[str, Leg] = {}
    for stage in facts.stages:
        if not (touched := _touched(row, stage)):
            continue
        opened, calm = row.opened.get(stage.name), row.calm.get(stage.name)
        if row.disturbed or row.excused or opened is None or calm is None:
            return None
        landed = sorted(
            max(0.0, at - opened) for name in touched if (at := row.landed.get(name)) is not None and at <= calm
        )
        if not landed:
            return None
        legs[stage.name] = Leg(_waves(stage, len(landed)), round(calm - opened, 1), _shortened(landed))
    return Course(legs) if legs else None


def kept_with(courses: Sequence[Course], new: Course) -> tuple[Course, ...]:
    """The newest of an overlay."""
    return (*courses, new)[-COURSES_KEPT:]


def encode_courses(courses: Iterable[Course]) -> str:
    """As one text for the state."""
    return json.dumps(
        [{name: [leg.waves, leg.seconds, list(leg.landed)] for name, leg in course.legs.items()} for course in courses],
        separators=(",", ":"),
    )


def decode_courses(text: str) -> tuple[Course, ...]:
    """The other way round; raises ValueError."""
    try:
        found: list[dict[str, Any]] = json.loads(text)
        return tuple(
            Course(
                {
                    name: Leg(int(waves), float(seconds), tuple(map(float, landed)))
                    for name, (waves, seconds, landed) in legs.items()
                }
            )
            for legs in found
        )
    except (TypeError, AttributeError) as error:
        raise ValueError(f"courses are not in the form they were written in: {error}") from error


def _touched(row: Row, stage: Stage) -> list[ClusterName]:
    return [name for name in stage.clusters if name in row.targets]


def _waves(stage: Stage, clusters: int) -> int:
    at_once = limit_of(stage.step.max_parallel, len(stage.clusters))
    if stage.step.one_first and clusters > 1:
        return 1 + math.ceil((clusters - 1) / (at_once or clusters))
    return max(1, math.ceil(clusters / (at_once or max(1, clusters))))


def _shortened(landed: Sequence[float]) -> tuple[float, ...]:
    """At most POINTS of them, evenly; the last is always there."""
    count = min(POINTS, len(landed))
    return tuple(round(landed[math.ceil((point + 1) * len(landed) / count) - 1], 1) for point in range(count))


# What is said


def forecast(passage: Passage, facts: Mapping[OverlayName, RowFacts], courses: Courses, now: float) -> Forecast:
    """When all steps of a commit are over. now: the hub's clock."""
    if passage.outcome:
        return Forecast(None, None, f"it is over: {passage.outcome}")
    for stop, word in ((passage.halted, "halted"), (passage.paused, "paused")):
        if stop is not None:
            return Forecast(None, None, f"no forecast: {word}, a person goes on with it")
    ahead: list[_Ahead] = []
    words: list[str] = []
    after = ""
    for overlay, row in sorted(passage.rows.items()):
        row_facts = facts.get(overlay)
        if row.done:
            continue
        if row_facts is not None and is_through(row, row_facts.stages):
            after = after or _not_counted(passage, row, row_facts, now)  # of a step that takes no clusters
            continue
        if row_facts is None:
            return Forecast(None, None, f"no forecast: not all is known of {overlay}")
        found = _ahead(row, row_facts, courses.get(overlay, ()), now)
        if isinstance(found, str):
            return Forecast(None, None, f"no forecast for {overlay}: {found}")
        ahead.append(found)
        words.append(_basis(overlay, found))
        after = after or _not_counted(passage, row, row_facts, now)
    if not ahead and after:
        return Forecast(None, None, f"all clusters have it; over {after}")
    if not ahead:
        return Forecast(None, None, "all steps are over; clusters that were left out follow")
    low, high = (max(_quantile(one, share) for one in ahead) for share in (LOW, HIGH))
    late = max(_quantile(one, HIGH) + one.late for one in ahead)
    return Forecast(low, max(high, late), " and ".join(words), after)


def forecast_of_plan(
    overlay: OverlayName, targets: Iterable[ClusterName], facts: RowFacts, courses: Courses
) -> Forecast:
    """As `forecast`, of a row that has not begun; what it waits for is left to whoever shows the steps."""
    found = _ahead(Row(dict.fromkeys(targets, "")), facts, courses.get(overlay, ()), 0.0)
    if isinstance(found, str):
        return Forecast(None, None, f"no forecast for {overlay}: {found}")
    return Forecast(_quantile(found, LOW), _quantile(found, HIGH), _basis(overlay, found))


def _basis(overlay: OverlayName, ahead: _Ahead) -> str:
    count, known = len(ahead.samples), ahead.known
    if ahead.stretched:
        return f"slower here than nearly all of {known} earlier rollouts of {overlay}, from the slowest {count} of them"
    if count == known:
        return f"from {count} earlier rollouts of {overlay}"
    return f"from {count} of {known} earlier rollouts of {overlay}, the others were faster up to here"


def _not_counted(passage: Passage, row: Row, facts: RowFacts, now: float) -> str:
    """What must come first and is in no course: approvals, gates, windows; "" for nothing."""
    for stage in facts.stages:
        if stage.name in row.passed:
            continue
        if missing_of(passage, row, stage):
            return f"once step {stage.name} is approved"
        if _measures_on(row, stage, now):
            return f"once the gates of step {stage.name} are passed"
        for name in _touched(row, stage):
            if (fact := facts.units.get(name)) is not None and fact.condition is Condition.WAITS:
                return f"once {name} waits no more: {fact.why}"
    return ""


def _measures_on(row: Row, stage: Stage, now: float) -> bool:
    """Whether gates of a step may be passed later than its soak is over; those that fit into it add nothing."""
    at = row.still.get(stage.name, now)
    soak_left = max(0.0, row.calm.get(stage.name, at) + stage.step.soak_seconds - at)
    for gate in stage.step.gates:
        state = row.gates.get(key_of(stage.name, gate))
        if state is not None and state.verdict is Verdict.PASSED:
            continue
        since = state.good_since if state is not None else None
        window_left = gate.window_seconds - (at - since if since is not None else 0.0)
        # The reading that ends a window comes up to an interval after it.
        is_longer = not soak_left or window_left > soak_left + gate.interval_seconds
        if is_longer or isinstance(gate.check, JobCheck):
            return True
    return False


def _ahead(row: Row, facts: RowFacts, courses: Sequence[Course], now: float) -> _Ahead | str:
    """What a row has before it, or why nothing can be said."""
    rest = [
        (stage, touched) for stage in facts.stages if stage.name not in row.passed and (touched := _touched(row, stage))
    ]
    lost = (stage.name for stage in facts.stages if facts.lost_in(stage))
    stuck = next((name for name in (*facts.broken, *lost) if name not in row.passed), "")
    if stuck:
        return f"step {stuck} cannot be done"
    comparable = [course for course in courses if all(stage.name in course.legs for stage, _ in rest)]
    if len(comparable) < FEWEST:
        known = f"only {len(comparable)} earlier rollout{'s' if len(comparable) > 1 else ''}" if comparable else ""
        return known or ("no earlier rollout through these steps" if courses else "no history")
    (stage, touched), later = rest[0], rest[1:]
    waits = stage.step.soak_seconds
    since = row.calm.get(stage.name)
    points = [_Point(0.0, 0.0) for _ in comparable]
    stood = late = 0.0
    if since is not None:  # it soaks: how long is known
        waits = max(0.0, since + waits - row.still.get(stage.name, now))
    else:
        opened = row.opened.get(stage.name, now)
        expected = [name for name in touched if not _is_left_out(row, name, facts.units.get(name))]
        if not expected:
            return f"no cluster of step {stage.name} can be judged"
        there = [name for name in expected if _is_there(facts.units.get(name))]
        stood = now - max([opened, *(row.landed[name] for name in there if name in row.landed)])
        shares = [min(1.0, count / len(expected)) for count in (len(there), len(there) + 1)]
        waves = _waves(stage, len(expected))
        points = [_point(course.legs[stage.name], waves, *shares) for course in comparable]
        late = _lateness(row, facts, expected, opened, now)
    pairs = [
        (point, sum(_scaled(course.legs[stage.name], _waves(stage, len(names))) for stage, names in later))
        for course, point in zip(comparable, points, strict=True)
    ]
    samples = [max(0.0, point.rest - stood) + others for point, others in pairs if point.gap >= stood]
    missing = FEWEST - len(samples)
    if missing > 0:
        faster = sorted((pair for pair in pairs if pair[0].gap < stood), key=lambda pair: -pair[0].gap)
        samples += [(point.rest + others) * stood / max(point.gap, 1.0) for point, others in faster[:missing]]
    fixed = waits + sum(stage.step.soak_seconds for stage, _ in later)
    return _Ahead(tuple(sorted(samples)), fixed, late, len(comparable), stretched=missing > 0)


@dataclass(frozen=True, slots=True)
class _Point:
    """Where a course was when as many of a step's clusters were Healthy as now: until the next one was; to its end."""

    gap: float
    rest: float


def _point(leg: Leg, waves: int, share: float, following: float) -> _Point:
    scale = waves / leg.waves
    reached, next_one = (_landed_at(leg, place) * scale for place in (share, following))
    return _Point(next_one - reached, max(0.0, leg.seconds * scale - reached))


def _is_left_out(row: Row, name: ClusterName, fact: UnitFact | None) -> bool:
    return fact is not None and (not fact.target or fact.condition in _LEFT_OUT or name in row.excused)


def _is_there(fact: UnitFact | None) -> bool:
    return fact is not None and fact.released and fact.condition is Condition.WELL


def _lateness(row: Row, facts: RowFacts, expected: Iterable[ClusterName], opened: float | None, now: float) -> float:
    """How long a cluster that cannot be reached may still be waited for."""
    begun = now if opened is None else opened
    ends = [
        away_since(row, name, row.flying.get(name, begun)) + facts.patience_seconds - now
        for name in expected
        if (fact := facts.units.get(name)) is not None and fact.condition is Condition.AWAY
    ]
    return max([0.0, *ends])


def _scaled(leg: Leg, waves: int) -> float:
    return leg.seconds * waves / leg.waves


def _landed_at(leg: Leg, share: float) -> float:
    """When a share of a step's clusters was Healthy, in seconds after its beginning."""
    points = (0.0, *leg.landed)
    place = share * len(leg.landed)
    below = min(int(place), len(leg.landed))
    above = min(below + 1, len(leg.landed))
    return points[below] + (place - below) * (points[above] - points[below])


def _quantile(ahead: _Ahead, share: float) -> float:
    """The rest that is not exceeded in this share of cases, if what comes is drawn as what was."""
    return ahead.fixed + max(0.0, _of_samples(ahead.samples, share))


def _of_samples(samples: Sequence[float], share: float) -> float:
    if samples[-1] - samples[0] < 1e-9:
        return samples[0]
    if len(samples) >= BY_RANK:
        rank = share * (len(samples) + 1) - 1  # a new one falls below each rank with this chance
        below = min(max(0, math.floor(rank)), len(samples) - 2)
        return samples[below] + (rank - below) * (samples[below + 1] - samples[below])
    floor = 0.1 * statistics.fmean(samples)  # a rest near nothing says little, and its logarithm much
    logs = [math.log(sample + floor) for sample in samples]
    count = len(logs)
    spread = statistics.stdev(logs) * math.sqrt(1 + 1 / count) * _T90[count - 2]
    return math.exp(statistics.fmean(logs) + (spread if share > 0.5 else -spread)) - floor


# In words


def said(found: Forecast) -> str:
    """One line: `ends in 40-55 min (80 %, from 14 earlier rollouts of web)`, or why there is no forecast."""
    if found.low is None or found.high is None:
        return found.basis
    return f"ends in {span(found.low, found.high)}{' ' + found.after if found.after else ''} (80 %, {found.basis})"


def span(low: float, high: float) -> str:
    """Seconds from and to, in the unit that suits both."""
    if high < 120:
        return f"{low:.0f}-{max(1.0, high):.0f} s"
    if high < 2 * 3600:
        return f"{low / 60:.0f}-{high / 60:.0f} min"
    return f"{low / 3600:.1f}-{high / 3600:.1f} h"
