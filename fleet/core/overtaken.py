"""Clusters that a newer result overtook on their way: what they are on their way with counts by the limits still. Pure.

They are noted where a row begins, and forgotten once all of what they were told to hold is there and Healthy, or the
newest was released to them. So a commit that comes midway begins nothing beside what is under way (R42).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from fleet.core.ids import ClusterName
from fleet.core.passage import Row
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact

_UNKNOWN = 0.0  # since when, of one that was not on its way
_WELL, _BUSY, _AWAY = Condition.WELL, Condition.BUSY, Condition.AWAY
Moments = Mapping[ClusterName, float]


def overtaken(row: Row, known: Collection[ClusterName], older: Mapping[ClusterName, Rendered]) -> Moments:
    """What a row leaves to the one that takes it over.

    Also what was released, was never Healthy, and is held or suspended just now: it may go on any time. known: clusters
    whose newest result is known; older: of these, those that hold another one, with that.
    """
    targets, landed = row.targets, row.landed
    stopped = {
        name: _UNKNOWN for name, held in older.items() if name not in landed and held.bundle == targets.get(name)
    }
    every = {**stopped, **row.flying, **row.overtaken}
    return {name: at for name, at in every.items() if name in older or name not in known}


def left_by_aborted(rows: Iterable[Row], older: Mapping[ClusterName, Rendered]) -> Moments:
    """What aborted rows leave: what they released stays, and goes on."""
    return {
        name: at
        for row in rows
        for name, at in ({**row.flying, **row.overtaken} if row.cut else {}).items()
        if name in older and (name in row.overtaken or older[name].bundle == row.targets.get(name))
    }


def caught_up(row: Row, facts: RowFacts) -> Row:
    """The row without those that are on their way no more: there with what they held, or with the newest."""
    if not row.overtaken:
        return row
    units = facts.units
    going = {
        name: at
        for name, at in row.overtaken.items()
        if (fact := units.get(name)) is None or (not fact.released and fact.older is not _WELL)
    }
    return row if len(going) == len(row.overtaken) else replace(row, overtaken=going)


def is_going(row: Row, name: ClusterName, fact: UnitFact, now: float, patience: float) -> bool:
    """Whether one of these counts. One that is lost is waited for as any other; a person's stop stops it too."""
    if fact.older is not _BUSY:
        return False
    return fact.condition is not _AWAY or (name in row.away and now - row.away[name] < patience)
