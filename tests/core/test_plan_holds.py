"""Holds that a plan foretells: those that the worker and the hub ask for, and no others (R9, R10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core.building import ref
from core.test_change import HASHES, config, fleet_of, plan, printed, result, shrink, web

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName
from fleet.core.planning.change import SideProblem, UnitChange
from fleet.core.planning.remarks import remarks
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Amount, RolloutPolicy, Step
from fleet.core.selection import Target

HERE = Origin("fleet.yaml", 3)
OLD, NEW = (f"cfg-{suffix}" for suffix in HASHES[:2])
CONFIRM, DISABLED = {"fleet.internal/prune": "confirm"}, {"fleet.internal/prune": "disabled"}


def generated(name: str, value: str, **annotations: str) -> dict[str, Any]:
    document = config(name, v=value)
    return {**document, "metadata": {**document["metadata"], "annotations": annotations}}


def renamed(was: dict[str, str], now: dict[str, str], name: str = "web@eu-1", *, lost: int = 0) -> UnitChange:
    """A generator's literal changes, and its annotations from `was` to `now`. lost: other objects that go."""
    kept = [config(f"k{index}") for index in range(20)]
    gone = [config(f"d{index}") for index in range(lost)]
    before, after = [generated(OLD, "1", **was), *kept, *gone], [generated(NEW, "2", **now), *kept]
    names = ["cfg", *[""] * 20]
    return web(result(*before, generated=[*names, *[""] * lost]), result(*after, generated=names), name)


def test_an_old_generated_name_that_asks_before_it_goes_is_a_hold() -> None:
    found = plan([renamed(CONFIRM, CONFIRM, f"web@eu-{index}") for index in range(5)])
    (hold,) = found.holds
    assert (hold.reason, hold.refs, len(hold.units)) == ("prune-confirm", (ref(OLD),), 5)
    assert hold.message == f"would delete ConfigMap shop/{OLD}, marked prune: confirm"
    assert f"would delete ConfigMap shop/{OLD}, marked prune: confirm" in printed(found)


@pytest.mark.parametrize(
    ("was", "now", "asks"),
    [
        ({}, {}, False),
        (DISABLED, DISABLED, False),
        ({}, CONFIRM, False),
        (CONFIRM, {}, True),
        (DISABLED, CONFIRM, False),
    ],
)
def test_the_old_object_alone_says_whether_its_deletion_asks(
    was: dict[str, str], now: dict[str, str], asks: bool
) -> None:
    assert bool(plan([renamed(was, now)]).holds) is asks


def test_what_goes_beside_an_old_name_that_asks_waits_with_it() -> None:
    (hold,) = plan([renamed(CONFIRM, CONFIRM, lost=1)]).holds
    assert (hold.reason, hold.refs) == ("prune-confirm", (ref(OLD), ref("d0")))
    assert plan([renamed({}, {}, lost=1)]).holds == ()


def by_steps(names: list[str], *steps: Step) -> Fleet:
    fleet, policy = fleet_of(*names), RolloutPolicy(steps)
    units = {name: replace(unit, overlay=replace(unit.overlay, rollout=policy)) for name, unit in fleet.units.items()}
    return replace(fleet, units=units, overlays={unit.overlay.name: unit.overlay for unit in units.values()})


def kept(name: str, how: str) -> UnitChange:
    """A unit beside those that lose something: built anew to the same result, moved, gone, or not to be built."""
    same = result(config("k0"))
    if how == "same":
        return web(same, same, name)
    if how == "moved":
        return web(replace(same, path="overlays/was"), same, name)
    return web(same, None if how == "vanishes" else replace(same, result=SideProblem("RenderFailed", "no")), name)


@pytest.mark.parametrize("how", ["same", "moved", "vanishes", "unknown"])
def test_a_cluster_without_another_result_goes_first_in_no_step_and_takes_no_place(how: str) -> None:
    """`test_a_plan_says_which_clusters_go_when_and_who_is_asked` shows the same of a hub."""
    names = [f"web@eu-{index}" for index in range(6)]
    lost = [shrink(name, left=20, lost=1) for name in names[1:]]
    after = [name for name in names if how != "vanishes" or name != names[0]]
    every = Step("all", HERE, rest=True)
    for step in (replace(every, one_first=True), replace(every, max_parallel=Amount(number=4))):
        fleet = by_steps(after, step)
        alone, beside = plan(lost, fleet, fleet), plan([kept(names[0], how), *lost], fleet, fleet)
        assert alone.holds == beside.holds
        assert bool(alone.holds) is (not step.one_first)
        assert alone.courses[0].changed == beside.courses[0].changed == {ClusterName(f"eu-{n}") for n in range(1, 6)}
    first = plan([shrink(name, left=20, lost=1) for name in names], fleet_of(*names), fleet_of(*names))
    assert first.holds == ()  # where it has another result, it goes first, and proves


