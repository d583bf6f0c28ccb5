"""What was judged of deletions across clusters, as it is kept over restarts (R9, R22).

What was permitted counts until it is gone and an hour longer, so that many small releases do not pass where one large
one is held, also where a window or a suspension lets all of it go together; what was held back is barred as long as it
stands and nobody wants it again, so that it does not trickle out by later commits. What was renamed is told to its
worker as long as the old object may be there.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName, names_no_object
from fleet.core.rollout import Rename
from fleet.values import dataclass, field

HOUR_SECONDS = 3600.0
MOST_PERMITTED = 20_000  # deletions that are remembered; nothing more is permitted meanwhile
MOST_OF_ONE = MOST_PERMITTED // 10  # of them, of one cluster: its report says what it has, and may say anything
MOST_RENAMES = 20_000  # on their way; what is renamed beyond that counts as deleted
Refs = frozenset[ObjectRef]
NOTHING = Refs()
Renames = frozenset[Rename]


@dataclass(frozen=True, slots=True)
class Permitted:
    """Deletions that one unit was permitted by a result.

    gone_at: when they were found gone, or wanted again, in the hub's run time (`State.run_time`); None while they may
    still come.
    """

    unit: UnitName
    bundle: Digest
    refs: Refs
    gone_at: float | None = None


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Deletions of one unit that wait for a person.

    at: wall clock, first time; alone: those of `refs` that its cluster had no room for, which bar no other unit (R18).
    """

    at: float
    refs: Refs
    alone: Refs = NOTHING


@dataclass(frozen=True, slots=True)
class Judged:
    """All of it, of all overlays."""

    permitted: tuple[Permitted, ...] = ()
    held: Mapping[UnitName, HeldBack] = field(default_factory=dict[UnitName, HeldBack])
    renames: Mapping[UnitName, Renames] = field(default_factory=dict[UnitName, Renames])

    def looked_at(
        self, there: Callable[[UnitName], Refs | None], gone_at: Mapping[tuple[UnitName, ObjectRef], float], now: float
    ) -> Judged:
        """After a look at what of it is still to go, and without what has been gone for an hour.

        there: what a unit has and shall not have, None where that is not known; gone_at: when something went, as far as
        that was heard.
        """
        kept: list[Permitted] = []
        for each in self.permitted:
            left = there(each.unit) if each.gone_at is None else NOTHING
            open_still = each.refs if left is None else each.refs & left
            if open_still:
                kept.append(replace(each, refs=open_still))
            by_time: dict[float, set[ObjectRef]] = {}
            for ref in each.refs - open_still:
                at = gone_at.get((each.unit, ref), now) if each.gone_at is None else each.gone_at
                by_time.setdefault(at, set()).add(ref)
            late = ((at, refs) for at, refs in sorted(by_time.items()) if at >= now - HOUR_SECONDS)
            kept += (replace(each, refs=frozenset(refs), gone_at=at) for at, refs in late)
        return self if tuple(kept) == self.permitted else replace(self, permitted=tuple(kept))

    def to_go(self) -> Mapping[UnitName, Refs]:
        """What was permitted and may still come."""
        found: dict[UnitName, Refs] = {}
        for each in self.permitted:
            if each.gone_at is None:
                found[each.unit] = found.get(each.unit, NOTHING) | each.refs
        return found

    def permitted_by(self, unit: UnitName, bundle: Digest) -> Refs:
        """What a unit may delete by a result, and did not yet as far as is known."""
        by_it = (each for each in self.permitted if each.gone_at is None)
        of_it = (each.refs for each in by_it if (each.unit, each.bundle) == (unit, bundle))
        return NOTHING.union(*of_it)

    def is_full(self) -> bool:
        """Whether so much was permitted that no more can be remembered."""
        return sum(len(each.refs) for each in self.permitted) >= MOST_PERMITTED

    def crowded(self, wanted: Mapping[UnitName, Refs]) -> frozenset[UnitName]:
        """Units of clusters that would lose more than is remembered of one, with all that was permitted there before.

        Nothing of that is permitted by itself: no cluster takes the room of the others (R18).
        """
        counts = Counter[ClusterName]()
        for each in self.permitted:
            counts[each.unit.cluster] += len(each.refs - wanted.get(each.unit, NOTHING))
        for unit, refs in wanted.items():
            counts[unit.cluster] += len(refs)
        return frozenset(unit for unit in wanted if counts[unit.cluster] > MOST_OF_ONE)

    def clusters_by_ref(self, overlay: OverlayName) -> Mapping[ObjectRef, frozenset[ClusterName]]:
        """Where each object of an overlay was permitted to go."""
        found: dict[ObjectRef, set[ClusterName]] = {}
        for each in self.permitted:
            for ref in each.refs if each.unit.overlay == overlay else ():
                found.setdefault(ref, set()).add(each.unit.cluster)
        return {ref: frozenset(clusters) for ref, clusters in found.items()}

    def held_of(self, overlay: OverlayName) -> Refs:
        """What of an overlay is held back, on whichever clusters, but for what is held back there alone."""
        return NOTHING.union(*(note.refs - note.alone for unit, note in self.held.items() if unit.overlay == overlay))

    def alone_of(self, unit: UnitName) -> Refs:
        """What is held back of a unit, and of no other one for it."""
        note = self.held.get(unit)
        return note.alone if note is not None else NOTHING

    def with_permits(self, permits: Mapping[UnitName, Refs], bundles: Mapping[UnitName, Digest]) -> Judged:
        """With what was permitted now, each by its bundle; what was permitted before it counts once."""
        new = tuple(Permitted(unit, bundles[unit], refs) for unit, refs in sorted(permits.items()) if refs)
        now = {each.unit: each.refs for each in new}
        before = (replace(each, refs=each.refs - now.get(each.unit, NOTHING)) for each in self.permitted)
        permitted = (*(each for each in before if each.refs), *new)
        return self if permitted == self.permitted else replace(self, permitted=permitted)

    def with_held(self, unit: UnitName, refs: Refs, now: float, *, alone: Refs = NOTHING) -> Judged:
        """With what of a unit waits for a person now. alone: what does so too, and bars no other unit for it."""
        before = self.held.get(unit)
        held = {name: each for name, each in self.held.items() if name != unit}
        if refs or alone:
            held[unit] = HeldBack(before.at if before is not None else now, refs | alone, alone - refs)
        return replace(self, held=held)

    def with_renames(self, unit: UnitName, renames: Renames) -> Judged:
        """With these renames of a unit on their way, where there is room for them."""
        if self.renames.get(unit, frozenset[Rename]()) == renames:
            return self
        others = {name: each for name, each in self.renames.items() if name != unit}
        room = MOST_RENAMES - sum(map(len, others.values()))
        return replace(self, renames={**others, unit: renames} if 0 < len(renames) <= room else others)

    def renamed(self, old: ClusterName, new: ClusterName) -> Judged:
        """After a cluster got another name."""
        return Judged(
            tuple(replace(each, unit=_renamed(each.unit, old, new)) for each in self.permitted),
            {_renamed(unit, old, new): held for unit, held in self.held.items()},
            {_renamed(unit, old, new): renames for unit, renames in self.renames.items()},
        )


