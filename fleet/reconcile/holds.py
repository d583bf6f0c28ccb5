"""Holds deletions that a guard does not let go: asks for them by the exact list, with what would go along (R9, R10)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from fleet.core.guard import Approved, Doomed, GuardHold, approval_of
from fleet.core.ids import ObjectRef, Revision
from fleet.core.inside import takes_along
from fleet.core.losses import NOT_KNOWN
from fleet.core.status import EventKind, HoldRequest, PendingDeletion
from fleet.reconcile.deletion import on_their_way
from fleet.reconcile.losses import Losses, bare, holds_more_inside
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site

_READ_AGAIN_SECONDS = 300.0  # what could not be read for a hold


class Holds:
    """Holds of all units of one site."""

    def __init__(self, site: Site, losses: Losses) -> None:
        self._site, self._losses = site, losses

    async def ask(self, unit: UnitState, hold: GuardHold | None, commit: Revision) -> None:
        """Hold these deletions; what would go with them is read once for the list, not in each pass."""
        if hold is None:
            unit.holds, unit.judged = (), commit
            return
        pending = tuple(
            PendingDeletion(item.ref, item.uid, item.content or None, unit.created.get(item.ref, 0.0))
            for item in hold.doomed
        )
        request = HoldRequest(unit.name, commit, hold.reason, hold.message, pending)
        is_new = tuple(bare(known) for known in unit.holds) != (request,) or holds_more_inside(unit.holds, hold.doomed)
        if is_new or self._may_read_again(unit):
            request = await self.with_losses(unit, request)
            unit.holds, unit.holds_read_at = (request,), self._site.clock()
        unit.judged = commit
        if is_new:
            self._site.outbox.tell(EventKind.HELD, hold.message, unit=unit.name, commit=commit)

    async def ask_for(self, unit: UnitState, doomed: Doomed, hold: GuardHold, created: float) -> None:
        """Hold the deletion of one object; what would go with it is read once for each state and commit."""
        commit = unit.desired.commit if unit.desired else unit.memory.commit
        known = unit.replace_holds.get(doomed.ref)
        asked = (known.commit, known.deletions[0].uid, known.deletions[0].content) if known else None
        is_same = asked == (commit, doomed.uid, doomed.content)
        if is_same and known is not None and not holds_more_inside((known,), (doomed,)):
            return
        pending = (PendingDeletion(doomed.ref, doomed.uid, doomed.content, created),)
        request = HoldRequest(unit.name, commit, hold.reason, hold.message, pending)
        unit.replace_holds[doomed.ref], unit.judged = await self.with_losses(unit, request), commit
        self._site.outbox.tell(EventKind.HELD, hold.message, unit=unit.name, commit=commit)

    async def with_losses(self, unit: UnitState, request: HoldRequest) -> HoldRequest:
        """The same hold with what would go with each object (R10)."""
        refs = [item.ref for item in request.deletions]
        found = await self._losses.of(refs, {*refs, *on_their_way(unit)})
        told = tuple(
            replace(item, goes_with=loss.lines, inside=loss.inside) if (loss := found.get(item.ref)) else item
            for item in request.deletions
        )
        return replace(request, deletions=told)

    async def with_inside(
        self, unit: UnitState, item: Doomed, approved: Collection[Approved], agreed: Collection[ObjectRef] = ()
    ) -> Doomed:
        """The same with what goes with it now, where a person approved it: asked at no other time.

        agreed: what goes by the same word, and so had its own line.
        """
        if not takes_along(item.ref) or approval_of(item, approved) is None:
            return item
        own = {*agreed, *on_their_way(unit)}
        return replace(item, inside=await self._losses.inside(item.ref, own, approved))

    def _may_read_again(self, unit: UnitState) -> bool:
        lines = (line for hold in unit.holds for item in hold.deletions for line in item.goes_with)
        due = self._site.clock() >= unit.holds_read_at + _READ_AGAIN_SECONDS
        return due and any(line.startswith(NOT_KNOWN) for line in lines)
