"""Lets a unit go: takes our marks off, forgets the record, leaves every object (R13)."""

from __future__ import annotations

from dataclasses import replace

import orjson

from fleet.core.documents import Document, documents_at, mapping_at, text_at
from fleet.core.ids import ObjectRef
from fleet.core.objects import FIELD_MANAGER, INSTALLATION_LABEL, OWNER_ANNOTATION, PART_OF_LABEL
from fleet.core.plan import Claims
from fleet.core.record import judge_mark
from fleet.core.status import EventKind
from fleet.errors import ClusterError, Conflict, ServerFailed
from fleet.ports.kube import Catalog, May
from fleet.ports.worker import JournalEntry
from fleet.reconcile.memory import UnitState
from fleet.reconcile.parent import Parents
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site

_LEFT_SECONDS = 2.0  # between two looks at a parent that a finalizer keeps


class Detacher:
    """Detaches units of one site."""

    def __init__(self, site: Site) -> None:
        self._site, self._parents = site, Parents(site)

    async def detach(self, unit: UnitState, claims: Claims, may: May) -> bool:
        """True once nothing of the unit is left in the record. Objects that another unit takes over are left to it.

        may: whether it may go on, asked before each object and just before each write (R17).
        """
        site = self._site
        catalog = await self._catalog(unit)
        unsure = sorted(ref for ref in unit.rows if catalog.is_unsure(ref.group, ref.kind))
        loose: list[ObjectRef] = []

        async def free(ref: ObjectRef) -> None:
            if not site.all_read():
                site.prunes_wait.add(unit.name)  # it may move to a unit whose newest bundle is not read yet
                return
            if not may() or claims.takers(ref, unit.name.overlay):
                return  # the other unit's pass takes the row along
            try:
                await self._free(unit, ref, catalog, may)
                loose.append(ref)
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                site.retry(unit, error)

        await site.pace.each(sorted(unit.rows.keys() - set(unsure)), free)
        for ref in loose:
            site.drop_row(unit, ref)
            site.view.drop(ref)
            for other in site.claims.others(ref, unit.name.overlay):
                site.wake(replace(unit.name, overlay=other))
        if loose:
            site.journal.jot(JournalEntry(drop=tuple((unit.name, ref) for ref in loose)))
        if unsure:
            raise ServerFailed(
                f"{unit.name} is not let go yet",
                where=f"cluster {site.cluster}",
                why=f"the API group {unsure[0].group} does not answer: it is not known whether {unsure[0]} is there",
                next_step="kubectl get apiservices; it is tried again",
            )
        if unit.rows or not may():
            if unit.name not in site.prunes_wait:
                site.poll(unit.name, 1.0)
            return False
        try:
            is_gone = await self._parents.remove(unit, may)
        except ENDS_SESSION:
            raise
        except ClusterError as error:
            site.retry(unit, error)
            return False
        if not is_gone:
            site.poll(unit.name, _LEFT_SECONDS)
            return False
        await site.journal.commit(JournalEntry(drop_units=(unit.name,)))
        site.outbox.tell(EventKind.NOTE, f"detached: {len(loose)} objects stay on the cluster", unit=unit.name)
        return True

    async def _catalog(self, unit: UnitState) -> Catalog:
        """What is served; asked anew where a group did not answer that has objects of this unit."""
        known = self._site.catalog
        if any(known.is_unsure(ref.group, ref.kind) for ref in unit.rows):
            return await self._site.kube.discover(fresh=True)
        return known

    async def _free(self, unit: UnitState, ref: ObjectRef, catalog: Catalog, may: May) -> None:
        site, row = self._site, unit.rows[ref]
        served = site.served(ref, row.version) or catalog.find(ref.group, ref.kind)
        if served is None:
            return  # the kind itself is gone, and its objects with it
        live = await site.kube.get(served, ref.namespace, ref.name)
        if live is None or not judge_mark(live, site.mark(unit.name), known_uid=row.uid).ours:
            return
        patch = _unmarking(live)
        try:
            await site.kube.patch(served, ref.namespace, ref.name, patch, "application/json-patch+json", may=may)
        except Conflict:
            site.wake_at(unit.name, site.clock() + 0.5)
            raise


def _unmarking(live: Document) -> bytes:
    """A JSON patch that takes labels, annotation and our field manager's entries off, on this very state."""
    metadata = mapping_at(live, "metadata")
    operations: list[Document] = [
        {"op": "test", "path": "/metadata/uid", "value": text_at(metadata, "uid")},
        {"op": "test", "path": "/metadata/resourceVersion", "value": text_at(metadata, "resourceVersion")},
    ]
    labels, notes = mapping_at(metadata, "labels"), mapping_at(metadata, "annotations")
    for name in labels.keys() & {INSTALLATION_LABEL, PART_OF_LABEL}:
        removal: Document = {"op": "remove", "path": f"/metadata/labels/{_escaped(name)}"}
        operations.append(removal)
    if OWNER_ANNOTATION in notes:
        operations.append({"op": "remove", "path": f"/metadata/annotations/{_escaped(OWNER_ANNOTATION)}"})
    managers = documents_at(metadata, "managedFields")
    for index in reversed(range(len(managers))):
        entry = managers[index]
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            operations.append({"op": "remove", "path": f"/metadata/managedFields/{index}"})
    return orjson.dumps(operations)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
