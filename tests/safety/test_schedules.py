"""Seeded days of commits with three nemeses at work at any time; 30 of them: `python -m safety schedules`."""

from __future__ import annotations

import asyncio
import gc

import psutil
import pytest
from safety.schedules import Schedule

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do


@pytest.mark.parametrize("seed", [101, 102])
async def test_a_bad_day_breaks_no_invariant(seed: int) -> None:
    process = psutil.Process()
    before = process.num_fds(), len(process.children(recursive=True)), len(asyncio.all_tasks())
    schedule = Schedule(seed, seconds=4.0)
    assert await schedule.run() == []
    assert len(schedule.did) >= 6
    assert schedule.delays
    # V8: nothing is left over but what libraries open once.
    gc.collect()
    async with asyncio.timeout(20):
        while len(process.children(recursive=True)) > before[1] or len(asyncio.all_tasks()) > before[2]:
            await asyncio.sleep(0.1)
        while process.num_fds() > before[0] + 12:
            await asyncio.sleep(0.1)
