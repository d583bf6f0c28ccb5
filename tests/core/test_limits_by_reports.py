"""Limits of a step by what workers really say: no link of a report hides a unit that is on its way.

The worker reports a new bundle as applied at once, together with all that waits for a person or a window; its pods
come after that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fleet.core.advance import Advance, advance
from fleet.core.fleet import Cluster, Overlay, Unit
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Row
from fleet.core.problems import Origin
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import Amount, OnFailure, Step
from fleet.core.status import ASKS_RECOVERY, WELL, Blocker, Health, Report, Standing, Sync, UnitReport
from fleet.core.steps import Stage
from fleet.core.sync_policy import Suspension
from fleet.core.unit_facts import fact_of
from fleet.errors import OwnedByOther

HERE = Origin("fleet.yaml", 1)
WEB = Overlay(OverlayName("web"), "overlays/web", HERE)
OLD, NEW = Rendered(Digest("b1"), Revision("1" * 40)), Rendered(Digest("b2"), Revision("2" * 40))
NAMES = [ClusterName(f"c{n}") for n in range(6)]
PATIENCE = 600.0
ONE_AT_A_TIME = Step("all", HERE, rest=True, max_parallel=Amount(number=1))
ONE_FIRST = Step("all", HERE, rest=True, one_first=True)
ONE_MAY_MISS = Step("all", HERE, rest=True, max_unavailable=Amount(number=1))
LIMITS = pytest.mark.parametrize("step", [ONE_AT_A_TIME, ONE_FIRST, ONE_MAY_MISS], ids=["parallel", "first", "missing"])


def link(state: Standing, scope: str = "", reason: str = "test", next_step: str = "") -> Blocker:
    return Blocker(state, scope, reason, 1.0, "", next_step)


def report(name: ClusterName, bundle: Rendered, health: Health, *links: Blocker, told: Rendered | None = None):
    sync = Sync.OUT_OF_SYNC if any(each.state is Standing.HELD for each in links) else Sync.SYNCED
    return UnitReport(
        UnitName(WEB.name, name), bundle.commit, bundle.bundle, sync, health, 1.0,
        observed_commit=(told or bundle).commit, blocked_by=links,
    )  # fmt: skip


def fact(name: ClusterName, held: Rendered, said: UnitReport | None, *suspensions: Suspension) -> UnitFact:
    unit = Unit(UnitName(WEB.name, name), WEB.directory, HERE, (), {}, WEB, Cluster(name, HERE))
    cluster = Report(name, 1, 1, 100.0, reachable=True, began_at=0.5)
    return fact_of(
        unit, result=NEW, held=held, report=said, cluster=cluster, suspensions=suspensions, quarantine={}, behind="",
        now=100.0,
    )  # fmt: skip


class Fleet:
    """Six clusters and one step of a rollout; what they report is up to the test, by what they hold."""

    def __init__(self, step: Step, says: Callable[[ClusterName, Rendered], UnitReport]) -> None:
        self.stage, self.says = Stage(step, tuple(NAMES)), says
        self.held = dict.fromkeys(NAMES, OLD)
        self.passage = Passage(NEW.commit, 0.0, {WEB.name: Row(dict.fromkeys(NAMES, NEW.bundle))}, overlays=(WEB.name,))
        self.now, self.suspensions = 0.0, tuple[Suspension, ...]()

    def look(self, seconds: float = 1.0) -> Advance:
        self.now += seconds
        facts = {
            name: fact(name, self.held[name], self.says(name, self.held[name]), *self.suspensions) for name in NAMES
        }
        row = RowFacts((self.stage,), facts, PATIENCE, OnFailure.HALT)
        found = advance(self.passage, {WEB.name: row}, self.now, self.now)
        self.passage = found.passage
        self.held |= {unit.cluster: NEW for unit in found.releases}
        return found

    def on(self, looks: int = 0) -> list[ClusterName]:
        for _ in range(looks):
            self.look()
        return [name for name in NAMES if self.held[name] == NEW]


DROPS = link(Standing.HELD, "web@c0", "would delete PersistentVolumeClaim shop/data", "fleet get holds")


# A hold beside what is on its way


@LIMITS
def test_what_starts_is_on_its_way_whatever_deletion_waits_beside_it(step: Step) -> None:
    world = Fleet(
        step,
        lambda name, held: (
            report(name, held, Health.PROGRESSING, DROPS) if held is NEW else report(name, held, Health.HEALTHY)
        ),
    )
    assert world.on(looks=8) == NAMES[:1]
    assert not world.passage.halted
    world.look(PATIENCE)
    assert world.passage.halted, "and it is late as any other"
    assert world.on(looks=2) == NAMES[:1]


@LIMITS
def test_a_hold_of_an_earlier_commit_hides_no_unit_that_its_worker_was_told_nothing_of_yet(step: Step) -> None:
    answered: set[ClusterName] = set()

    def says(name: ClusterName, held: Rendered) -> UnitReport:
        if held is NEW and name in answered:
            return report(name, NEW, Health.PROGRESSING, DROPS)
        return report(name, OLD, Health.HEALTHY, DROPS)

    world = Fleet(step, says)
    assert world.on(looks=5) == NAMES[:1]
    answered.add(NAMES[0])
    assert world.on(looks=5) == NAMES[:1]


def test_a_step_is_not_over_with_a_release_that_its_worker_was_told_nothing_of_yet() -> None:
    """The last one was released; all that is known of it is a hold of before."""

    def says(name: ClusterName, held: Rendered) -> UnitReport:
        if name == NAMES[-1]:
            return report(name, OLD, Health.HEALTHY, DROPS)
        return report(name, held, Health.HEALTHY)

    world = Fleet(Step("all", HERE, rest=True), says)
    assert world.on(looks=4) == NAMES
    assert "all" not in world.passage.rows[WEB.name].passed


@LIMITS
def test_twin_one_that_has_it_and_is_healthy_is_left_out_while_its_deletion_waits(step: Step) -> None:
    """A hold on every cluster: they get it one after the other, each once the one before was Healthy on it."""
    ready: set[ClusterName] = set()

    def says(name: ClusterName, held: Rendered) -> UnitReport:
        links = (DROPS,) if held is NEW else ()
        return report(name, held, Health.HEALTHY if held is OLD or name in ready else Health.PROGRESSING, *links)

    world = Fleet(step, says)
    for count in range(1, len(NAMES)):
        assert world.on(looks=3) == NAMES[:count]
        ready.add(NAMES[count - 1])
    assert world.on(looks=3) == NAMES
    ready.add(NAMES[-1])
    world.look()
    assert "all" not in world.passage.rows[WEB.name].passed, "none of it is whole: that is a person's word"


@LIMITS
def test_what_is_asked_about_before_all_of_it_is_there_counts_by_the_limits(step: Step) -> None:
    """As a replacement that waits: what is there of it may be anything, and all of it goes on at once when allowed."""
    health = Health.HEALTHY
    world = Fleet(
        step,
        lambda name, held: (
            report(name, OLD, health, DROPS, told=NEW) if held is NEW else report(name, OLD, Health.HEALTHY)
        ),
    )
    assert world.on(looks=5) == NAMES[:1]
    said = world.look().steps[0].why
    if step is not ONE_MAY_MISS:
        assert said.endswith("and a person is asked: c0 (would delete PersistentVolumeClaim shop/data)")
    world.look(PATIENCE)
    assert not world.passage.halted, "it waits for a person, and is not late"
    health = Health.PROGRESSING
    world.look()
    world.look(PATIENCE)
    assert world.passage.halted, "half of it is there, and does not become Healthy"


def test_twin_it_is_left_out_of_its_step_as_before() -> None:
    def says(name: ClusterName, held: Rendered) -> UnitReport:
        if name == NAMES[0] and held is NEW:
            return report(name, OLD, Health.HEALTHY, DROPS, told=NEW)
        return report(name, held, Health.HEALTHY)

    world = Fleet(Step("all", HERE, rest=True, max_parallel=Amount(number=2)), says)
    assert world.on(looks=8) == NAMES
    assert world.look().steps[0].why.startswith("left out: c0")
    assert "all" in world.passage.rows[WEB.name].passed


def test_nothing_is_released_to_a_unit_that_waits_for_its_recovery() -> None:
    asks = link(Standing.HELD, "cluster c0", "its record was rebuilt", ASKS_RECOVERY)
    waits = {NAMES[0]}
    world = Fleet(
        ONE_AT_A_TIME, lambda name, held: report(name, held, Health.HEALTHY, *((asks,) if name in waits else ()))
    )
    assert world.on(looks=8) == NAMES[1:], "it holds no other up"
    waits.clear()
    assert world.on(looks=2) == NAMES


@pytest.mark.parametrize("health", Health)
@pytest.mark.parametrize("told", [None, OLD, NEW])
def test_what_nothing_is_written_to_is_neither_late_nor_free_whatever_is_known_of_it(
    health: Health, told: Rendered | None
) -> None:
    """Its record was lost after the release: until a person's word nothing of it is ever applied."""
    asks = link(Standing.HELD, "cluster c0", "its record was rebuilt", ASKS_RECOVERY)
    said = replace(report(NAMES[0], OLD, health, asks), observed_commit=told.commit if told else None)
    assert fact(NAMES[0], NEW, said).condition is Condition.HELD
    other = replace(said, blocked_by=(link(Standing.HELD, "cluster c0", "rival was there first"),))
    assert fact(NAMES[0], NEW, replace(other, reason=OwnedByOther.__name__)).condition is Condition.HELD
    is_held = told is NEW and health in WELL
    assert fact(NAMES[0], NEW, other).condition is (Condition.HELD if is_held else Condition.BUSY), "twin: a hold alone"


