"""Runs hooks: before and after a bundle, or when it failed; each once per bundle digest, also over a crash.

That a hook is begun is durable before it is applied, that it was started once the apply was answered. What a killed
worker had begun is applied again: over its own object that changes nothing, and where there is none it never landed.
Only a Job that removes itself could have come and gone: it is made suspended, and let go when that is durable.
Hook objects are no part of the record; they go by their own `hook-delete` annotation alone (V1), which is remembered
until they are gone. What is left of an earlier run and may not go by it is no run of the next one: the hook is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from fleet.core.documents import Document
from fleet.core.hooks import (
    HookPlan,
    Owed,
    collides,
    hook_key,
    hook_state,
    hooks_to_delete,
    owed_in,
    plan_hooks,
    removes_itself,
)
from fleet.core.ids import Digest, ObjectRef, is_at_or_before
from fleet.core.objects import HookDelete, HookPhase
from fleet.core.plan import Claims, DesiredObject
from fleet.core.record import MarkKind
from fleet.core.status import EventKind, Kstatus
from fleet.errors import ClusterError, KindNotServed, PruneStuck, ReconcileError, Withdrawn
from fleet.ports.kube import Answer, May, ServedKind
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import Applier
from fleet.reconcile.deletion import Deleter
from fleet.reconcile.holds import Holds
from fleet.reconcile.hook_objects import HookObjects
from fleet.reconcile.memory import Live, Trouble, UnitState, kind_of
from fleet.reconcile.not_ours import NotOurs
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.parent import Parents
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import UNKNOWN_RESULT, Site

_BEGUN, _MADE, _STARTED, _FAILED = "begun ", "made ", "started ", "failed "
_NO_DIGEST = Digest("")
_JOB = ("batch", "Job")


class HookRunner:
    """Hooks of any unit of one site."""

    def __init__(self, site: Site, applier: Applier, deleter: Deleter, holds: Holds, parents: Parents) -> None:
        self._site, self._applier = site, applier
        self._objects = HookObjects(site, applier, deleter, holds, parents)
        self._started: dict[ObjectRef, str] = {}  # the resourceVersion that the start of a hook made

    async def run(self, unit: UnitState, phase: HookPhase, outcome: Outcome, claims: Claims) -> bool:
        """Take a phase as far as it goes now; True once it is over."""
        plan = await self._plan(unit, phase, claims)
        await self._end(unit, plan, outcome, claims)
        if plan.over:
            return True
        if plan.failed:
            names = ", ".join(str(ref) for ref in plan.failed)
            why = self._why(plan.failed[0])
            outcome.reason, outcome.message = "HookFailed", f"{phase.value} hook {names} failed{why}"
            outcome.next_step = f"fleet describe unit {unit.name}"
            return False
        for stage in plan.run:
            for obj in stage.objects:
                hook = next(hook for hook in unit.hooks if hook.ref == obj.ref)
                if not await self._start(unit, hook, outcome, claims):
                    _name(outcome, unit.troubles[hook.ref])
                    return False
        if not plan.run and (unknown := [ref for ref in plan.waiting if ref in unit.troubles]):
            _name(outcome, unit.troubles[unknown[0]])
            return False
        names = ", ".join(str(ref) for ref in (*plan.waiting, *(o.ref for s in plan.run for o in s.objects)))
        outcome.reason, outcome.message = "HookRuns", f"{phase.value} hook {names} has not ended yet"
        return False

    async def after(self, unit: UnitState, outcome: Outcome, claims: Claims, *, all_current: bool) -> bool:
        """PostSync hooks, once everything is Current; True where there are none or they are over."""
        mine = [hook for hook in unit.hooks if hook.source.options.hook is HookPhase.POST_SYNC]
        if not mine or unit.holds_commit:
            return True
        if not all_current:
            outcome.reason, outcome.message = "WaveWaits", "PostSync hooks wait until everything is Current"
            return False
        return await self.run(unit, HookPhase.POST_SYNC, outcome, claims)

    async def failed(self, unit: UnitState, outcome: Outcome, claims: Claims) -> None:
        """SyncFail hooks, once for the bundle that failed; the reason of the failure stays."""
        reason, message, next_step = outcome.reason, outcome.message, outcome.next_step
        await self.run(unit, HookPhase.SYNC_FAIL, outcome, claims)
        outcome.reason, outcome.message, outcome.next_step = reason, message, next_step

    async def tidy(self, unit: UnitState, outcome: Outcome, claims: Claims) -> None:
        """Delete the objects of hooks that have ended and ask for it; what fails or must wait is tried again."""
        site = self._site
        for owed in owed_in(unit.memory.done_hooks):
            ref, trouble = owed.ref, unit.troubles.get(owed.ref)
            if not outcome.may().apply:
                return
            # It may have become more than what a hook left.
            if ref in unit.wanted or self._objects.claimants(unit, ref, claims):
                unit.replace_holds.pop(ref, None)
                unit.warnings.pop(ref, None)
                await self._remember(unit, [], forget=[str(owed)])
                continue
            if not site.all_read():  # it may have moved
                site.prunes_wait.add(unit.name)
                return
            served = site.served(ref)
            if ref in unit.rows or served is None or (trouble is not None and trouble.next_at > site.clock()):
                continue
            try:
                why = "its hook-delete annotation asks for it"
                gone = await self._objects.delete(unit, ref, served, claims, _may_of(outcome), why, uid=owed.uid)
            except ENDS_SESSION:
                raise
            except Withdrawn:
                return
            except NotOurs:  # somebody took its place meanwhile: nothing of ours is left to delete
                gone = True
            except PruneStuck:
                unit.warnings[ref] = ("the hook has ended, and its prune: disabled keeps the object",)
                continue
            except ClusterError as error:
                told = self._applier.trouble(unit, ref, _NO_DIGEST, error)
                unit.warnings[ref] = (f"the hook has ended and could not be deleted: {told.message}",)
                continue
            if gone:
                unit.troubles.pop(ref, None)
                unit.warnings.pop(ref, None)
                await self._remember(unit, [], forget=[str(owed)])
            elif ref not in unit.replace_holds:
                site.poll(unit.name, site.limits.watch_seconds)

    async def _plan(self, unit: UnitState, phase: HookPhase, claims: Claims) -> HookPlan:
        assert unit.bundle is not None  # hooks come from a bundle
        bundle, keys = unit.bundle, set(unit.memory.done_hooks)

        def those(word: str) -> list[ObjectRef]:
            return [hook.ref for hook in unit.hooks if word + hook_key(bundle, hook.ref) in keys]

        health: dict[ObjectRef, Kstatus] = {}
        started, failed = those(_STARTED), those(_FAILED)
        for hook in unit.hooks:
            live = self._site.view.find(hook.ref)
            is_open = hook.ref in started and hook.ref not in failed and hook_key(bundle, hook.ref) not in keys
            if is_open and hook.source.options.hook is phase:
                try:
                    # Only a read by name says that it vanished: no row of the record brings it back into the view.
                    live = await self._find(unit, hook, claims) if self._is_behind(hook.ref, live) else live
                except (NotOurs, KindNotServed) as error:  # how it stands is not known, and that is not its end (R5)
                    found = error.error if isinstance(error, NotOurs) else error
                    self._applier.trouble(unit, hook.ref, hook.digest, found)
                    health[hook.ref] = Kstatus.UNKNOWN
                    continue
                unit.troubles.pop(hook.ref, None)
                if live is not None and live.mark.kind is not MarkKind.OURS:
                    self._site.poll(unit.name, self._site.limits.watch_seconds)
            if live is not None:
                health[hook.ref] = hook_state(hook.ref, live.health)
        return plan_hooks(
            [hook.source for hook in unit.hooks],
            phase,
            bundle,
            done=keys,
            started=started,
            health=health,
            failed_before=failed,
        )

    def _is_behind(self, ref: ObjectRef, live: Live | None) -> bool:
        """Whether the view shows a hook's object not at all, without the label by which it is watched, or as it was
        before its start: an event that came late.
        """
        started = self._started.get(ref, "")
        if live is None or live.mark.kind is not MarkKind.OURS:
            return True
        return live.resource_version != started and is_at_or_before(live.resource_version, started)

    async def _find(self, unit: UnitState, hook: DesiredObject, claims: Claims) -> Live | None:
        """A hook's object as read by name, None where it is gone; raises NotOurs and ClusterError."""
        served = self._site.served(hook.ref, hook.source.version)
        if served is None:
            raise KindNotServed(
                f"it is not known whether hook {hook.ref} has ended",
                why=f"the cluster does not serve its kind {hook.ref.kind} any more",
                next_step="put its definition back, or deliver a commit with another hook",
            )
        document = await self._objects.read(unit, hook.ref, served, claims)
        return self._site.see(unit, hook.ref, document) if document is not None else None

    async def _start(self, unit: UnitState, hook: DesiredObject, outcome: Outcome, claims: Claims) -> bool:
        """Start one hook, unless its unit may not be written to any more; False where that failed: noted in the unit.

        What stands under its name is read: the view may not show it, since watches that went on after a restart tell
        nothing of what is in no record.
        """
        site, ref = self._site, hook.ref
        assert unit.bundle is not None
        if self._applier.is_troubled(unit, hook):
            return False
        served, key = site.served(ref, hook.source.version), hook_key(unit.bundle, ref)
        before = unit.memory.done_hooks
        was_begun = _BEGUN + key in before
        try:
            self._objects.refuse_claimed(unit, ref, claims)
            if served is None:
                return await self._applier.write(unit, hook, _may_of(outcome))  # notes KindNotServed
            await self._objects.refuse_recorded(unit, ref, served)
            clear, may = not was_begun and self._is_cleared(unit, hook), _may_of(outcome)
            if not outcome.may().apply:
                return True  # nobody says that it runs: it is not written down (R17)
            why = "runs anew for another commit"
            if clear and not await self._objects.delete(unit, ref, served, claims, may, why):
                site.poll(unit.name, site.limits.watch_seconds)
                return True  # still going; a later pass finds it gone
            live = await self._objects.read(unit, ref, served, claims)
            if collides(ref, live, was_begun=was_begun):
                raise PruneStuck(
                    f"hook {ref} was not started: what its last run left is still there",
                    why="its hook-delete does not let it go before the next run",
                    next_step="add BeforeHookCreation to its hook-delete, delete it by hand, or name the hook anew",
                )
            if not outcome.may().apply:
                return True
            if answer := await self._bring(unit, hook, served, live, claims, may):
                self._started[ref] = site.see(unit, ref, answer.object).resource_version
            await self._remember(unit, [_STARTED + key])
            site.wake(unit.name)  # one that is Current at once tells nothing more
        except ENDS_SESSION:
            raise
        except (NotOurs, ClusterError, ReconcileError) as error:
            found = error.error if isinstance(error, NotOurs) else error
            if not isinstance(found, UNKNOWN_RESULT):
                await self._take_back(unit, key, before)
            if isinstance(found, Withdrawn):
                return True  # nobody says that it runs: it is not written down (R17)
            self._applier.trouble(unit, ref, hook.digest, found)
            return False
        unit.troubles.pop(ref, None)
        site.outbox.tell(EventKind.NOTE, f"hook {ref} started", unit=unit.name, ref=ref)
        return True

    def _is_cleared(self, unit: UnitState, hook: DesiredObject) -> bool:
        """Whether what an earlier run left goes before this hook runs."""
        owed = owed_in(unit.memory.done_hooks)
        return HookDelete.BEFORE_CREATION in hook.source.options.hook_delete or any(it.ref == hook.ref for it in owed)

    async def _take_back(self, unit: UnitState, key: str, before: Collection[str]) -> None:
        """Forget what this try wrote down and the server then refused.

        A Job that was made and not let go stays begun, or it would be cleared; it is made no more, or its absence would
        say that it ran.
        """
        if _MADE + key in before:
            return  # an earlier try may have let it go
        if _MADE + key in unit.memory.done_hooks:
            await self._remember(unit, [], forget=[_MADE + key])
        elif _BEGUN + key not in before:
            await self._remember(unit, [], forget=[_BEGUN + key])

    async def _bring(
        self, unit: UnitState, hook: DesiredObject, served: ServedKind, live: Document | None, claims: Claims, may: May
    ) -> Answer | None:
        """Apply a hook's object, so that it runs once, whenever this is cut off; None where it came and went."""
        assert unit.bundle is not None
        key = hook_key(unit.bundle, hook.ref)
        vanishes = removes_itself((await self._site.library.object(unit.bundle, hook.source)).document())
        if _MADE + key in unit.memory.done_hooks:
            return await self._objects.create(unit, hook, served, live, claims, may) if live is not None else None
        if _BEGUN + key not in unit.memory.done_hooks:
            await self._remember(unit, [_BEGUN + key])
        if not vanishes:
            return await self._objects.create(unit, hook, served, live, claims, may)
        fresh = live is None
        if live is None:
            live = (await self._objects.create(unit, hook, served, None, claims, may, suspended=True)).object
        await self._remember(unit, [_MADE + key])
        return await self._objects.create(unit, hook, served, live, claims, may, fresh=fresh)

    async def _end(self, unit: UnitState, plan: HookPlan, outcome: Outcome, claims: Claims) -> None:
        """Remember hooks that ended, with what is to be deleted of them, and then delete it."""
        assert unit.bundle is not None
        keys = [hook_key(unit.bundle, ref) for ref in plan.finished]
        ended = {**dict.fromkeys(plan.finished, True), **dict.fromkeys(plan.failed, False)}
        alive = {
            ref: live
            for ref in ended
            if (live := self._site.view.find(ref)) and self._site.owners.get(ref) in (None, unit.name)
        }
        doomed = hooks_to_delete([hook.source for hook in unit.hooks], ended, alive)
        # Once one is gone, be it by itself, nothing else tells that it did not end well. What is no Job may recover.
        left = [ref for ref in plan.failed if ref in doomed or kind_of(ref) == _JOB]
        keys += [_FAILED + hook_key(unit.bundle, ref) for ref in left]
        for ref in doomed:
            keys.append(str(Owed(alive[ref].uid, hook_key(unit.bundle, ref))))
        if set(keys) - set(unit.memory.done_hooks):
            await self._remember(unit, keys)
            await self.tidy(unit, outcome, claims)

    async def _remember(self, unit: UnitState, keys: Iterable[str], forget: Iterable[str] = ()) -> None:
        """Of other bundles only what is still to be deleted is kept."""
        assert unit.bundle is not None
        owed = {str(one) for one in owed_in(unit.memory.done_hooks)}
        kept = [key for key in unit.memory.done_hooks if f"{unit.bundle}/" in key or key in owed]
        gone = set(forget)
        new = [key for key in dict.fromkeys([*kept, *keys]) if key not in gone]
        unit.memory = replace(unit.memory, done_hooks=tuple(new))
        await self._site.journal.commit(JournalEntry(units=(unit.memory,)))

    def _why(self, ref: ObjectRef) -> str:
        live = self._site.view.find(ref)
        return f": {live.health.message}" if live is not None and live.health.message else ""


def _may_of(outcome: Outcome) -> May:
    """Whether a hook's object may still be written or deleted."""
    return lambda: outcome.may().apply


def _name(outcome: Outcome, trouble: Trouble) -> None:
    """Say what a phase waits for."""
    outcome.reason, outcome.message, outcome.next_step = trouble.reason, trouble.message, trouble.next_step
