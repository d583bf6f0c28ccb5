"""An empty journal that meets our marks: the records are rebuilt by reads alone, and wait for a person (R12, R24)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from fleet.core.documents import Document
from fleet.core.ids import OverlayName, UnitName
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.parent import Parent, is_parent, parse_parent
from fleet.core.record import PARENT_NAMESPACE, installation_hash, rebuild_record
from fleet.errors import Forbidden, ServerFailed
from fleet.ports.kube import ServedKind
from fleet.ports.worker import JournalEntry, UnitMemory
from fleet.reconcile.memory import Kind, UnitState
from fleet.reconcile.site import Site


async def rebuild_units(
    site: Site, known: Mapping[UnitName, UnitState], documents: Sequence[Document]
) -> list[UnitState]:
    """Units of which the cluster's parent objects tell something newer than is known; none confirmed, journalled.

    documents: a complete list of the parents on the cluster, whosever they are. Empty: a true first start, or a
    restored state that is as new as the cluster. Raises ServerFailed where a kind of a record does not answer (R5).
    """
    selector = f"{INSTALLATION_LABEL}={installation_hash(site.installation)}"
    parents = [parent for document in documents if (parent := parse_parent(document)) and _is_ours(site, parent)]
    namespaces = {name for parent in parents for name in parent.namespaces}
    lists: dict[Kind, tuple[Document, ...]] = {}
    found: list[UnitState] = []
    for parent in parents:
        name = UnitName(OverlayName(parent.mark.overlay), site.cluster)
        if name in known and known[name].memory.parent_generation >= parent.generation:
            continue
        live: list[Document] = []
        for kind in parent.kinds:
            if kind not in lists:
                of_kind = site.catalog.find(*kind)
                if site.catalog.is_unsure(*kind):
                    raise ServerFailed(
                        f"the record of {name} cannot be rebuilt",
                        where=f"cluster {site.cluster}",
                        why=f"API group {kind[0]} does not answer: it is not known which {kind[1]} objects there are",
                        next_step="kubectl get apiservices; it is tried again",
                    )
                lists[kind] = await _owned(site, of_kind, selector, namespaces) if of_kind else ()
            live += [document for document in lists[kind] if not is_parent(document)]
        rebuilt = rebuild_record(name, parent.mark, live, expected=parent.record, at=site.wall())
        memory = UnitMemory(
            name,
            bundle=parent.bundle or None,
            commit=parent.commit,
            parent_generation=parent.generation,
            confirmed=False,
            quarantined=parent.quarantined,
        )
        unit = UnitState(name, memory)
        if not rebuilt.complete:  # said to the person who confirms, until the parent is written again
            unit.parent_trouble = f"{len(rebuilt.rows)} objects were found, not the list that its parent object names"
        for row in rebuilt.rows:
            unit.rows[row.ref] = row
        found.append(unit)
    if found:
        rows = tuple(row for unit in found for row in unit.rows.values())
        drop = tuple((unit.name, ref) for unit in found if unit.name in known for ref in known[unit.name].rows)
        await site.journal.commit(JournalEntry(put=rows, drop=drop, units=tuple(unit.memory for unit in found)))
    return found


def _is_ours(site: Site, parent: Parent) -> bool:
    return (parent.mark.installation, parent.mark.identity) == (site.installation, site.identity)


async def _owned(site: Site, kind: ServedKind, selector: str, namespaces: Collection[str]) -> tuple[Document, ...]:
    """Everything of a kind that carries our label; by namespace where the credential allows no more.

    A namespace that is refused while others answer holds none of the kind, as far as our role says: what it held all
    the same stays out of the record, and so is never deleted.
    """
    try:
        return (await site.kube.list(kind, selector=selector)).items
    except Forbidden as error:
        if not kind.namespaced:
            raise
        refused = error
    answers: list[tuple[Document, ...]] = []
    for namespace in sorted({*namespaces, PARENT_NAMESPACE}):
        try:
            answers.append((await site.kube.list(kind, namespace=namespace, selector=selector)).items)
        except Forbidden as error:
            refused = error
    if not answers:
        raise refused
    return tuple(document for items in answers for document in items)
