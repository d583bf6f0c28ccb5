"""Applies the steps of a plan: record first, validated before the first write, then waves and ranks in order.

Nothing here waits: a wave that may not start yet is left for the pass that the next event or timer wakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.core.documents import canonical
from fleet.core.fieldset import intended
from fleet.core.fingerprint import SyncState
from fleet.core.ids import ObjectRef
from fleet.core.order import Rank, rank_of
from fleet.core.plan import Cause, DesiredObject, Step
from fleet.core.record import RowState, plan_record
from fleet.core.status import Kstatus
from fleet.core.sync_policy import Validate
from fleet.errors import AdmissionDenied, ClusterError, ImmutableField, NotChecked, NotFound, ObjectInvalid
from fleet.ports.worker import JournalEntry
from fleet.reconcile.adopt import Adopter
from fleet.reconcile.apply import Applier
from fleet.reconcile.dry_run import DryRuns
from fleet.reconcile.heal import Healer
from fleet.reconcile.judging import sync_of
from fleet.reconcile.memory import UnitState
from fleet.reconcile.outcome import Outcome
from fleet.reconcile.parent import Parents
from fleet.reconcile.replace import Replacer
from fleet.reconcile.served import DEFINITION
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site


class Stages:
    """Writes of all units of one site, stage by stage."""

    def __init__(
        self,
        site: Site,
        applier: Applier,
        dry_runs: DryRuns,
        healer: Healer,
        replacer: Replacer,
        adopter: Adopter,
        parents: Parents,
    ) -> None:
        self._site, self._applier, self._dry_runs, self._healer = site, applier, dry_runs, healer
        self._replacer, self._adopter, self._parents = replacer, adopter, parents

    async def record(self, unit: UnitState, steps: Sequence[Step]) -> None:
        """Old united with new, durable before the first write (R12); nothing where the list stays the same."""
        site = self._site
        new = [s.wanted for s in steps if s.cause is Cause.NEW and s.wanted.ref not in unit.rows]
        fields = {item.ref: canonical(intended(await self._applier.plain_body(unit, item))) for item in new}
        sources = [s.wanted.source for s in steps]
        rows = plan_record(unit.name, unit.rows.values(), sources, at=site.wall(), fields=fields)
        if not rows:
            return
        for row in rows:
            site.put_row(unit, row)
        await site.journal.commit(JournalEntry(put=rows))

    async def are_valid(self, unit: UnitState, steps: Sequence[Step], outcome: Outcome) -> bool:
        """R14: all objects of a change stand a dry-run before the first write. Healing needs none."""
        assert outcome.told is not None
        site = self._site
        fresh = [step for step in steps if not is_healing(unit, step)]
        if not fresh or outcome.told.policy.sync.validate is not Validate.SERVER:
            return True
        unit.validate_anew()
        first_wave = min(step.wanted.source.options.wave for step in fresh)

        async def check(step: Step) -> None:
            ref = step.wanted.ref
            if ref in unit.validated or not self._can_validate(ref, steps):
                return
            try:
                await self._dry_runs.try_out(unit, step.wanted)
            except ENDS_SESSION:
                raise
            except NotFound:
                return  # its namespace or definition is not there yet: the server says so on the apply itself
            except NotChecked as error:
                unit.warnings[ref] = (f"NotChecked: {error.why or error.what}",)
            except ClusterError as error:
                # What answers a webhook may come with an earlier wave of this very change, and so may a schema.
                is_early = isinstance(error, AdmissionDenied) and step.wanted.source.options.wave != first_wave
                is_redefined = isinstance(error, ObjectInvalid) and self._is_redefined(step, steps)
                if is_early or is_redefined or (isinstance(error, ImmutableField) and _is_replaced(step)):
                    unit.refused.discard(ref)
                else:
                    unit.refused.add(ref)
                    self._applier.trouble(unit, ref, step.wanted.digest, error)
                return
            unit.validated.add(ref)
            unit.refused.discard(ref)

        await site.pace.each(fresh, check)
        # One that was refused keeps the others back also while its own next try is not due yet.
        refused = [trouble for ref in sorted(unit.refused) if (trouble := unit.troubles.get(ref))]
        if not refused:
            return True
        outcome.reason = refused[0].reason
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        outcome.message = f"refused, nothing was written: {refused[0].message}{more}"
        outcome.next_step = f"fleet describe unit {unit.name}"
        return False

    def _can_validate(self, ref: ObjectRef, steps: Sequence[Step]) -> bool:
        """Whether the server can judge it now: its namespace and its kind are there."""
        if not ref.namespace:
            return True
        namespace = ObjectRef("", "Namespace", "", ref.namespace)
        return not any(step.wanted.ref == namespace and step.seen is None for step in steps)

    def _is_redefined(self, step: Step, steps: Sequence[Step]) -> bool:
        """Whether the definition of an object's kind is written before it."""
        ref, wave = step.wanted.ref, step.wanted.source.options.wave
        served = self._site.served(ref)
        definition = ObjectRef(*DEFINITION, "", f"{served.plural}.{ref.group}") if served is not None else None
        return any(s.wanted.ref == definition and s.wanted.source.options.wave <= wave for s in steps)

    async def apply(self, unit: UnitState, steps: Sequence[Step], outcome: Outcome) -> None:
        """Waves and ranks in order; a wave starts once the one before is Current."""
        site = self._site
        stages: dict[tuple[int, int], list[Step]] = {}
        for step in steps:
            stages.setdefault((step.wanted.source.options.wave, rank_of(step.wanted.ref)), []).append(step)
        failed: set[ObjectRef] = set()
        for (wave, rank), group in sorted(stages.items()):
            if not (leave := outcome.may()).apply | leave.heal:
                break
            heals = [s for s in group if s.cause in (Cause.DRIFTED, Cause.LABEL_LOST)]
            if not self._wave_may_start(unit, wave, outcome) or (rank and not self._foundation_stands(unit, wave)):
                group = heals

            async def write(step: Step) -> None:
                if self._may(unit, step, outcome) and not await self._write(unit, step, outcome):
                    failed.add(step.wanted.ref)

            await self._begin_told(unit, group, outcome)
            await site.pace.each(group, write)
            self._jot()
        self._adopter.tell(unit)
        # What one of them met may be gone again: its state changed, and the unit is due for another pass.
        troubles = [trouble for ref in sorted(failed) if (trouble := unit.troubles.get(ref))]
        if troubles and not outcome.reason:
            first, more = troubles[0], len(troubles) - 1
            outcome.reason, outcome.next_step = first.reason, first.next_step
            outcome.message = f"{first.message} (and {more} more)" if more else first.message

    async def _begin_told(self, unit: UnitState, steps: Sequence[Step], outcome: Outcome) -> None:
        """Jobs that are run as a report said (`reverify`) are run by it once: a hub that is killed amid this, and a
        state from before it that is put back, know no more that it was said (R22, R24).
        """
        begun = {step.wanted.ref for step in steps}.intersection(unit.memory.told)
        if begun:
            unit.memory = replace(unit.memory, told=tuple(ref for ref in unit.memory.told if ref not in begun))
            await self._site.journal.commit(JournalEntry(units=(unit.memory,)))
            await self._parents.keep(unit, lambda: not outcome.may().stopped, anew=True)

    def _may(self, unit: UnitState, step: Step, outcome: Outcome) -> bool:
        """Whether this write is still allowed: a stage may be long."""
        leave = outcome.may()
        if step.cause in (Cause.DRIFTED, Cause.LABEL_LOST):
            return leave.heal
        if self._site.claims.keeps_back(step):
            return False
        return leave.apply or (leave.heal and is_healing(unit, step))

    async def _write(self, unit: UnitState, step: Step, outcome: Outcome) -> bool:
        site, ref = self._site, step.wanted.ref
        if ref in site.in_flight:
            return True  # being healed at this moment
        now = sync_of(unit.rows.get(ref), step.wanted.digest, site.view.find(ref), site.verdicts)
        if now is SyncState.IN_SYNC and step.cause is not Cause.LABEL_LOST:
            return True  # healed since the plan was made
        live = site.view.find(ref)
        if step.cause is Cause.ADOPTED:
            done = await self._adopter.take(unit, step.wanted, lambda: self._may(unit, step, outcome))
        else:
            done = await self._put(unit, step, outcome)
        if done:
            if ref.group == "batch" and ref.kind == "Job" and (row := unit.rows.get(ref)) is not None:
                site.journal.jot(JournalEntry(put=(row,)))  # a hub killed amid the stage runs it no second time (R22)
            unit.contact.pop(ref, None)
            unit.changed += 1
            if step.cause in (Cause.DRIFTED, Cause.LABEL_LOST, Cause.GONE):
                before = live.document if live else None
                await self._healer.tell(unit, step.wanted, before, was_gone=step.cause is Cause.GONE)
        return done

    async def _put(self, unit: UnitState, step: Step, outcome: Outcome) -> bool:
        item = step.wanted
        done = await self._applier.write(unit, item, lambda: self._may(unit, step, outcome))
        trouble = unit.troubles.get(item.ref)
        is_fixed = trouble is not None and trouble.reason == ImmutableField.__name__
        if not done and item.source.options.replace and is_fixed and outcome.may().apply:
            done = await self._replacer.replace(unit, item, outcome)
        return done

    def _jot(self) -> None:
        """What was written, by its row of now: a Job may have ended since, or another object come."""
        site = self._site
        written, site.changed_rows = site.changed_rows, []
        units = [(site.units.get(row.unit), row.ref) for row in written]
        if rows := tuple(row for unit, ref in units if unit is not None and (row := unit.rows.get(ref)) is not None):
            site.journal.jot(JournalEntry(put=rows))

    def _wave_may_start(self, unit: UnitState, wave: int, outcome: Outcome) -> bool:
        """All earlier waves are applied and Current; when they do not become so in time, HealthTimeout is reported."""
        site = self._site
        behind = [
            item.ref
            for item in unit.wanted.values()
            if item.source.options.wave < wave and item.source.options.reconcile and not self.is_current(unit, item)
        ]
        if not behind:
            return True
        assert outcome.told is not None
        since = unit.waves_since.setdefault(wave, site.clock())
        limit = outcome.told.policy.health_timeout_seconds
        names = ", ".join(str(ref) for ref in behind[:3]) + (f" and {len(behind) - 3} more" if len(behind) > 3 else "")
        if not outcome.reason:
            late = site.clock() - since >= limit
            outcome.reason = "HealthTimeout" if late else "WaveWaits"
            outcome.message = f"wave {wave} waits for {names}" + (f", not Current after {limit} s" if late else "")
            outcome.next_step = f"fleet describe unit {unit.name}"
        site.wake_at(unit.name, since + limit)
        return False

    def is_current(self, unit: UnitState, item: DesiredObject) -> bool:
        """Whether an object is applied as desired and well."""
        row, live = unit.rows.get(item.ref), self._site.view.find(item.ref)
        if item.source.options.only_if_absent:
            live = live or unit.contact.get(item.ref)  # somebody else's is as good
            return live is not None and live.health.kstatus is Kstatus.CURRENT
        if row is None or row.desired != item.digest:
            return False
        if live is None:
            return row.state is RowState.DONE
        return live.health.kstatus is Kstatus.CURRENT

    def _foundation_stands(self, unit: UnitState, wave: int) -> bool:
        """Namespaces, classes and definitions of this wave are there before anything of a later rank is applied."""
        view = self._site.view
        for item in unit.wanted.values():
            options = item.source.options
            if rank_of(item.ref) is not Rank.FOUNDATION or options.wave != wave or not options.reconcile:
                continue
            live = view.find(item.ref) or unit.contact.get(item.ref)
            if live is None:
                return False
            row = unit.rows.get(item.ref)
            # Somebody else's is as good to stand on, also where it came just before our own.
            foreign = row is None or not (row.uid or live.mark.ours)
            if item.ref.kind == "CustomResourceDefinition" and not foreign and not self.is_current(unit, item):
                return False
        return True

    def all_current(self, unit: UnitState) -> bool:
        """Whether all objects of the unit are."""
        return all(self.is_current(unit, item) for item in unit.wanted.values() if item.source.options.reconcile)


def _is_replaced(step: Step) -> bool:
    """Whether an object is made anew where it cannot change; one that is taken over, from whomever, never is."""
    return step.wanted.source.options.replace and step.cause not in (Cause.ADOPTED, Cause.MOVED)


def is_healing(unit: UnitState, step: Step) -> bool:
    """Whether the step brings back what was applied last, and nothing that a commit changed since."""
    row = unit.rows.get(step.wanted.ref)
    is_same = row is not None and row.desired == step.wanted.digest
    return is_same and step.cause in (Cause.DRIFTED, Cause.LABEL_LOST, Cause.GONE)
