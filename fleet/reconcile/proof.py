"""The slow proof: one complete list per kind in an hour, so that what a watch missed shows all the same (R19)."""

from __future__ import annotations

import asyncio

from fleet.core.documents import Document, text_at
from fleet.core.ids import ObjectRef
from fleet.core.objects import ref_of
from fleet.errors import FleetError
from fleet.reconcile.memory import Kind, KindView
from fleet.reconcile.observe import Observer
from fleet.reconcile.session_errors import ENDS
from fleet.reconcile.site import Site


class SlowProof:
    """Lists the followed kinds of one site by turns."""

    def __init__(self, site: Site, observer: Observer) -> None:
        self._site, self._observer = site, observer
        self._proof_turn = 0

    async def run(self) -> None:
        """One complete metadata-only list per kind in an hour, spread in time: what a watch missed shows (R19)."""
        site = self._site
        while True:
            kinds = [kind for kind, view in site.view.kinds.items() if _known(view)]
            pause = site.limits.proof_seconds / max(1, len(kinds))
            await asyncio.sleep(pause * (0.9 + 0.1 * site.random()))
            if not kinds:
                continue
            kind = kinds[self._proof_turn % len(kinds)]
            self._proof_turn += 1
            view = site.view.kinds.get(kind)
            if view is None or not (namespaces := _known(view)):
                continue  # it is followed no more, or Unknown, since the pause began
            try:
                listed = await self._observer.listed(view.served, namespaces)
            except FleetError as error:
                if isinstance(error, ENDS):
                    raise
                continue  # the next round asks again
            self._compare(kind, view, namespaces, listed)

    def _compare(self, kind: Kind, view: KindView, namespaces: frozenset[str], items: tuple[Document, ...]) -> None:
        seen: dict[ObjectRef, str] = {}
        for item in items:
            ref = ref_of(item)
            version = text_at(item, "metadata", "resourceVersion")
            seen[ObjectRef(kind[0], kind[1], ref.namespace, ref.name)] = version
        for ref, version in seen.items():
            live = view.rows.get(ref)
            if live is None or version != live.resource_version:  # an older one too: the history may have gone back
                self._observer.verify(view.served, ref)
        for ref in [ref for ref in view.rows if ref not in seen]:
            if "" in namespaces or ref.namespace in namespaces:
                self._observer.verify(view.served, ref)


def _known(view: KindView) -> frozenset[str]:
    """Where a kind is known now: what is Unknown in one namespace is proven in the others all the same."""
    return frozenset(namespace for namespace, part in view.parts.items() if not part.unknown)
