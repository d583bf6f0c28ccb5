"""Reads what would go with the objects of a hold: once per list, not per pass, and never in the way of the hold itself.

What cannot be read is said in the lines, and read again a little later (R5, R10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fleet.core.documents import Document, text_at
from fleet.core.ids import ObjectRef
from fleet.core.losses import (
    NOT_KNOWN,
    Claim,
    Inside,
    claim_line,
    definition_losses,
    kinds_worth_asking,
    namespace_losses,
    stateful_set_losses,
    volume_line,
)
from fleet.errors import ClusterError
from fleet.ports.kube import ServedKind
from fleet.reconcile.apply import ENDS_SESSION
from fleet.reconcile.site import Site

_KINDS_LIMIT = 40  # lists for one Namespace
_VOLUMES_LIMIT = 20  # volumes of one Namespace that are read by name
_AT_ONCE = 4
_CLAIM, _VOLUME = ("", "PersistentVolumeClaim"), ("", "PersistentVolume")


class Losses:
    """What goes with objects of one cluster."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._slots = asyncio.Semaphore(_AT_ONCE)

    async def of(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, tuple[str, ...]]:
        """Lines per object; kinds that take nothing with them have none. Raises only what ends the session."""
        return {ref: lines for ref in refs if (lines := await self._of(ref))}

    async def _of(self, ref: ObjectRef) -> tuple[str, ...]:
        try:
            match ref.group, ref.kind:
                case "", "Namespace":
                    return await self._namespace(ref.name)
                case "apiextensions.k8s.io", "CustomResourceDefinition":
                    return await self._definition(ref)
                case "", "PersistentVolumeClaim":
                    claim = await self._read(ref)
                    return (claim_line(await self._claim(claim)),) if claim is not None else ()
                case "", "PersistentVolume":
                    volume = await self._read(ref)
                    return (volume_line(volume),) if volume is not None else ()
                case "apps", "StatefulSet":
                    document = await self._read(ref)
                    return stateful_set_losses(document) if document is not None else ()
                case _:
                    return ()
        except ENDS_SESSION:
            raise
        except ClusterError as error:
            return (f"{NOT_KNOWN}{error.reason}: what goes with it",)

    async def _namespace(self, name: str) -> tuple[str, ...]:
        site = self._site
        served = {key: kind for key, kind in site.catalog.kinds.items() if kind.namespaced and "list" in kind.verbs}
        asked = kinds_worth_asking(site.view.kinds.keys() & served.keys(), served.keys(), limit=_KINDS_LIMIT)
        async with asyncio.TaskGroup() as tasks:
            lists = [
                tasks.create_task(self._list(served[key], name, whole=key == _CLAIM), name=f"inside {name}: {key[1]}")
                for key in asked
            ]
        inside = [task.result() for task in lists]
        inside += [Inside(f"kinds of {group}", unread="they do not answer") for group in sorted(site.catalog.unknown)]
        claims = [item for part in inside if part.kind == _CLAIM[1] for item in part.items]
        read = [await self._claim(claim) for claim in claims[:_VOLUMES_LIMIT]]
        read += [Claim(claim) for claim in claims[_VOLUMES_LIMIT:]]
        return namespace_losses(inside, read, installation=site.installation)

    async def _definition(self, ref: ObjectRef) -> tuple[str, ...]:
        definition = await self._read(ref)
        if definition is None:
            return ()
        kind = text_at(definition, "spec", "names", "kind")
        served = self._site.catalog.find(text_at(definition, "spec", "group"), kind)
        inside = await self._list(served, "") if served else Inside(kind, unread="it is not served")
        return definition_losses(inside, installation=self._site.installation)

    async def _claim(self, claim: Document) -> Claim:
        name = text_at(claim, "spec", "volumeName")
        if not name:
            return Claim(claim)
        try:
            return Claim(claim, await self._read(ObjectRef(*_VOLUME, "", name)))
        except ENDS_SESSION:
            raise
        except ClusterError:
            return Claim(claim)  # its line says that the policy is not known

    async def _list(self, served: ServedKind, namespace: str, *, whole: bool = False) -> Inside:
        async with self._slots:
            try:
                found = await self._site.kube.list(served, namespace=namespace, metadata_only=not whole)
            except ENDS_SESSION:
                raise
            except ClusterError as error:
                return Inside(served.kind, unread=error.reason)
            return Inside(served.kind, found.items)

    async def _read(self, ref: ObjectRef) -> Document | None:
        served = self._site.served(ref)
        return await self._site.kube.get(served, ref.namespace, ref.name) if served is not None else None
