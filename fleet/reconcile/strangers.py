"""What is there of objects that were never applied and that no watch shows: met once, and what counts as it is anew."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace

from fleet.core.adopt import owners_of
from fleet.core.health import ObjectHealth, shown_as
from fleet.core.ids import ObjectRef
from fleet.core.plan import DesiredObject
from fleet.core.status import Kstatus
from fleet.errors import ClusterError
from fleet.reconcile.contact import Contacts
from fleet.reconcile.memory import Live, UnitState
from fleet.reconcile.parent import Parents
from fleet.reconcile.reading import read_live
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site


class Strangers:
    """Meets them for the units of one site."""

    def __init__(self, site: Site, parents: Parents) -> None:
        self._site, self._parents, self._contacts = site, parents, Contacts(site)

    async def meet(self, unit: UnitState) -> None:
        """Learn what is there of objects that were never applied and that no watch shows (R4)."""
        site = self._site
        refs = [ref for ref, item in unit.wanted.items() if item.source.options.reconcile]
        refs += [hook.ref for hook in unit.hooks]
        unseen = [ref for ref in refs if self._is_unseen(unit, ref)]
        strange = [ref for ref in unseen if self._is_strange(unit, ref)]
        if strange:
            await self._parents.meet(unit)
            found = await self._contacts.learn(strange)
            for ref, document in found.items():
                if document is None:
                    unit.contact[ref] = None
                    continue
                live = site.judge(unit, ref, document)
                unit.managers[ref] = owners_of(document)
                unit.contact[ref] = live
        if any((live := unit.contact.get(ref)) is not None and live.deleting for ref in unseen):
            site.poll(unit.name, site.limits.watch_seconds)
        await self._read_theirs(unit, strange)

    async def _read_theirs(self, unit: UnitState, met: Collection[ObjectRef]) -> None:
        """Read whole what somebody else made of what is wanted where it is absent, again on a slow poll.

        No watch shows how it stands, or that it went. What cannot be read is Unknown, and stops nothing else.
        met: what is there by its metadata alone.
        """
        site, limits = self._site, self._site.limits
        theirs = [
            item
            for ref, item in unit.wanted.items()
            if item.source.options.only_if_absent and ref not in unit.forbidden
            if unit.contact.get(ref) is not None and site.view.find(ref) is None
        ]
        if not theirs:
            return
        is_due = site.clock() >= unit.theirs_at
        places: dict[tuple[str, str, str], list[DesiredObject]] = defaultdict(list)
        for item in theirs:
            if is_due or item.ref in met:
                places[item.ref.group, item.ref.kind, item.ref.namespace].append(item)
        for items in places.values():
            try:
                documents = await read_live(site, items)
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                for ref in (item.ref for item in items):
                    if (live := unit.contact[ref]) is not None:
                        unit.contact[ref] = _unread(live, error)
                continue
            for ref in (item.ref for item in items):
                live = site.judge(unit, ref, documents[ref]) if ref in documents else None
                if live is not None:
                    live.document = None  # nothing in it is compared
                unit.contact[ref] = live
                unit.troubles.pop(ref, None)  # somebody was faster: nothing is left to do, or it went again
        found = [live for item in theirs if (live := unit.contact[item.ref]) is not None]
        is_well = all(live.health.kstatus is Kstatus.CURRENT for live in found)
        at = site.clock() + (limits.theirs_seconds if is_well else limits.watch_seconds)
        unit.theirs_at = at if is_due else min(at, unit.theirs_at)
        site.poll(unit.name, max(0.0, unit.theirs_at - site.clock()))

    def _is_unseen(self, unit: UnitState, ref: ObjectRef) -> bool:
        """Whether no watch shows an object of a kind that is followed, and none was applied."""
        site, row = self._site, unit.rows.get(ref)
        return site.view.find(ref) is None and not (row and row.uid) and site.view.is_known(ref)

    def _is_strange(self, unit: UnitState, ref: ObjectRef) -> bool:
        """Whether an unseen object was never met, or may be gone since."""
        live, trouble = unit.contact.get(ref), unit.troubles.get(ref)
        if live is None:
            return ref not in unit.contact
        return live.deleting or (trouble is not None and trouble.next_at <= self._site.clock())


def _unread(live: Live, error: ClusterError) -> Live:
    """An object that is there, and of which nobody knows how it stands."""
    health = ObjectHealth(Kstatus.UNKNOWN, shown_as(Kstatus.UNKNOWN), error.reason, error.brief)
    return replace(live, own_health=health, health=health, document=None)
