"""What a newer result overtook on its way counts by the limits of its step, until it is there or not waited for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleet.core.advance import Advance, advance
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passages, Row, Stop, decode_last, decode_passages, encode_last, encode_passages
from fleet.core.problems import Origin
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import Amount, Step
from fleet.core.steps import Stage
from fleet.core.takeover import RolloutUnit, aborted, settle, take_over

WEB, HERE = OverlayName("web"), Origin("fleet.yaml", 1)
NAMES = tuple(ClusterName(f"c{n}") for n in range(3))
FIRST, SECOND, THIRD = NAMES
ONE_AT_A_TIME = Step("all", HERE, rest=True, max_parallel=Amount(number=1))


def rendered(number: int) -> Rendered:
    return Rendered(Digest(f"b{number}"), Revision(str(number) * 40))


class World:
    """Web on three clusters, one at a time; what each is on its way with is up to the test."""

    def __init__(self, step: Step = ONE_AT_A_TIME) -> None:
        self.stage = Stage(step, NAMES)
        self.held = dict.fromkeys(NAMES, rendered(0))
        self.newest = rendered(0)
        self.kept = Passages()
        self.busy: set[ClusterName] = set()
        self.unbuilt: set[ClusterName] = set()
        self.conditions: dict[ClusterName, Condition] = {}
        self.now = 0.0

    def commit(self, number: int) -> None:
        self.newest = rendered(number)

    def fact(self, name: ClusterName) -> UnitFact:
        target = "" if name in self.unbuilt else self.newest.bundle
        released = self.held[name].bundle == target
        condition = self.conditions.get(name, Condition.BUSY if released and name in self.busy else Condition.WELL)
        older = Condition.WELL
        if not released and name in self.busy:
            older = Condition.STOPPED if condition is Condition.STOPPED else Condition.BUSY
        return UnitFact(target, released, condition, name not in self.busy, "", older)

    def look(self, seconds: float = 1.0) -> Advance:
        self.now += seconds
        wanted = {name: RolloutUnit(self.newest, self.held[name]) for name in NAMES if name not in self.unbuilt}
        self.kept = take_over(self.kept, WEB, wanted, self.newest.commit, self.now)
        facts = RowFacts((self.stage,), {name: self.fact(name) for name in NAMES}, 600.0)
        passage = self.kept.all[-1]
        found = advance(passage, {WEB: facts}, self.now, self.now)
        rows = dict(found.passage.rows)
        for unit in found.releases:
            before = {unit.cluster: self.held[unit.cluster], **rows[WEB].before}
            rows[WEB] = replace(rows[WEB], before=before)
            self.held[unit.cluster] = self.newest
            self.busy.add(unit.cluster)
        self.kept = settle(self.kept, replace(found.passage, rows=rows), self.now)
        return found

    def restart(self) -> None:
        last = decode_last(encode_last(self.kept))
        self.kept = replace(decode_passages(encode_passages(self.kept)), last=last)

    def newest_at(self) -> list[ClusterName]:
        return [name for name in NAMES if self.held[name] == self.newest]


def overtaken(step: Step = ONE_AT_A_TIME) -> World:
    """The second one is on its way with 1 when 2 comes, the first one is there."""
    world = World(step)
    world.commit(1)
    world.look()
    world.busy.clear()
    world.look()
    assert (world.newest_at(), world.busy) == ([FIRST, SECOND], {SECOND})
    world.commit(2)
    return world


def test_the_newest_goes_to_it_alone_until_it_is_healthy() -> None:
    world = overtaken()
    for _ in range(3):
        world.look()
        assert world.newest_at() == [SECOND]
    world.busy.clear()
    world.look()
    assert world.newest_at() == [FIRST, SECOND]


def test_twin_it_is_forgotten_once_it_is_healthy_on_what_it_holds() -> None:
    world = overtaken()
    world.busy.clear()
    world.look()
    assert (world.newest_at(), world.kept.all[-1].rows[WEB].overtaken) == ([FIRST], {})


@pytest.mark.parametrize("restarted", [False, True])
def test_however_many_commits_came_since(restarted: bool) -> None:
    world = overtaken()
    world.unbuilt = {SECOND}
    for number in range(2, 6):
        world.commit(number)
        said = world.look()
        if restarted:
            world.restart()
        assert world.newest_at() == []
        assert "1 at a time, under way: c1 (with an earlier result)" in said.steps[0].why
    world.unbuilt.clear()
    world.look()
    assert world.newest_at() == [SECOND]


def test_of_a_commit_that_was_aborted_too_though_its_rollout_is_kept_as_a_line_alone() -> None:
    world = overtaken()
    world.commit(1)
    world.kept = aborted(world.kept, world.kept.all[-1], Stop("test", "jo", 0.0))
    for n in range(9):
        other = replace(world.kept.all[0], commit=Revision(f"o{n}"), rows={OverlayName("other"): Row({})}, outcome="")
        world.kept = settle(world.kept, replace(other, rows={OverlayName("other"): Row({}, done=True)}), world.now)
    assert not world.kept.all[0].rows
    world.restart()
    world.commit(2)
    world.look()
    assert world.newest_at() == [SECOND]


def test_one_that_is_lost_is_waited_for_as_any_other_and_no_longer() -> None:
    world = overtaken()
    world.conditions = {SECOND: Condition.AWAY}
    world.look()
    world.look(599.0)
    assert world.newest_at() == []
    world.look(2.0)
    assert world.newest_at() == [FIRST]


def test_a_persons_stop_stops_it_too_and_it_counts_when_it_goes_on() -> None:
    world = overtaken()
    world.conditions = {SECOND: Condition.STOPPED}
    world.look()
    assert world.newest_at() == [FIRST]
    world.busy.discard(FIRST)
    world.conditions.clear()
    world.look()
    assert world.newest_at() == [FIRST, SECOND]


def test_one_cluster_first_is_one_that_has_the_newest() -> None:
    """However many were overtaken: the newest goes to one of them alone."""
    world = World(Step("all", HERE, rest=True, one_first=True))
    world.commit(1)
    world.look()
    world.busy.clear()
    world.look()
    assert world.busy == {SECOND, THIRD}
    world.commit(2)
    world.look()
    assert world.newest_at() == [FIRST]


def test_a_renamed_cluster_is_still_on_its_way() -> None:
    world = overtaken()
    world.unbuilt = {SECOND}
    world.look()
    moved = world.kept.renamed(SECOND, ClusterName("new"))
    assert set(moved.all[-1].rows[WEB].overtaken) == {"new"}
    assert UnitName(WEB, SECOND) not in moved.unsure
