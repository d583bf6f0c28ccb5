"""First contact: what is there already of objects that are not in the record (design, section 6.4; R4).

Calls of all units within one moment are answered together: a few objects of a kind and namespace by name, more by one
metadata-only list, and one list over all namespaces where many are concerned. Units come one by one as they are built;
so what was asked lately counts, and a list answers for a moment longer. That it may be out of date by then is harmless:
a create takes over nothing (decision 5).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TypeAlias, cast

from fleet.core.documents import Document, text_at
from fleet.core.ids import ObjectRef
from fleet.errors import Forbidden
from fleet.ports.kube import ServedKind
from fleet.reconcile.memory import Kind, kind_of
from fleet.reconcile.site import Site

_GATHER_SECONDS = 0.002
_NAMESPACES = 4  # more of them for one kind: one list over all
_LATELY_SECONDS = 60.0  # so long small questions about one kind and namespace add up
_FRESH_SECONDS = 10.0  # so long a list answers

Answer: TypeAlias = "dict[ObjectRef, Document | None]"  # metadata; None: the server says that it is not there
Place: TypeAlias = "tuple[Kind, str]"  # a kind in a namespace, "" for all


class Contacts:
    """Learns which objects exist. An error concerns only those who asked for that kind."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._asked: dict[ObjectRef, asyncio.Future[Document | None]] = {}
        self._gathering = False
        self._lately: dict[Place, tuple[float, int]] = {}  # since when, how many were asked
        self._listed: dict[Place, tuple[float, dict[ObjectRef, Document]]] = {}
        self._listing: defaultdict[Place, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def learn(self, refs: Iterable[ObjectRef]) -> Answer:
        """Existence of these objects; kinds that are not served count as absent. Raises ClusterError."""
        loop = asyncio.get_running_loop()
        mine: dict[ObjectRef, asyncio.Future[Document | None]] = {}
        for ref in refs:
            found = self._asked.get(ref)
            if found is None or found.cancelled():
                found = self._asked[ref] = loop.create_future()
            mine[ref] = found
        if mine and not self._gathering:
            self._gathering = True
            self._site.spawn(self._gather(), "first contact")
        return {ref: await asyncio.shield(found) for ref, found in mine.items()}

    async def _gather(self) -> None:
        await asyncio.sleep(_GATHER_SECONDS)
        asked, self._asked = self._asked, {}
        self._gathering = False
        by_kind: dict[Kind, list[ObjectRef]] = defaultdict(list)
        for ref in asked:
            by_kind[kind_of(ref)].append(ref)
        async with asyncio.TaskGroup() as group:
            for kind, refs in by_kind.items():
                group.create_task(self._answer(kind, refs, asked), name=f"contact {kind[1]}")

    async def _answer(
        self, kind: Kind, refs: list[ObjectRef], asked: dict[ObjectRef, asyncio.Future[Document | None]]
    ) -> None:
        try:
            found = await self._find(kind, refs)
        except Exception as raised:  # handed to everyone who asked, who judge it
            error = _only(raised)
            for ref in refs:
                if not asked[ref].done():
                    asked[ref].set_exception(error)
                    asked[ref].exception()  # somebody may have stopped waiting
            return
        for ref in refs:
            if not asked[ref].done():
                asked[ref].set_result(found.get(ref))

    async def _find(self, kind: Kind, refs: list[ObjectRef]) -> Answer:
        served = self._site.catalog.find(*kind)
        if served is None:
            return {}
        by_namespace: dict[str, list[ObjectRef]] = defaultdict(list)
        for ref in refs:
            by_namespace[ref.namespace].append(ref)
        counts = [self._counted((kind, namespace), len(group)) for namespace, group in by_namespace.items()]
        if max(counts) <= self._site.limits.direct_reads and len(by_namespace) <= _NAMESPACES:
            return await self._reads(served, refs)
        if len(by_namespace) > _NAMESPACES:
            try:
                found = await self._list(served, "")
                return {ref: found.get(ref) for ref in refs}
            except Forbidden:
                pass  # who may not list all may still list each
        answer: Answer = {}
        for namespace, group in by_namespace.items():
            found = await self._list(served, namespace)
            answer |= {ref: found.get(ref) for ref in group}
        return answer

    def _counted(self, place: Place, count: int) -> int:
        """How many objects of a place were asked for lately, these included."""
        now = self._site.clock()
        since, before = self._lately.get(place, (now, 0))
        if now - since > _LATELY_SECONDS:
            since, before = now, 0
        self._lately[place] = (since, before + count)
        return before + count

    async def _list(self, served: ServedKind, namespace: str) -> Mapping[ObjectRef, Document]:
        """All objects of a place; who asks while one list is under way waits for it."""
        place = (served.group, served.kind), namespace
        async with self._listing[place]:
            at, kept = self._listed.get(place, (float("-inf"), None))
            if kept is None or self._site.clock() - at > _FRESH_SECONDS:
                at = self._site.clock()
                listed = await self._site.kube.list(served, namespace=namespace, metadata_only=True)
                kept = {
                    ObjectRef(served.group, served.kind, text_at(item, "metadata", "namespace"), name): item
                    for item in listed.items
                    if (name := text_at(item, "metadata", "name"))
                }
                self._listed[place] = (at, kept)
                asyncio.get_running_loop().call_later(_FRESH_SECONDS, self._drop, place, at)
            return kept

    def _drop(self, place: Place, at: float) -> None:
        """Forget a list that answers no more."""
        if place in self._listed and self._listed[place][0] == at:
            del self._listed[place]

    async def _reads(self, served: ServedKind, refs: list[ObjectRef]) -> Answer:
        found: Answer = {}

        async def read(ref: ObjectRef) -> None:
            found[ref] = await self._site.kube.get(served, ref.namespace, ref.name, metadata_only=True)

        async with asyncio.TaskGroup() as group:
            for ref in refs:
                group.create_task(read(ref), name=f"read {ref}")
        return found


def _only(raised: Exception) -> Exception:
    """The first error of a group of reads."""
    while isinstance(raised, ExceptionGroup):
        raised = cast("ExceptionGroup[Exception]", raised).exceptions[0]
    return raised
