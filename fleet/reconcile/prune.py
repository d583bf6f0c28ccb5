"""Deletes what a unit no longer wants: last, in reverse order, and only what record, mark, permits and budget allow.

Each object is read just before (R11); that it goes is durable in journal and audit log before the request; its row
stays until the server said that it is gone (R12). What may not go is asked for as a hold with the exact list (R9, R10).
What the server refused to delete is tried again at its own time (R20), and counts as no deletion.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from fleet.core.documents import Document, items_at, text_at
from fleet.core.fingerprint import content_of
from fleet.core.guard import (
    Approved,
    Doomed,
    GuardHold,
    approval_of,
    judge_prune,
    list_of,
    prune_rule_of,
    wave_of,
)
from fleet.core.ids import ObjectRef, Revision
from fleet.core.inside import covers, takes_along
from fleet.core.losses import NOT_KNOWN
from fleet.core.objects import PruneRule
from fleet.core.order import prune_stages
from fleet.core.plan import UnitPlan
from fleet.core.record import Deletable, Gone, NotDeletable, Row, RowState, judge_deletion
from fleet.core.renames import holds_more
from fleet.core.rollout import Apply, Rename
from fleet.core.status import EventKind, HoldRequest, PendingDeletion
from fleet.errors import ClusterError, Conflict, Withdrawn
from fleet.ports.kube import May
from fleet.ports.worker import Deletion, JournalEntry
from fleet.reconcile.apply import ENDS_SESSION, Applier
from fleet.reconcile.losses import Losses, bare, holds_more_inside
from fleet.reconcile.memory import Trouble, UnitState
from fleet.reconcile.questions import forget_settled, remember_asked
from fleet.reconcile.renames import renamed
from fleet.reconcile.site import UNKNOWN_RESULT, Site

if TYPE_CHECKING:
    from fleet.reconcile.unit_pass import Outcome

HOUR_SECONDS = 3600.0
_READ_AGAIN_SECONDS = 300.0  # what could not be read for a hold
_WAITS = ("", "stays until its successor, and all of the unit, is Healthy")


class Pruner:
    """Deletions of all units of one site."""

    def __init__(self, site: Site, applier: Applier) -> None:
        self._site, self._applier, self._losses = site, applier, Losses(site)

    async def prune(self, unit: UnitState, plan: UnitPlan, outcome: Outcome, *, healthy: bool) -> None:
        """Let go what is gone or no longer ours, delete what may be deleted, ask for the rest."""
        told = outcome.told
        assert told is not None
        assert plan.doomed is not None
        await self.found_gone(unit, plan.gone)
        self._forget(unit, plan.let_go)
        forget_settled(self._site, unit)
        action = told.action
        permits = action.permits if isinstance(action, Apply) else frozenset[ObjectRef]()
        approved = action.approved if isinstance(action, Apply) else frozenset[Approved]()
        stays = {move.ref for move in action.moves} if isinstance(action, Apply) else set[ObjectRef]()
        renames = action.renames if isinstance(action, Apply) else frozenset[Rename]()
        names = await renamed(self._site, unit, told)
        doomed = [replace(item, replaced=item.replaced or item.ref in names) for item in plan.doomed]
        doomed = [item for item in doomed if item.ref not in stays]
        doomed = [item for item in doomed if self._is_ours(unit, item.ref) and _is_due(unit, item, healthy=healthy)]
        going = [item.ref for item in doomed if self._is_going(unit, item.ref)]
        await self._look_after(unit, going)
        doomed = await self._read_all(unit, [item for item in doomed if item.ref not in going])
        # What holds more than is there under its new name is a deletion after all.
        doomed = [replace(item, replaced=item.replaced and not (item.more and item.ref in names)) for item in doomed]
        if not doomed:
            unit.holds, unit.spared, unit.judged = (), (), told.commit
            return
        agreed = {item.ref for item in doomed if approval_of(item, approved) and item.prune is not PruneRule.DISABLED}
        doomed = [await self.with_inside(unit, item, approved, agreed) for item in doomed]
        asked = {item.ref for item in doomed}
        verdict = judge_prune(
            doomed,
            owned=self.owned(unit, asked),
            recent=self.recent(unit, asked),
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
        await self._ask(unit, hold, told.commit)
        allowed = {item.ref: item for item in verdict.allowed if self._is_ours(unit, item.ref)}
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

    def recent(self, unit: UnitState, asked: Collection[ObjectRef]) -> int:
        """Deletions of the unit in the sliding hour (R9), with those whose end is not known yet.

        asked: what would be deleted now, and is counted as that: a try of it that came to nothing counts no more.
        """
        oldest = self._site.journal.run_time() - HOUR_SECONDS
        unit.deletions = [gone for gone in unit.deletions if gone.at >= oldest]
        begun = [row for row in self._under_way(unit, asked) if not self._is_counted(unit, row)]
        return len(unit.deletions) + len(begun)

    def owned(self, unit: UnitState, asked: Collection[ObjectRef]) -> int:
        """Objects of the unit without those that `recent` counts, which are being deleted, or were made anew since."""
        counted = {row.ref for row in self._under_way(unit, asked)} | {gone.ref for gone in unit.deletions}
        return sum(ref not in counted for ref in unit.rows)

    def _under_way(self, unit: UnitState, asked: Collection[ObjectRef]) -> list[Row]:
        """What was begun to be deleted within the hour, and is not known to be gone."""
        oldest = self._site.journal.run_time() - HOUR_SECONDS
        return [
            row
            for row in unit.rows.values()
            if row.state is RowState.DELETING
            and row.since >= oldest
            and row.ref not in asked
            and row.ref not in unit.replaced
        ]

    async def delete(
        self,
        unit: UnitState,
        ref: ObjectRef,
        reason: str,
        may: May,
        judged: Doomed | None = None,
        agreed: Collection[ObjectRef] = (),
    ) -> bool:
        """Delete one object of the record, by R11; True once it is gone. Raises ClusterError.

        may: asked again after each wait, and just before the request is sent (R17).

        What another unit wants by now, or has taken over, is left to it (R16). judged: what the guards let go; another
        content by now, another prune rule on it, or more that goes along, is a Conflict, and judged anew (R9).
        agreed: as in `with_inside`.
        """
        site, row = self._site, unit.rows.get(ref)
        served = site.served(ref, row.version) if row is not None else None
        if row is None or served is None:
            return False
        if judged is not None and judged.inside is not None:
            # A long pass may have come here minutes after it was judged.
            now = await self._losses.inside(ref, {*agreed, *_on_their_way(unit)}, _approved(unit))
            if not covers(judged.inside, now):
                raise _judged_anew(ref, "more goes along than when its deletion was judged")
        live = await site.kube.get(served, ref.namespace, ref.name)
        if not self._is_ours(unit, ref) or not may():
            return False
        match judge_deletion(row, live, site.mark(unit.name)):
            case Gone():
                await self.found_gone(unit, [ref])
                return True
            case NotDeletable(reason=why, message=message):
                unit.kept[ref] = (why, message)
                return False
            case Deletable(uid=uid, resource_version=version):
                if live is not None and text_at(live, "metadata", "deletionTimestamp"):
                    self._stuck(unit, ref, live)
                    return False
                if judged is not None and live is not None and self.as_read(judged, live) != judged:
                    unit.doomed.pop(ref, None)
                    raise _judged_anew(ref, "it changed since its deletion was judged")
                await self._intend(unit, ref)
                if not self._is_ours(unit, ref):
                    await self._spare(unit, ref)
                    return False
                try:
                    left = await site.delete(unit, ref, served, may, uid=uid, reason=reason, version=version)
                except UNKNOWN_RESULT:
                    raise
                except ClusterError:
                    await self._spare(unit, ref)
                    raise
                await self._count(unit, ref)
                if left is None:
                    self._forget(unit, [ref])
                    return True
                self._stuck(unit, ref, left)
                return False

    async def _intend(self, unit: UnitState, ref: ObjectRef) -> None:
        """That it is about to be deleted, durable before it is (R12)."""
        site = self._site
        site.put_row(unit, replace(unit.rows[ref], state=RowState.DELETING, since=site.journal.run_time()))
        await site.journal.commit(JournalEntry(put=(unit.rows[ref],)))

    async def _spare(self, unit: UnitState, ref: ObjectRef) -> None:
        """The server refused: it stands as before, and when it goes that was not our doing (R43)."""
        site, row = self._site, unit.rows.get(ref)
        if row is None:
            return  # another unit has taken it over meanwhile, and writes its own row
        site.put_row(unit, replace(row, state=RowState.APPLIED, since=site.wall()))
        await site.journal.commit(JournalEntry(put=(unit.rows[ref],)))

    async def _count(self, unit: UnitState, ref: ObjectRef) -> None:
        """A deletion that was accepted or seen done, once; until this is durable the row says it.

        What is there under another name is none (R9).
        """
        row = unit.rows.get(ref)
        if ref not in unit.replaced and row is not None and not self._is_counted(unit, row):
            gone = Deletion(unit.name, ref, row.since)
            unit.deletions.append(gone)
            await self._site.journal.commit(JournalEntry(deletions=(gone,)))

    def _is_counted(self, unit: UnitState, row: Row) -> bool:
        return any((gone.ref, gone.at) == (row.ref, row.since) for gone in unit.deletions)

    def _is_ours(self, unit: UnitState, ref: ObjectRef) -> bool:
        """Whether it is this unit's still. Plans are older than what others may want by now (R16)."""
        return ref in unit.rows and not self._site.claims.others(ref, unit.name.overlay)

    def _refused(self, unit: UnitState, ref: ObjectRef) -> Trouble | None:
        """Why the last deletion of it failed, while the next try is not due yet."""
        trouble, row = unit.troubles.get(ref), unit.rows.get(ref)
        now = self._site.clock()
        is_due = trouble is None or row is None or trouble.digest != row.desired or trouble.next_at <= now
        return None if is_due else trouble

    async def found_gone(self, unit: UnitState, refs: Sequence[ObjectRef]) -> None:
        """Forget what is not there any more; a deletion that was begun and got no last word gets it now (R43)."""
        for ref in refs:
            row = unit.rows.get(ref)
            if row is not None and row.state is RowState.DELETING:
                reason = "a deletion that was begun before"
                await self._site.audited(unit, ref, "delete", uid=row.uid, reason=reason, outcome="gone")
                await self._count(unit, ref)
        self._forget(unit, refs)

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
                if await self.delete(unit, ref, reason, lambda: outcome.may().prune, item, agreed):
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

    async def _look_after(self, unit: UnitState, refs: Sequence[ObjectRef]) -> None:
        """Read what is on its way out by name, in each pass: the event that said so may have met a stale answer."""
        for ref in refs:
            row = unit.rows.get(ref)
            served = self._site.served(ref, row.version) if row is not None else None
            live = await self._site.kube.get(served, ref.namespace, ref.name) if served is not None else None
            if live is not None:
                self._stuck(unit, ref, live)
            elif served is not None:
                await self.found_gone(unit, [ref])

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
                await self.found_gone(unit, [item.ref])
                continue
            read = self.as_read(item, document)
            if not self._is_ours(unit, item.ref):
                continue
            unit.doomed[item.ref] = (text_at(document, "metadata", "resourceVersion"), read)
            unit.created[item.ref] = created_at(document)
            found.append(read)
        return found

    def as_read(self, item: Doomed, live: Document) -> Doomed:
        """The same with what the guards ask of the live object."""
        return replace(
            item,
            uid=text_at(live, "metadata", "uid"),
            content=content_of(live, key=self._site.key),
            prune=prune_rule_of(live),
            more=holds_more(live),
            wave=wave_of(live),
        )

    async def _ask(self, unit: UnitState, hold: GuardHold | None, commit: Revision) -> None:
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

    async def with_losses(self, unit: UnitState, request: HoldRequest) -> HoldRequest:
        """The same hold with what would go with each object (R10)."""
        refs = [item.ref for item in request.deletions]
        found = await self._losses.of(refs, {*refs, *_on_their_way(unit)})
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
        own = {*agreed, *_on_their_way(unit)}
        return replace(item, inside=await self._losses.inside(item.ref, own, approved))

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

    def _may_read_again(self, unit: UnitState) -> bool:
        lines = (line for hold in unit.holds for item in hold.deletions for line in item.goes_with)
        due = self._site.clock() >= unit.holds_read_at + _READ_AGAIN_SECONDS
        return due and any(line.startswith(NOT_KNOWN) for line in lines)

    def _stuck(self, unit: UnitState, ref: ObjectRef, live: Document) -> None:
        """A finalizer is waited for and named, never taken off (R15)."""
        names = [name for name in items_at(live, "metadata", "finalizers") if isinstance(name, str)]
        waits = f"waits for {', '.join(names)}" if names else "is still being deleted"
        unit.kept[ref] = ("PruneStuck", f"{ref} is being deleted and {waits}")
        self._site.see(unit, ref, live)
        self._site.poll(unit.name, self._site.limits.watch_seconds)

    def _forget(self, unit: UnitState, refs: Sequence[ObjectRef]) -> None:
        if not refs:
            return
        for ref in refs:
            self._site.drop_row(unit, ref)
            others = self._site.claims.others(ref, unit.name.overlay)
            for other in others:
                self._site.wake(replace(unit.name, overlay=other))  # to whom it is somebody else's from now on
            if not others and self._site.owners.get(ref) is None:
                self._site.view.drop(ref)
            unit.kept.pop(ref, None)
            unit.troubles.pop(ref, None)
            unit.doomed.pop(ref, None)
            unit.replaced.discard(ref)
            unit.created.pop(ref, None)
        unit.spared = tuple(ref for ref in unit.spared if ref not in refs)
        self._site.journal.jot(JournalEntry(drop=tuple((unit.name, ref) for ref in refs)))


def _judged_anew(ref: ObjectRef, why: str) -> Conflict:
    return Conflict(f"{ref} was not deleted", why=why, next_step="it is judged anew")


def _approved(unit: UnitState) -> frozenset[Approved]:
    action = unit.desired.action if unit.desired is not None else None
    return action.approved if isinstance(action, Apply) else frozenset()


def _on_their_way(unit: UnitState) -> list[ObjectRef]:
    """What the unit deletes already: nobody is asked about it again."""
    return [row.ref for row in unit.rows.values() if row.state is RowState.DELETING]


def _is_due(unit: UnitState, item: Doomed, *, healthy: bool) -> bool:
    """Whether it may go now, as far as its successor asks; what waits for that says so."""
    if item.replaced and not healthy:
        unit.kept.setdefault(item.ref, _WAITS)
        return False
    if unit.kept.get(item.ref) == _WAITS:
        del unit.kept[item.ref]
    return True


def created_at(document: Document) -> float:
    """creationTimestamp as wall clock; 0.0 where there is none."""
    try:
        return datetime.fromisoformat(text_at(document, "metadata", "creationTimestamp")).timestamp()
    except ValueError:
        return 0.0
