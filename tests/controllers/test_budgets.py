"""Which budget counts for the deletions of a commit that changes it (R9)."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from hubworld import AT_ONCE, cluster_file, config_map, overlay

from fleet.controllers.budgets import BUDGETS
from fleet.core.planning.holds import stricter
from fleet.core.rollout import Apply
from fleet.core.sync_policy import Budget
from fleet.errors import StateDamaged

NAMES = [f"c{number}" for number in range(6)]
OTHER_NAME = "metadata: {name: other}"
STRICT, LOOSE = Budget(), Budget(1000, 1.0, 8, 1000)
SAID = {"strict": "", "loose": "budget: {objects: 1000, share: 100%, clusters: 1000}, "}


def fleet_file(budget: str) -> dict[str, str]:
    return {"fleet.yaml": AT_ONCE.replace("spec: {", "spec: {" + SAID[budget])}


def files(budget: str, *objects: str) -> dict[str, str | None]:
    made: dict[str, str | None] = {**fleet_file(budget)}
    made |= {f"clusters/{name}.yaml": cluster_file(name) for name in NAMES}
    return made | overlay("overlays/web", {name: config_map(name, "1") for name in ("keep", *objects)})


def told(brain: Brain) -> Budget:
    """The budget that the workers go by, which is the hub's, too."""
    order, fleet = brain.desired("web@c0"), brain.view.fleet
    assert order is not None
    assert fleet is not None
    assert order.policy.budget == fleet.budget
    return order.policy.budget


def permits(brain: Brain) -> int:
    orders = [brain.desired(f"web@{name}") for name in NAMES]
    return sum(isinstance(order.action, Apply) and bool(order.action.permits) for order in orders if order)


async def later(brain: Brain, seconds: float) -> None:
    brain.wall.now += seconds
    await brain.commits.fetch_once()


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_looser_budget_counts_an_hour_after_its_fetch_and_not_for_its_own_commit(
    brain: Brain, restarted: bool
) -> None:
    await brain.commit(files("strict", "x"))
    await brain.commit(files("loose") | {"overlays/web/x.yaml": None})
    assert told(brain) == stricter(STRICT, LOOSE) == STRICT  # as a plan of it forecasts
    assert permits(brain) == 0
    assert [row for row in await brain.state.events() if "the budget of" in row.event.message]
    if restarted:
        brain = await brain.restart()
        await brain.commits.resume()
    try:
        await later(brain, 3000)
        assert told(brain) == STRICT
        await later(brain, 700)
        assert told(brain) == LOOSE
        await brain.commit(files("loose", "y"))
        await brain.commit(files("loose") | {"overlays/web/y.yaml": None})
        assert permits(brain) == len(NAMES)
    finally:
        if restarted:
            await brain.close()


async def test_a_tighter_budget_counts_at_once_and_the_first_one_too(brain: Brain) -> None:
    brain.repo.commit(files("loose", "x"))
    made = Brain(brain.root / "new", brain.repo, brain.tool)
    await made.board.start()
    try:
        await made.commits.fetch_once()
        assert told(made) == LOOSE
        await made.commit(files("strict", "x"))
        assert told(made) == STRICT
        await made.commit(fleet_file("loose"))
        await later(made, 3500)
        assert told(made) == STRICT
    finally:
        await made.close()


@pytest.mark.parametrize("text", ["kind: [", fleet_file("loose")["fleet.yaml"].replace("name: default", "name: other")])
async def test_a_commit_that_is_not_taken_over_loosens_nothing(brain: Brain, text: str) -> None:
    await brain.commit(files("strict", "x"))
    await brain.commit({"fleet.yaml": text})
    await later(brain, 7200)
    assert told(brain) == STRICT


async def test_budgets_that_cannot_be_read_are_not_taken_for_none(brain: Brain) -> None:
    await brain.state.set_value(BUDGETS, "{")
    with pytest.raises(StateDamaged, match="budgets"):
        await brain.commit(files("strict", "x"))