def encode_judged(judged: Judged) -> str:
    """As one text for the state; units with the same list share it."""
    permitted: dict[tuple[Digest, Refs, float | None], list[str]] = {}
    for each in judged.permitted:
        permitted.setdefault((each.bundle, each.refs, each.gone_at), []).append(str(each.unit))
    groups: dict[Refs, list[tuple[str, float]]] = {}
    alone: dict[Refs, list[str]] = {}
    for unit, held in sorted(judged.held.items()):
        groups.setdefault(held.refs, []).append((str(unit), held.at))
        if held.alone:
            alone.setdefault(held.alone, []).append(str(unit))
    names: dict[Renames, list[str]] = {}
    for unit, renames in sorted(judged.renames.items()):
        names.setdefault(renames, []).append(str(unit))
    document = {
        "permitted": [[units, bundle, gone_at, _keys(refs)] for (bundle, refs, gone_at), units in permitted.items()],
        "held": [[units, _keys(refs)] for refs, units in groups.items()],
        "alone": [[units, _keys(refs)] for refs, units in alone.items()],
        "renames": [
            [units, [[each.old.key, each.new.key, each.said_by] for each in sorted(renames)]]
            for renames, units in names.items()
        ],
    }
    return json.dumps(document, separators=(",", ":"))


def decode_judged(text: str) -> Judged:
    """The other way round; raises ValueError."""
    try:
        document = json.loads(text)
        permitted = tuple(each for row in document["permitted"] for each in _permitted(*row))
        alone = {
            unit: refs
            for units, keys in document.get("alone", ())  # an earlier version wrote none
            for refs in (_refs(keys),)
            for unit in units
        }
        held = {
            UnitName.parse(unit): HeldBack(at, refs, alone.get(unit, NOTHING) & refs)
            for units, keys in document["held"]
            for refs in (_refs(keys),)
            if refs
            for unit, *_, at in units  # as it was written before, with the result that was judged
        }
        renames = {
            UnitName.parse(unit): found
            for units, each in document.get("renames", ())  # not there before there were any
            for found in (frozenset(_rename(*parts) for parts in each if not any(map(names_no_object, parts))),)
            for unit in units
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"judged deletions are not in the form they were written in: {error}") from error
    return Judged(permitted, held, renames)


def _permitted(units: Any, bundle: Any, *rest: Any) -> Iterable[Permitted]:
    if isinstance(units, str):  # as it was written before: one unit, when it was permitted, what
        yield Permitted(UnitName.parse(units), Digest(""), _refs(rest[0]), float(bundle))
        return
    gone_at, keys = rest
    refs = _refs(keys)
    for unit in units:
        yield Permitted(UnitName.parse(unit), Digest(bundle), refs, gone_at)


def _keys(refs: Refs) -> list[str]:
    return sorted(ref.key for ref in refs)


def _refs(keys: Iterable[str]) -> Refs:
    return frozenset(ObjectRef.from_key(key) for key in keys if not names_no_object(key))


def _rename(old: str, new: str, said_by: str) -> Rename:
    return Rename(ObjectRef.from_key(old), ObjectRef.from_key(new), Digest(said_by))


def _renamed(unit: UnitName, old: ClusterName, new: ClusterName) -> UnitName:
    return replace(unit, cluster=new) if unit.cluster == old else unit
