"""Limits of a step: who goes first under them, and what a share is of where a commit changes several overlays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from fleet.core.advance import Advance, advance
from fleet.core.ids import ClusterName, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Row
from fleet.core.problems import Origin
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.rollout_policy import Amount, Step
from fleet.core.steps import Stage

HERE = Origin("fleet.yaml", 1)
WEB, AGENT = OverlayName("web"), OverlayName("agent")
ONE, HALF, TENTH = Amount(number=1), Amount(share=0.5), Amount(share=0.1)
ONE_MAY_MISS = Step("all", HERE, rest=True, max_unavailable=ONE)


def names(count: int) -> tuple[ClusterName, ...]:
    return tuple(ClusterName(f"c{n:02}") for n in range(count))


class World:
    """One commit over some overlays; a cluster is ill until its web is released, or for good."""

    def __init__(
        self, step: Step, clusters: Mapping[OverlayName, Iterable[ClusterName]], ill: Iterable[int] = (), *, mends=True
    ) -> None:
        self.stages = {overlay: Stage(step, tuple(found)) for overlay, found in clusters.items()}
        self.ill, self.mends = {ClusterName(f"c{n:02}") for n in ill}, mends
        rows = {overlay: Row(dict.fromkeys(stage.clusters, "new")) for overlay, stage in self.stages.items()}
        self.passage = Passage(Revision("c" * 40), 0.0, rows, overlays=tuple(rows))
        self.released: list[UnitName] = []
        self.busy: set[UnitName] = set()
        self.now = 0.0

    def fact(self, unit: UnitName) -> UnitFact:
        released, is_ill = unit in self.released, unit.cluster in self.ill
        if unit in self.busy:
            return UnitFact("new", released, Condition.BUSY, available=False)
        if released and self.mends:
            return UnitFact("new", released, Condition.WELL)
        return UnitFact("new", released, Condition.BAD if is_ill else Condition.WELL, not is_ill, "it crashes")

    def look(self) -> Advance:
        self.now += 1.0
        facts = {
            overlay: RowFacts((stage,), {name: self.fact(UnitName(overlay, name)) for name in stage.clusters}, 600.0)
            for overlay, stage in self.stages.items()
        }
        found = advance(self.passage, facts, self.now, self.now)
        self.passage = found.passage
        self.released += found.releases
        self.busy = set(found.releases)
        return found

    def clusters(self, overlay: OverlayName = WEB) -> list[str]:
        return [str(unit.cluster) for unit in self.released if unit.overlay == overlay]


@pytest.mark.parametrize("ill", [(0,), (1,), (3,), (1, 3), (0, 1, 2, 3)])
@pytest.mark.parametrize("one_first", [False, True])
def test_what_is_ill_gets_what_may_mend_it_though_no_other_may_be_lost(ill: tuple[int, ...], one_first: bool) -> None:
    world = World(replace(ONE_MAY_MISS, one_first=one_first), {WEB: names(4)}, ill)
    for _ in range(12):
        assert len({unit.cluster for unit in world.busy} | world.ill) <= max(1, len(ill))
        world.look()
        world.ill -= {unit.cluster for unit in world.released}
    assert sorted(world.clusters()) == [str(name) for name in names(4)]
    assert world.clusters()[0] == f"c{ill[0]:02}"


def test_twin_where_it_mends_nothing_it_halts_there_and_reaches_no_other() -> None:
    world = World(ONE_MAY_MISS, {WEB: names(4)}, (3,), mends=False)
    for _ in range(4):
        world.look()
    assert world.clusters() == ["c03"]
    assert world.passage.halted is not None


def test_one_cluster_first_is_the_first_of_the_step_where_the_limit_lets_it_go() -> None:
    """On one that is ill before, a first one would tell little."""
    step = replace(ONE_MAY_MISS, one_first=True, max_unavailable=Amount(number=2))
    world = World(step, {WEB: names(4)}, (3,))
    world.look()
    assert world.clusters() == ["c00"]
    world.look()
    world.look()
    assert world.clusters()[:2] == ["c00", "c03"], "and then what is ill"


def test_what_is_ill_goes_by_the_clusters_at_a_time_like_others() -> None:
    world = World(replace(ONE_MAY_MISS, max_parallel=ONE), {WEB: names(4)}, (2, 3))
    world.look()
    assert world.clusters() == ["c02"]
    assert "1 at a time" in world.look().steps[0].why
    world.look()
    assert world.clusters() == ["c02", "c03"]


def test_a_cluster_on_which_another_overlay_is_under_way_is_free_though_one_before_it_is_not() -> None:
    step = Step("all", HERE, rest=True, max_parallel=ONE)
    world = World(step, {AGENT: names(4)[1:], WEB: names(4)})
    world.look()
    assert (world.clusters(AGENT), world.clusters()) == (["c01"], ["c01"])


@pytest.mark.parametrize("limit", ["max_parallel", "max_unavailable"])
def test_a_share_is_one_of_each_overlays_own_clusters_too(limit: str) -> None:
    step = replace(Step("all", HERE, rest=True), **{limit: TENTH})
    alone = World(step, {WEB: names(3)})
    alone.look()
    assert alone.clusters() == ["c00"]
    both = World(step, {AGENT: names(40), WEB: names(3)})
    both.look()
    assert both.clusters() == ["c00"]
    assert len(both.clusters(AGENT)) == 4, "twin: one with many has its share of them"
    assert both.look().steps[1].why


def test_twin_what_all_of_them_may_have_under_way_holds_for_all_of_them_together() -> None:
    found = names(8)
    world = World(replace(Step("all", HERE, rest=True), max_parallel=HALF), {AGENT: found[:6], WEB: found[2:]})
    world.look()
    assert len({unit.cluster for unit in world.released}) == 4
    fixed = World(Step("all", HERE, rest=True, max_parallel=Amount(number=2)), {AGENT: found[:4], WEB: found[4:]})
    fixed.look()
    assert (len(fixed.clusters(AGENT)), len(fixed.clusters())) == (2, 0)
