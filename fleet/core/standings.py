"""How the units of one overlay stand on their way, step by step. Pure.

A look walks over its units once; all that it decides then asks the groups that were found, so that the time of a look
grows with the units and not with the questions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from itertools import chain

from fleet.core.ids import ClusterName
from fleet.core.overtaken import is_going
from fleet.core.passage import Row
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.steps import Stage, limit_of, unavailable_limit_of
from fleet.values import dataclass, field

# Names of this module: reading a member off its class costs more than all else that is done for a unit.
_WELL, _BUSY, _BAD, _AWAY = Condition.WELL, Condition.BUSY, Condition.BAD, Condition.AWAY
_HELD = Condition.HELD


class Whereabouts(Enum):
    """Where a changed unit is on its way."""

    THERE = "there"
    FLIGHT = "on its way"
    READY = "ready"  # may be released
    PENDING = "waits"  # may not, and goes on by itself
    LEFT = "left out"  # the step goes on without it
    FAILED = "failed"


_THERE, _READY, _FLIGHT = Whereabouts.THERE, Whereabouts.READY, Whereabouts.FLIGHT
_ON_ITS_WAY = Whereabouts.FLIGHT.value


@dataclass(slots=True)
class Group:
    """The clusters of one stage that a row changes, by how they stand, each list in the order of the stage.

    others: all that are neither there nor ready, with the reason in words; held: those left out that have a part of
    it, or get it as soon as a person decides; gone: those on their way that were there already, and cannot be reached;
    missing: those of all clusters of the stage, changed or not, that are not available; overtaken: those that are on
    their way with an earlier result, whatever else they are; due: when the first of them is late, None for never.
    """

    there: list[ClusterName] = field(default_factory=list[ClusterName])
    ready: list[ClusterName] = field(default_factory=list[ClusterName])
    flight: list[ClusterName] = field(default_factory=list[ClusterName])
    pending: list[ClusterName] = field(default_factory=list[ClusterName])
    left: list[ClusterName] = field(default_factory=list[ClusterName])
    failed: list[ClusterName] = field(default_factory=list[ClusterName])
    others: dict[ClusterName, str] = field(default_factory=dict[ClusterName, str])
    held: list[ClusterName] = field(default_factory=list[ClusterName])
    gone: list[ClusterName] = field(default_factory=list[ClusterName])
    missing: list[ClusterName] = field(default_factory=list[ClusterName])
    overtaken: list[ClusterName] = field(default_factory=list[ClusterName])
    due: float | None = None

    @property
    def size(self) -> int:
        """How many clusters of the stage the row changes."""
        return len(self.there) + len(self.ready) + len(self.others)

    @property
    def is_settled(self) -> bool:
        """Whether all are there or left out."""
        return not self.ready and len(self.left) == len(self.others)

    @property
    def is_unseen(self) -> bool:
        """Whether the same would be so, but for those that were there already and cannot be reached."""
        return bool(self.gone) and not self.ready and len(self.left) + len(self.gone) == len(self.others)

    @property
    def under_way(self) -> list[ClusterName]:
        """Those that count by the limits: released, and not there. Of one that is left out nobody knows the end yet.

        So do those that a newer result overtook on their way: that makes them none the more Healthy.
        """
        return [*self.flight, *self.failed, *self.held, *self.overtaken]

    def moving(self) -> list[ClusterName]:
        """Those that the step waits for: on their way, or going on by themselves."""
        if not self.pending:
            return self.flight
        names = {*self.flight, *self.pending}
        return [name for name in self.others if name in names]


@dataclass(slots=True)
class Load:
    """What a step has under way, over all rows of the commit that have it."""

    total: set[ClusterName] = field(default_factory=set[ClusterName])
    flight: set[ClusterName] = field(default_factory=set[ClusterName])
    unavailable: set[ClusterName] = field(default_factory=set[ClusterName])

    def add(self, stage: Stage, group: Group) -> None:
        """Count one row's part."""
        self.total.update(stage.clusters)
        self.flight.update(group.under_way)
        self.unavailable.update(group.missing, group.under_way)


