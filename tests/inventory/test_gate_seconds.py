"""What a gate's seconds are where they are not written: whoever could pass without a soak can with one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.gate_schema import GatePart, HttpPart
from fleet.inventory.texts import duration_seconds

LONGEST = 7 * 86400.0
durations = st.none() | st.sampled_from(["1s", "30s", "9m", "10m", "1h", "24h", "167h55m", "168h"])
soaks = st.sampled_from([0.0, 30.0, 600.0, 1800.0, 86400.0, LONGEST - 600.0, LONGEST - 1.0, LONGEST, 30 * 86400.0])


@given(durations, durations, durations, soaks)
def test_a_soak_of_any_length_makes_no_gate_that_can_pass_one_that_cannot(
    interval: str | None, timeout: str | None, window: str | None, soak: float
) -> None:
    every, end = duration_seconds(interval or "30s"), duration_seconds(timeout or "10m")
    if every > 3600.0 or max(every, duration_seconds(window or "0s")) >= end:
        return  # nor can it without a soak
    part = GatePart(name="g", http=HttpPart(url="https://x"), interval=interval, timeout=timeout, window=window)
    found, until, good = part.seconds_in(soak)
    assert max(found, good) < until <= LONGEST
    assert found == every
    assert until == end or timeout is None
    assert good == (duration_seconds(window) if window else min(soak, good))
