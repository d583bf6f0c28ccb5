"""An overlay that a commit renames is another one: what was taken back under one name says nothing of the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import cluster, fleet_file, settle, web
from controllers.test_rollouts import CLUSTERS, order, rollouts_of
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Health


def shop(value: str, **spec: str) -> dict[str, str]:
    return overlay("overlays/shop", {"web": config_map("web", value)}, **spec)


def renamed(value: str) -> dict[str, str | None]:
    """The overlay of web under another name, with the same objects."""
    return {**dict.fromkeys(web(value)), **shop(value)}


def has(brain: Brain, name: str) -> list[str]:
    """Clusters that are told to hold an overlay's newest result."""
    books, units = brain.board.books, {one: UnitName.parse(f"{name}@{one}") for one in CLUSTERS}
    return [one for one, unit in units.items() if books.holds(unit, books.results[unit])]


async def begun(brain: Brain, value: str) -> Rollouts:
    rollouts = rollouts_of(brain)
    clusters = {path: text for name in CLUSTERS for path, text in cluster(name).items()}
    await brain.commit({**fleet_file(onFailure="rollback"), **clusters, **web(value)})
    await settle(brain, rollouts)
    return rollouts


async def to_canary(brain: Brain, rollouts: Rollouts, files: dict[str, str | None]) -> str:
    commit = brain.repo.commit(files)
    await brain.commits.fetch_once()
    await rollouts.look()
    await brain.answer()
    return commit


async def failed(brain: Brain, rollouts: Rollouts, unit: str) -> None:
    name = UnitName.parse(unit)
    brain.view.units[name] = replace(brain.view.units[name], health=Health.DEGRADED)
    await settle(brain, rollouts)


@pytest.mark.parametrize("is_aborted", [True, False], ids=["a person aborts it", "it fails"])
async def test_a_renaming_that_is_reverted_leaves_no_cluster_without_its_overlay(
    brain: Brain, *, is_aborted: bool
) -> None:
    rollouts = await begun(brain, "1")
    commit = await to_canary(brain, rollouts, renamed("1"))
    if is_aborted:
        await order(brain, "abort", commit)
        await settle(brain, rollouts)
    else:
        await failed(brain, rollouts, "shop@dev-1")
    await brain.commit({**web("1"), **dict.fromkeys(shop("1"))})
    await settle(brain, rollouts)
    assert has(brain, "web") == [*CLUSTERS]
    await brain.commit(cluster("prod-3"))
    await settle(brain, rollouts)
    assert brain.desired("web@prod-3") is not None


async def test_one_overlay_s_aborted_removal_keeps_no_other_s_back(brain: Brain) -> None:
    rollouts = await begun(brain, "1")
    await brain.commit(overlay("overlays/api", {"api": config_map("api", "1")}))
    await settle(brain, rollouts)
    commit = await to_canary(brain, rollouts, {**web("1", state="absent")})
    await order(brain, "abort", commit)
    await settle(brain, rollouts)
    await brain.commit(overlay("overlays/api", {"api": config_map("api", "1")}, state="absent"))
    await settle(brain, rollouts)
    assert has(brain, "api") == [*CLUSTERS]


async def test_what_was_taken_back_under_the_old_name_begins_at_the_first_step_under_the_new_one(brain: Brain) -> None:
    rollouts = await begun(brain, "1")
    await to_canary(brain, rollouts, {**web("2")})
    await failed(brain, rollouts, "web@dev-1")
    assert (brain.view.passages.all[-1].outcome, has(brain, "web")) == ("rolled back", [])
    await brain.commit(renamed("2"))
    await rollouts.look()
    assert has(brain, "shop") == ["dev-1"]
    await settle(brain, rollouts)
    assert has(brain, "shop") == [*CLUSTERS]


async def test_twin_what_was_taken_back_comes_under_its_own_name_by_no_commit(brain: Brain) -> None:
    rollouts = await begun(brain, "1")
    await to_canary(brain, rollouts, {**web("2")})
    await failed(brain, rollouts, "web@dev-1")
    await brain.commit(web("1"))
    await settle(brain, rollouts)
    await brain.commit(web("2"))
    await settle(brain, rollouts)
    assert has(brain, "web") == []
