"""What a release would delete, judged across clusters before any worker may carry it out (R9).

The shell around core/across.py's `judge_across`: it gathers what each unit owns, as far as the hub knows, and keeps
what it judged (core/judged.py), so that neither many small commits nor a restart pass where one large commit is held.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence

from fleet.core.across import judge_across
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.judged import Judged, decode_judged, encode_judged
from fleet.core.moves import Unsure, is_built_soon, leaving_waits, moves_of, overlays_to_judge, whole_commit
from fleet.core.objects import Bundle
from fleet.core.proven import Guidebook, Guides, proven_by
from fleet.core.renames import renames_of
from fleet.core.results import EMPTY_BUNDLE, Rendered, Result
from fleet.core.rollout import Move, Rename
from fleet.core.status import UnitReport
from fleet.errors import StateDamaged
from fleet.ports.state import State
from fleet.values import dataclass, field

JUDGED = "judged-deletions"  # value of the state
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
    """

    held: Mapping[UnitName, Rendered]
    reports: Mapping[UnitName, UnitReport]
    results: Mapping[UnitName, Result]
    coming: Mapping[UnitName, Result] = field(default_factory=dict[UnitName, Result])
    unsure: Callable[[ClusterName], Sequence[Unsure]] = lambda _: ()
    ahead: Mapping[UnitName, Rendered] = field(default_factory=dict[UnitName, Rendered])


class _Newest:
    """Results by cluster, sorted when the first is asked for: most commits drop nothing. books: later ones go first.

    told: what units are told to hold now, where that is not their newest: what goes back holds its objects again.
    """

    def __init__(self, *books: Mapping[UnitName, Result], told: Mapping[UnitName, Result] | None = None) -> None:
        self._books, self._told = books, told or {}
        self._on: dict[ClusterName, list[tuple[UnitName, Rendered]]] | None = None

    def on(self, cluster: ClusterName) -> Sequence[tuple[UnitName, Rendered]]:
        """All of a cluster that are known."""
        if self._on is None:
            self._on = {}
            newest = {name: result for book in self._books for name, result in book.items()}
            told = ((name, result) for name, result in self._told.items() if newest.get(name) != result)
            for name, result in (*newest.items(), *told):
                if isinstance(result, Rendered):
                    self._on.setdefault(name.cluster, []).append((name, result))
        return self._on.get(cluster, ())


