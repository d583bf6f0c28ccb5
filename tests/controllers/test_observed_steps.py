"""A step whose clusters are all only observed: nothing is to be done in it, and it stops no other."""

from __future__ import annotations

import pytest
from controllers.rig import Brain
from controllers.test_rollouts import clusters, fleet_file, rollouts_of, settle, told
from hubworld import cluster_file, config_map, overlay

STEPS = "{steps: [{name: dev, environments: [%s]}, {name: prod, rest: true}]}"


@pytest.mark.parametrize("environment", ["dev", "lab"])
async def test_a_step_of_an_overlays_own_that_is_only_observed_is_gone_past(brain: Brain, environment: str) -> None:
    """Twin: one that matches no cluster at all stops it, also where others are observed."""
    await brain.commit({"fleet.yaml": fleet_file().replace("[dev, prod]", "[dev, prod, lab]"), **clusters()})
    rollouts = rollouts_of(brain)
    await brain.commit(overlay("overlays/web", {"web": config_map("web", "1")}, rollout=STEPS % "dev"))
    await settle(brain, rollouts)
    before = told(brain, "prod-1")
    await brain.commit({"clusters/dev-1.yaml": cluster_file("dev-1", "dev", mode="observe")})
    await brain.commit(overlay("overlays/web", {"web": config_map("web", "2")}, rollout=STEPS % environment))
    await settle(brain, rollouts)
    assert (told(brain, "prod-1") != before) == (environment == "dev")
    assert told(brain, "prod-1") == told(brain, "prod-2")
