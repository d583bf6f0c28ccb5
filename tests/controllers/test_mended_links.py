"""A link that cannot be followed stops its own units alone; once it is mended they are built again."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from hubworld import cluster_file, config_map, overlay
from testbed.gitrepo import Link

from fleet.core.ids import UnitName
from fleet.core.results import Rendered, RenderProblem
from fleet.ports.render import RenderRequest

EDGE, WEB = UnitName.parse("edge@eu-1"), UnitName.parse("web@eu-1")
FILES = {
    "clusters/eu-1.yaml": cluster_file("eu-1"),
    **overlay("overlays/web", {"one": config_map("one", "1")}),
    **overlay("overlays/edge", {"edge": ""}),
    "shared/edge.yaml": config_map("edge", "1"),
}


async def test_a_commit_that_mends_only_the_link_is_built(brain: Brain) -> None:
    await brain.commit({**FILES, "overlays/edge/edge.yaml": Link("../../../outside.yaml")})
    stopped = brain.view.results[EDGE]
    assert isinstance(stopped, RenderProblem)
    assert stopped.reason == "PathEscapes"
    assert isinstance(brain.view.results[WEB], Rendered)
    await brain.commit({"overlays/edge/edge.yaml": Link("../../shared/edge.yaml")})
    assert isinstance(brain.view.results[EDGE], Rendered)


@pytest.mark.parametrize("target", ["\udcff", "edge.yaml\0"])
async def test_a_link_to_a_name_that_no_system_takes_stops_its_own_units_alone(brain: Brain, target: str) -> None:
    sound = {**FILES, "overlays/edge/edge.yaml": config_map("edge", "1")}
    await brain.commit({**sound, "overlays/edge/Kustomization": Link(target)})
    stopped = brain.view.results[EDGE]
    assert isinstance(stopped, RenderProblem)
    assert stopped.reason == "PathEscapes"
    assert isinstance(brain.view.results[WEB], Rendered)
    await brain.commit({"overlays/edge/Kustomization": None})
    assert isinstance(brain.view.results[EDGE], Rendered)


async def test_a_bug_in_one_build_stops_its_own_units_alone(brain: Brain, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = brain.renderer.render

    async def render(snapshot, request: RenderRequest):
        if request.path == "overlays/edge":
            raise TypeError("not foreseen")
        return await sound(snapshot, request)

    monkeypatch.setattr(brain.renderer, "render", render)
    await brain.commit({**FILES, "overlays/edge/edge.yaml": config_map("edge", "1")})
    stopped = brain.view.results[EDGE]
    assert isinstance(stopped, RenderProblem)
    assert stopped.reason == "RenderInterrupted"
    assert "a bug of the hub (TypeError)" in stopped.message
    assert isinstance(brain.view.results[WEB], Rendered)
    monkeypatch.undo()
    await brain.commits.fetch_once()
    assert isinstance(brain.view.results[EDGE], Rendered)
