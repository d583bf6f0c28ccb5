"""The shows of a rollout on 60 simulated clusters and three real control planes; their report: docs/rollouts.md.

A hub that is killed is a process of its own. After it one hub and one fleet serve all other shows, each of which begins
with a commit that all clusters hold.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from shows import away, good_and_bad, kills, slow_region
from shows.fleets import ShowFleet, make_fleet
from testbed.controlplane import ControlPlane

pytestmark = [pytest.mark.timeout(400), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(
    tmp_path_factory: pytest.TempPathFactory, ready_planes: tuple[ControlPlane, ...]
) -> AsyncIterator[ShowFleet]:
    """Its hub runs."""
    async with make_fleet(tmp_path_factory.mktemp("shows"), ready_planes) as made, made.world.run():
        yield made


async def test_a_hub_killed_again_and_again_tells_the_history_of_a_calm_one(
    tmp_path: Path, ready_planes: tuple[ControlPlane, ...]
) -> None:
    """The first here: it wants the control planes for its own hub. With 50 kills: `python -m shows kills`."""
    async with make_fleet(tmp_path, ready_planes) as fleet:
        await kills.show(fleet, kills=6, seed=7)


async def test_a_good_change_passes_and_a_crashing_one_hits_one_canary_and_is_taken_back(fleet: ShowFleet) -> None:
    await good_and_bad.show(fleet)


async def test_a_change_that_is_slow_in_one_region_halts_at_its_step(fleet: ShowFleet) -> None:
    await slow_region.show(fleet)


async def test_a_fifth_away_from_the_start_and_back_after_a_day_of_the_hubs_clocks_follows_by_itself(
    fleet: ShowFleet,
) -> None:
    """Those away are simulated: no real API server can be told that it is tomorrow."""
    await away.show(fleet)
