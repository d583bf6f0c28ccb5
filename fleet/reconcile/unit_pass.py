"""One pass over one unit: read what is wanted, plan, guard, validate, apply, prune, say how it stands.

A pass never waits for health: what must wait is left for the pass that the next event or timer wakes, and the plan is
computed anew each time from record and live view. So a killed worker goes on where it was.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from fleet.core.guard import judge_empty
from fleet.core.ids import OverlayName
from fleet.core.objects import HookPhase
from fleet.core.plan import (
    Cause,
    Claims,
    Step,
    UnitPlan,
)
from fleet.core.record import FORM, Row, RowState
from fleet.core.status import EventKind
from fleet.errors import (
    ClusterError,
)
from fleet.ports.worker import JournalEntry
from fleet.reconcile.adopt import Adopter
from fleet.reconcile.apply import Applier
from fleet.reconcile.deletion import Deleter
from fleet.reconcile.dry_run import DryRuns
from fleet.reconcile.heal import Healer
from fleet.reconcile.holds import Holds
from fleet.reconcile.hooks import HookRunner
from fleet.reconcile.losses import Losses
from fleet.reconcile.memory import UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.parent import Parents
from fleet.reconcile.planning import Look, Planner
from fleet.reconcile.prune import Pruner
from fleet.reconcile.reading import read_bundle
from fleet.reconcile.refuse import Refuser
from fleet.reconcile.replace import Replacer
from fleet.reconcile.reverify import carry_done
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site
from fleet.reconcile.stages import Stages, is_healing
from fleet.reconcile.standing import Leave, bundle_of
from fleet.reconcile.strangers import Strangers


class UnitPass:
    """Carries out passes of all units of a site; a unit has at most one at a time."""

    def __init__(
        self,
        site: Site,
        applier: Applier,
        healer: Healer,
        look: Look,
        lull: Callable[[UnitState], Awaitable[None]],
    ) -> None:
        self._site, self._applier, self._look, self._lull = site, applier, look, lull
        dry_runs, losses = DryRuns(site, applier), Losses(site)
        deleter, holds = Deleter(site, losses), Holds(site, losses)
        self._pruner, self._parents = Pruner(site, applier, deleter, holds), Parents(site)
        self._strangers = Strangers(site, self._parents)
        self._hooks = HookRunner(site, applier, deleter, holds, self._parents)
        self._adopter, self._refuser = Adopter(site, applier, self._parents), Refuser(site, applier)
        self._planner = Planner(site, applier, dry_runs, look)
        replacer = Replacer(site, applier, dry_runs, deleter, holds)
        self._stages = Stages(site, applier, dry_runs, healer, replacer, self._adopter, self._parents)

    async def run(self, unit: UnitState, outcome: Outcome, claims: Claims) -> None:
        """One pass. ClusterErrors of single objects become troubles of theirs; what ends the session is raised."""
        before = unit.memory.audit_head
        is_settled = await self._work(unit, outcome, claims)
        unit.audit_due |= unit.memory.audit_head != before
        if is_settled or unit.audit_due or self._parents.is_owed(unit):
            await self._parents.keep(unit, lambda: not outcome.may().stopped)

    async def _work(self, unit: UnitState, outcome: Outcome, claims: Claims) -> bool:
        """Whether all of it is applied and nothing stops the unit."""
        told = outcome.told
        assert told is not None  # the worker passes over units that nothing is said of
        wanted_bundle = bundle_of(told)
        await read_bundle(self._site, unit, told)
        if unlisted := self._site.unlisted(unit):
            more = f" and {len(unlisted) - 3} more kinds" if len(unlisted) > 3 else ""
            outcome.incomplete = f"the cluster has not listed its {', '.join(unlisted[:3])}{more} yet"
            return False
        try:
            await self._strangers.meet(unit)
        except ENDS_SESSION:
            raise
        except ClusterError as error:
            self._stop(unit, outcome, error)
            return False
        await self._look_again(unit)
        carry_done(self._site, unit)
        plan = await self._planner.plan(unit, told, claims, outcome.may())
        outcome.plan, outcome.judged = plan, wanted_bundle is not None
        outcome.incomplete = plan.incomplete
        outcome.refuse(unit.forbidden)
        unit.wait = 0.0
        error = judge_empty(
            unit.name, wanted=len(unit.wanted), owned=len(unit.rows), allow_empty=told.policy.allow_empty
        )
        if error is not None and wanted_bundle is not None:  # what nobody knows is not empty (R5)
            outcome.reason, outcome.message, outcome.next_step = error.reason, error.brief, error.next_step
            return False
        return await self._carry_out(unit, plan, outcome, claims)

    async def _look_again(self, unit: UnitState) -> None:
        """Read what a write without an answer may have done, and what was refused for being foreign (R20)."""
        site, now = self._site, self._site.clock()
        for ref, trouble in list(unit.troubles.items()):
            if trouble.next_at > now or ref not in unit.wanted:
                continue
            if trouble.look_first:
                item = unit.wanted[ref]
                served = site.served(ref, item.source.version)
                if served is not None:
                    await self._look(served, ref)
                    unit.troubles[ref] = replace(trouble, look_first=False)

    # Doing

    async def _carry_out(self, unit: UnitState, plan: UnitPlan, outcome: Outcome, claims: Claims) -> bool:
        self._refuser.forget(unit, plan)
        if outcome.may().apply:
            await self._adopter.choose(unit, plan)
        self._refuser.refuse(unit, plan)
        if outcome.may().apply:
            await self._take_over(unit, plan)
            await self._hooks.tidy(unit, outcome, claims)
        runs_hooks = outcome.may().apply and bool(unit.hooks) and not unit.holds_commit
        if runs_hooks and not await self._precede(unit, outcome):
            return False
        hooked = outcome.may().apply and await self._before(unit, outcome, claims)
        leave = outcome.may()
        steps = self._steps(unit, plan, leave, release=hooked)
        if steps and leave.apply and not await self._stages.are_valid(unit, steps, outcome):
            steps = [step for step in steps if is_healing(unit, step)]
        if steps:
            await self._stages.record(unit, steps)
            if not await self._precede(unit, outcome):
                return False
            await self._stages.apply(unit, steps, outcome)
        leave = outcome.may()
        if outcome.reason and leave.apply and outcome.reason not in ("WaveWaits", "HookRuns"):
            await self._hooks.failed(unit, outcome, claims)
        if any(map(self._site.claims.keeps_back, plan.change)):
            self._site.wake(unit.name)  # suspended amid this pass: the next plan waits for it
        self._adopter.name(unit, plan, outcome)
        whole = not self._left(unit, plan, leave)
        outcome.settled = whole and not outcome.reason and unit.bundle is not None
        if not outcome.settled or not leave.apply:
            return False
        if not await self._hooks.after(unit, outcome, claims, all_current=self._stages.all_current(unit)):
            outcome.settled = False
        if not outcome.settled or outcome.leave.blockers:
            return False
        await self._settle(unit, plan, outcome)
        return True

    async def _before(self, unit: UnitState, outcome: Outcome, claims: Claims) -> bool:
        """PreSync hooks; True once they are over, or where nothing new is applied."""
        if unit.holds_commit or not unit.hooks:
            return True
        return await self._hooks.run(unit, HookPhase.PRE_SYNC, outcome, claims)

    async def _precede(self, unit: UnitState, outcome: Outcome) -> bool:
        """Be seen by other installations before the first write (R23); False where it is not known who is there.

        Then the pass ends: a hook for a failure would be a write as well.
        """
        try:
            await self._parents.precede(unit, lambda: not outcome.may().stopped)
        except ENDS_SESSION:
            raise
        except ClusterError as error:
            self._stop(unit, outcome, error)
            return False
        return True

    def _stop(self, unit: UnitState, outcome: Outcome, error: ClusterError) -> None:
        outcome.reason, outcome.message, outcome.next_step = error.reason, error.brief, error.next_step
        outcome.incomplete = error.what
        self._site.retry(unit, error)

    def _steps(self, unit: UnitState, plan: UnitPlan, leave: Leave, *, release: bool) -> list[Step]:
        steps: list[Step] = []
        now = self._site.clock()
        if leave.apply and release:
            # Of a bundle that was applied before, what has vanished since is drift like any other.
            drift = unit.memory.bundle == unit.bundle and not leave.heal
            steps += [step for step in plan.create if not (drift and step.cause is Cause.GONE)]
            steps += plan.change
        elif leave.heal:
            steps += [step for step in plan.create if is_healing(unit, step)]
        if leave.heal:
            steps += [
                step
                for step in plan.drifted
                if (reverts := unit.reverts.get(step.wanted.ref)) is None or reverts.next_at <= now
            ]
        return [
            s
            for s in steps
            if s.wanted.ref not in unit.forbidden
            and not self._applier.is_troubled(unit, s.wanted)
            and not self._site.claims.keeps_back(s)
        ]

    async def _take_over(self, unit: UnitState, plan: UnitPlan) -> None:
        """Objects that another unit gave up: their rows come along, so that fields and UID are known (R16).

        Durable at once: until the first write a hook may be waited for, and the connection or the hub may end.
        """
        site = self._site
        moved: list[tuple[UnitState | None, Row]] = []
        for step in plan.change:
            if step.cause is not Cause.MOVED or step.seen is None or site.claims.keeps_back(step):
                continue
            ref = step.wanted.ref
            other = site.units.get(replace(unit.name, overlay=OverlayName(step.seen.mark.who)))
            before = other.rows.get(ref) if other is not None and other is not unit else None
            own = unit.rows.get(ref)
            if before is None and own is not None and own.uid == step.seen.uid:
                site.put_row(unit, own)  # it came along before, or by an older version stands in two records
                continue
            row = before or Row(unit.name, ref, RowState.APPLIED, uid=step.seen.uid)
            row = replace(row, unit=unit.name, uid=step.seen.uid, since=site.wall())
            moved.append((other if before is not None else None, row))
        if not moved:
            return
        drop = tuple((other.name, row.ref) for other, row in moved if other is not None)
        await site.journal.commit(JournalEntry(put=tuple(row for _, row in moved), drop=drop))
        for other, row in moved:
            site.put_row(unit, row)
            if other is not None:
                other.rows.pop(row.ref, None)
                site.wake(other.name)

    def _left(self, unit: UnitState, plan: UnitPlan, leave: Leave) -> bool:
        """Whether anything is still not as desired."""
        stays = (plan.unknown, plan.foreign, plan.disputed, plan.released, plan.terminating, plan.awaited)
        if any(stays) or unit.misplaced:
            return True
        if any(not item.source.options.skip_missing_kind for item in plan.kind_missing):
            return True
        steps = (*plan.create, *plan.change, *plan.ask, *(() if not leave.heal else plan.drifted))
        return any(
            (row := unit.rows.get(s.wanted.ref)) is None or row.desired != s.wanted.digest for s in steps
        ) or any(s.wanted.ref in unit.troubles for s in steps)

    async def _settle(self, unit: UnitState, plan: UnitPlan, outcome: Outcome) -> None:
        """Everything is applied: prune, then remember the bundle."""
        site, told = self._site, outcome.told
        assert told is not None
        new, applied_at = unit.memory.bundle != unit.bundle, site.wall()
        if new and not plan.doomed:
            await self._lull(unit)
        if outcome.may().prune and plan.doomed is not None:
            if (plan.doomed or plan.unlabelled) and not site.all_read():
                site.prunes_wait.add(unit.name)
            else:
                await self._pruner.prune(unit, plan, outcome, healthy=self._stages.all_current(unit))
        if new or unit.memory.commit != told.commit or not unit.memory.settled:
            form = FORM if new else unit.memory.form
            unit.memory = replace(unit.memory, bundle=unit.bundle, commit=told.commit, form=form, settled=True)
            site.journal.jot(JournalEntry(units=(unit.memory,)))
            if new:
                unit.applied_at = applied_at
                message = f"applied: {unit.changed} objects written, {len(unit.wanted) - unit.changed} unchanged"
                site.outbox.tell(EventKind.APPLIED, message, unit=unit.name, commit=told.commit)