# A suspension that is over


@LIMITS
@pytest.mark.parametrize("scope", ["fleet", "cluster {}", "overlay web", "unit web@{}"])
def test_after_a_suspension_what_is_on_its_way_counts_before_its_worker_says_so(step: Step, scope: str) -> None:
    says_so = False

    def says(name: ClusterName, held: Rendered) -> UnitReport:
        links = (link(Standing.SUSPENDED, scope.format(name)),) if says_so else ()
        return report(name, held, Health.HEALTHY if held is OLD else Health.PROGRESSING, *links)

    world = Fleet(step, says)
    assert world.on(looks=2) == NAMES[:1]
    world.suspensions, says_so = (Suspension("incident", "jo", scope=scope),), True
    assert world.on(looks=3) == NAMES[:1]
    world.suspensions = ()
    assert world.on(looks=5) == NAMES[:1]
    assert fact(NAMES[1], NEW, says(NAMES[1], OLD)).condition is Condition.WAITS, "one that was just released too"
    says_so = False
    assert world.on(looks=5) == NAMES[:1]


def test_twin_what_is_suspended_now_is_left_out() -> None:
    stopped = Suspension("disk swap", "jo", scope="cluster c0")
    found = fact(NAMES[0], NEW, report(NAMES[0], NEW, Health.PROGRESSING), stopped)
    assert (found.condition, found.why) == (Condition.STOPPED, "suspended by jo: disk swap")


