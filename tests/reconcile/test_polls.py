"""A unit that must be looked at again and again has one timer for it, however many passes events cause."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis.strategies import floats, lists, sampled_from

from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.reconcile.site import Site

UNIT = UnitName(OverlayName("web"), ClusterName("east"))


@given(lists(floats(0.01, 10.0), max_size=60), sampled_from([5.0, 15.0]))
def test_passes_that_poll_do_not_multiply(pauses: list[float], seconds: float) -> None:
    """pauses: between passes that events cause, beside those that the timers cause."""
    now, timers, passes = 0.0, [], 0
    site: Any = SimpleNamespace(polls={}, clock=lambda: now, wake_at=lambda name, at: timers.append(at))
    for pause in pauses:
        end = now + pause
        while timers and min(timers) <= end:
            now = min(timers)
            timers.remove(now)
            passes += 1
            Site.poll(site, UNIT, seconds)
        now = end
        Site.poll(site, UNIT, seconds)
        assert len(timers) == 1
        assert now < timers[0] <= now + seconds
    assert passes <= now / seconds


def test_one_that_is_wanted_sooner_is_set_beside_the_later_one() -> None:
    now, timers = 0.0, []
    site: Any = SimpleNamespace(polls={}, clock=lambda: now, wake_at=lambda name, at: timers.append(at))
    Site.poll(site, UNIT, 15.0)
    Site.poll(site, UNIT, 5.0)
    Site.poll(site, UNIT, 15.0)
    assert timers == [15.0, 5.0]
