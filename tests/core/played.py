"""Rollouts played on a virtual clock: the pure state machine, and clusters that take random times to become Healthy."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fleet.core.advance import advance
from fleet.core.fleet import Cluster
from fleet.core.forecast import Course, Forecast, course_of, forecast, is_through
from fleet.core.ids import ClusterName, OverlayName, Revision
from fleet.core.passage import Passage, Row
from fleet.core.problems import Origin
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import Amount, RolloutPolicy, Step
from fleet.core.steps import stages_of

HERE = Origin("fleet.yaml", 1)
PATIENCE = 1e9
Draw = Callable[[random.Random, float], float]  # seconds from release to Healthy, of a rollout with this slowness


def _lognormal(dice: random.Random, slow: float) -> float:
    return slow * dice.lognormvariate(4.0, 0.5)


def _exponential(dice: random.Random, slow: float) -> float:
    return slow * dice.expovariate(1 / 60.0)


def _two_kinds(dice: random.Random, slow: float) -> float:
    """Most are quick; some must pull the image first."""
    return slow * (dice.uniform(5, 20) if dice.random() < 0.8 else dice.uniform(200, 400))


def _uniform(dice: random.Random, slow: float) -> float:
    return slow * dice.uniform(20, 100)


def _heavy(dice: random.Random, slow: float) -> float:
    return slow * min(20.0 * dice.paretovariate(1.8), 3600.0)


# How long one cluster takes x how alike the clusters of one rollout are.
DURATIONS: Mapping[str, Draw] = {
    "log-normal": _lognormal,
    "exponential": _exponential,
    "two kinds": _two_kinds,
    "uniform": _uniform,
    "heavy tail": _heavy,
}
HISTORIES = (5, 9, 14, 30)  # earlier rollouts that are known
SLOWNESS: Mapping[str, float] = {"clusters alone": 0.0, "whole rollouts slow or fast": 0.5}  # sigma of a common factor


def steps(*, soak: float = 120.0, parallel: int = 5) -> tuple[Step, ...]:
    return (
        Step("canary", HERE, environments=("dev",), one_first=True, soak_seconds=soak),
        Step("staging", HERE, environments=("staging",), max_parallel=Amount(share=0.5)),
        Step("prod", HERE, rest=True, max_parallel=Amount(number=parallel)),
    )


def fleet(dev: int = 3, staging: int = 6, prod: int = 21) -> dict[ClusterName, Cluster]:
    sizes = {"dev": dev, "staging": staging, "prod": prod}
    return {
        ClusterName(f"{stage}-{number:02}"): Cluster(ClusterName(f"{stage}-{number:02}"), HERE, environment=stage)
        for stage, count in sizes.items()
        for number in range(count)
    }


@dataclass
class Played:
    """One rollout from its beginning to its end; `at(seconds)` plays up to a moment."""

    clusters: Mapping[ClusterName, Cluster]
    policy: RolloutPolicy
    draws: Mapping[OverlayName, Callable[[], float]]
    now: float = 0.0
    passage: Passage = field(init=False)
    _healthy_at: dict[tuple[OverlayName, ClusterName], float] = field(default_factory=dict)
    _events: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        rows = {overlay: Row(dict.fromkeys(self.clusters, "new")) for overlay in self.draws}
        self.passage = Passage(Revision("c1"), 0.0, rows)
        self.stages = stages_of(self.policy, self.clusters, ()).stages
        self._look()

    def facts(self) -> dict[OverlayName, RowFacts]:
        return {
            overlay: RowFacts(self.stages, {name: self._fact(overlay, name) for name in self.clusters}, PATIENCE)
            for overlay in self.draws
        }

    def _fact(self, overlay: OverlayName, name: ClusterName) -> UnitFact:
        healthy_at = self._healthy_at.get((overlay, name))
        condition = Condition.WELL if healthy_at is None or healthy_at <= self.now else Condition.BUSY
        return UnitFact("new", healthy_at is not None, condition, condition is Condition.WELL)

    def _look(self) -> None:
        while True:
            found = advance(self.passage, self.facts(), self.now, self.now)
            self.passage = found.passage
            for unit in found.releases:
                at = self.now + self.draws[unit.overlay]()
                self._healthy_at[unit.overlay, unit.cluster] = at
                heapq.heappush(self._events, at)
            if found.due is not None:
                heapq.heappush(self._events, found.due)
            if not found.releases:
                return

    @property
    def is_over(self) -> bool:
        return all(is_through(row, self.stages) for row in self.passage.rows.values())

    def at(self, until: float) -> None:
        """Play up to a moment; the clock stops where the rollout ends."""
        while self._events and not self.is_over and self._events[0] <= until:
            self.now = max(self.now, heapq.heappop(self._events))
            self._look()
        if not self.is_over:
            self.now = max(self.now, min(until, 1e12))

    def to_the_end(self) -> float:
        self.at(math.inf)
        assert self.is_over
        return self.now

    def courses(self) -> dict[OverlayName, Course]:
        facts = self.facts()
        found = {overlay: course_of(row, facts[overlay]) for overlay, row in self.passage.rows.items()}
        return {overlay: course for overlay, course in found.items() if course is not None}


@dataclass(frozen=True)
class Asked:
    """One forecast amid one rollout, and what came of it."""

    durations: str
    slowness: str
    history: int
    overlays: int
    forecast: Forecast
    truth: float  # seconds from the question to the end

    @property
    def is_inside(self) -> bool:
        low, high = self.forecast.low, self.forecast.high
        assert low is not None
        assert high is not None
        return low <= self.truth <= high


def ask_all(worlds: int, each: int, seed: int, *, overlays: int = 1) -> Iterator[Asked]:
    """`each` rollouts in so many worlds; each is asked once, at a moment that knows nothing of its course.

    A world has durations, slowness, clusters and steps of its own, and earlier rollouts; each question knows some of
    them, drawn anew.
    """
    dice = random.Random(seed)
    kinds = [(durations, slowness) for slowness in SLOWNESS for durations in DURATIONS]
    for number in range(worlds):
        durations, slowness = kinds[number % len(kinds)]
        world = _World(dice, durations, slowness, overlays)
        earlier = [world.begun() for _ in range(max(HISTORIES))]
        usual = sorted(one.to_the_end() for one in earlier)[len(earlier) * 9 // 10]
        kept = [one.courses() for one in earlier]
        for question in range(each):
            history = HISTORIES[question % len(HISTORIES)]
            chosen = dice.sample(kept, history)
            courses = {name: tuple(one[name] for one in chosen) for name in world.names}
            ours = world.begun()
            ours.at(dice.uniform(0.0, usual))
            if ours.is_over:
                continue  # asked too late
            said, asked_at = forecast(ours.passage, ours.facts(), courses, ours.now), ours.now
            yield Asked(durations, slowness, history, overlays, said, ours.to_the_end() - asked_at)


class _World:
    def __init__(self, dice: random.Random, durations: str, slowness: str, overlays: int) -> None:
        self.dice, self.draw, self.sigma = dice, DURATIONS[durations], SLOWNESS[slowness]
        self.names = [OverlayName(f"o{index}") for index in range(overlays)]
        self.clusters = fleet(prod=dice.randint(6, 18))
        self.policy = RolloutPolicy(steps(parallel=dice.randint(2, 6)))

    def begun(self) -> Played:
        slow = math.exp(self.dice.gauss(0.0, self.sigma))
        return Played(self.clusters, self.policy, {name: lambda: self.draw(self.dice, slow) for name in self.names})
