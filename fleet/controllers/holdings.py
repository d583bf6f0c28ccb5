"""What units hold, drop and shall hold, as far as the hub knows: read from bundles, reports and the audit log.

Nothing is judged here. What cannot be read is said (StateDamaged), and never taken for nothing (R5).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.moves import Taker, Unsure
from fleet.core.objects import Bundle, BundleObject, Scope
from fleet.core.proven import Guides, proven_by
from fleet.core.renames import renames_of
from fleet.core.results import EMPTY_BUNDLE, Rendered, Result
from fleet.core.status import UnitReport
from fleet.errors import StateDamaged
from fleet.ports.state import State
from fleet.values import dataclass, field

REFS_KEPT = 20_000  # bundles whose references stay in memory
PAIRS_KEPT = 1_000  # pairs of bundles whose renames do
NOTHING = frozenset[ObjectRef]()
NEVER = Rendered(EMPTY_BUNDLE.digest, Revision(""))  # of a unit that was told nothing yet


@dataclass(frozen=True, slots=True)
class Known:
    """What the hub knows of all units.

    held: what each was told to hold last; results: what all hold at the newest commit, released or not, with those that
    are coming, and unsure: of which overlays of a cluster that is not known. These three are for moves (R16).
    ahead: newest results of units that are told another one meanwhile, and shall still come: what is in them stays.
    shown: units whose judged result waits and is only shown: they go on with what they hold.
    """

    held: Mapping[UnitName, Rendered]
    reports: Mapping[UnitName, UnitReport]
    results: Mapping[UnitName, Result]
    coming: Mapping[UnitName, Result] = field(default_factory=dict[UnitName, Result])
    unsure: Callable[[ClusterName], Sequence[Unsure]] = lambda _: ()
    ahead: Mapping[UnitName, Rendered] = field(default_factory=dict[UnitName, Rendered])
    shown: Container[UnitName] = ()

    def wishes(self, fresh: Mapping[UnitName, Result]) -> Wishes:
        """All that may want an object. fresh: what is judged now, which may be an earlier result."""
        newest: dict[UnitName, Result] = {**self.results, **self.coming}
        told: dict[UnitName, Result] = {name: self.held[name] for name in self.held.keys() & newest.keys()}
        told.update((name, result) for name, result in fresh.items() if name not in self.shown)
        return Wishes(newest, told)


class Wishes:
    """Which results of a cluster may want an object, sorted when the first is asked for: most commits drop nothing.

    newest: the newest results; told: what units are told to hold, where that is another one: what goes back, or waits
    for its step, holds its objects.
    """

    def __init__(self, newest: Mapping[UnitName, Result], told: Mapping[UnitName, Result] | None = None) -> None:
        self._newest, self._told = newest, told or {}
        self._on: dict[ClusterName, list[tuple[UnitName, Rendered, bool]]] | None = None

    def on(self, cluster: ClusterName) -> Sequence[tuple[UnitName, Rendered, bool]]:
        """All of a cluster that are known, the newest first; True where a unit is told it meanwhile."""
        if self._on is None:
            self._on = {}
            every = [(name, result, False) for name, result in self._newest.items()]
            every += [(name, result, True) for name, result in self._told.items()]
            for name, result, is_told in every:
                if isinstance(result, Rendered) and not (is_told and _is_same(self._newest.get(name), result)):
                    self._on.setdefault(name.cluster, []).append((name, result, is_told))
        return self._on.get(cluster, ())


def _names_of(item: BundleObject) -> tuple[ObjectRef, ...]:
    is_unsure = item.scope is Scope.UNKNOWN and item.ref.namespace
    return (item.ref, replace(item.ref, namespace="")) if is_unsure else (item.ref,)


def _is_same(one: Result | None, other: Rendered) -> bool:
    return isinstance(one, Rendered) and one.bundle == other.bundle


class Holdings:
    """One instance per hub; it remembers what is in bundles."""

    def __init__(self, state: State, bundle_of: Callable[[Digest], Awaitable[Bundle]]) -> None:
        self._state, self._bundle_of = state, bundle_of
        self._refs: OrderedDict[Digest, frozenset[ObjectRef]] = OrderedDict()
        self._pairs: OrderedDict[tuple[Digest, Digest], Mapping[ObjectRef, ObjectRef]] = OrderedDict()

    async def refs_of(self, digest: Digest) -> frozenset[ObjectRef]:
        """What a bundle holds; raises StateDamaged where it cannot be had: that is not known then, not nothing (R5).

        Of a kind of which only the cluster knows whether it lives in namespaces, under either name.
        """
        if digest == EMPTY_BUNDLE.digest:
            return NOTHING
        refs = self._refs.get(digest)
        if refs is None:
            bundle = await self._bundle_of(digest)
            refs = self._refs[digest] = frozenset(ref for item in bundle.objects for ref in _names_of(item))
            if len(self._refs) > REFS_KEPT:
                self._refs.popitem(last=False)
        else:
            self._refs.move_to_end(digest)
        return refs

    async def owned_on(self, cluster: ClusterName, known: Known) -> frozenset[ObjectRef]:
        """All that units of a cluster hold, or shall hold at the newest commit. Raises StateDamaged."""
        refs: set[ObjectRef] = set()
        for name in {*known.held, *known.reports, *known.results}:
            if name.cluster != cluster:
                continue
            told: Iterable[Result | None] = (known.held.get(name), known.results.get(name))
            for result in told:
                if isinstance(result, Rendered):
                    refs |= await self.refs_of(result.bundle)
            if name in known.reports:
                refs.update(status.ref for status in known.reports[name].objects)
        return frozenset(refs)

    async def owned(self, name: UnitName, known: Known) -> frozenset[ObjectRef]:
        """What a unit holds as far as the hub knows: what it was told to hold, and what its worker reported."""
        refs = set[ObjectRef]()
        if name in known.held:
            # One of an earlier data directory cannot be had: the worker's report alone tells what it held.
            with contextlib.suppress(StateDamaged):
                refs |= await self.refs_of(known.held[name].bundle)
        if name in known.reports:
            refs.update(status.ref for status in known.reports[name].objects)
        return frozenset(refs)

    async def taken(
        self, name: UnitName, gone: frozenset[ObjectRef], wishes: Wishes, ahead: Rendered | None = None
    ) -> Mapping[ObjectRef, Taker]:
        """Those of `gone` that another unit of the same cluster wants: moves, no deletions (R16).

        ahead: the unit's own newest result, where it is told an earlier one and that shall still come. Raises
        StateDamaged where it is not known what another holds.
        """
        found: dict[ObjectRef, Taker] = {}
        for other, result, is_told in wishes.on(name.cluster):
            if other != name:
                for ref in gone & await self.refs_of(result.bundle) - found.keys():
                    found[ref] = Taker(other.overlay, is_told)
        if ahead is not None:
            for ref in gone & await self.refs_of(ahead.bundle) - found.keys():
                found[ref] = Taker(name.overlay)
        return found

    async def pairs_of(self, before: Digest, after: Digest) -> Mapping[ObjectRef, ObjectRef]:
        """`renames_of` two bundles, once for all units that share them."""
        try:
            lost, gained = await self.refs_of(before), await self.refs_of(after)
        except StateDamaged:
            return {}
        if not lost - gained or not gained - lost:
            return {}
        pairs = self._pairs.get((before, after))
        if pairs is None:
            try:
                old, new = await self._bundle_of(before), await self._bundle_of(after)
            except StateDamaged:
                return {}
            pairs = self._pairs[before, after] = await asyncio.to_thread(renames_of, old.objects, new.objects)
            if len(self._pairs) > PAIRS_KEPT:
                self._pairs.popitem(last=False)
        else:
            self._pairs.move_to_end((before, after))
        return pairs

    async def lost(
        self, overlay: OverlayName, guides: Guides, known: Known, found: dict[UnitName, frozenset[ObjectRef]]
    ) -> frozenset[ObjectRef]:
        """What the units of an overlay that went before lost by it. found: by unit, of this look."""
        asked = {UnitName(overlay, cluster): before for cluster, before in guides.items()}
        new = {name: before for name, before in asked.items() if name not in found}
        if new:
            found |= dict.fromkeys(new, NOTHING)
            found |= await self._lost_by(overlay, new, known)
        return NOTHING.union(*(found[name] for name in asked))

    async def _lost_by(
        self, overlay: OverlayName, guides: Mapping[UnitName, Rendered], known: Known
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What each guide's worker deleted by its result, and no unit of its cluster holds, under whichever name."""
        on_it = {
            name: (held, report)
            for name in guides
            if (held := known.held.get(name)) and (report := known.reports.get(name)) and report.bundle == held.bundle
        }
        commits = {commit for held, report in on_it.values() for commit in (held.commit, report.commit)}
        if not commits:
            return {}
        deleted = await self._state.deleted(overlay, commits)
        lost: dict[UnitName, frozenset[ObjectRef]] = {}
        for name, (held, _) in on_it.items():
            try:
                before, now = await self.refs_of(guides[name].bundle), await self.refs_of(held.bundle)
                there = await self.owned_on(name.cluster, known) if deleted.get(name) else NOTHING
            except StateDamaged:
                continue  # nothing is proven by what cannot be read
            renamed = (await self.pairs_of(guides[name].bundle, held.bundle)).keys() if there else NOTHING
            lost[name] = proven_by(before, now, deleted.get(name, NOTHING) - renamed, there)
        return lost
