"""Reads the parents of a cluster; writes a unit's own where its object list or its bundle changed, after deletions,
before the first object of an installation, and, whatever the unit waits for, where it is gone or was damaged, or
something was taken back since.

A parent is written over the very state that was judged, or where none is: what another installation wrote meanwhile is
met, never overwritten (R4, R23). What is known of them costs one list per connection and one in an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import orjson

from fleet.core.documents import Document, mapping_at, text_at
from fleet.core.ids import Digest, ObjectRef, OverlayName
from fleet.core.neighbours import ParentSeen, Whose, judge_parent, parent_error
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.parent import PARENT_LABEL, next_generation, parent_document, parent_of
from fleet.core.record import PARENT_NAMESPACE, installation_hash, mark_body, parent_name
from fleet.errors import ClusterError, Conflict, FleetError, NotFound, ObjectInvalid, Withdrawn
from fleet.ports.kube import May, ServedKind
from fleet.ports.worker import JournalEntry
from fleet.reconcile.apply import ABSENT_VERSION
from fleet.reconcile.memory import UnitState
from fleet.reconcile.session_errors import ENDS, ENDS_SESSION
from fleet.reconcile.site import Site

_STALE_TRIES = 3
_FRESH_SECONDS = 60.0


class Parents:
    """Parent objects of all units of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._namespace_stands = False
        self._first_look = asyncio.Lock()  # one list answers all units that are new
        self._looks_back = False  # our first parent was written, and who else did so meanwhile was not read yet

    def is_owed(self, unit: UnitState) -> bool:
        """Whether what is to be found after a loss is not there, whatever the unit waits for (R12)."""
        seen = self._site.neighbours.seen(parent_name(unit.name.overlay))
        stands = seen is not None and seen.is_whole and seen.said == unit.memory.parent_digest
        was_written = unit.memory.bundle is not None or unit.memory.parent_digest
        return bool(was_written) and not (stands and _quarantined(unit) == unit.memory.quarantined)

    async def keep(self, unit: UnitState, may: May, *, anew: bool = False) -> None:
        """Write the parent if it would say something new, owes the audit log's head (R43), or is not there as written.

        anew: in any case, so that a state from before this is known for an older one (R24).

        Trouble with it is a warning and is tried again. may: asked just before each write; what is not written for want
        of it is due still (R17).
        """
        if not may():
            return
        site, audited = self._site, unit.memory.audit_head
        parent = parent_of(
            site.mark(unit.name),
            unit.rows,
            generation=next_generation(unit.memory.parent_generation),
            bundle=unit.memory.bundle,
            commit=unit.memory.commit,
            quarantined=_quarantined(unit),
            audit=audited,
        )
        seen = site.neighbours.seen(parent_name(unit.name.overlay))
        stands = seen is not None and seen.is_whole and seen.said == parent.said
        if stands and parent.said == unit.memory.parent_digest and not (unit.audit_due or anew):
            return
        served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
        if served is None:
            return
        try:
            # Written or refused before, and not seen as it was: it may be without labels, or a person took it away.
            had = bool(unit.memory.parent_digest or unit.parent_trouble)
            if had if seen is None else seen.whose is Whose.NOBODYS:
                await self._look(served, parent_name(unit.name.overlay))
            if refusal := self._refusal(unit):
                unit.parent_trouble = refusal
                return
            await self._make_namespace(may)
            # The cluster never knows more than the journal: else a hub killed here would say the earlier commit again,
            # and take itself for an older state (`recover`).
            unit.memory = replace(unit.memory, parent_generation=parent.generation)
            await site.journal.commit(JournalEntry(units=(unit.memory,)))
            trouble = await self._write(served, unit, parent_document(parent), may)
        except ENDS_SESSION:
            raise
        except Withdrawn:
            return
        except ClusterError as error:
            unit.parent_trouble = f"its parent object could not be written: {error}"
            site.poll(unit.name, site.limits.retry_most_seconds)
            return
        unit.parent_trouble = trouble
        if trouble:
            return
        unit.audit_due = unit.memory.audit_head != audited
        unit.memory = replace(unit.memory, parent_digest=parent.said, quarantined=parent.quarantined)
        site.journal.jot(JournalEntry(units=(unit.memory,)))

    async def meet(self, unit: UnitState) -> None:
        """Look for the parent by its name before the first object of a unit is made, if none was seen a while ago.

        Where nothing of ours is there yet, for everybody's: who came later would pass for the first, by the dates of a
        clock that was set back meanwhile, and write beside the other until it looks again.
        """
        site, name = self._site, parent_name(unit.name.overlay)
        async with self._first_look:
            if site.neighbours.is_newcomer and not self._is_fresh(site.neighbours.listed_at):
                await look_at_parents(site)
        served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
        is_fresh = self._is_fresh(site.neighbours.looked_at(name))
        if served is not None and site.neighbours.seen(name) is None and not is_fresh:
            await self._look(served, name)

    async def precede(self, unit: UnitState, may: May) -> None:
        """Write a parent before anything else of an installation that has none here, and look who did so meanwhile.

        Who comes later finds it, however long the first unit takes to settle; its list is written anew as it grows
        until then. Raises ClusterError where it is not known who is there: nothing may be written then (R5).
        """
        site = self._site
        async with self._first_look:
            if site.neighbours.is_newcomer:
                await self.keep(unit, may)
                self._looks_back = not site.neighbours.is_newcomer
            elif unit.memory.bundle is None and unit.memory.parent_digest:
                await self.keep(unit, may)
            if self._looks_back:
                await look_at_parents(site)
                self._looks_back = False

    def _is_fresh(self, looked_at: float) -> bool:
        return self._site.clock() - looked_at < _FRESH_SECONDS

    async def is_gone(self, overlay: OverlayName) -> bool:
        """As `UnitClaims.is_gone`, its parent looked for now: another hub may have made one. Raises ClusterError."""
        site = self._site
        served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
        if served is None or not site.claims.is_gone(overlay):
            return False
        await self._look(served, parent_name(overlay))
        return site.claims.is_gone(overlay)

    async def remove(self, unit: UnitState, may: May) -> bool:
        """Delete the parent of a unit that was detached or that owns nothing any more; whether none of ours is left.

        What is left, kept by somebody's finalizer, would be the parent of a unit that nobody knows: a lost state (R24).
        """
        site = self._site
        served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
        name = parent_name(unit.name.overlay)
        live = await self._look(served, name) if served else None
        if served is None or live is None:
            return True
        if judge_parent(live, site.installation, site.identity).whose is not Whose.OURS:
            return True
        ref = ObjectRef("", "ConfigMap", PARENT_NAMESPACE, name)
        uid, version = text_at(live, "metadata", "uid"), text_at(live, "metadata", "resourceVersion")
        left: Document | None = live
        if not text_at(live, "metadata", "deletionTimestamp"):
            left = await site.delete(unit, ref, served, may, uid=uid, reason="the unit was detached", version=version)
        site.neighbours.take(name, left, site.clock())
        kept = f"its parent object {PARENT_NAMESPACE}/{name} is being deleted: a finalizer keeps it"
        unit.parent_trouble = "" if left is None else kept
        return left is None

    async def _look(self, served: ServedKind, name: str) -> Document | None:
        site = self._site
        live = await site.kube.get(served, PARENT_NAMESPACE, name)
        site.neighbours.take(name, live, site.clock())
        return live

    async def _write(self, served: ServedKind, unit: UnitState, document: Document, may: May) -> str:
        """Why it was not written, for people; "" where it was. Read and judged anew while it changes under us."""
        site, name = self._site, parent_name(unit.name.overlay)
        refused: ClusterError | None = None
        for _ in range(_STALE_TRIES):
            if refusal := self._refusal(unit):
                return refusal
            body = orjson.dumps(_over(document, site.neighbours.seen(name)))
            try:
                answer = await site.kube.apply(served, PARENT_NAMESPACE, name, body, force=True, may=may)
            except (Conflict, ObjectInvalid) as error:  # another version, or another incarnation: what is there now?
                refused = error
                await self._look(served, name)
                continue
            except NotFound as error:  # somebody took the namespace away, and with it what was seen there
                refused, self._namespace_stands = error, False
                site.neighbours.take(name, None, site.clock())
                await self._make_namespace(may)
                continue
            site.neighbours.take(name, answer.object, site.clock())
            return ""
        assert refused is not None  # it was tried at least once
        raise refused

    def _refusal(self, unit: UnitState) -> str:
        """Why what was seen in the parent's place is not written over, for people; "" where it is."""
        name = parent_name(unit.name.overlay)
        seen = self._site.neighbours.seen(name)
        if seen is None or seen.whose is Whose.OURS:
            return ""
        if seen.whose is Whose.FOREIGN:
            return parent_error(unit.name, seen).brief
        return (
            f"its parent object was not written: {PARENT_NAMESPACE}/{name} exists already and is nobody's; if it lost "
            f"its mark, or nobody needs it: kubectl -n {PARENT_NAMESPACE} delete configmap {name}"
        )

    async def _make_namespace(self, may: May) -> None:
        if self._namespace_stands:
            return
        site = self._site
        ref = ObjectRef("", "Namespace", "", PARENT_NAMESPACE)
        served = site.served(ref)
        if served is not None and await site.kube.get(served, "", PARENT_NAMESPACE, metadata_only=True) is None:
            labels: Document = {INSTALLATION_LABEL: installation_hash(site.installation)}
            metadata: Document = {"name": PARENT_NAMESPACE, "labels": labels}
            body: Document = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
            owners = [unit.name for unit in site.units.values() if ref in unit.wanted]
            if len(owners) == 1:  # it is that unit's from the start, and not one that lost its mark
                body = mark_body(body, site.mark(owners[0]))
            await site.kube.apply(served, "", PARENT_NAMESPACE, orjson.dumps(body), may=may)
        self._namespace_stands = True


