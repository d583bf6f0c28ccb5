"""Reads what would go with the objects of a hold: once per list, not per pass, and never in the way of the hold itself.

What the cluster serves is asked anew each time: a kind that came since the connection was made may hold databases. What
cannot be read is said in the lines, and read again a little later (R5, R10).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from fleet.core.documents import Document, text_at
from fleet.core.guard import Approved, Doomed
from fleet.core.ids import ObjectRef
from fleet.core.inside import covers, texts_of
from fleet.core.losses import (
    NOT_KNOWN,
    Claim,
    Inside,
    Loss,
    claim_loss,
    claims_taken,
    definition_loss,
    kinds_inside,
    namespace_loss,
    owners_of,
    stateful_set_loss,
    takes_claims,
    unknown_inside,
    volume_line,
)
from fleet.core.status import HoldRequest
from fleet.errors import ClusterError
from fleet.ports.kube import Catalog, ServedKind
from fleet.reconcile.session_errors import ENDS_SESSION
from fleet.reconcile.site import Site
from fleet.values import dataclass

_VOLUMES_LIMIT = 20  # volumes of one Namespace that are read by name
_AT_ONCE = 4  # lists; a Namespace takes one of each kind
_LATELY_SECONDS = 5.0
_CLAIM, _VOLUME = ("", "PersistentVolumeClaim"), ("", "PersistentVolume")
_WHOLE = frozenset({_CLAIM, ("", "Service")})  # of the others metadata is enough


@dataclass(frozen=True, slots=True)
class _Read:
    """What went with an object at a moment (loop time), beside what had its own line then."""

    at: float
    own: frozenset[ObjectRef]
    agreed: frozenset[Approved]
    inside: tuple[str, ...]


class Losses:
    """What goes with objects of one cluster."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._read_lately: dict[ObjectRef, _Read] = {}
        # By namespace: UIDs with their kinds of what was read there.
        self._owners: dict[str, Mapping[str, tuple[str, str]]] = {}

    async def of(self, refs: Sequence[ObjectRef], own: Collection[ObjectRef]) -> dict[ObjectRef, Loss]:
        """What goes with each; nothing is said of kinds that take nothing along. Raises only what ends the session.

        own: what has its own line in the same list, or is on its way out.
        """
        found = {ref: await self._of(ref, own) for ref in refs}
        for ref, loss in found.items():
            # What was just shown is not held against what was read before it and left since.
            if (read := self._read_lately.get(ref)) and not covers(loss.inside, read.inside):
                del self._read_lately[ref]
        return {ref: loss for ref, loss in found.items() if loss != Loss()}

    async def inside(
        self, ref: ObjectRef, own: Collection[ObjectRef], agreed: Collection[Approved] = ()
    ) -> tuple[str, ...]:
        """What goes with an approved object now, a few seconds old at most: what cannot go is tried again and again.

        agreed: all that a person let go by the same word, there or not.
        """
        now, own, agreed = self._site.clock(), frozenset(own), frozenset(agreed)
        self._read_lately = {
            other: read for other, read in self._read_lately.items() if now < read.at + _LATELY_SECONDS
        }
        read = self._read_lately.get(ref)
        if read is None or (read.own, read.agreed) != (own, agreed):
            read = _Read(now, own, agreed, (await self._of(ref, own, agreed)).inside)
            self._read_lately[ref] = read
        return read.inside

    async def _of(self, ref: ObjectRef, own: Collection[ObjectRef], agreed: Collection[Approved] = ()) -> Loss:
        try:
            match ref.group, ref.kind:
                case "", "Namespace":
                    return await self._namespace(ref.name, own, agreed)
                case "apiextensions.k8s.io", "CustomResourceDefinition":
                    return await self._definition(ref, own)
                case "", "PersistentVolumeClaim":
                    claim = await self._read(ref)
                    return claim_loss(await self._claim(claim)) if claim is not None else Loss()
                case "", "PersistentVolume":
                    volume = await self._read(ref)
                    return Loss((volume_line(volume),)) if volume is not None else Loss()
                case "apps", "StatefulSet":
                    document = await self._read(ref)
                    return await self._stateful_set(document) if document is not None else Loss()
                case _:
                    return Loss()
        except ENDS_SESSION:
            raise
        except ClusterError as error:
            return Loss((f"{NOT_KNOWN}{error.reason}: what goes with it",), texts_of(["? anything"]))

    async def _namespace(self, name: str, own: Collection[ObjectRef], agreed: Collection[Approved]) -> Loss:
        site, catalog = self._site, await self._served()
        served = {key: kind for key, kind in catalog.kinds.items() if kind.namespaced and "list" in kind.verbs}
        asked = kinds_inside(site.view.kinds.keys(), served.keys())
        async with asyncio.TaskGroup() as tasks:
            lists = [
                tasks.create_task(self._list(served[key], name, whole=key in _WHOLE), name=f"inside {name}: {key[1]}")
                for key in asked
            ]
        inside = [task.result() for task in lists]
        inside += unknown_inside(catalog.unknown)
        claims = [item for part in inside if (part.group, part.kind) == _CLAIM for item in part.items]
        agreed = [each for each in agreed if each.ref.namespace == name]
        found = await self._claims(claims)
        before = self._owners.get(name, {})
        self._owners[name] = owners_of(inside, before)
        return namespace_loss(inside, found, installation=site.installation, own=own, agreed=agreed, before=before)

    async def _definition(self, ref: ObjectRef, own: Collection[ObjectRef]) -> Loss:
        definition = await self._read(ref)
        if definition is None:
            return Loss()
        group, kind = text_at(definition, "spec", "group"), text_at(definition, "spec", "names", "kind")
        served = (await self._served()).find(group, kind)
        inside = await self._list(served, "") if served else Inside(kind, unread="it is not served", group=group)
        site = self._site
        return definition_loss(inside, installation=site.installation, own=own, recorded=site.owners)

    async def _stateful_set(self, document: Document) -> Loss:
        if not takes_claims(document):
            return stateful_set_loss(document)
        served = self._site.catalog.find(*_CLAIM)
        if served is None:
            return stateful_set_loss(document, unread="it is not served")
        found = await self._list(served, text_at(document, "metadata", "namespace"), whole=True)
        if found.unread:
            return stateful_set_loss(document, unread=found.unread)
        return stateful_set_loss(document, await self._claims(claims_taken(document, found.items)))

    async def _served(self) -> Catalog:
        """What the cluster serves now; the session's own catalog is as old as the session."""
        return await self._site.kube.discover(fresh=True)

    async def _claims(self, claims: Sequence[Document]) -> list[Claim]:
        read = [await self._claim(claim) for claim in claims[:_VOLUMES_LIMIT]]
        return read + [Claim(claim) for claim in claims[_VOLUMES_LIMIT:]]

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
                return Inside(served.kind, unread=error.reason, group=served.group)
            return Inside(served.kind, found.items, group=served.group)

    async def _read(self, ref: ObjectRef) -> Document | None:
        served = self._site.served(ref)
        return await self._site.kube.get(served, ref.namespace, ref.name) if served is not None else None


def bare(hold: HoldRequest) -> HoldRequest:
    """The hold by its list alone."""
    return replace(hold, deletions=tuple(replace(item, goes_with=(), inside=()) for item in hold.deletions))


def holds_more_inside(holds: Sequence[HoldRequest], doomed: Sequence[Doomed]) -> bool:
    """Whether more would go with one of these than was shown: it is asked about anew, with the new line."""
    shown = {item.ref: item.inside for hold in holds for item in hold.deletions}
    return any(
        item.inside is not None and item.ref in shown and not covers(shown[item.ref], item.inside) for item in doomed
    )
