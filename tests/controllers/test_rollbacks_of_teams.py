"""What a team's `onFailure: rollback` takes back: its own overlays, and nobody else's of the same commit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import cluster, last
from controllers.test_rollouts import CLUSTERS, rollouts_of, settle
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.fleet import Overlay
from fleet.core.ids import OverlayName, UnitName
from fleet.core.problems import Origin
from fleet.core.rollout_policy import OnFailure, RolloutPolicy
from fleet.core.status import Health
from fleet.core.together import going_back
from fleet.ports.state import OperationRow

CART, MALL, WEB, API = (OverlayName(name) for name in ("cart", "mall", "web", "api"))
FLEET = """apiVersion: fleet.internal/v1
kind: Fleet
metadata: {name: default}
spec:
  environments: [dev, prod]
  overlays: [{dirs: overlays/*}, {dirs: teams/shop/*}]
  teams:
    shop: {dirs: ["teams/shop/*"], clusters: {matchLabels: {}}, allow: {namespaces: [default], kinds: [ConfigMap]}}
  rollout: {steps: [{name: dev, environments: [dev]}, {name: prod, rest: true}]}
"""
DIRECTORIES = {CART: "teams/shop/cart", MALL: "teams/shop/mall", WEB: "overlays/web", API: "overlays/api"}


def said(name: OverlayName, value: str) -> dict[str, str]:
    """The overlay with another value; its policy, all but web's, asks for a rollback."""
    files = overlay(DIRECTORIES[name], {name: config_map(name, value)})
    if name is not WEB:
        files[f"{DIRECTORIES[name]}/overlay.yaml"] += "  rollout: {onFailure: rollback}\n"
    return files


def all_of(value: str) -> dict[str, str]:
    return {path: text for name in DIRECTORIES for path, text in said(name, value).items()}


@pytest.fixture
async def rollouts(brain: Brain) -> Rollouts:
    made = rollouts_of(brain)
    inventory = {path: text for name in CLUSTERS for path, text in cluster(name).items()}
    await brain.commit({"fleet.yaml": FLEET, **inventory, **all_of("1")})
    await settle(brain, made)
    return made


def on(brain: Brain, name: OverlayName) -> set[str]:
    """The clusters that are told to hold the newest result of an overlay."""
    found: set[str] = set()
    for at in CLUSTERS:
        told = brain.desired(f"{name}@{at}")
        if told is not None and told.action.bundle == brain.board.books.results[UnitName.parse(f"{name}@{at}")].bundle:
            found.add(at)
    return found


def report(brain: Brain, name: OverlayName, at: str, health: Health) -> None:
    unit = UnitName.parse(f"{name}@{at}")
    brain.view.units[unit] = replace(brain.view.units[unit], health=health)


async def order(brain: Brain, rollouts: Rollouts, target: str) -> str:
    """A person resumes; what came of it, in words."""
    name = f"op-{target}-{brain.wall()}"
    await brain.state.add_operation(OperationRow(name, "rollout-resume", target, "jo", brain.wall(), "because"))
    await settle(brain, rollouts)
    row = await brain.state.operation(name)
    assert row is not None
    return f"{row.outcome}: {row.message}"


async def failed(brain: Brain, rollouts: Rollouts, name: OverlayName, *, slow: OverlayName | None = None) -> str:
    """One commit changes all; all but `slow` are everywhere when one of them fails on prod-2. Returns the commit."""
    commit = await brain.commit(all_of("2"))
    for _ in range(6):
        await rollouts.look()
        await brain.answer()
        report(brain, name, "prod-2", Health.PROGRESSING)
        if slow is not None:
            report(brain, slow, "dev-1", Health.PROGRESSING)
    report(brain, name, "prod-2", Health.DEGRADED)
    await rollouts.look()
    return commit


@pytest.mark.parametrize(("name", "back"), [(CART, {CART, MALL}), (API, {API})])
async def test_a_failure_takes_back_no_overlay_of_another_team_and_none_whose_policy_does_not_say_so(
    brain: Brain, rollouts: Rollouts, name: OverlayName, back: set[OverlayName]
) -> None:
    await failed(brain, rollouts, name)
    assert {one for one in DIRECTORIES if on(brain, one) != set(CLUSTERS)} == back
    assert brain.view.passages.quarantine.keys() == back
    assert last(brain).outcome == "rolled back"
    await brain.answer()
    await brain.commit({**overlay("overlays/other", {"other": config_map("other", "1")})})
    await settle(brain, rollouts)
    assert {one for one in DIRECTORIES if on(brain, one) != set(CLUSTERS)} == back, "nor under another commit"


async def test_another_teams_overlay_amid_its_way_is_halted_by_it_and_goes_on_alone(
    brain: Brain, rollouts: Rollouts
) -> None:
    commit = await failed(brain, rollouts, CART, slow=WEB)
    assert (on(brain, CART), on(brain, WEB)) == (set(), {"dev-1"})
    report(brain, WEB, "dev-1", Health.HEALTHY)
    await settle(brain, rollouts)
    assert (last(brain).halted is not None, on(brain, WEB)) == (True, {"dev-1"}), "a halt stops the others too"
    report(brain, CART, "prod-2", Health.HEALTHY)
    assert "barred still, until it is resumed again: cart, mall" in await order(brain, rollouts, commit)
    await settle(brain, rollouts)
    assert (on(brain, CART), on(brain, WEB)) == (set(), set(CLUSTERS))
    assert brain.view.passages.quarantine.keys() == {CART, MALL}


async def test_a_person_lets_one_overlay_of_a_commit_in_again_and_leaves_the_other_barred(
    brain: Brain, rollouts: Rollouts
) -> None:
    commit = await failed(brain, rollouts, CART)
    await brain.answer()
    report(brain, CART, "prod-2", Health.HEALTHY)
    assert "refused" in await order(brain, rollouts, f"{commit} web")
    assert "begins again: mall; still barred: cart" in await order(brain, rollouts, f"{commit} mall")
    await settle(brain, rollouts)
    assert (on(brain, MALL), on(brain, CART)) == (set(CLUSTERS), set())
    assert "begins again: cart" in await order(brain, rollouts, commit)
    await settle(brain, rollouts)
    assert on(brain, CART) == set(CLUSTERS)
    assert not brain.view.passages.quarantine


@pytest.mark.parametrize("mend", ["another value", "the one before", "removed"])
async def test_a_newer_commit_that_mends_what_went_back_lets_the_halted_ones_go_on(
    brain: Brain, rollouts: Rollouts, mend: str
) -> None:
    await failed(brain, rollouts, CART, slow=WEB)
    await brain.answer()
    report(brain, WEB, "dev-1", Health.HEALTHY)
    report(brain, CART, "prod-2", Health.HEALTHY)
    await brain.commit({**said(MALL, "3")})
    await settle(brain, rollouts)
    assert on(brain, WEB) == {"dev-1"}, "the twin: it changes nothing of what failed"
    if mend == "removed":
        await brain.commit(dict.fromkeys(said(CART, "2")))
    else:
        await brain.commit(said(CART, "3" if mend == "another value" else "1"))
    await settle(brain, rollouts)
    assert on(brain, WEB) == set(CLUSTERS)
    assert mend == "removed" or on(brain, CART) == set(CLUSTERS)


def test_what_is_known_of_no_policy_goes_back_with_nobody_and_what_failed_always() -> None:
    asks = RolloutPolicy(on_failure=OnFailure.ROLLBACK)
    known = {name: Overlay(name, "", Origin(""), team="shop", rollout=asks) for name in (CART, MALL)}
    assert going_back(known, CART, (CART, MALL, WEB)) == {CART, MALL}
    assert going_back({}, CART, (CART, MALL)) == {CART}
    assert going_back({**known, MALL: replace(known[MALL], team="")}, CART, (CART, MALL)) == {CART}
    assert going_back({**known, MALL: replace(known[MALL], rollout=RolloutPolicy())}, CART, (CART, MALL)) == {CART}
