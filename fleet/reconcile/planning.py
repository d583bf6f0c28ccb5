"""Plans one unit: what core/plan.py asks for is gathered from record and view, and what it cannot tell is tried out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from fleet.core.fingerprint import SyncState, SyncVerdict, version_of
from fleet.core.ids import Digest, ObjectRef
from fleet.core.plan import (
    Cause,
    Claims,
    Complete,
    DesiredObject,
    Incomplete,
    Seen,
    Step,
    UnitPlan,
    plan_unit,
    prove_complete,
)
from fleet.core.record import MarkKind, MarkVerdict
from fleet.core.rollout import UnitDesired
from fleet.errors import ClusterError, Conflict, ObjectInvalid
from fleet.ports.kube import ServedKind
from fleet.reconcile.apply import Applier
from fleet.reconcile.dry_run import DryRuns
from fleet.reconcile.judging import sync_of
from fleet.reconcile.memory import Live, UnitState, kind_of
from fleet.reconcile.reverify import Reverifier
from fleet.reconcile.served import is_gone
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site
from fleet.reconcile.standing import Leave, bundle_of

_NO_DIGEST = Digest("")
Look = Callable[[ServedKind, ObjectRef], Awaitable[object]]  # read by name and believe


class Planner:
    """Plans of all units of one site."""

    def __init__(self, site: Site, applier: Applier, dry_runs: DryRuns, look: Look) -> None:
        self._site, self._applier, self._dry_runs, self._look = site, applier, dry_runs, look
        self._reverifier = Reverifier(site.limits, site.clock, site.random)

    async def plan(self, unit: UnitState, told: UnitDesired, claims: Claims, leave: Leave) -> UnitPlan:
        """What the unit needs, and what other units must let go of first. Where it may write, dry-runs say the rest."""
        site = self._site
        gone = {kind for kind in site.missing_kinds if is_gone(site, kind)}
        live = {ref: self._seen(unit, ref) for ref in unit.refs() if self._can_tell(unit, ref)}
        live |= {ref: None for ref in unit.refs() if kind_of(ref) in gone}
        complete: Complete | Incomplete = prove_complete(
            unit.name,
            bundle=unit.bundle,
            expected=bundle_of(told),
            listed=site.view.listed(unit.rows.keys()) | gone,
            silent=site.catalog.unknown,
            rows=unit.rows.values(),
            confirmed=unit.memory.confirmed,
        )
        plan = plan_unit(
            unit.name,
            list(unit.wanted.values()),
            unit.rows,
            live,
            claims=claims,
            adopt=told.policy.sync.adopt,
            complete=complete,
        )
        if plan.ask and leave.apply | leave.heal:
            await self._ask(unit, plan)
        unit.awaits = site.claims.awaited(plan.awaited)
        return plan

    def _can_tell(self, unit: UnitState, ref: ObjectRef) -> bool:
        if not self._site.view.is_known(ref):
            return False
        row = unit.rows.get(ref)
        if self._site.view.find(ref) is not None or ref in self._site.gone:
            return True
        if row is not None and row.state.is_end and ref in unit.wanted:
            return True  # it may have removed itself
        if row is not None and row.uid:
            self._site.verify(ref)  # not in the list: only a read by name says that it is gone
            return False
        return ref in unit.contact or ref not in unit.wanted

    def _seen(self, unit: UnitState, ref: ObjectRef) -> Seen | None:
        live = self._site.view.find(ref) or unit.contact.get(ref)
        if live is None:
            return None
        row, item = unit.rows.get(ref), unit.wanted.get(ref)
        desired = item.digest if item else row.desired if row else _NO_DIGEST
        state = sync_of(row, desired, live, self._site.verdicts)
        owner = self._site.owners.get(ref)
        # A row of the view is judged from one side, as a rule its owner's, who may have let it go since; seen from
        # here, what is another's own is another's.
        whose = owner.overlay if owner is not None else live.seen_by
        others = live.mark.ours and whose != unit.name.overlay
        return Seen(
            mark=MarkVerdict(MarkKind.OTHER_UNIT, whose) if others else live.mark,
            verdict=SyncVerdict(state, "", live.fingerprint, desired),
            uid=live.uid,
            resource_version=live.resource_version,
            managers=unit.managers.get(ref, ()),
            deleting=live.deleting,
        )

    async def _ask(self, unit: UnitState, plan: UnitPlan) -> None:
        """Let dry-runs tell where the fingerprint cannot; what is in sync is unchanged, the rest is applied."""
        site = self._site
        asked, plan.ask = self._reverifier.due(unit, plan.ask)
        if plan.ask:
            site.wake_at(unit.name, self._reverifier.next_at(unit.name))

        async def ask(step: Step) -> None:
            ref = step.wanted.ref
            if self._applier.is_troubled(unit, step.wanted):
                plan.ask.append(step)
                return
            served = site.served(ref, step.wanted.source.version)
            try:
                live = await self._at_its_version(unit, step.wanted, served)
                state = sync_of(unit.rows.get(ref), step.wanted.digest, live, site.verdicts)
                document = live.document if live else None
                if state is SyncState.IN_SYNC:
                    plan.unchanged.append(ref)
                    return
                if document is None and served is not None:
                    document = await site.kube.get(served, ref.namespace, ref.name)
                if document is None or not await self._dry_runs.is_in_sync(unit, step.wanted, document):
                    row = unit.rows.get(ref)
                    if row is not None and row.desired == step.wanted.digest:
                        plan.drifted.append(step)  # what we want is as it was: live left it
                    else:
                        plan.change.append(replace(step, cause=Cause.CHANGED))
                else:
                    plan.unchanged.append(ref)
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                if isinstance(error, Conflict | ObjectInvalid):
                    site.verify(ref)  # as try_out: it may be another incarnation, or none, of what was seen
                self._applier.trouble(unit, ref, step.wanted.digest, error)
                plan.ask.append(step)

        await site.pace.each(asked, ask)

    async def _at_its_version(self, unit: UnitState, wanted: DesiredObject, served: ServedKind | None) -> Live | None:
        """The live object. Where it is watched at another version than we apply, no dry-run can compare it: it is read.

        Once it is in sync as read, so it is as watched, for as long as it stays the same.
        """
        site, ref = self._site, wanted.ref
        seen = site.view.find(ref)
        if seen is None or seen.document is None or served is None or version_of(seen.document) == served.version:
            return seen
        await self._look(served, ref)
        live = site.view.find(ref)
        state = sync_of(unit.rows.get(ref), wanted.digest, live, site.verdicts)
        if live is not None and live.resource_version == seen.resource_version and state is SyncState.IN_SYNC:
            self._dry_runs.agree(wanted, seen)
        return live