@pytest.mark.parametrize("how", ["same", "moved"])
def test_what_is_only_built_elsewhere_goes_through_no_step(how: str) -> None:
    found = plan([kept("web@eu-0", how), kept("web@eu-1", how)])
    assert found.courses == ()
    assert not [remark for remark in remarks(found) if remark.word == "Rollout"]
    assert ("path overlays/was -> overlays/web: the same objects, without steps" in printed(found)) is (how == "moved")
    beside = web(replace(result(config("a")), path="overlays/was"), result(config("b")), "web@eu-1")
    both = plan([kept("web@eu-0", how), beside])
    assert [course.changed for course in both.courses] == [{"eu-1"}]
    mixed = plan([beside])
    assert "path overlays/was -> overlays/web" in printed(mixed)
    assert "without steps" not in printed(mixed)


def test_a_limit_is_for_all_overlays_of_a_step_together() -> None:
    web_names, api_names = [f"web@eu-{n}" for n in range(6)], [f"api@ap-{n}" for n in range(2)]
    fleet = by_steps([*web_names, *api_names], Step("all", HERE, rest=True, max_parallel=Amount(number=4)))
    lost = [shrink(name, left=20, lost=1) for name in web_names]
    others = [web(result(config("a")), result(config("b")), name) for name in api_names]
    (all_of_them,) = plan(lost, fleet, fleet).holds  # four at once are more than the budget says
    assert list(map(str, all_of_them.units)) == web_names
    (rest,) = plan([*others, *lost], fleet, fleet).holds  # api takes two places, and web goes on one by one
    assert list(map(str, rest.units)) == web_names[3:]


def test_behind_a_step_that_asks_whole_nobody_is_asked_again_and_behind_one_that_goes_on_all_are() -> None:
    dev, prod = [f"web@dev-{n}" for n in range(5)], [f"web@prod-{n}" for n in range(5)]
    first = Step("dev", HERE, clusters=Target(HERE, names=tuple(ClusterName(f"dev-{n}") for n in range(5))))
    fleet = by_steps([*dev, *prod], first, Step("prod", HERE, rest=True))
    lost = [shrink(name, left=20, lost=1) for name in (*dev, *prod)]
    other = web(result(config("a")), result(config("b")), dev[0])

    def asked(*changes: UnitChange) -> list[str]:
        return sorted(str(unit) for hold in plan(changes, fleet, fleet).holds for unit in hold.units)

    assert asked(*lost) == dev  # prod comes once a person approved it there
    assert asked(other, *lost[1:]) == [*dev[1:], *prod]  # the step is over with dev-0
    assert asked(other, *lost[2:]) == []  # within the budget, and proven
    assert asked(web(*[result(config("k0"))] * 2, dev[0]), *lost[1:]) == dev[1:]


@pytest.mark.parametrize("limit", ["max_parallel", "max_unavailable"])
@pytest.mark.parametrize(
    ("most", "lost", "asked"), [(1, 3, 0), (1, 6, 3), (2, 6, 3), (4, 6, 6), (None, 6, 6), (0.7, 4, 4), (0.5, 4, 1)]
)
def test_of_a_step_under_a_limit_those_are_held_that_the_hub_holds(
    limit: str, most: float | None, lost: int, asked: int
) -> None:
    """`test_under_a_limit_the_first_clusters_of_a_step_delete_within_the_budget` shows the same of a hub."""
    names = [f"web@eu-{index}" for index in range(6)]
    fleet, step = fleet_of(*names), Step("all", Origin("fleet.yaml", 3), rest=True)
    if most is not None:
        amount = Amount(number=most) if isinstance(most, int) else Amount(share=most)
        step = replace(step, **{limit: amount})
    units = {
        name: replace(unit, overlay=replace(unit.overlay, rollout=RolloutPolicy((step,))))
        for name, unit in fleet.units.items()
    }
    limited = replace(fleet, units=units)
    changes = [shrink(name, left=20, lost=1) for name in names[:lost]]
    held = sorted(str(unit) for hold in plan(changes, limited, limited).holds for unit in hold.units)
    assert held == names[lost - asked : lost]
