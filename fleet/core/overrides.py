"""`fleet sync --override`: who must say yes before a unit goes ahead of windows and of its rollout. Pure.

An override passes windows and the order of a rollout. It never passes holds, identity, suspensions or what was taken
back; and where fleet.yaml asks for it, other people than the one who asked approve it first. It is for the one result
that was the newest when it was asked for: a newer one, a stop that came later, or a day without effect ends it (R42).
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum

from fleet.core.ids import short
from fleet.core.results import Rendered
from fleet.values import dataclass

SYNC_OVERRIDE = "sync-override"  # what the audit log calls it
OVERRIDE_SECONDS = 86_400.0  # nobody remembers for longer what they agreed to


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
    *,
    actor: str,
    approved_by: Collection[str],
    needed: int,
    waits: bool,
    is_bound: bool,
    refused: str,
) -> Override:
    """Judge one override.

    approved_by: who approved it, the one who asked does not count; needed: so many others must; waits: the unit has a
    newer result that waits for its step; is_bound: it is known which result it brings; refused: why that result, or any
    write, is refused, "" for neither.
    """
    missing = needed - len(set(approved_by) - {actor})
    if refused:
        return Override(Way.REFUSED, refused)
    if not is_bound:
        return Override(Way.WAITS, "waits until the newest result of its unit is known")
    if missing > 0:
        people = "one other person" if missing == 1 else f"{missing} other people"
        return Override(Way.WAITS, f"waits for the approval of {people}")
    return Override(Way.RELEASE if waits else Way.SYNC)


def named(result: Rendered) -> str:
    """The result that an override is for, in words: its commit, and its digest as approvals show it."""
    return f"{short(result.commit)}, result {short(result.bundle)}" if result.bundle else "no result"
