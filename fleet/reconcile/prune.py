"""Deletes what a unit no longer wants: last, in reverse order, and only what record, mark, permits and budget allow.

What may not go is asked for as a hold with the exact list (R9, R10); what the server refused to delete is tried again
at its own time (R20).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from fleet.core.documents import text_at
from fleet.core.guard import (
    Approved,
    Doomed,
    GuardHold,
    approval_of,
    judge_prune,
    list_of,
)
from fleet.core.ids import ObjectRef, Revision
from fleet.core.objects import PruneRule
from fleet.core.order import prune_stages
from fleet.core.plan import UnitPlan
from fleet.core.record import MarkKind, RowState
from fleet.core.rollout import Apply, Rename
from fleet.core.status import EventKind
from fleet.errors import ClusterError, Conflict, Withdrawn
from fleet.reconcile.apply import Applier
from fleet.reconcile.deletion import Deleter, as_read, created_at
from fleet.reconcile.holds import Holds
from fleet.reconcile.memory import Trouble, UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.questions import forget_settled, remember_asked
from fleet.reconcile.renames import renamed
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site

_WAITS = ("", "stays until its successor, and all of the unit, is Healthy")


class Pruner:
    """Deletions of all units of one site."""

    def __init__(self, site: Site, applier: Applier, deleter: Deleter, holds: Holds) -> None:
        self._site, self._applier, self._deleter, self._holds = site, applier, deleter, holds

    async def prune(self, unit: UnitState, plan: UnitPlan, outcome: Outcome, *, healthy: bool) -> None:
        """Let go what is gone or no longer ours, delete what may be deleted, ask for the rest."""
        told, deleter = outcome.told, self._deleter
        assert told is not None
        assert plan.doomed is not None
        await deleter.found_gone(unit, plan.gone)
        deleter.forget(unit, plan.let_go)
        forget_settled(self._site, unit)
        action = told.action
        permits = action.permits if isinstance(action, Apply) else frozenset[ObjectRef]()
        approved = action.approved if isinstance(action, Apply) else frozenset[Approved]()
        stays = {move.ref for move in action.moves} if isinstance(action, Apply) else set[ObjectRef]()
        renames = action.renames if isinstance(action, Apply) else frozenset[Rename]()
        self._let_go(unit, [ref for ref in plan.unlabelled if ref not in stays], told.commit)
        names = await renamed(self._site, unit, told)
        doomed = [replace(item, replaced=item.replaced or item.ref in names) for item in plan.doomed]
        doomed = [item for item in doomed if item.ref not in stays]
        doomed = [item for item in doomed if deleter.is_ours(unit, item.ref) and _is_due(unit, item, healthy=healthy)]
        going = [item.ref for item in doomed if self._is_going(unit, item.ref)]
        await deleter.look_after(unit, going)
        doomed = await self._read_all(unit, [item for item in doomed if item.ref not in going])
        # What holds more than is there under its new name is a deletion after all.
        doomed = [replace(item, replaced=item.replaced and not (item.more and item.ref in names)) for item in doomed]
        if not doomed:
            unit.holds, unit.spared, unit.judged = (), (), told.commit
            return
        agreed = {item.ref for item in doomed if approval_of(item, approved) and item.prune is not PruneRule.DISABLED}
        doomed = [await self._holds.with_inside(unit, item, approved, agreed) for item in doomed]
        asked = {item.ref for item in doomed}
        verdict = judge_prune(
            doomed,
            owned=deleter.owned(unit, asked),
            recent=deleter.recent(unit, asked),
            budget=told.policy.budget,
            permits=permits,
            approved=approved,
            before=unit.memory.asked,
            prune=told.policy.sync.prune,
        )
        unit.spared = tuple(sorted(item.ref for item in verdict.kept))
        hold = verdict.hold
        if verdict.waiting:
            why = "its wipe asks" if isinstance(action, Apply) and action.wipe else "on many clusters at once"
            message = f"would delete {list_of([item.ref for item in verdict.waiting])}, as {why}"
            before = GuardHold("prune-budget", "", ()) if hold is None else replace(hold, message=f"{hold.message}; ")
            hold = replace(before, message=before.message + message, doomed=(*before.doomed, *verdict.waiting))
        if not outcome.may().prune:
            return
        if hold is not None:
            # What the hub alone holds it remembers itself; that a rename is none is seen here.
            others = {item.ref for item in verdict.waiting} - {each.old for each in renames}
            mine = tuple(item for item in hold.doomed if item.ref not in others)
            await remember_asked(self._site, unit, replace(hold, doomed=mine))
        await self._holds.ask(unit, hold, told.commit)
        allowed = {item.ref: item for item in verdict.allowed if deleter.is_ours(unit, item.ref)}
        unit.replaced -= allowed.keys()
        unit.replaced |= {ref for ref, item in allowed.items() if item.replaced}
        for ref in list(allowed):
            if trouble := self._refused(unit, ref):
                del allowed[ref]
                outcome.reason, outcome.message, outcome.next_step = trouble.reason, trouble.message, trouble.next_step
        reason = f"dropped by {told.commit[:12]}"
        if isinstance(action, Apply) and action.wipe:
            reason = f"{reason}, wiped: {action.wipe}"
        done: list[ObjectRef] = []
        for stage in prune_stages(allowed, {ref: item.wave for ref, item in allowed.items()}):
            done += await self._delete_stage(unit, [allowed[ref] for ref in stage], agreed, reason, outcome)
        if done:
            text = f"deleted {list_of(done)}"
            self._site.outbox.tell(EventKind.PRUNED, text, unit=unit.name, commit=told.commit)

    def _let_go(self, unit: UnitState, refs: Sequence[ObjectRef], commit: Revision) -> None:
        """What left the overlay and lost a label of ours is never deleted (R11), nor waited for: it is told, once."""
        for ref in refs:
            live = self._site.view.find(ref)
            if live is None or live.mark.kind is not MarkKind.LABEL_LOST or not self._deleter.is_ours(unit, ref):
                continue  # planned before it went, got its label back, or moved
            text = f"{ref} left the overlay without a label of ours: it is let go, and stays until somebody deletes it"
            self._site.outbox.tell(EventKind.DRIFTED, text, unit=unit.name, commit=commit, ref=ref)
            self._deleter.forget(unit, [ref])

    def _refused(self, unit: UnitState, ref: ObjectRef) -> Trouble | None:
        """Why the last deletion of it failed, while the next try is not due yet."""
        trouble, row = unit.troubles.get(ref), unit.rows.get(ref)
        now = self._site.clock()
        is_due = trouble is None or row is None or trouble.digest != row.desired or trouble.next_at <= now
        return None if is_due else trouble

    async def _delete_stage(
        self, unit: UnitState, items: Sequence[Doomed], agreed: Collection[ObjectRef], reason: str, outcome: Outcome
    ) -> list[ObjectRef]:
        """Delete these as they were judged; what is gone then."""
        done: list[ObjectRef] = []

        async def delete(item: Doomed) -> None:
            ref = item.ref
            if not outcome.may().prune:
                return
            if not self._site.all_read():
                self._site.prunes_wait.add(unit.name)  # it may move to a unit whose newest bundle is not read yet
                return
            try:
                if await self._deleter.delete(unit, ref, reason, lambda: outcome.may().prune, item, agreed):
                    done.append(ref)
            except ENDS_SESSION:
                raise
            except Conflict:
                self._site.wake_at(unit.name, self._site.clock() + 1.0)  # it changed meanwhile: judged anew
            except Withdrawn:
                return
            except ClusterError as error:
                row = unit.rows.get(ref)
                if row is None:
                    return  # another unit's by now
                trouble = self._applier.trouble(unit, ref, row.desired, error)
                outcome.reason, outcome.message, outcome.next_step = trouble.reason, trouble.message, trouble.next_step

        await self._site.pace.each(items, delete)
        return done

    def _is_going(self, unit: UnitState, ref: ObjectRef) -> bool:
        """Whether we deleted it before and the cluster accepted that: nobody is asked again."""
        live = self._site.view.find(ref)
        return unit.rows[ref].state is RowState.DELETING and live is not None and live.deleting

    async def _read_all(self, unit: UnitState, doomed: Sequence[Doomed]) -> list[Doomed]:
        """Fill in UID, content and prune rule from the live objects, read anew only where they changed."""
        found: list[Doomed] = []
        for item in doomed:
            live = self._site.view.find(item.ref)
            known = unit.doomed.get(item.ref)
            if live is not None and known is not None and known[0] == live.resource_version:
                found.append(replace(known[1], replaced=item.replaced))
                continue
            row = unit.rows.get(item.ref)
            served = self._site.served(item.ref, row.version) if row is not None else None
            if served is None:
                continue
            document = await self._site.kube.get(served, item.ref.namespace, item.ref.name)
            if document is None:
                await self._deleter.found_gone(unit, [item.ref])
                continue
            read = as_read(item, document, self._site.key)
            if not self._deleter.is_ours(unit, item.ref):
                continue
            unit.doomed[item.ref] = (text_at(document, "metadata", "resourceVersion"), read)
            unit.created[item.ref] = self._site.as_ours(created_at(document))
            found.append(read)
        return found


def _is_due(unit: UnitState, item: Doomed, *, healthy: bool) -> bool:
    """Whether it may go now, as far as its successor asks; what waits for that says so."""
    if item.replaced and not healthy:
        unit.kept.setdefault(item.ref, _WAITS)
        return False
    if unit.kept.get(item.ref) == _WAITS:
        del unit.kept[item.ref]
    return True