@dataclass(slots=True)
class Room:
    """One limit: so many clusters at most, and those that count already. Another unit on one of these is free.

    of_lost: whether it is about what is not available, and not about what is under way.
    """

    most: int
    taken: set[ClusterName]
    of_lost: bool = False

    def has(self, name: ClusterName) -> bool:
        """Whether it lets a cluster go."""
        return len(self.taken) < self.most or name in self.taken


def rooms_of(stage: Stage, group: Group, load: Load) -> list[Room]:
    """The limits of a step for one row: those of all rows together, and the row's own share of its own clusters.

    Else many clusters of one overlay would lift the share of another that has few.
    """
    step, all_of, own = stage.step, len(load.total), len(stage.clusters)
    under_way = group.under_way
    rooms: list[Room] = []
    for total, taken in ((all_of, load.flight), (own, under_way)):
        if (most := limit_of(step.max_parallel, total)) is not None:
            rooms.append(Room(most, set(taken)))
    for total, taken in ((all_of, load.unavailable), (own, (*group.missing, *under_way))):
        if (most := unavailable_limit_of(step.max_unavailable, total)) is not None:
            rooms.append(Room(most, set(taken), of_lost=True))
    return rooms


def is_outrun(row: Row, facts: RowFacts) -> bool:
    """Whether a unit has another result already, and the row was not taken over yet: it stands still until then."""
    units = facts.units
    for name, digest in row.targets.items():
        fact = units.get(name)
        if fact is not None and fact.target != digest and fact.target:
            return True
    return False


def is_stopped(row: Row, facts: RowFacts) -> bool:
    """Whether all that the row changes is stopped, as where the whole fleet is suspended: it stands still then."""
    known = (fact for name in row.targets if (fact := facts.units.get(name)) is not None)
    first = next(known, None)
    return first is not None and all(fact.condition is Condition.STOPPED for fact in chain((first,), known))


def stamped(row: Row, facts: RowFacts, now: float) -> Row:
    """The row with the moments since when each released unit is on its way and when it landed, and each one is away.

    A person's stop, a closed window and, once it is back, the time a cluster could not be reached are not counted.
    """
    moments: dict[ClusterName, float] = {}
    away: dict[ClusterName, float] = {}
    landed = dict(row.landed)
    units = facts.units
    for name, target in row.targets.items():
        fact = units.get(name)
        if fact is None or fact.target != target:
            continue
        condition = fact.condition
        if condition is _AWAY:  # be it that it waits for its turn: an outage ends no step before it lasted
            away[name] = row.away.get(name, now)
        if not fact.released:
            continue
        if condition is _WELL:
            if name not in landed:
                landed[name] = round(now, 1)
        elif condition is _BUSY or condition is _BAD or condition is _AWAY:
            moments[name] = row.flying.get(name, now)
            if condition is not _AWAY and name in row.away:
                moments[name] += now - max(row.away[name], moments[name])
    same = moments == row.flying and away == row.away and len(landed) == len(row.landed)
    return row if same else replace(row, flying=moments, away=away, landed=landed)


def with_proven(row: Row, stages: Sequence[Stage], groups: Sequence[Group]) -> Row:
    """The row with all that is Healthy on its result in steps that are over; what fails later is proven no more."""
    failed = row.proven.intersection(chain.from_iterable(group.failed for group in groups))
    there = [
        group.there
        for stage, group in zip(stages, groups, strict=True)
        if stage.name in row.passed and not row.proven.issuperset(group.there)
    ]
    return replace(row, proven=row.proven.union(*there) - failed) if there or failed else row