def test_a_unit_whose_objects_a_suspended_one_has_waits_for_a_person() -> None:
    other = link(Standing.SUSPENDED, "overlay shop", "ConfigMap a moves here from shop, which is suspended by jo")
    assert fact(NAMES[0], NEW, report(NAMES[0], OLD, Health.HEALTHY, other, told=NEW)).condition is Condition.HELD


# A window that closed


@pytest.mark.parametrize("health", [Health.PROGRESSING, Health.MISSING, Health.UNKNOWN])
def test_a_window_that_closed_hides_no_unit_that_has_it_and_hangs(health: Health) -> None:
    closed = link(Standing.WAITS, "web@c0", "outside all allow windows")
    world = Fleet(
        Step("all", HERE, rest=True),
        lambda name, held: report(name, held, health, closed) if held is NEW else report(name, held, Health.HEALTHY),
    )
    world.look()
    assert not world.look(PATIENCE - 1.0).passage.halted
    assert world.look().passage.halted


@pytest.mark.parametrize(("bundle", "sync"), [(OLD, Sync.SYNCED), (NEW, Sync.OUT_OF_SYNC)])
def test_twin_what_waits_for_its_window_is_never_late(bundle: Rendered, sync: Sync) -> None:
    closed = link(Standing.WAITS, "web@c0", "outside all allow windows")
    world = Fleet(
        Step("all", HERE, rest=True),
        lambda name, held: (
            replace(report(name, bundle, Health.HEALTHY, closed, told=NEW), sync=sync)
            if held is NEW
            else report(name, held, Health.HEALTHY)
        ),
    )
    for _ in range(3):
        assert not world.look(PATIENCE).passage.halted
    assert "all" not in world.passage.rows[WEB.name].passed
