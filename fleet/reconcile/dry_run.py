"""Asks the server what it would make of an object: the arbiter where fields cannot be compared. It stores nothing."""

from __future__ import annotations

import contextlib

import orjson

from fleet.core.documents import Document, mapping_at, text_at
from fleet.core.fingerprint import content_of, own_entry, recorded_after
from fleet.core.plan import DesiredObject
from fleet.core.record import FORM, Row, RowState
from fleet.errors import Conflict, NotChecked, ObjectInvalid
from fleet.ports.kube import Answer
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import ABSENT_VERSION, Applier
from fleet.reconcile.judging import as_ended
from fleet.reconcile.memory import Live, UnitState
from fleet.reconcile.site import Site


class DryRuns:
    """Server-side dry-runs of objects of any unit of one site, with the bodies of real writes."""

    def __init__(self, site: Site, applier: Applier) -> None:
        self._site, self._applier = site, applier

    async def try_out(self, unit: UnitState, wanted: DesiredObject) -> Answer:
        """What an apply with force would make of the object; stores nothing."""
        site, ref = self._site, wanted.ref
        served = self._applier.served(wanted)
        live, row = site.view.find(ref), unit.rows.get(ref)
        uid = row.uid if row is not None and live is not None else ""
        body = await self._applier.body(unit, wanted, live.document if live else None, uid)
        try:
            return await site.kube.apply(served, ref.namespace, ref.name, body.raw, force=True, dry_run=True)
        except (Conflict, ObjectInvalid):
            current = await site.kube.get(served, ref.namespace, ref.name)
            now = text_at(current, "metadata", "uid") if current is not None else ""
            if now == uid:
                raise
        site.verify(ref)  # another incarnation than the record's: by a watch that was slow, or an answer that was lost
        body = await self._applier.body(unit, wanted, current, now)
        return await site.kube.apply(served, ref.namespace, ref.name, body.raw, force=True, dry_run=True)

    async def try_anew(self, unit: UnitState, wanted: DesiredObject) -> None:
        """Raise ClusterError where the server would not take the object as a new one; stores nothing.

        Under a name that nobody has, because the object is still there. What its names or addresses alone make invalid
        says nothing, and no more does what cannot be tried.
        """
        served = self._applier.served(wanted)
        body = await self._applier.body(unit, wanted, None, "", ABSENT_VERSION)
        name = f"{wanted.ref.name[:50].rstrip('-.')}-{wanted.digest[:6]}"
        document = {**body.document, "metadata": {**mapping_at(body.document, "metadata"), "name": name}}
        with contextlib.suppress(ObjectInvalid, Conflict, NotChecked):
            await self._site.kube.apply(served, wanted.ref.namespace, name, orjson.dumps(document), dry_run=True)

    async def is_in_sync(self, unit: UnitState, wanted: DesiredObject, live: Document) -> bool:
        """Ask the arbiter, and remember an answer of yes. A dry-run stores nothing (design, section 6.3)."""
        site, ref = self._site, wanted.ref
        served = self._applier.served(wanted)
        body = await self._applier.body(unit, wanted, live, text_at(live, "metadata", "uid"))
        answer = await site.kube.apply(served, ref.namespace, ref.name, body.raw, force=True, dry_run=True)
        ours, theirs = own_entry(live), own_entry(answer.object)
        same_content = content_of(live, key=site.key) == content_of(answer.object, key=site.key)
        # Equal values that we do not own yet are no drift, but only an apply makes them ours.
        if not same_content or ours is None or theirs is None or ours.fields != theirs.fields:
            return False
        row = unit.rows.get(ref) or Row(unit.name, ref, RowState.APPLIED)
        if row.form != FORM and unit.memory.bundle == unit.bundle:
            # Spelled by an earlier version still: only this version's own bundle may be recorded as of its form.
            return self.agree(wanted, site.see(unit, ref, live))
        rules = site.rules(unit, ref)
        new = recorded_after(row, body.document, live, wanted.digest, rules=rules, key=site.key, at=site.wall())
        site.put_row(unit, new)
        seen = site.see(unit, ref, live)
        new = as_ended(new, seen)
        site.put_row(unit, new)
        site.journal.jot(JournalEntry(put=(new,)))
        return seen.comparable or self.agree(wanted, seen)

    def agree(self, wanted: DesiredObject, seen: Live) -> bool:
        """Remember the arbiter's yes for what cannot be compared by fields; True."""
        verdicts = {f"{wanted.digest}/{seen.fingerprint}": True}
        self._site.verdicts.update(verdicts)
        self._site.journal.jot(JournalEntry(verdicts=verdicts))
        return True
