"""A build that the machine broke off is made again at the next fetch, with no new commit."""

from __future__ import annotations

from controllers.rig import Brain
from hubworld import cluster_file, config_map, overlay

from fleet.core.ids import UnitName
from fleet.core.results import Rendered, RenderProblem

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
