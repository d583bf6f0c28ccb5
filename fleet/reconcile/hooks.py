"""Runs hooks: before and after a bundle, or when it failed; each once per bundle digest, also over a crash.

That a hook was started is durable before it is applied, so that a killed worker waits for it instead of running it
again. Hook objects are no part of the record; they go by their own `hook-delete` annotation alone (V1).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from fleet.core.documents import text_at
from fleet.core.hooks import HookPlan, hook_key, hooks_to_delete, plan_hooks
from fleet.core.ids import ObjectRef
from fleet.core.objects import HookPhase
from fleet.core.plan import Wanted
from fleet.core.record import judge_mark
from fleet.core.status import EventKind, Kstatus
from fleet.errors import ClusterError, Conflict, ReconcileError
from fleet.ports.kube import Answer, ServedKind
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import ABSENT_VERSION, ENDS_SESSION, Applier, refusal_of
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site

if TYPE_CHECKING:
    from fleet.reconcile.unit_pass import Outcome

_STARTED = "started "


class HookRunner:
    """Hooks of any unit of one site."""

    def __init__(self, site: Site, applier: Applier) -> None:
        self._site, self._applier = site, applier

    async def run(self, unit: UnitState, phase: HookPhase, outcome: Outcome) -> bool:
        """Take a phase as far as it goes now; True once it is over."""
        plan = self._plan(unit, phase)
        await self._end(unit, plan)
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
                if not await self._start(unit, hook, clear=obj.ref in plan.clear):
                    trouble = unit.troubles[hook.ref]
                    outcome.reason, outcome.message = trouble.reason, trouble.message
                    outcome.next_step = trouble.next_step
                    return False
        names = ", ".join(str(ref) for ref in (*plan.waiting, *(o.ref for s in plan.run for o in s.objects)))
        outcome.reason, outcome.message = "HookRuns", f"{phase.value} hook {names} has not ended yet"
        return False

    async def after(self, unit: UnitState, outcome: Outcome, all_current: bool) -> bool:
        """PostSync hooks, once everything is Current; True where there are none or they are over."""
        mine = [hook for hook in unit.hooks if hook.source.options.hook is HookPhase.POST_SYNC]
        if not mine or unit.memory.bundle == unit.bundle:
            return True
        if not all_current:
            outcome.reason, outcome.message = "WaveWaits", "PostSync hooks wait until everything is Current"
            return False
        return await self.run(unit, HookPhase.POST_SYNC, outcome)

    async def failed(self, unit: UnitState, outcome: Outcome) -> None:
        """SyncFail hooks, once for the bundle that failed; the reason of the failure stays."""
        reason, message, next_step = outcome.reason, outcome.message, outcome.next_step
        await self.run(unit, HookPhase.SYNC_FAIL, outcome)
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
        )

    async def _start(self, unit: UnitState, hook: Wanted, *, clear: bool) -> bool:
        site, ref = self._site, hook.ref
        assert unit.bundle is not None
        served = site.served(ref, hook.source.version)
        try:
            if served is None:
                return await self._applier.write(unit, hook)  # notes KindNotServed
            if clear and not await self._delete(unit, hook.ref, "runs anew for another commit"):
                return True  # still going; the next pass finds it gone
            await self._remember(unit, [_STARTED + hook_key(unit.bundle, ref)])
            answer = await self._create(unit, hook, served)
            site.see(unit, ref, answer.object)
        except ENDS_SESSION:
            raise
        except (ClusterError, ReconcileError) as error:
            self._applier.trouble(unit, ref, hook.digest, error)
            unit.memory = replace(
                unit.memory,
                done_hooks=tuple(k for k in unit.memory.done_hooks if k != _STARTED + hook_key(unit.bundle, ref)),
            )
            await site.journal.commit(JournalEntry(units=(unit.memory,)))
            return False
        unit.troubles.pop(ref, None)
        site.outbox.tell(EventKind.NOTE, f"hook {ref} started", unit=unit.name, ref=ref)
        return True

    async def _create(self, unit: UnitState, hook: Wanted, served: ServedKind) -> Answer:
        """Apply a hook's object; one of somebody else that came meanwhile is not taken over (R4)."""
        site, ref = self._site, hook.ref
        version = ABSENT_VERSION if site.view.find(ref) is None else ""
        body = await self._applier.body(unit, hook, None, "", version)
        try:
            return await site.kube.apply(served, ref.namespace, ref.name, body.raw)
        except Conflict:
            current = await site.kube.get(served, ref.namespace, ref.name, metadata_only=True)
            verdict = judge_mark(current, site.mark(unit.name)) if current is not None else None
            if verdict is not None and (foreign := refusal_of(ref, verdict, moved=False)):
                raise foreign from None
            raise

    async def _end(self, unit: UnitState, plan: HookPlan) -> None:
        """Remember hooks that ended, and delete those that ask for it."""
        assert unit.bundle is not None
        if plan.finished:
            await self._remember(unit, [hook_key(unit.bundle, ref) for ref in plan.finished])
        ended = {**dict.fromkeys(plan.finished, True), **dict.fromkeys(plan.failed, False)}
        alive = [ref for ref in ended if self._site.view.find(ref) is not None]
        for ref in hooks_to_delete([hook.source for hook in unit.hooks], ended, alive):
            await self._delete(unit, ref, "its hook-delete annotation asks for it")

    async def _remember(self, unit: UnitState, keys: Iterable[str]) -> None:
        assert unit.bundle is not None
        kept = [key for key in unit.memory.done_hooks if f"{unit.bundle}/" in key]
        unit.memory = replace(unit.memory, done_hooks=tuple(dict.fromkeys([*kept, *keys])))
        await self._site.journal.commit(JournalEntry(units=(unit.memory,)))

    async def _delete(self, unit: UnitState, ref: ObjectRef, reason: str) -> bool:
        """Delete a hook's object of ours; True once it is gone."""
        site = self._site
        served = site.served(ref)
        if served is None:
            return True
        live = await site.kube.get(served, ref.namespace, ref.name)
        if live is None:
            site.view.drop(ref)
            return True
        if not judge_mark(live, site.mark(unit.name)).ours:
            return False
        uid = text_at(live, "metadata", "uid")
        left = await site.delete(unit, ref, served, uid=uid, reason=reason)
        if left is None:
            site.view.drop(ref)
        return left is None

    def _why(self, ref: ObjectRef) -> str:
        live = self._site.view.find(ref)
        return f": {live.health.message}" if live is not None and live.health.message else ""