def away_since(row: Row, name: ClusterName, since: float) -> float:
    """Since when a cluster that cannot be reached is waited for; since: when its turn came, or it was released."""
    return max(since, row.away.get(name, since))


def groups_of(row: Row, facts: RowFacts, now: float) -> tuple[Group, ...]:
    """How the row's units stand, a group for each stage."""
    return tuple(_group(row, stage, facts, now) for stage in facts.stages)


def _group(row: Row, stage: Stage, facts: RowFacts, now: float) -> Group:
    group, opened, patience = Group(), row.opened.get(stage.name), facts.patience_seconds
    units, targets, flying, overtaken = facts.units, row.targets, row.flying, row.overtaken
    first = None  # since when the first one is awaited that can be late
    for name in stage.clusters:
        fact = units.get(name)
        if fact is None:
            group.missing.append(name)
            continue
        if not fact.available:
            group.missing.append(name)
        if name in overtaken and is_going(row, name, fact, now, patience):
            group.overtaken.append(name)
        target = targets.get(name)
        if target is None:
            continue
        condition, is_known = fact.condition, fact.target == target
        if condition is _WELL and is_known:  # as most are: the others take the long way
            (group.there if fact.released else group.ready).append(name)
            continue
        since = flying.get(name, opened)
        if condition is _AWAY and since is not None:
            since = away_since(row, name, since)
        is_late = since is not None and now - since >= patience
        standing = _standing(fact, is_known=is_known, is_late=is_late, is_excused=name in row.excused)
        if standing is _THERE:
            group.there.append(name)
            continue
        if since is not None and not is_late and (condition is _AWAY or condition is _BUSY) and is_known:
            first = since if first is None or since < first else first
        if standing is _READY:
            group.ready.append(name)
            continue
        if standing is _FLIGHT:
            group.flight.append(name)
            group.others[name] = fact.why or _ON_ITS_WAY
            if condition is _AWAY and name in row.landed:
                group.gone.append(name)
        else:
            _of(group, standing).append(name)
            group.others[name] = fact.why or standing.value
            if condition is _HELD and name not in row.excused:
                group.held.append(name)
    group.due = None if first is None else first + patience
    return group


def _of(group: Group, standing: Whereabouts) -> list[ClusterName]:
    match standing:
        case Whereabouts.THERE:
            return group.there
        case Whereabouts.READY:
            return group.ready
        case Whereabouts.FLIGHT:
            return group.flight
        case Whereabouts.PENDING:
            return group.pending
        case Whereabouts.LEFT:
            return group.left
        case Whereabouts.FAILED:
            return group.failed


def _standing(fact: UnitFact, *, is_known: bool, is_late: bool, is_excused: bool) -> Whereabouts:
    """is_known: what is known of the unit is about this row's result; is_excused: a person went on without it."""
    condition = fact.condition
    if fact.target and not is_known:
        return Whereabouts.PENDING
    if fact.released and condition is _WELL:
        return _THERE
    if not fact.target or condition is Condition.STOPPED or condition is _HELD:
        return Whereabouts.LEFT
    standing = _standing_of(fact, is_late=is_late)
    return Whereabouts.LEFT if is_excused and standing is not _READY else standing


def _standing_of(fact: UnitFact, *, is_late: bool) -> Whereabouts:
    condition = fact.condition
    if condition is _AWAY and is_late:
        return Whereabouts.LEFT
    if condition is _AWAY or condition is Condition.WAITS:
        return _FLIGHT if fact.released else Whereabouts.PENDING
    if not fact.released:
        return _READY
    return Whereabouts.FAILED if is_late or condition is _BAD else _FLIGHT


def is_done(row: Row, stages: Sequence[Stage], groups: Sequence[Group]) -> bool:
    """Whether all that the row changes is Healthy on its new result, and every step that it needs is over."""
    return all(
        len(group.there) == group.size and (not group.size or stage.name in row.passed)
        for stage, group in zip(stages, groups, strict=True)
    )
