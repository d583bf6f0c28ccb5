"""Runs hooks: before and after a bundle, or when it failed; each once per bundle digest, also over a crash.

That a hook was started is durable before it is applied, so that a killed worker waits for it instead of running it
again. Hook objects are no part of the record; they go by their own `hook-delete` annotation alone (V1). What another
overlay wants, owns or has marked is neither written nor deleted by a hook of the same name (R4, R16).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.core.documents import Document, mapping_at, text_at
from fleet.core.hooks import HookPlan, hook_key, hooks_to_delete, plan_hooks
from fleet.core.ids import ObjectRef, OverlayName
from fleet.core.objects import HookPhase
from fleet.core.plan import Claims, Wanted
from fleet.core.record import MarkKind, MarkVerdict, judge_mark
from fleet.core.status import EventKind, Kstatus
from fleet.errors import ClusterError, Conflict, OwnedByOther, ReconcileError
from fleet.ports.kube import Answer, ServedKind
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import ABSENT_VERSION, ENDS_SESSION, Applier, NotOurs, refusal_of
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site

if TYPE_CHECKING:
    from fleet.reconcile.unit_pass import Outcome

_STARTED, _FAILED = "started ", "failed "
_STALE_TRIES = 3
_HOOKS = {"fleet.internal/hook", "argocd.argoproj.io/hook"}  # annotations by which a live object shows that it is one


class HookRunner:
    """Hooks of any unit of one site."""

    def __init__(self, site: Site, applier: Applier) -> None:
        self._site, self._applier = site, applier

    async def run(self, unit: UnitState, phase: HookPhase, outcome: Outcome, claims: Claims) -> bool:
        """Take a phase as far as it goes now; True once it is over."""
        plan = self._plan(unit, phase)
        await self._end(unit, plan, claims)
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
                if not await self._start(unit, hook, claims, clear=obj.ref in plan.clear):
                    trouble = unit.troubles[hook.ref]
                    outcome.reason, outcome.message = trouble.reason, trouble.message
                    outcome.next_step = trouble.next_step
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

    def _plan(self, unit: UnitState, phase: HookPhase) -> HookPlan:
        assert unit.bundle is not None  # hooks come from a bundle
        keys = set(unit.memory.done_hooks)
        health: dict[ObjectRef, Kstatus] = {}
        for hook in unit.hooks:
            live = self._site.view.find(hook.ref)
            if live is not None:
                health[hook.ref] = live.health.kstatus
        return plan_hooks(
            [hook.source for hook in unit.hooks],
            phase,
            unit.bundle,
            done=keys,
            started=[h.ref for h in unit.hooks if _STARTED + hook_key(unit.bundle, h.ref) in keys],
            health=health,
            failed_before=[h.ref for h in unit.hooks if _FAILED + hook_key(unit.bundle, h.ref) in keys],
        )

    async def _start(self, unit: UnitState, hook: Wanted, claims: Claims, *, clear: bool) -> bool:
        """Start one hook; False where that failed, with the trouble noted in the unit."""
        site, ref = self._site, hook.ref
        assert unit.bundle is not None
        if self._applier.is_troubled(unit, hook):
            return False
        served, key = site.served(ref, hook.source.version), _STARTED + hook_key(unit.bundle, ref)
        try:
            self._refuse_claimed(unit, ref, claims)
            if served is None:
                return await self._applier.write(unit, hook)  # notes KindNotServed
            if clear and not await self._delete(unit, ref, served, claims, "runs anew for another commit"):
                site.wake_at(unit.name, site.clock() + site.limits.watch_seconds)
                return True  # still going; a later pass finds it gone
            seen = not clear and site.view.find(ref) is not None
            live = await self._read(unit, ref, served, claims) if seen else None
            await self._remember(unit, [key])
            answer = await self._create(unit, hook, served, live, claims)
            site.see(unit, ref, answer.object)
            site.wake(unit.name)  # one that is Current at once tells nothing more
        except ENDS_SESSION:
            raise
        except (NotOurs, ClusterError, ReconcileError) as error:
            self._applier.trouble(unit, ref, hook.digest, error.error if isinstance(error, NotOurs) else error)
            if key in unit.memory.done_hooks:
                kept = tuple(known for known in unit.memory.done_hooks if known != key)
                unit.memory = replace(unit.memory, done_hooks=kept)
                await site.journal.commit(JournalEntry(units=(unit.memory,)))
            return False
        unit.troubles.pop(ref, None)
        site.outbox.tell(EventKind.NOTE, f"hook {ref} started", unit=unit.name, ref=ref)
        return True

    def _refuse_claimed(self, unit: UnitState, ref: ObjectRef, claims: Claims) -> None:
        """Raise NotOurs where another overlay wants this object or holds it in its record (R16)."""
        owner = self._site.owners.get(ref)
        others = claims.others(ref, unit.name.overlay)
        if owner is not None and owner != unit.name:
            others |= {owner.overlay}
        if others:
            who = ", ".join(sorted(others))
            raise NotOurs(
                OwnedByOther(
                    f"hook {ref} was not started: it is also in overlay {who}",
                    why="two overlays may not claim one object",
                    next_step="give the hook a name of its own",
                )
            )

    async def _read(self, unit: UnitState, ref: ObjectRef, served: ServedKind, claims: Claims) -> Document | None:
        """The object under a hook's name, None where there is none; raises NotOurs on one that is not ours (R4)."""
        live = await self._site.kube.get(served, ref.namespace, ref.name)
        if live is None:
            return None
        verdict = judge_mark(live, self._site.mark(unit.name))
        if foreign := refusal_of(ref, verdict, moved=self._is_left_over(live, verdict, claims)):
            foreign.next_step = "give the hook a name of its own"
            raise NotOurs(foreign)
        return live

    def _is_left_over(self, live: Document, verdict: MarkVerdict, claims: Claims) -> bool:
        """Whether a hook of an overlay that does not have it any more left this: it moved here, or was renamed."""
        other = OverlayName(verdict.who)
        is_known = other in claims.known or all(name.overlay != other for name in self._site.units)
        is_hook = bool(_HOOKS & mapping_at(live, "metadata", "annotations").keys())
        return verdict.kind is MarkKind.OTHER_UNIT and is_known and is_hook

    async def _create(
        self, unit: UnitState, hook: Wanted, served: ServedKind, live: Document | None, claims: Claims
    ) -> Answer:
        """Apply a hook's object over exactly this state; one of somebody else that came meanwhile stays (R4)."""
        ref = hook.ref
        uid, version = ("", ABSENT_VERSION) if live is None else _identity_of(live)
        body = await self._applier.body(unit, hook, live, uid, version)
        try:
            return await self._site.kube.apply(served, ref.namespace, ref.name, body.raw)
        except Conflict:
            await self._read(unit, ref, served, claims)
            raise

    async def _end(self, unit: UnitState, plan: HookPlan, claims: Claims) -> None:
        """Remember hooks that ended, and delete those that ask for it."""
        assert unit.bundle is not None
        if plan.finished:
            await self._remember(unit, [hook_key(unit.bundle, ref) for ref in plan.finished])
        ended = {**dict.fromkeys(plan.finished, True), **dict.fromkeys(plan.failed, False)}
        alive = [ref for ref in ended if self._site.view.find(ref) and self._site.owners.get(ref) in (None, unit.name)]
        for ref in hooks_to_delete([hook.source for hook in unit.hooks], ended, alive):
            served = self._site.served(ref)
            if not ended[ref]:  # once it is gone, nothing else tells that it did not end well
                await self._remember(unit, [_FAILED + hook_key(unit.bundle, ref)])
            with suppress(NotOurs):  # somebody took its place meanwhile: nothing of ours is left to delete
                if served is not None:
                    await self._delete(unit, ref, served, claims, "its hook-delete annotation asks for it")

    async def _remember(self, unit: UnitState, keys: Iterable[str]) -> None:
        assert unit.bundle is not None
        kept = [key for key in unit.memory.done_hooks if f"{unit.bundle}/" in key]
        unit.memory = replace(unit.memory, done_hooks=tuple(dict.fromkeys([*kept, *keys])))
        await self._site.journal.commit(JournalEntry(units=(unit.memory,)))

    async def _delete(self, unit: UnitState, ref: ObjectRef, served: ServedKind, claims: Claims, reason: str) -> bool:
        """Delete a hook's object of ours in the state that was just read (R11); True once it is gone.

        Raises NotOurs, and ClusterError; one that changes meanwhile is read again a few times.
        """
        site, tries = self._site, 0
        while (live := await self._read(unit, ref, served, claims)) is not None:
            if text_at(live, "metadata", "deletionTimestamp"):
                return False
            (uid, version), tries = _identity_of(live), tries + 1
            try:
                left = await site.delete(unit, ref, served, uid=uid, reason=reason, version=version)
            except Conflict:
                if tries == _STALE_TRIES:
                    raise
                continue
            if left is not None:
                return False
            break
        site.view.drop(ref)
        return True

    def _why(self, ref: ObjectRef) -> str:
        live = self._site.view.find(ref)
        return f": {live.health.message}" if live is not None and live.health.message else ""


def _identity_of(live: Document) -> tuple[str, str]:
    """UID and resourceVersion."""
    return text_at(live, "metadata", "uid"), text_at(live, "metadata", "resourceVersion")
