"""Hubs killed from outside, one after the other; 250 times with 50 clusters: `python -m safety kills`."""

from __future__ import annotations

import pytest
from safety.kills import Campaign

pytestmark = pytest.mark.timeout(500)  # on a machine with much else to do


async def test_hubs_that_are_killed_lose_nothing_and_do_nothing_twice() -> None:
    campaign = Campaign(1, 3, clusters=2, commit_seconds=3.0, again=2)
    assert await campaign.run() == []
    assert len(campaign.done) == 3
    assert any(point.recovering for point in campaign.done)
