"""Holds that a plan foretells: those that the worker and the hub ask for, and no others (R9, R10)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from core.building import ref
from core.test_change import HASHES, config, fleet_of, plan, printed, result, shrink, web

from fleet.core.planning.change import UnitChange
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Amount, RolloutPolicy, Step

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
