"""Durations as people write them on a command line."""

from __future__ import annotations

import re

from fleet.errors import UsageInvalid

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def seconds_of(text: str) -> float:
    """A duration as 30s, 10m, 8h, 90d; raises UsageInvalid."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise UsageInvalid(f"{text!r} is no duration", next_step="write 30s, 10m, 8h or 90d")
    return float(match[1]) * _SECONDS[match[2]]
