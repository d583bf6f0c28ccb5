"""What a release would delete, judged across clusters before any worker may carry it out (R9).

The shell around core/across.py's `judge_across`: it keeps what it judged (core/judged.py), so that neither many small
commits nor a restart pass where one large commit is held.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping

from fleet.controllers.holdings import NEVER, NOTHING, Holdings, Known, Wishes
from fleet.core.across import judge_across
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, UnitName
from fleet.core.judged import Judged, decode_judged, encode_judged
from fleet.core.moves import Taker, is_built_soon, leaving_waits, moves_of, overlays_to_judge, whole_commit
from fleet.core.objects import Bundle
from fleet.core.proven import Guidebook
from fleet.core.results import Rendered, Result
from fleet.core.rollout import Move, Rename
from fleet.core.status import HoldRequest, UnitReport
from fleet.errors import StateDamaged
from fleet.ports.state import OPEN, State
from fleet.values import dataclass

JUDGED = "judged-deletions"  # value of the state


@dataclass(frozen=True, slots=True)
class Loss:
    """What a unit would lose by a result.

    gone: all of it; proven: what went before in its rollout, and counted: the rest, both without what moves or has
    another name; is_read: whether the result could be read, is_known: whether it is known what others want of it too;
    built_soon: whether something is being built that may want it.
    """

    gone: frozenset[ObjectRef]
    proven: frozenset[ObjectRef] = NOTHING
    counted: frozenset[ObjectRef] = NOTHING
    is_read: bool = True
    is_known: bool = True
    built_soon: bool = False


class Deletions:
    """One instance per hub; used by the releasing task alone."""

    def __init__(
        self, state: State, bundle_of: Callable[[Digest], Awaitable[Bundle]], wall: Callable[[], float]
    ) -> None:
        self._state, self._holdings, self._wall = state, Holdings(state, bundle_of), wall
        self._judged = self._saved = Judged()
        self._moves: dict[UnitName, frozenset[Move]] = {}  # found anew by each process, with the results
        self._to_go: Mapping[UnitName, frozenset[ObjectRef]] = {}  # what was permitted and may still come
        self._gone_at: dict[tuple[UnitName, ObjectRef], float] = {}  # what of that went since it was judged last

    async def start(self) -> None:
        """Take over what an earlier process judged. Raises StateError."""
        text = await self._state.get_value(JUDGED)
        try:
            self._judged = self._saved = decode_judged(text) if text else Judged()
            self._to_go = self._judged.to_go()
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

    def hear(self, reports: Iterable[UnitReport]) -> None:
        """Note when what was permitted is gone: it counts for an hour longer (R9)."""
        for report in reports:
            to_go = self._to_go.get(report.unit, NOTHING)
            gone = to_go - {status.ref for status in report.objects} if to_go else NOTHING
            for ref in to_go:
                if ref not in gone:
                    self._gone_at.pop((report.unit, ref), None)
                else:
                    self._gone_at.setdefault((report.unit, ref), self._state.run_time())

    def renames_of(self, unit: UnitName) -> frozenset[Rename]:
        """What of a unit is under another name by what was judged of it last, as far as it may still be there."""
        return self._judged.renames.get(unit, frozenset())

    def moves_of(self, unit: UnitName) -> frozenset[Move]:
        """What a unit dropped by what was judged of it last, and other units take, or may: it stays."""
        return self._moves.get(unit, frozenset())

    def waits_on(self, clusters: Container[ClusterName]) -> bool:
        """Whether something that a unit of these clusters dropped waits for others."""
        return any(name.cluster in clusters for name in self._moves)

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
                    wanted.setdefault(name.cluster, set()).update(await self._holdings.refs_of(result.bundle))
                except StateDamaged:
                    unread.add(name.cluster)
            elif name.cluster in clusters:
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

        given: what units may delete already by the very result that they are judged by again. Neither that nor what the
        notes say of it is judged anew, but for what a person rejected meanwhile; where it moves by now, `moves_of` says
        so, which goes before any permit.
        guides: who went before each in its rollout. What those lost is proven, and counts on no number of clusters.
        What may be a move (`moves_of`) is not permitted, and counts all the same.
        """
        self._forget({name for name in (*self._judged.renames, *self._moves) if name not in known.held}, fresh)
        wishes = known.wishes(fresh)
        losses: dict[UnitName, Loss] = {}
        lost_by: dict[UnitName, frozenset[ObjectRef]] = {}
        for name, result in fresh.items():
            if isinstance(result, Rendered):  # else it goes on with what it holds, and what stays of that stays
                self._moves.pop(name, None)
                losses[name] = await self._loss_of(name, result, known, wishes, guides, lost_by)
        later = {name.overlay for name, loss in losses.items() if loss.built_soon}
        by_overlay: dict[OverlayName, dict[UnitName, Loss]] = {}
        for name, loss in losses.items():
            if loss.gone and name.overlay in later:  # judged as a whole once all is built that may take something
                stay = self.moves_of(name)
                self._moves[name] = stay | whole_commit(loss.gone - {move.ref for move in stay})
            elif loss.is_read and name.overlay not in later:
                by_overlay.setdefault(name.overlay, {})[name] = loss
        if self._judged.permitted:
            left = await self._left(known)
            self._judged = self._judged.looked_at(left.get, self._gone_at, self._state.run_time())
            self._gone_at = {}
        permits = {name: self._given(name, fresh, loss, given or {}) for name, loss in losses.items()}
        for overlay, of_overlay in by_overlay.items():
            permits |= await self._judge(overlay, of_overlay, fresh, known, permits, limit_clusters)
        self._to_go = self._judged.to_go()
        return permits

    async def _loss_of(
        self,
        name: UnitName,
        result: Rendered,
        known: Known,
        wishes: Wishes,
        guides: Guidebook,
        lost_by: dict[UnitName, frozenset[ObjectRef]],
    ) -> Loss:
        """What a unit drops by a result; what of it moves, or may, and what is under another name, is noted here."""
        try:
            gone = await self._holdings.owned(name, known) - await self._holdings.refs_of(result.bundle)
        except StateDamaged:  # its worker cannot read it either
            return Loss(NOTHING, is_read=False, is_known=False)
        is_known, taken = True, dict[ObjectRef, Taker]()
        try:
            taken |= await self._holdings.taken(name, gone, wishes, known.ahead.get(name)) if gone else {}
        except StateDamaged:
            is_known = False  # what leaves may have moved: it counts, and nothing of it is permitted
        moved, unsure = frozenset(taken), known.unsure(name.cluster) if gone else ()
        if moves := moves_of(name, gone, taken, unsure):
            self._moves[name] = moves
        lost = NOTHING
        if gone:
            lost = await self._holdings.lost(name.overlay, guides.of(name, result.bundle), known, lost_by)
        self._judged = self._judged.with_renames(name, await self._renames(name, result.bundle, known))
        # Not permitted: where the worker sees that one is none, it is a deletion that nobody has judged.
        rest = gone - moved - {each.old for each in self.renames_of(name)}
        is_soon = is_built_soon(name, gone - moved, unsure)
        return Loss(gone, proven=rest & lost, counted=rest - lost, is_known=is_known, built_soon=is_soon)

    async def _judge(
        self,
        overlay: OverlayName,
        losses: Mapping[UnitName, Loss],
        fresh: Mapping[UnitName, Result],
        known: Known,
        given: Mapping[UnitName, frozenset[ObjectRef]],
        limit_clusters: int,
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What the units of one overlay may delete, together (R9).

        An earlier step proves nothing of what a person rejected on a cluster of it, or was asked about there and did
        not approve yet.
        """
        await self._settle(overlay, fresh, known)
        concerned = NOTHING.union(*(loss.proven | given[name] for name, loss in losses.items()))
        rejected, unsettled = await self._words_on(overlay, concerned, known)
        proven = {name: loss.proven - unsettled - self._judged.alone_of(name) for name, loss in losses.items()}
        per_unit = {name: loss.counted | loss.proven - proven[name] for name, loss in losses.items()}
        per_unit = {name: refs - given[name] for name, refs in per_unit.items()}
        doomed = NOTHING.union(*per_unit.values())
        verdict = judge_across(
            per_unit,
            limit_clusters=limit_clusters,
            recent=self._judged.clusters_by_ref(overlay) if doomed else {},
            barred=self._barred(overlay, doomed) if doomed else NOTHING,
        )
        stay = {name: frozenset(move.ref for move in self.moves_of(name)) for name in per_unit}
        crowded = self._judged.crowded(per_unit)
        free = {name for name, loss in losses.items() if loss.is_known} - crowded
        alone = {name: self._judged.alone_of(name) & refs for name, refs in per_unit.items()}
        let = {name: refs - stay[name] - alone[name] for name, refs in verdict.permits.items() if name in free}
        bundles = {name: result.bundle for name, result in fresh.items() if isinstance(result, Rendered)}
        self._judged = self._judged.with_permits(let, bundles)
        for name, refs in per_unit.items():
            held = refs & verdict.held | given[name] & rejected  # for them, too, whatever becomes of that word
            if name in crowded:  # its worker asks about all of it: that stays held, too, whatever room there is later
                alone[name] |= (refs | proven[name]) - stay[name]
            if held or alone[name] or name in self._judged.held:
                self._judged = self._judged.with_held(name, held, self._wall(), alone=alone[name])
        return {
            name: (given[name] - rejected) | (let[name] | proven[name] - stay[name] if name in let else NOTHING)
            for name in losses
        }

    def _given(
        self,
        name: UnitName,
        fresh: Mapping[UnitName, Result],
        loss: Loss,
        given: Mapping[UnitName, frozenset[ObjectRef]],
    ) -> frozenset[ObjectRef]:
        """What of a unit's loss was permitted by this very result, by an earlier process as far as it was noted.

        Not what it was asked about since: by another result, or by a person's word on others.
        """
        result, note = fresh[name], self._judged.held.get(name)
        noted = self._judged.permitted_by(name, result.bundle) if isinstance(result, Rendered) else NOTHING
        permitted = given.get(name, NOTHING) | noted
        return permitted & loss.gone - (note.refs if note is not None else NOTHING) if loss.is_known else NOTHING

    async def _left(self, known: Known) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """Of units with open permits: what they have and shall not have. Without those of which that is not known."""
        found: dict[UnitName, frozenset[ObjectRef]] = {}
        for name in self._to_go:
            held, report = known.held.get(name), known.reports.get(name)
            if held is None:
                found[name] = NOTHING
            elif report is not None:
                with contextlib.suppress(StateDamaged):
                    newest = known.results.get(name)
                    wanted = await self._holdings.refs_of(held.bundle)
                    if isinstance(newest, Rendered) and newest.bundle != held.bundle:  # shown, and held once synced
                        wanted &= await self._holdings.refs_of(newest.bundle)
                    found[name] = frozenset(status.ref for status in report.objects) - wanted
        return found

    async def leaving_waits(self, unit: UnitName, known: Known, waiting: Mapping[UnitName, Rendered]) -> str:
        """Why a unit that left the repo is not let go yet, "" where it may go.

        waiting: newest results that are not released yet. Raises StateDamaged where one of them cannot be had.
        """
        owned = await self._holdings.owned(unit, known)
        if not owned:
            return ""
        taken = await self._holdings.taken(unit, owned, Wishes(waiting))
        return leaving_waits(unit, owned, taken, known.unsure(unit.cluster))

    def _forget(self, gone: Iterable[UnitName], fresh: Mapping[UnitName, Result]) -> None:
        """Units that are not there any more."""
        for name in gone:
            if name not in fresh:
                self._moves.pop(name, None)
                self._judged = self._judged.with_renames(name, frozenset())

    def rename(self, old: ClusterName, new: ClusterName) -> tuple[Judged, Mapping[UnitName, frozenset[Move]]]:
        """A cluster has another name; `values` are to be written with that. Returns what to `restore` else."""
        before, self._judged = (self._judged, self._moves), self._judged.renamed(old, new)
        self._to_go = self._judged.to_go()
        self._moves = {
            UnitName(name.overlay, new) if name.cluster == old else name: moves for name, moves in self._moves.items()
        }
        return before

    def restore(self, before: tuple[Judged, Mapping[UnitName, frozenset[Move]]]) -> None:
        """As it was before a rename that could not be written."""
        self._judged, self._moves = before[0], dict(before[1])
        self._to_go = self._judged.to_go()

    # What is held back

    async def _settle(self, overlay: OverlayName, fresh: Mapping[UnitName, Result], known: Known) -> None:
        """Forget of what an overlay's units are held back for: what is gone, and what they shall hold again."""
        for name, note in [(name, note) for name, note in self._judged.held.items() if name.overlay == overlay]:
            held = known.held.get(name)
            if held is None and name not in fresh:
                self._judged = self._judged.with_held(name, NOTHING, note.at)
                continue
            told, newest = fresh.get(name) or held, fresh.get(name) or known.results.get(name)
            left = note.refs
            if isinstance(told, Rendered) and isinstance(newest, Rendered):
                with contextlib.suppress(StateDamaged):
                    left -= await self._holdings.refs_of(told.bundle) & await self._holdings.refs_of(newest.bundle)
            report = known.reports.get(name)
            if held is not None and report is not None and report.bundle == held.bundle:
                left &= await self._holdings.owned(name, known)
            if left != note.refs:
                self._judged = self._judged.with_held(name, left - note.alone, note.at, alone=left & note.alone)

    def _barred(self, overlay: OverlayName, doomed: frozenset[ObjectRef]) -> frozenset[ObjectRef]:
        """Of what would go: what is held back on any cluster, for whichever result. An approval needs no permit.

        All of it where so much was permitted within the hour that no more could be remembered.
        """
        return doomed if self._judged.is_full() else doomed & self._judged.held_of(overlay)

    async def _words_on(
        self, overlay: OverlayName, among: frozenset[ObjectRef], known: Known
    ) -> tuple[frozenset[ObjectRef], frozenset[ObjectRef]]:
        """Of these objects: what a person rejected on a cluster of an overlay, and that with what nobody approved yet.

        Of what is held back there, of what workers ask about, and of what stands in a hold whose workers began anew and
        have not judged yet what to ask (R5). Where a hold asks by another list since, a rejection counts still, and an
        approval no more.
        """
        if not among:
            return NOTHING, NOTHING
        held = {name: note for name, note in self._judged.held.items() if name.overlay == overlay}
        since = {(name, ref): note.at for name, note in held.items() for ref in note.refs & among}
        alone = {(name, ref) for name, note in held.items() for ref in note.alone & among}  # no word, no bar to others
        reports = (report for name, report in known.reports.items() if name.overlay == overlay)
        holds = [hold for report in reports for hold in report.holds]
        asked_by = {
            (hold.unit, item.ref): hold.commit for hold in holds for item in hold.deletions if item.ref in among
        }
        rows = [row for row in await self._state.holds(decisions={*OPEN, "rejected"}) if row.overlay == overlay]
        words, waits = dict[tuple[UnitName, ObjectRef], str](), set[tuple[UnitName, ObjectRef]]()
        said = [(row.rejected_at, "rejected", request) for row in rows for request in row.rejected]
        said += [(row.decided_at, row.decision, request) for row in rows for request in row.requests]
        for at, word, request in sorted(said, key=lambda one: one[0]):
            listed = [(request.unit, item.ref) for item in request.deletions if item.ref in among]
            if word == "rejected" and _is_unjudged(request, known):
                asked_by |= {of: request.commit for of in listed if of not in asked_by}
            counts = [of for of in listed if asked_by.get(of) == request.commit or at >= since.get(of, math.inf)]
            words |= dict.fromkeys(counts, word)
            waits.update(listed if not word else ())
        rejected = frozenset(ref for (_, ref), word in words.items() if word == "rejected")
        asked = {*(since.keys() - alone), *asked_by, *waits, *words}
        unsettled = (of for of in asked if words.get(of) != "approved" or of in waits)
        return rejected, frozenset(ref for _, ref in unsettled)

    async def _renames(self, name: UnitName, bundle: Digest, known: Known) -> frozenset[Rename]:
        """What a unit holds under another name by this result: of what it was told to hold last, and of what it had.

        An object that was renamed before, and may still be there, stays so while its successor, under whichever name,
        has its very content: so the worker sees it, too.
        """
        held, report = known.held.get(name, NEVER), known.reports.get(name)
        pairs = await self._holdings.pairs_of(held.bundle, bundle)
        found = {Rename(old, new, held.bundle) for old, new in pairs.items()}
        was_read = report is not None and report.bundle == held.bundle
        wanted = await self._holdings.refs_of(bundle) if self.renames_of(name) else NOTHING
        for each in self.renames_of(name):
            is_gone = was_read and each.old not in await self._holdings.owned(name, known)
            follows = pairs.get(each.new, each.new)
            if each.old in pairs or each.old in wanted or follows not in wanted or is_gone:
                continue
            if (await self._holdings.pairs_of(each.said_by, bundle)).get(each.old) == follows:
                found.add(Rename(each.old, follows, each.said_by))
        return frozenset(found)


def _is_unjudged(request: HoldRequest, known: Known) -> bool:
    """Whether the unit that asked for it has still to say whether it does: its worker began anew (R5)."""
    report, held = known.reports.get(request.unit), known.held.get(request.unit)
    if report is None:
        return held is not None and held.commit == request.commit
    return report.unjudged == request.commit
