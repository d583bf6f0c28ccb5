"""How far the clock of a cluster's API server is from ours, by the Date of its answers (RFC 9110 6.6.1). Pure.

What a cluster writes down, it dates by its own clock: compared with ours, an hour's error of either makes an hour.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime

UNSURE_SECONDS = 5.0  # clocks that are no further apart count as the same


def moment_of(said: str) -> float | None:
    """A Date header as seconds since the epoch; None where there is none."""
    try:
        return parsedate_to_datetime(said).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def skew_of(said: str, before: float, after: float) -> float | None:
    """Seconds by which a Date header is ahead of our clock; None where there is none. It knows whole seconds only.

    before, after: our wall clock when the answer was asked for, and when it began.
    """
    there = moment_of(said)
    if there is None:
        return None
    if there + 1 < before:
        return there + 1 - before
    return max(0.0, there - after)


def ahead_by(held: float, said: str, before: float, after: float) -> float:
    """What is held of a clock after one more answer: nothing new where that was slow, or says about the same."""
    found = skew_of(said, before, after) if after - before <= UNSURE_SECONDS else None
    return held if found is None or abs(found - held) <= UNSURE_SECONDS else found
