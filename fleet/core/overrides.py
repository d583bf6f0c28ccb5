"""`fleet sync --override`: who must say yes before a unit goes ahead of windows and of its rollout. Pure.

An override passes windows and the order of a rollout. It never passes holds, identity, suspensions or what was taken
back; and where fleet.yaml asks for it, other people than the one who asked approve it first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """What becomes of an override now."""

    WAITS = "waits"  # for approvals
    REFUSED = "refused"
    RELEASE = "release"  # the newest result of its unit first, then the sync
    SYNC = "sync"  # nothing waits for a step: the sync alone


@dataclass(frozen=True, slots=True)
class Override:
    """What becomes of it, and why, in words."""

    way: Way
    why: str = ""


def judge_override(
    *, actor: str, approved_by: Collection[str], needed: int, waits: bool, barred: str, stopped: str
) -> Override:
    """Judge one override.

    approved_by: who approved it, the one who asked does not count; needed: so many others must; waits: the unit has a
    newer result that waits for its step; barred, stopped: why that result, or any write, is refused, "" for neither.
    """
    missing = needed - len(set(approved_by) - {actor})
    if barred or stopped:
        return Override(Way.REFUSED, barred or stopped)
    if missing > 0:
        people = "one other person" if missing == 1 else f"{missing} other people"
        return Override(Way.WAITS, f"waits for the approval of {people}")
    return Override(Way.RELEASE if waits else Way.SYNC)