class Deletions:
    """One instance per hub; used by the releasing task alone."""

    def __init__(
        self, state: State, bundle_of: Callable[[Digest], Awaitable[Bundle]], wall: Callable[[], float]
    ) -> None:
        self._state, self._bundle_of, self._wall = state, bundle_of, wall
        self._refs: OrderedDict[Digest, frozenset[ObjectRef]] = OrderedDict()
        self._pairs: OrderedDict[tuple[Digest, Digest], Mapping[ObjectRef, ObjectRef]] = OrderedDict()
        self._judged = self._saved = Judged()
        self._moves: dict[UnitName, frozenset[Move]] = {}  # found anew by each process, with the results

    async def start(self) -> None:
        """Take over what an earlier process judged. Raises StateError."""
        text = await self._state.get_value(JUDGED)
        try:
            self._judged = self._saved = decode_judged(text) if text else Judged()
        except ValueError as error:
            raise StateDamaged(
                "which deletions were permitted and held cannot be read",
                why=str(error),
                next_step="restore a backup of the data directory",
            ) from error

    def values(self) -> Mapping[str, str]:
        """What is to be written with the releases that follow from it; nothing where nothing changed."""
        return {JUDGED: encode_judged(self._judged)} if self._judged != self._saved else {}

    def saved(self) -> None:
        """`values` are durable."""
        self._saved = self._judged

    def renames_of(self, unit: UnitName) -> frozenset[Rename]:
        """What of a unit is under another name by what was judged of it last, as far as it may still be there."""
        return self._judged.renames.get(unit, frozenset())

    def moves_of(self, unit: UnitName) -> frozenset[Move]:
        """What a unit dropped by what was judged of it last, and other units take, or may: it stays."""
        return self._moves.get(unit, frozenset())

    def to_judge(self, building: Collection[UnitName]) -> frozenset[UnitName]:
        """Units whose deletions waited for other units, and may be judged again. building: what is not known yet."""
        if not self._moves:
            return frozenset()
        overlays = overlays_to_judge(self._moves, building)
        return frozenset(name for name in self._moves if name.overlay in overlays)

    async def wanted_again(
        self, pending: Mapping[UnitName, frozenset[ObjectRef]], fresh: Mapping[UnitName, Result]
    ) -> frozenset[UnitName]:
        """Units of which something that may go is in a new result of their cluster, or in one that cannot be read."""
        if not pending:
            return frozenset()
        wanted: dict[ClusterName, set[ObjectRef]] = {}
        unread: set[ClusterName] = set()
        clusters = {name.cluster for name in pending}
        for name, result in fresh.items():
            if isinstance(result, Rendered) and name.cluster in clusters:
                try:
                    wanted.setdefault(name.cluster, set()).update(await self._refs_of(result.bundle))
                except StateDamaged:
                    unread.add(name.cluster)
        return frozenset(
            name
            for name, refs in pending.items()
            if name.cluster in unread or not refs.isdisjoint(wanted.get(name.cluster, ()))
        )

    async def permits_of(
        self,
        fresh: Mapping[UnitName, Result],
        known: Known,
        *,
        limit_clusters: int,
        guides: Guidebook,
        given: Mapping[UnitName, frozenset[ObjectRef]] | None = None,
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What each unit of `fresh` may delete by itself; `values` are to be written before any worker hears of it.

        given: what units may delete already by the very result that they are judged by again; it is not judged anew,
        and where it moves by now, `moves_of` says so, which goes before any permit.
        guides: who went before each in its rollout. What those lost is proven, and counts on no number of clusters.
        What may be a move (`moves_of`) is not permitted, and counts all the same.
        """
        candidates: dict[OverlayName, dict[UnitName, frozenset[ObjectRef]]] = {}
        proven: dict[UnitName, frozenset[ObjectRef]] = {}
        lost_by: dict[UnitName, frozenset[ObjectRef]] = {}
        permits: dict[UnitName, frozenset[ObjectRef]] = {}
        given = dict(given or {})
        unknown: set[UnitName] = set()  # what leaves these may have moved: it counts, and nothing of it is permitted
        dropped: dict[UnitName, frozenset[ObjectRef]] = {}
        later: set[OverlayName] = set()  # judged as a whole once all is built that may take something
        newest = _Newest(known.results, known.coming, told=fresh)
        self._forget({name for name in (*self._judged.renames, *self._moves) if name not in known.held}, fresh)
        for name, result in fresh.items():
            if not isinstance(result, Rendered):
                continue  # it goes on with what it holds, and what stays of that stays
            self._moves.pop(name, None)
            try:
                gone = await self._owned(name, known) - await self._refs_of(result.bundle)
            except StateDamaged:  # its worker cannot read it either
                permits[name] = NOTHING
                given.pop(name, None)
                continue
            taken: Mapping[ObjectRef, OverlayName] = {}
            try:
                taken = await self._moved(name, gone, newest, known.ahead.get(name)) if gone else {}
            except StateDamaged:
                unknown.add(name)
                given.pop(name, None)
            moved = frozenset(taken)
            if gone:
                dropped[name], unsure = gone, known.unsure(name.cluster)
                self._put_moves(name, moves_of(name, gone, taken, unsure))
                if is_built_soon(name, gone - moved, unsure):
                    later.add(name.overlay)
            lost = await self._lost(name.overlay, guides.of(name, result.bundle), known, lost_by) if gone else NOTHING
            self._judged = self._judged.with_renames(name, await self._renames(name, result.bundle, known))
            # Not permitted: where the worker sees that one is none, it is a deletion that nobody has judged.
            renamed = {each.old for each in self.renames_of(name)}
            proven[name] = (gone - moved - renamed) & lost
            candidates.setdefault(name.overlay, {})[name] = gone - moved - lost - renamed - given.get(name, NOTHING)
        for name in (name for name in dropped if name.overlay in later):
            stay = self.moves_of(name)
            self._put_moves(name, stay | whole_commit(dropped[name] - {move.ref for move in stay}))
        now, counted = self._wall(), self._state.run_time()
        self._judged = self._judged.within_hour(counted)
        for overlay, per_unit in candidates.items():
            if overlay in later:
                permits.update(dict.fromkeys(per_unit, NOTHING))
                continue
            await self._settle(overlay, fresh, known)
            doomed = NOTHING.union(*per_unit.values())
            verdict = judge_across(
                per_unit,
                limit_clusters=limit_clusters,
                recent=self._judged.clusters_by_ref(overlay) if doomed else {},
                barred=await self._barred(overlay, doomed, fresh) if doomed else NOTHING,
            )
            stay = {name: frozenset(move.ref for move in self.moves_of(name)) for name in per_unit}
            let = {name: refs - stay[name] for name, refs in verdict.permits.items() if name not in unknown}
            permits.update(
                {name: let[name] | (proven[name] - stay[name]) if name in let else NOTHING for name in per_unit}
            )
            self._judged = self._judged.with_permits(let, counted)
            for name, refs in per_unit.items():
                result = fresh[name]
                if isinstance(result, Rendered) and (refs & verdict.held or name in self._judged.held):
                    self._judged = self._judged.with_held(name, result.bundle, refs & verdict.held, now)
        return permits | {name: permits.get(name, NOTHING) | refs for name, refs in given.items()}

    async def leaving_waits(self, unit: UnitName, known: Known, waiting: Mapping[UnitName, Rendered]) -> str:
        """Why a unit that left the repo is not let go yet, "" where it may go.

        waiting: newest results that are not released yet. Raises StateDamaged where one of them cannot be had.
        """
        owned = await self._owned(unit, known)
        if not owned:
            return ""
        taken = await self._moved(unit, owned, _Newest(waiting))
        return leaving_waits(unit, owned, taken, known.unsure(unit.cluster))

    def _put_moves(self, unit: UnitName, moves: frozenset[Move]) -> None:
        if moves:
            self._moves[unit] = moves

    def _forget(self, gone: Iterable[UnitName], fresh: Mapping[UnitName, Result]) -> None:
        """Units that are not there any more."""
        for name in gone:
            if name not in fresh:
                self._moves.pop(name, None)
                self._judged = self._judged.with_renames(name, frozenset())

    def rename(self, old: ClusterName, new: ClusterName) -> tuple[Judged, Mapping[UnitName, frozenset[Move]]]:
        """A cluster has another name; `values` are to be written with that. Returns what to `restore` else."""
        before, self._judged = (self._judged, self._moves), self._judged.renamed(old, new)
        self._moves = {
            UnitName(name.overlay, new) if name.cluster == old else name: moves for name, moves in self._moves.items()
        }
        return before

    def restore(self, before: tuple[Judged, Mapping[UnitName, frozenset[Move]]]) -> None:
        """As it was before a rename that could not be written."""
        self._judged, self._moves = before[0], dict(before[1])

    # What is held back

    async def _settle(self, overlay: OverlayName, fresh: Mapping[UnitName, Result], known: Known) -> None:
        """Forget of what an overlay's units are held back for: what is gone, and what they shall hold again."""
        for name, note in [(name, note) for name, note in self._judged.held.items() if name.overlay == overlay]:
            held = known.held.get(name)
            if held is None and name not in fresh:
                self._judged = self._judged.with_held(name, None, NOTHING, note.at)
                continue
            told, newest = fresh.get(name) or held, fresh.get(name) or known.results.get(name)
            left = note.refs
            if isinstance(told, Rendered) and isinstance(newest, Rendered):
                with contextlib.suppress(StateDamaged):
                    left -= await self._refs_of(told.bundle) & await self._refs_of(newest.bundle)
            report = known.reports.get(name)
            if held is not None and report is not None and report.bundle == held.bundle:
                left &= await self._owned(name, known)
            if left != note.refs:
                self._judged = self._judged.with_held(name, None, left, note.at)

    async def _barred(
        self, overlay: OverlayName, doomed: frozenset[ObjectRef], fresh: Mapping[UnitName, Result]
    ) -> frozenset[ObjectRef]:
        """Of what would go: what is held back and was rejected, or is judged again for the same result.

        All of it where so much was permitted within the hour that no more could be remembered.
        """
        if self._judged.is_full():
            return doomed
        held = {name: note for name, note in self._judged.held.items() if name.overlay == overlay}
        barred = NOTHING
        for name, note in held.items():
            result = fresh.get(name)
            if isinstance(result, Rendered) and result.bundle == note.bundle:
                barred |= note.refs & doomed
        if any(note.refs & doomed - barred for note in held.values()):
            decisions: dict[tuple[UnitName, ObjectRef], str] = {}
            rows = [row for row in await self._state.holds() if row.overlay == overlay]
            for row in sorted(rows, key=lambda row: row.decided_at):
                for request in row.requests if row.decision in ("approved", "rejected") else ():
                    note = held.get(request.unit)
                    if note is not None and row.decided_at >= note.at:
                        listed = (item.ref for item in request.deletions)
                        decisions |= {(request.unit, ref): row.decision for ref in listed if ref in note.refs}
            barred |= {ref for (_, ref), decision in decisions.items() if decision == "rejected"} & doomed
        return barred

    # What is renamed

    async def _renames(self, name: UnitName, bundle: Digest, known: Known) -> frozenset[Rename]:
        """What a unit holds under another name by this result: of what it was told to hold last, and of what it had.

        An object that was renamed before, and may still be there, stays so while its successor, under whichever name,
        has its very content: so the worker sees it, too.
        """
        held, report = known.held.get(name, NEVER), known.reports.get(name)
        pairs = await self._pairs_of(held.bundle, bundle)
        found = {Rename(old, new, held.bundle) for old, new in pairs.items()}
        was_read = report is not None and report.bundle == held.bundle
        wanted = await self._refs_of(bundle) if self.renames_of(name) else NOTHING
        for each in self.renames_of(name):
            is_gone = was_read and each.old not in await self._owned(name, known)
            follows = pairs.get(each.new, each.new)
            if each.old in pairs or each.old in wanted or follows not in wanted or is_gone:
                continue
            if (await self._pairs_of(each.said_by, bundle)).get(each.old) == follows:
                found.add(Rename(each.old, follows, each.said_by))
        return frozenset(found)

    async def _pairs_of(self, before: Digest, after: Digest) -> Mapping[ObjectRef, ObjectRef]:
        """`renames_of` two bundles, once for all units that share them."""
        try:
            lost, gained = await self._refs_of(before), await self._refs_of(after)
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

    # What is proven, owned and moved

    async def _lost(
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
                before, now = await self._refs_of(guides[name].bundle), await self._refs_of(held.bundle)
                there = await self._owned_on(name.cluster, known) if deleted.get(name) else NOTHING
            except StateDamaged:
                continue  # nothing is proven by what cannot be read
            renamed = (await self._pairs_of(guides[name].bundle, held.bundle)).keys() if there else NOTHING
            lost[name] = proven_by(before, now, deleted.get(name, NOTHING) - renamed, there)
        return lost

    async def _owned_on(self, cluster: ClusterName, known: Known) -> frozenset[ObjectRef]:
        """All that units of a cluster hold, or shall hold at the newest commit. Raises StateDamaged."""
        refs: set[ObjectRef] = set()
        for name in {*known.held, *known.reports, *known.results}:
            if name.cluster != cluster:
                continue
            told: Iterable[Result | None] = (known.held.get(name), known.results.get(name))
            for result in told:
                if isinstance(result, Rendered):
                    refs |= await self._refs_of(result.bundle)
            if name in known.reports:
                refs.update(status.ref for status in known.reports[name].objects)
        return frozenset(refs)

    async def _owned(self, name: UnitName, known: Known) -> frozenset[ObjectRef]:
        """What a unit holds as far as the hub knows: what it was told to hold, and what its worker reported."""
        refs = set[ObjectRef]()
        if name in known.held:
            # One of an earlier data directory cannot be had: the worker's report alone tells what it held.
            with contextlib.suppress(StateDamaged):
                refs |= await self._refs_of(known.held[name].bundle)
        if name in known.reports:
            refs.update(status.ref for status in known.reports[name].objects)
        return frozenset(refs)

    async def _moved(
        self, name: UnitName, gone: frozenset[ObjectRef], newest: _Newest, ahead: Rendered | None = None
    ) -> Mapping[ObjectRef, OverlayName]:
        """Those of `gone` that another unit of the same cluster holds at this commit: moves, no deletions (R16).

        ahead: the unit's own newest result, where it is told an earlier one and that shall still come. Raises
        StateDamaged where it is not known what another holds.
        """
        moved: dict[ObjectRef, OverlayName] = {}
        if ahead is not None:
            moved.update(dict.fromkeys(gone & await self._refs_of(ahead.bundle), name.overlay))
        for other, result in newest.on(name.cluster):
            if other != name:
                moved.update(dict.fromkeys(gone & await self._refs_of(result.bundle), other.overlay))
        return moved

    async def _refs_of(self, digest: Digest) -> frozenset[ObjectRef]:
        """What a bundle holds; raises StateDamaged where it cannot be had: that is not known then, not nothing (R5)."""
        if digest == EMPTY_BUNDLE.digest:
            return NOTHING
        refs = self._refs.get(digest)
        if refs is None:
            bundle = await self._bundle_of(digest)
            refs = self._refs[digest] = frozenset(item.ref for item in bundle.objects)
            if len(self._refs) > REFS_KEPT:
                self._refs.popitem(last=False)
        else:
            self._refs.move_to_end(digest)
        return refs
