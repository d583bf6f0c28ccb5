"""Approvals that a step asks for before it begins: since when, of how many people, and until when it waits. Pure.

An approval that nobody gives says nothing against the change: it halts the rollout, and takes nothing back for it. Time
in which the rollout stands still does not count, and neither does time without a hub (R24).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from fleet.core.gating import closed
from fleet.core.passage import Asked, Passage, Row
from fleet.core.steps import Stage


def missing_of(passage: Passage, row: Row, stage: Stage) -> int:
    """How many more people must approve a step before it begins: nobody approved results that were not there yet."""
    return max(0, stage.step.approvals - len(_given(passage, row, stage)))


def asking(row: Row, stage: Stage, now: float, wall: float) -> Row:
    """The row with the moment since when the step whose turn it is asks."""
    if row.asked is not None and row.asked.step == stage.name:
        return row
    return replace(row, asked=Asked(stage.name, now, wall))


def without_asking(row: Row) -> Row:
    """The row whose step asks nobody now: if it asks again, then with its whole time before it."""
    return row if row.asked is None else replace(row, asked=None)


def standing_still(row: Row) -> Row:
    """Of a row that stands still nothing is measured and nobody is asked: all of it begins anew afterwards."""
    return without_asking(closed(row))


def unseen(row: Row) -> Row:
    """Of a row that nothing is known of its time does not count either: no soak, no outage, no way to Healthy (R24)."""
    row = standing_still(row)
    return replace(row, calm={}, away={}, flying={}) if row.calm or row.away or row.flying else row


def ends_at(row: Row, stage: Stage) -> float | None:
    """When a step that asks has waited long enough, on the hub's clock; None for never, or where it does not ask."""
    if row.asked is None or row.asked.step != stage.name or stage.step.approve_timeout_seconds is None:
        return None
    return row.asked.at + stage.step.approve_timeout_seconds


def asks_for(passage: Passage, row: Row, stage: Stage) -> str:
    """Of whom a step asks an approval, since when and for how long; "" where it asks for none."""
    missing = missing_of(passage, row, stage)
    if not missing:
        return ""
    seconds = stage.step.approve_timeout_seconds
    until = "without a timeout" if seconds is None else f"for {_span(seconds)} at most"
    asked = _since(row, stage)
    return f"waits for the approval of {_people(missing, passage, row, stage)}" + (
        f" {asked}, {until}" if asked else ""
    )


def lapsed(passage: Passage, row: Row, stage: Stage, now: float) -> str:
    """Why a step that was not approved in time stops its rollout; "" where it does not."""
    end = ends_at(row, stage)
    if end is None or now < end or not missing_of(passage, row, stage):
        return ""
    seconds = stage.step.approve_timeout_seconds or 0.0
    people = _people(missing_of(passage, row, stage), passage, row, stage)
    return f"step {stage.name} was not approved within {_span(seconds)}: asked of {people} {_since(row, stage)}"


def _given(passage: Passage, row: Row, stage: Stage) -> Sequence[str]:
    early = row.early.get(stage.name, ())
    return tuple(who for who in dict.fromkeys(passage.approvals.get(stage.name, ())) if who not in early)


def _people(missing: int, passage: Passage, row: Row, stage: Stage) -> str:
    given, early = _given(passage, row, stage), row.early.get(stage.name, ())
    people = ("one other person" if given else "one person") if missing == 1 else f"{missing} people"
    by = f"given by {', '.join(given)}" if given else ""
    before = f"{', '.join(early)} approved it before this was built" if early else ""
    return people + (f" ({'; '.join(filter(None, (by, before)))})" if by or before else "")


def _since(row: Row, stage: Stage) -> str:
    if row.asked is None or row.asked.step != stage.name:
        return ""
    return f"since {datetime.fromtimestamp(row.asked.wall, UTC).strftime('%Y-%m-%dT%H:%M:%SZ')}"


_UNITS = ((3600, "h"), (60, "m"), (1, "s"))


def _span(seconds: float) -> str:
    """As it is written in the repo: 90m, 24h."""
    whole = max(1, round(seconds))
    size, unit = next((size, unit) for size, unit in _UNITS if whole % size == 0)
    return f"{whole // size}{unit}"
