"""What was taken back comes under no other overlay's name: it is the same bundle for the same cluster."""

from __future__ import annotations

from dataclasses import replace

import pytest
from controllers.rig import Brain
from controllers.test_rollout_life import cluster, fleet_file, settle, web
from controllers.test_rollouts import CLUSTERS, order, rollouts_of
from hubworld import config_map, overlay

from fleet.controllers.rollouts import Rollouts
from fleet.core.ids import UnitName
from fleet.core.status import Health, Standing

WEB = UnitName.parse("web@dev-1")


def shop(value: str, **spec: str) -> dict[str, str | None]:
    """The overlay of web under another name, with the same objects."""
    gone = dict.fromkeys(web(value))
    return {**gone, **overlay("overlays/shop", {"web": config_map("web", value)}, **spec)}


def has(brain: Brain, name: str) -> list[str]:
    """Clusters that are told to hold an overlay's newest result."""
    results = brain.board.books.results
    return [
        one
        for one in CLUSTERS
        if (said := brain.desired(f"{name}@{one}")) is not None
        and getattr(said.action, "bundle", None) == results[UnitName.parse(f"{name}@{one}")].bundle
    ]


@pytest.fixture
async def taken_back(brain: Brain) -> tuple[Rollouts, str]:
    """Web 2 failed on dev-1, and its policy took it back. Git says it still."""
    rollouts = rollouts_of(brain)
    clusters = {path: text for name in CLUSTERS for path, text in cluster(name).items()}
    await brain.commit({**fleet_file(onFailure="rollback"), **clusters, **web("1")})
    await settle(brain, rollouts)
    commit = brain.repo.commit(web("2"))
    await brain.commits.fetch_once()
    await rollouts.look()
    await brain.answer()
    brain.view.units[WEB] = replace(brain.view.units[WEB], health=Health.DEGRADED)
    await settle(brain, rollouts)
    assert (brain.view.passages.all[-1].outcome, has(brain, "web")) == ("rolled back", [])
    return rollouts, commit


@pytest.mark.parametrize("spec", [{}, {"rollout": "{steps: []}"}], ids=["by steps", "everywhere at once"])
async def test_what_was_taken_back_does_not_come_under_another_overlay_s_name(
    brain: Brain, taken_back: tuple[Rollouts, str], spec: dict[str, str]
) -> None:
    rollouts, commit = taken_back
    await brain.commit(shop("2", **spec))
    await settle(brain, rollouts)
    assert has(brain, "shop") == []
    said = brain.view.waits[UnitName.parse("shop@dev-1")]
    assert (said.state, said.next) == (Standing.HALTED, f'fleet rollout resume {commit[:7]} --reason "..."')
    await order(brain, "resume", commit)
    await settle(brain, rollouts)
    assert has(brain, "shop") == [*CLUSTERS], "twin: a person lets it in under its new name too"


async def test_twin_an_overlay_that_is_renamed_and_mended_goes_its_way(
    brain: Brain, taken_back: tuple[Rollouts, str]
) -> None:
    rollouts, _ = taken_back
    await brain.commit(shop("3"))
    await settle(brain, rollouts)
    assert has(brain, "shop") == [*CLUSTERS]
