"""`fleet.internal/replace: enabled`: an object whose immutable field changed is deleted and made anew.

That is a deletion like any other: guarded, audited, with preconditions (R15, R29). Without the annotation the error
stands, and nothing is recreated.
"""

from __future__ import annotations

import asyncio

from fleet.core.guard import Approved, Doomed, judge_force
from fleet.core.ids import UnitName
from fleet.core.plan import DesiredObject
from fleet.core.record import plan_record
from fleet.core.rollout import Apply
from fleet.core.status import EventKind
from fleet.errors import ClusterError, Withdrawn
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import Applier
from fleet.reconcile.deletion import Deleter, as_read, created_at
from fleet.reconcile.dry_run import DryRuns
from fleet.reconcile.holds import Holds
from fleet.reconcile.memory import UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.questions import remember_asked
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site


class Replacer:
    """Replacements of all units of one site."""

    def __init__(self, site: Site, applier: Applier, dry_runs: DryRuns, deleter: Deleter, holds: Holds) -> None:
        self._site, self._applier, self._dry_runs = site, applier, dry_runs
        self._deleter, self._holds = deleter, holds
        self._turns: dict[UnitName, asyncio.Lock] = {}

    async def replace(self, unit: UnitState, item: DesiredObject, outcome: Outcome) -> bool:
        """Delete and create one object that refused a change; False where it must wait or may not."""
        site, ref = self._site, item.ref
        try:
            # One at a time: what goes counts for the next one (R9).
            async with self._turns.setdefault(unit.name, asyncio.Lock()):
                if not await self._make_room(unit, item, outcome):
                    return False
            rows = plan_record(unit.name, unit.rows.values(), [item.source], at=site.wall())
            for row in rows:
                site.put_row(unit, row)
            await site.journal.commit(JournalEntry(put=rows))
        except ENDS_SESSION:
            raise
        except Withdrawn:
            return False
        except ClusterError as error:
            self._applier.trouble(unit, ref, item.digest, error)
            return False
        unit.replace_holds.pop(ref, None)
        done = await self._applier.write(unit, item, lambda: outcome.may().apply)
        if done:
            site.outbox.tell(EventKind.NOTE, f"{ref} was deleted and made anew", unit=unit.name, ref=ref)
        return done

    async def _make_room(self, unit: UnitState, item: DesiredObject, outcome: Outcome) -> bool:
        """Delete the object in the state that was judged; True once it is gone. Raises ClusterError."""
        desired = unit.desired
        if desired is None or (trouble := unit.troubles.get(item.ref)) is None:
            return False  # nothing is said of it any more, or what refused is gone: judged anew by the next pass
        site, ref, reason = self._site, item.ref, trouble.message
        served = site.served(ref, item.source.version)
        live = await site.kube.get(served, ref.namespace, ref.name) if served else None
        if live is None:
            return True
        approved = desired.action.approved if isinstance(desired.action, Apply) else frozenset[Approved]()
        doomed = await self._holds.with_inside(unit, as_read(Doomed(ref), live, site.key), approved)
        verdict = judge_force(
            item.source,
            reason=reason,
            owned=self._deleter.owned(unit, {ref}),
            recent=self._deleter.recent(unit, {ref}),
            budget=desired.policy.budget,
            approved=approved,
            before=unit.memory.asked,
            live=doomed,
        )
        if verdict is None:
            return False
        if verdict.hold is not None:
            await remember_asked(site, unit, verdict.hold)
            await self._holds.ask_for(unit, doomed, verdict.hold, site.as_ours(created_at(live)))
            return False
        if not verdict.allowed:
            return False

        def may() -> bool:
            leave = outcome.may()
            return leave.apply and leave.prune  # nothing is deleted by an order that is not the newest

        await self._dry_runs.try_anew(unit, item)  # what admits objects is asked after their fixed fields are compared
        return await self._deleter.delete(unit, ref, f"replaced: {reason}", may, doomed)
