"""Where each kind may be listed: everywhere, until the cluster refuses that; then in the namespaces of our objects.

A hub with the least role may list nothing outside its namespaces, Secrets above all. That is learnt by asking, once per
connection and kind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from fleet.core.documents import Document
from fleet.errors import Forbidden
from fleet.ports.kube import Kube, Lost, ServedKind
from fleet.reconcile.memory import Kind


class Places:
    """One per session. wanted: the namespaces in which a kind has objects of ours, or shall have."""

    def __init__(self, kube: Kube, selector: str, wanted: Callable[[Kind], frozenset[str]]) -> None:
        self._kube, self._selector, self._wanted = kube, selector, wanted
        self._narrow: set[Kind] = set()
        self._moved = asyncio.Event()

    def is_narrow(self, kind: Kind) -> bool:
        """Whether a kind is asked for namespace by namespace."""
        return kind in self._narrow

    def narrows(self, served: ServedKind, lost: Lost) -> bool:
        """Whether this trouble means that the kind may only be asked for by namespace; then it is from now on."""
        if lost.reason != Forbidden.__name__ or not served.namespaced:
            return False
        self._narrow.add((served.group, served.kind))
        return True

    def of(self, kind: Kind) -> frozenset[str]:
        """The namespaces to ask in; {""} for all at once."""
        return self._wanted(kind) if kind in self._narrow else frozenset({""})

    def move(self) -> None:
        """Objects came or went: those who wait look again; nobody does where all kinds are listed everywhere."""
        if self._narrow:
            self._moved.set()
            self._moved = asyncio.Event()

    async def moved(self) -> None:
        """Until the next `move`."""
        await self._moved.wait()

    async def list(
        self, served: ServedKind, namespaces: Iterable[str], *, metadata_only: bool = False
    ) -> tuple[Document, ...]:
        """All objects of a kind that carry our label in these namespaces. Raises instead of giving a part."""
        found: list[Document] = []
        for namespace in sorted(namespaces):
            listed = await self._kube.list(
                served, namespace=namespace, selector=self._selector, metadata_only=metadata_only
            )
            found += listed.items
        return tuple(found)
