"""From a failure to the next try: how long to wait, or not to try again at all.

Pure: the random value (0 <= r < 1) and the time come from the caller, so that every rule here is tested on plain
values. Waits are decorrelated (each draws between the first wait and three times the one before), because clients
that failed together must not come back together.
"""

from __future__ import annotations

import email.utils

from fleet.errors import Conflict, Expired, FleetError, Forbidden, Retry, Unauthorized
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Bounds of the waits, in seconds; 0 < first <= longest."""

    first_seconds: float
    longest_seconds: float


READS = Backoff(0.2, 5.0)
STREAMS = Backoff(0.5, 60.0)
LONGEST_SECONDS = 90.0  # once what was wrong has ended, all is as desired within two intervals of a minute (V4)
REFUSALS = Backoff(15.0, LONGEST_SECONDS)  # 401 and 403 wait for a person: asking often helps nobody (R20)

_LONGEST_RETRY_AFTER = 120.0  # a server may not silence us for longer; it may say so again


def next_wait(previous: float, random: float, bounds: Backoff) -> float:
    """Seconds to wait after a failure; `previous` is the wait before it (0 the first time)."""
    highest = max(bounds.first_seconds, min(bounds.longest_seconds, 3 * previous))
    return bounds.first_seconds + random * (highest - bounds.first_seconds)


def bounds_for(error: FleetError, usual: Backoff) -> Backoff:
    """The bounds that fit this error: refused credentials and missing rights are asked seldom (R20)."""
    return REFUSALS if isinstance(error, Unauthorized | Forbidden) else usual


def retry_after_of(header: str, now: float) -> float | None:
    """Seconds that a Retry-After header asks for (RFC 9110 10.2.3: a number or an HTTP date), at most 120.

    now: seconds since the epoch, by the clock of who asks. None where there is no usable value.
    """
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_RETRY_AFTER)
    try:
        due = email.utils.parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, due - now), _LONGEST_RETRY_AFTER)


def wait_before_repeat(
    error: FleetError, *, tries: int, most_tries: int, previous: float, random: float, asked: float | None = None
) -> float | None:
    """Seconds until a read that failed `tries` times may be repeated; None when it must not be.

    Only errors that waiting may cure (`Retry.SOON`) are repeated. asked: what Retry-After said; obeyed in full and
    spread by up to a quarter above it, so that clients told the same do not return in one moment (R20).
    """
    if error.retry is not Retry.SOON or isinstance(error, Conflict | Expired) or tries >= most_tries:
        return None  # Conflict and Expired want another request, not the same one again
    if asked is not None:
        return asked * (1 + random / 4)
    return next_wait(previous, random, READS)
