"""An empty journal that meets our marks, or an older one than they show: the records are rebuilt by reads alone, and
wait for a person (R12, R24).

The journal says a parent's generation before it is written, so that only a state which was lost, put back from an
earlier time, or is of another cluster says less than a parent does. Memory that was kept counts, however it ended.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.core.audit import heads_in
from fleet.core.documents import Document, text_at
from fleet.core.ids import Digest, OverlayName, UnitName
from fleet.core.neighbours import Whose, judge_parent
from fleet.core.objects import INSTALLATION_LABEL, OWNER_ANNOTATION
from fleet.core.parent import PARENT_LABEL, Parent, is_parent, parse_parent, salvage_parent
from fleet.core.record import (
    PARENT_NAMESPACE,
    Row,
    RowState,
    installation_hash,
    owner_text,
    rebuild_record,
    record_digest,
)
from fleet.errors import AnswerInvalid, Forbidden, ServerFailed
from fleet.ports.kube import ServedKind
from fleet.ports.worker import Deletion, JournalEntry, UnitMemory
from fleet.reconcile.judging import as_failed
from fleet.reconcile.memory import Kind, UnitState, kind_of
from fleet.reconcile.site import Site

MOST_UNITS = 2000  # of one cluster
_JOB = ("batch", "Job")


async def rebuild_units(
    site: Site, known: Mapping[UnitName, UnitState], documents: Sequence[Document]
) -> list[UnitState]:
    """Units of which the cluster's parent objects tell something newer than is known; none confirmed, journalled.

    A parent that somebody damaged tells it as far as it can be read. Where one tells anything, no unit that is known
    here is confirmed any more. documents: a complete list of the parents on the cluster, whosever they are. Empty: a
    true first start, or a state that is as new as the cluster. Raises ServerFailed where a kind of a record does not
    answer (R5).
    """
    selector = f"{INSTALLATION_LABEL}={installation_hash(site.installation)}"
    parents = _ours(site, documents)
    namespaces = {name for parent in parents for name in parent.namespaces}
    every = tuple(sorted({kind for parent in parents for kind in parent.kinds}))
    told = {UnitName(OverlayName(parent.mark.overlay), site.cluster): parent for parent in parents}
    newer = {name: parent for name, parent in told.items() if _is_newer(parent, known.get(name))}
    _refuse_inventions(site, newer.keys() | known.keys(), newer)
    lists: dict[Kind, Mapping[str, Sequence[Document]]] = {}
    found: list[UnitState] = []
    for name, parent in newer.items():
        before = known.get(name)
        live: list[Document] = []
        for kind in parent.kinds if parent.kinds or parent.record == record_digest(()) else every:
            if kind not in lists:
                of_kind = site.catalog.find(*kind)
                if site.catalog.is_unsure(*kind):
                    raise ServerFailed(
                        f"the record of {name} cannot be rebuilt",
                        where=f"cluster {site.cluster}",
                        why=f"API group {kind[0]} does not answer: it is not known which {kind[1]} objects there are",
                        next_step="kubectl get apiservices; it is tried again",
                    )
                listed = await _owned(site, of_kind, selector, namespaces) if of_kind else ()
                lists[kind] = _by_owner(listed)
            live += lists[kind].get(owner_text(parent.mark), ())
        rebuilt = rebuild_record(name, parent.mark, live, expected=parent.record, at=site.wall())
        memory = UnitMemory(
            name,
            bundle=parent.bundle or None,
            commit=parent.commit,
            parent_generation=parent.goes_on_from(before.memory.parent_generation if before is not None else 0),
            confirmed=False,
            settled=False,
            quarantined=parent.quarantined,
            done_hooks=before.memory.done_hooks if before is not None else (),  # once for each result (R22)
            asked=before.memory.asked if before is not None else (),  # neither a loss nor time lets that go (R9)
            audit_head=_witness(parent, before),
        )
        unit = UnitState(name, memory, deletions=_counted(before))
        # Said to the person who confirms, until the parent is written again.
        if not rebuilt.complete:
            unit.parent_trouble = f"{len(rebuilt.rows)} objects were found, not the list that its parent object names"
        if parents[parent]:
            more = f"; {unit.parent_trouble}" if unit.parent_trouble else ""
            unit.parent_trouble = f"its parent object was changed by somebody: what was taken back may be missing{more}"
        if before is not None:  # what ended and vanished is in no list of the cluster
            ended = {ref: as_failed(row, None, is_unseen=True) for ref, row in before.rows.items()}
            unit.rows.update((ref, row) for ref, row in ended.items() if row.state.is_end)
        for row in rebuilt.rows:
            unit.rows[row.ref] = row
        found.append(unit)
    if found:
        await _keep(site, known, found)
    return found


async def _keep(site: Site, known: Mapping[UnitName, UnitState], found: Sequence[UnitState]) -> None:
    """Journal what was rebuilt, and that nothing known is confirmed any more, in one entry; then take it over."""
    doubted = [row for name in known.keys() - {unit.name for unit in found} for row in _doubted(known[name])]
    rows = (*(row for unit in found for row in unit.rows.values()), *doubted)
    stale = {unit.name: known[unit.name].rows.keys() - unit.rows for unit in found if unit.name in known}
    drop = tuple((name, ref) for name, refs in stale.items() for ref in refs)
    again = {  # also for the next process
        (gone.unit, gone.ref): None
        for unit in found
        if unit.name in known
        for gone in known[unit.name].deletions
        if gone not in unit.deletions
    }
    memories = {
        unit.name: replace(unit.memory, confirmed=False, settled=unit.memory.settled and not unit.has_record, told=())
        for unit in (*known.values(), *found)
    }
    units = tuple(memories.values())
    await site.journal.commit(JournalEntry(put=rows, drop=drop, units=units, drop_deletions=tuple(again)))
    for name in known.keys() & memories.keys():  # one that came meanwhile is not among these
        known[name].memory = memories[name]
        known[name].told.clear()
    for row in doubted:
        known[row.unit].rows[row.ref] = row


def _doubted(unit: UnitState) -> list[Row]:
    """Jobs that an older state saw go, or was about to write: they may have run since, for whatever commit (R22)."""
    jobs = [row for row in unit.rows.values() if kind_of(row.ref) == _JOB and row.state is RowState.INTENDED]
    return [replace(row, desired=Digest("")) for row in jobs if row.desired]


def _counted(before: UnitState | None) -> list[Deletion]:
    """What an older state knows of the last hour's deletions, which counts on (R9).

    That a Job was deleted says not that it did not run since then (R22).
    """
    return [gone for gone in before.deletions if kind_of(gone.ref) != _JOB] if before is not None else []


def _witness(parent: Parent, before: UnitState | None) -> str:
    """The furthest head of the audit log that is known: an end that the log has lost since is found by it (R43)."""
    heads = heads_in(f"{parent.audit} {before.memory.audit_head if before is not None else ''}")
    return str(max(heads, key=lambda head: head.number)) if heads else ""


def _by_owner(listed: Iterable[Document]) -> Mapping[str, Sequence[Document]]:
    """Objects by what they say of their owner: each is looked at by the unit alone that it names."""
    found: dict[str, list[Document]] = {}
    for document in listed:
        if not is_parent(document):
            found.setdefault(text_at(document, "metadata", "annotations", OWNER_ANNOTATION), []).append(document)
    return found


def _refuse_inventions(site: Site, units: Collection[UnitName], newer: Collection[UnitName]) -> None:
    """A cluster can invent parents; the hub keeps and shows what they tell, for ever if it must. Raises AnswerInvalid.

    Part of them would be none the better: what is not rebuilt would be written to as if nothing had been there.
    """
    if len(units) > MOST_UNITS and newer:
        raise AnswerInvalid(
            f"the records of {len(newer)} units cannot be rebuilt",
            where=f"cluster {site.cluster}",
            why=f"with those that are known there would be {len(units)}, and at most {MOST_UNITS} are taken",
            next_step=f"kubectl -n {PARENT_NAMESPACE} get configmaps -l {PARENT_LABEL}; delete what fleet did not make",
        )


def _ours(site: Site, documents: Sequence[Document]) -> dict[Parent, bool]:
    """What our parents say, and whether somebody damaged them."""
    found: dict[Parent, bool] = {}
    for document in documents:
        if judge_parent(document, site.installation, site.identity).whose is Whose.OURS:
            parent = salvage_parent(document, site.installation, site.identity)
            if parent is not None:
                found[parent] = parse_parent(document) != parent
    return found


def _is_newer(parent: Parent, known: UnitState | None) -> bool:
    """Whether a parent was written by more than is known here: known of none, it was written without this memory."""
    if known is None or not known.memory.parent_generation:
        return True
    return parent.generation > known.memory.parent_generation


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
