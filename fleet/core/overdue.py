"""What was meant to end and has not: it stays in force until a person ends it, and is listed until then. Pure.

A time that cannot be read is listed too: it would else never come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import UnitName
from fleet.core.problems import Origin
from fleet.core.sync_policy import Suspension
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Overdue:
    """One of them. since: when it was to end, wall clock; 0.0 where that is not known."""

    since: float
    what: str
    next_step: str


def moment_of(until: str) -> float | None:
    """RFC 3339 as wall clock, UTC where it names no zone; None where it is no time."""
    try:
        moment = datetime.fromisoformat(until)
    except ValueError:
        return None
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def overdue_of(
    fleet: Fleet | None, kept: Mapping[UnitName, Unit], by_command: Iterable[Suspension], now: float
) -> tuple[Overdue, ...]:
    """Suspensions, by command and in Git, and ignored fields whose time is over, the longest first.

    kept: units that the commit does not say because of a problem: their suspensions stay in force as well (R5).
    """
    overlays = dict(fleet.overlays) if fleet is not None else {}
    clusters = dict(fleet.clusters) if fleet is not None else {}
    for unit in kept.values():
        overlays.setdefault(unit.name.overlay, unit.overlay)
        clusters.setdefault(unit.name.cluster, unit.cluster)
    in_git = [
        fleet.suspend if fleet is not None else None,
        *(cluster.suspend for cluster in clusters.values()),
        *(overlay.suspend for overlay in overlays.values()),
    ]
    found = [_suspended(each, now) for each in (*by_command, *in_git) if each is not None and each.until]
    for name, overlay in overlays.items():
        for note in overlay.ignore_notes:
            what = f"overlay {name} still ignores {note.what}"
            found.append(_judge(note.until, what, note.reason, note.owner, _edit(note.origin), now))
    return tuple(sorted(filter(None, found), key=lambda each: (each.since, each.what)))


def _suspended(each: Suspension, now: float) -> Overdue | None:
    return _judge(each.until, f"{each.scope} still suspended", each.reason, each.owner, each.next_step, now)


def _judge(until: str, what: str, reason: str, owner: str, following: str, now: float) -> Overdue | None:
    if not until:
        return None
    moment = moment_of(until)
    if moment is not None and moment >= now:
        return None
    ended = f"was to end {until}" if moment is not None else f"to end {until}, which is no time"
    words = " ".join(filter(None, (reason, f"({owner})" if owner else "")))
    return Overdue(moment or 0.0, f"{what}, {ended}" + (f": {words}" if words else ""), following)


def _edit(origin: Origin) -> str:
    return f"edit {origin}"
