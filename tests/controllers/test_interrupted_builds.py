"""A build that the machine broke off is made again at the next fetch, with no new commit."""

from __future__ import annotations

from typing import Any

import pytest
from controllers.rig import Brain
from hubworld import cluster_file, config_map, overlay

from fleet.core.ids import UnitName
from fleet.core.results import Rendered, RenderProblem
from fleet.errors import StateBusy

EDGE = UnitName.parse("edge@eu-1")


async def test_a_unit_whose_build_broke_off_is_built_at_the_next_fetch(brain: Brain) -> None:
    first = {"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/edge", {"edge": config_map("edge", "1")})}
    await brain.commit(first)
    brain.renderer._scratch.rmdir()
    await brain.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    stopped = brain.view.results[EDGE]
    assert isinstance(stopped, RenderProblem)
    assert stopped.reason == "RenderInterrupted"
    await brain.commits.fetch_once()
    assert isinstance(brain.view.results[EDGE], Rendered)
    assert brain.desired("edge@eu-1").commit == brain.repo.head()


async def test_a_build_that_broke_off_is_made_again_with_the_next_commit_that_does_not_touch_it(brain: Brain) -> None:
    await brain.commit(
        {"clusters/eu-1.yaml": cluster_file("eu-1")}
        | overlay("overlays/edge", {"edge": config_map("edge", "1")})
        | overlay("overlays/web", {"web": config_map("web", "1")})
    )
    brain.renderer._scratch.rmdir()
    await brain.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    assert isinstance(brain.view.results[EDGE], RenderProblem)
    await brain.commit({"overlays/web/web.yaml": config_map("web", "2")})
    assert isinstance(brain.view.results[EDGE], Rendered)


async def test_a_build_that_broke_off_is_made_again_also_where_the_state_could_not_be_written_meanwhile(
    brain: Brain, monkeypatch: pytest.MonkeyPatch
) -> None:
    await brain.commit(
        {"clusters/eu-1.yaml": cluster_file("eu-1"), **overlay("overlays/edge", {"edge": config_map("edge", "1")})}
    )
    brain.renderer._scratch.rmdir()
    await brain.commit({"overlays/edge/edge.yaml": config_map("edge", "2")})
    assert isinstance(brain.view.results[EDGE], RenderProblem)
    real = type(brain.state).put_released

    async def full(*_: Any, **__: Any) -> None:
        raise StateBusy("no space is left")

    monkeypatch.setattr(type(brain.state), "put_released", full)
    with pytest.raises(StateBusy):
        await brain.commits.fetch_once()
    monkeypatch.setattr(type(brain.state), "put_released", real)
    await brain.commits.fetch_once()
    assert isinstance(brain.view.results[EDGE], Rendered)