class ParentLooks:
    """Looks now and then whether another installation came, and says of the cluster that one is there.

    is_managed: whether this hub writes here at all; one that only observes is in nobody's way.
    """

    def __init__(self, site: Site, is_managed: Callable[[], bool]) -> None:
        self._site, self._is_managed = site, is_managed
        self._met = asyncio.Event()

    def tell(self) -> None:
        """Say how it stands; also where the orders changed."""
        self._site.outbox.set_finding(self._site.neighbours.error if self._is_managed() else None)

    def met(self) -> None:
        """Another installation's parents came or went."""
        self._met.set()
        self.tell()

    async def run(self) -> None:
        """Until cancelled; looks again soon while others' parents stand there: a person may have settled it."""
        limits, neighbours = self._site.limits, self._site.neighbours
        while True:
            pause = limits.neighbour_seconds if neighbours.is_troubled else limits.parents_seconds
            try:
                async with asyncio.timeout(pause * (0.9 + 0.1 * self._site.random())):
                    await self._met.wait()
                self._met.clear()
                continue
            except TimeoutError:
                pass
            try:
                await look_at_parents(self._site)
            except FleetError as error:
                if isinstance(error, ENDS):
                    raise  # any other: the next look asks again


async def look_at_parents(site: Site) -> tuple[Document, ...]:
    """A complete list of the parents on the cluster, whosever they are, taken in by the site; raises ClusterError."""
    served = site.served(ObjectRef("", "ConfigMap", PARENT_NAMESPACE, ""))
    if served is None:
        return ()
    selector = f"{INSTALLATION_LABEL},{PARENT_LABEL}"
    parents = await site.kube.list(served, namespace=PARENT_NAMESPACE, selector=selector)
    site.neighbours.take_all(parents.items, site.clock())
    return parents.items


def _quarantined(unit: UnitState) -> tuple[Digest, ...]:
    return tuple(sorted(unit.desired.quarantined)) if unit.desired is not None else unit.memory.quarantined


def _over(document: Document, seen: ParentSeen | None) -> Document:
    """The body of a write that hits what was seen and nothing else; None: where nothing is (decision 5)."""
    at = {"uid": seen.uid, "resourceVersion": seen.version} if seen else {"resourceVersion": ABSENT_VERSION}
    return {**document, "metadata": {**mapping_at(document, "metadata"), **at}}
