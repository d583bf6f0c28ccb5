"""A link that led out of the repo and is mended: its units are built again."""

from __future__ import annotations

from controllers.rig import Brain
from hubworld import cluster_file, config_map, overlay
from testbed.gitrepo import Link

from fleet.core.ids import UnitName
from fleet.core.results import Rendered, RenderProblem

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
