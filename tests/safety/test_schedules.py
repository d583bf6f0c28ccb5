"""Seeded days of commits with three nemeses at work at any time; 30 of them: `python -m safety schedules`."""

from __future__ import annotations

import pytest
from safety.level import Level, left_over
from safety.schedules import Schedule

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do


@pytest.mark.parametrize("seed", [101, 102])
async def test_a_bad_day_breaks_no_invariant(seed: int) -> None:
    before = Level()
    schedule = Schedule(seed, seconds=4.0)
    assert await schedule.run() == []
    assert len(schedule.did) >= 6
    assert schedule.delays
    assert await left_over(before) == []
