"""The fast path of drift: an event that shows one is answered by one write, before any pass.

What keeps coming back is healed ever more slowly, and its other writer is named (R17).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet.core.diff import diff_fields
from fleet.core.documents import Document
from fleet.core.field_diff import FieldDrift, as_told
from fleet.core.fingerprint import SyncState, own_entry
from fleet.core.ids import ObjectRef
from fleet.core.plan import DesiredObject
from fleet.core.record import MarkKind, RowState, mark_body
from fleet.core.status import EventKind
from fleet.errors import RivalManager, StateBusy, StateDamaged
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import Applier
from fleet.reconcile.judging import sync_of
from fleet.reconcile.memory import Drift, Live, Reverts, UnitState
from fleet.reconcile.site import Site

_HEALED = (RowState.APPLIED, RowState.FAILED_THERE, RowState.DELETING)


class Healer:
    """Heals single objects of all units of one site. `may_heal` says whether a unit may be written to now."""

    def __init__(self, site: Site, applier: Applier, may_heal: Callable[[UnitState], bool]) -> None:
        self._site, self._applier, self._may_heal = site, applier, may_heal

    def saw(self, unit: UnitState, ref: ObjectRef) -> None:
        """An object of the unit changed: heal it at once if it left desired by itself and may be healed."""
        site = self._site
        item, row, live = unit.wanted.get(ref), unit.rows.get(ref), site.view.find(ref)
        if item is None or row is None or ref in site.in_flight or not item.source.options.reconcile:
            return
        if row.desired != item.digest or row.state not in _HEALED:
            return
        if live is None and ref not in site.gone:
            return
        if live is not None and (live.deleting or not self._drifted(unit, item, live)):
            return
        if live is not None and item.source.options.only_if_absent:
            return
        now = site.clock()
        trouble, reverts = unit.troubles.get(ref), unit.reverts.get(ref)
        if (trouble is not None and trouble.next_at > now) or not self._may(unit, ref):
            return
        if reverts is not None and reverts.next_at > now:
            site.wake_at(unit.name, reverts.next_at)
            return
        site.in_flight.add(ref)
        site.spawn(self._heal(unit, item, live), f"heal {ref}")

    def _may(self, unit: UnitState, ref: ObjectRef) -> bool:
        """Whether a unit may heal an object now. What two overlays want neither of them changes (R16)."""
        return self._may_heal(unit) and not self._site.claims.others(ref, unit.name.overlay)

    def _drifted(self, unit: UnitState, item: DesiredObject, live: Live) -> bool:
        if live.mark.kind is MarkKind.LABEL_LOST:
            return True
        row = unit.rows.get(item.ref)
        state = sync_of(row, item.digest, live, self._site.verdicts)
        return live.mark.kind is MarkKind.OURS and state is SyncState.DRIFTED

    async def _heal(self, unit: UnitState, item: DesiredObject, live: Live | None) -> None:
        site, ref = self._site, item.ref
        before = live.document if live else None
        try:
            if await self._applier.write(unit, item, lambda: self._may(unit, ref)):
                site.journal.jot(JournalEntry(put=(unit.rows[ref],)))
                await self.tell(unit, item, before, was_gone=live is None)
        except (StateDamaged, StateBusy) as error:
            site.retry(unit, error)  # its bundle cannot be read now: the unit's own pass reports it
        site.wake(unit.name)

    async def tell(self, unit: UnitState, item: DesiredObject, before: Document | None, *, was_gone: bool) -> None:
        """Count a heal and tell it with its fields; `before` is the live object that drifted, where it was seen."""
        fields = await self.fields_of(unit, item, before) if before else ()
        self._count(unit, item.ref, fields)
        self._tell(unit, item.ref, was_gone, fields)

    async def explain(self, unit: UnitState, item: DesiredObject, live: Live) -> tuple[FieldDrift, ...]:
        """The fields that differ at an object that stays drifted; computed once per live state.

        A heal that runs, or ran since the plan was made, tells its drift itself.
        """
        known = unit.drifts.get(item.ref)
        if item.ref in self._site.in_flight or not self._drifted(unit, item, live):
            return known.fields if known else ()
        if known is not None and known.resource_version == live.resource_version:
            return known.fields
        fields = await self.fields_of(unit, item, live.document) if live.document else ()
        if known is None or {f.path for f in known.fields} != {f.path for f in fields}:
            self._tell_drift(unit, item.ref, fields)
        unit.drifts[item.ref] = Drift(live.resource_version, fields)
        return fields

    async def fields_of(self, unit: UnitState, item: DesiredObject, live: Document) -> tuple[FieldDrift, ...]:
        """Field, both values, manager, since when (R32: values of Secrets never)."""
        site, row = self._site, unit.rows.get(item.ref)
        assert unit.bundle is not None  # wanted objects come from a bundle
        source = await site.library.object(unit.bundle, item.source)
        desired = mark_body(source.document(), site.mark(unit.name))
        rules = site.rules(unit, item.ref)
        fields = diff_fields(desired, live, own_entry(live), rules, last_fields=row.fields if row else b"")
        return as_told([replace(one, since=site.as_ours(one.since)) for one in fields])

    def _tell(self, unit: UnitState, ref: ObjectRef, was_gone: bool, fields: tuple[FieldDrift, ...]) -> None:
        known = unit.drifts.pop(ref, None)
        if was_gone:
            self._site.outbox.tell(EventKind.DRIFTED, f"{ref} was deleted", unit=unit.name, ref=ref)
        elif known is None or {field.path for field in known.fields} != {field.path for field in fields}:
            self._tell_drift(unit, ref, fields)
        self._site.outbox.tell(EventKind.HEALED, f"{ref} healed", unit=unit.name, ref=ref)

    def _tell_drift(self, unit: UnitState, ref: ObjectRef, fields: tuple[FieldDrift, ...]) -> None:
        paths = ", ".join(field.path for field in fields[:3]) or "its fields"
        more = f" and {len(fields) - 3} more" if len(fields) > 3 else ""
        managers = sorted({field.manager for field in fields if field.manager})
        by = f", by {', '.join(managers)}" if managers else ""
        self._site.outbox.tell(EventKind.DRIFTED, f"{ref} drifted: {paths}{more}{by}", unit=unit.name, ref=ref)

    def _count(self, unit: UnitState, ref: ObjectRef, fields: tuple[FieldDrift, ...]) -> None:
        """Repeated reverts of one object back off and name the other writer (R17)."""
        site, limits, now = self._site, self._site.limits, self._site.clock()
        reverts = unit.reverts.setdefault(ref, Reverts())
        reverts.times = [at for at in reverts.times if at > now - limits.rival_window_seconds] + [now]
        reverts.manager = next((field.manager for field in fields if field.manager), reverts.manager)
        beyond = len(reverts.times) - limits.rival_reverts
        if beyond < 0:
            return
        wait = min(limits.rival_most_seconds, limits.retry_first_seconds * 2.0 ** min(beyond, 16))
        reverts.next_at = now + wait
        site.wake_at(unit.name, reverts.next_at)
        if beyond == 0:
            rival = rival_of(ref, reverts)
            site.outbox.tell(EventKind.FAILED, str(rival), unit=unit.name, ref=ref)


def rival_of(ref: ObjectRef, reverts: Reverts) -> RivalManager:
    """How a rival is named."""
    who = reverts.manager or "another writer"
    return RivalManager(
        f"{who} keeps changing {ref}",
        why=f"healed {len(reverts.times)} times lately; the next time is put off",
        next_step=f"stop {who}, or list the field in ignoreDifferences",
    )
