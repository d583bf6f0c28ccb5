"""The shows of a rollout in their short form; the long one is `python -m shows`, its report docs/rollouts.md."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from hubworld import make_world
from shows import good_and_bad, kills, slow_region
from shows.fleets import names_of
from testbed.controlplane import ControlPlane

pytestmark = pytest.mark.timeout(400)  # whole hubs, killed and started again


async def test_a_good_change_passes_and_a_crashing_one_hits_one_canary_and_is_taken_back(
    tmp_path: Path, real_cluster: ControlPlane
) -> None:
    async with make_world(tmp_path, names_of(10)) as world:
        await good_and_bad.show(world, {"eu-dev-91": real_cluster}, f"web-{uuid.uuid4().hex[:8]}")


async def test_a_change_that_is_slow_in_one_region_halts_at_its_step(tmp_path: Path) -> None:
    async with make_world(tmp_path, names_of(10)) as world:
        await slow_region.show(world, patience=4)


async def test_a_hub_killed_again_and_again_tells_the_history_of_a_calm_one(tmp_path: Path) -> None:
    histories = []
    for count in (0, 4):
        (tmp_path / str(count)).mkdir()
        async with make_world(tmp_path / str(count), names_of(6)) as world:
            histories.append(await kills.history_of(world, count, seed=7))
    (calm, none), (killed, some) = histories
    assert (none, some) == (0, 4)
    assert kills.shape_of(killed) == kills.shape_of(calm)
    released, marks = kills.shape_of(calm)
    assert sorted(released) == sorted(names_of(6))
    assert [text for text in marks if "is over" in text] == [
        f"web COMMIT: step {step} is over" for step in ("dev", "ok", "staging", "prod")
    ]
