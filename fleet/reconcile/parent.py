"""Writes a unit's parent ConfigMap where its object list or its bundle changed, or after deletions."""

from __future__ import annotations

from dataclasses import replace

import orjson

from fleet.core.documents import Document, digest_of, text_at
from fleet.core.ids import ObjectRef
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.parent import parent_document, parent_of
from fleet.core.record import PARENT_NAMESPACE, installation_hash, judge_mark, parent_name
from fleet.errors import ClusterError, Withdrawn
from fleet.ports.kube import May, ServedKind
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import ENDS_SESSION
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import Site


class Parents:
    """Parent objects of all units of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._namespace_stands = False

    async def keep(self, unit: UnitState, may: May) -> None:
        """Write the parent if it would say something new, or owes the audit log's head (R43).

        Trouble with it is a warning and is tried again. may: asked just before each write; what is not written for want
        of it is due still (R17).
        """
        if not may():
            return
        site, audited = self._site, unit.memory.audit_head
        parent = parent_of(
            site.mark(unit.name),
            unit.rows,
            generation=unit.memory.parent_generation + 1,
            bundle=unit.memory.bundle,
            commit=unit.memory.commit,
            quarantined=unit.desired.quarantined if unit.desired is not None else unit.memory.quarantined,
            audit=audited,
        )
        said = digest_of([parent.record, parent.bundle, *parent.quarantined])
        if said == unit.memory.parent_digest and not unit.audit_due:
            return
        served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
        if served is None:
            return
        try:
            await self._make_namespace(may)
            # Else a hub killed here would say the earlier commit again: the cluster never knows more than the journal.
            await site.journal.commit(JournalEntry(units=(unit.memory,)))
            await self._write(served, parent_document(parent), may)
        except ENDS_SESSION:
            raise
        except Withdrawn:
            return
        except ClusterError as error:
            unit.parent_trouble = f"its parent object could not be written: {error}"
            return
        unit.parent_trouble = ""
        unit.audit_due = unit.memory.audit_head != audited
        unit.memory = replace(unit.memory, parent_generation=parent.generation, parent_digest=said)
        unit.memory = replace(unit.memory, quarantined=parent.quarantined)
        site.journal.jot(JournalEntry(units=(unit.memory,)))

    async def remove(self, unit: UnitState, may: May) -> None:
        """Delete the parent of a unit that was detached or that owns nothing any more."""
        site = self._site
        served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
        name = parent_name(unit.name.overlay)
        live = await site.kube.get(served, PARENT_NAMESPACE, name) if served else None
        if served is None or live is None or not judge_mark(live, site.mark(unit.name)).kind.value.startswith(_OURS):
            return
        ref = ObjectRef("", "ConfigMap", PARENT_NAMESPACE, name)
        uid, version = text_at(live, "metadata", "uid"), text_at(live, "metadata", "resourceVersion")
        await site.delete(unit, ref, served, may, uid=uid, reason="the unit was detached", version=version)

    async def _write(self, served: ServedKind, document: Document, may: May) -> None:
        name = parent_name_of(document)
        await self._site.kube.apply(served, PARENT_NAMESPACE, name, orjson.dumps(document), force=True, may=may)

    async def _make_namespace(self, may: May) -> None:
        if self._namespace_stands:
            return
        site = self._site
        served = site.served(ObjectRef("", "Namespace", "", PARENT_NAMESPACE))
        if served is not None and await site.kube.get(served, "", PARENT_NAMESPACE, metadata_only=True) is None:
            labels: Document = {INSTALLATION_LABEL: installation_hash(site.installation)}
            metadata: Document = {"name": PARENT_NAMESPACE, "labels": labels}
            body: Document = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            await site.kube.apply(served, "", PARENT_NAMESPACE, orjson.dumps(body), may=may)
        self._namespace_stands = True


_OURS = ("ours", "label-lost")  # a parent carries no part-of label


def parent_name_of(document: Document) -> str:
    """The name of a parent document."""
    metadata = document["metadata"]
    return str(metadata["name"]) if isinstance(metadata, dict) else ""
