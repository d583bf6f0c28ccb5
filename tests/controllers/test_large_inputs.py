"""A file that is too large for a build stops the units that read it, and no other one."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from hubworld import cluster_file, config_map, overlay

from fleet.core.ids import UnitName
from fleet.core.results import Rendered, RenderProblem

MIB = 1024 * 1024
EDGE, WEB = UnitName.parse("edge@eu-1"), UnitName.parse("web@eu-1")
EDGES = overlay("overlays/edge", {"edge": config_map("edge", "1")})


@pytest.mark.parametrize(
    ("name", "size", "reason"),
    [
        ("kustomization.yaml", 2 * MIB, "DocumentInvalid"),
        ("kustomization.yaml", 17 * MIB, "CommitTooLarge"),
        ("edge.yaml", 17 * MIB, "CommitTooLarge"),
    ],
)
async def test_a_file_that_is_too_large_stops_its_own_units_alone(
    brain: Brain, name: str, size: int, reason: str
) -> None:
    webs = overlay("overlays/web", {"one": config_map("one", "1")})
    await brain.commit({"clusters/eu-1.yaml": cluster_file("eu-1"), **EDGES, **webs})
    path = f"overlays/edge/{name}"
    await brain.commit({path: "#" * size, "overlays/web/one.yaml": config_map("one", "2")})
    stopped = brain.view.results[EDGE]
    assert isinstance(stopped, RenderProblem)
    assert (stopped.reason, path in stopped.message) == (reason, True)
    assert brain.desired("web@eu-1").commit == brain.repo.head()
    assert isinstance(brain.view.results[WEB], Rendered)
    await brain.commit({path: EDGES[path]})
    assert isinstance(brain.view.results[EDGE], Rendered)
