"""Keeps the live view: one list and watch per kind, of what carries our label; one per namespace where need be.

A DELETED from a labelled watch is only a hint, because the label alone may have gone: the object is read by name
before anything is believed. What a stream shows that broke is Unknown until it is proven again (R5, R19): the kind, or
the kind in that namespace and in no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Any, Protocol

from fleet.core.documents import Document, text_at
from fleet.core.ids import ObjectRef, is_before, version_place
from fleet.core.objects import INSTALLATION_LABEL, ref_of
from fleet.core.record import MarkKind
from fleet.errors import AnswerInvalid, ClusterError
from fleet.ports.kube import Changed, Kube, Listed, Lost, Proved, Removed, Seen, ServedKind
from fleet.reconcile.memory import Kind, KindView, Live, LiveView, Part
from fleet.reconcile.places import Places
from fleet.reconcile.session_errors import ENDS_SESSION

_LOOK_FIRST_SECONDS = 0.5
_LOOK_MOST_SECONDS = 60.0


class Sight(StrEnum):
    """What became of one object."""

    CHANGED = "changed"
    GONE = "gone"  # read by name: not there
    UNLABELLED = "unlabelled"  # the same object, our annotation intact: label drift
    RELEASED = "released"  # our annotation is gone
    STRANGER = "stranger"  # another object has its name, without our mark


class News(StrEnum):
    """What a state that was seen says beside what is known."""

    NEW = "new"
    KNOWN = "known"  # the very state of our own last write
    OLDER = "older"  # from before that write
    WAITS = "waits"  # the object is being written: it is taken when that is over


class Watcher(Protocol):
    """Who is told; all calls come from the loop."""

    def expects(self, ref: ObjectRef) -> str | None:
        """The UID that the record holds for this object; "" recorded without one, or a hook's; None not recorded."""
        ...

    def recorded(self, kind: Kind) -> list[ObjectRef]:
        """All objects of a kind in the record that were applied."""
        ...

    def written(self, ref: ObjectRef) -> str:
        """The resourceVersion of our own last write; "" where none is known."""
        ...

    def news(self, ref: ObjectRef, document: Document) -> News:
        """What a state says beside our own last write; one that WAITS is kept."""
        ...

    def left(self, ref: ObjectRef) -> None:
        """The watch saw an object go, or lose its label; how it stood before that was told."""
        ...

    def went_back(self, kind: Kind, resource_version: str) -> None:
        """The cluster's history goes on from this resourceVersion: what we wrote after it never came to pass."""
        ...

    def see(self, ref: ObjectRef, document: Document) -> Live:
        """Put a live object into the view."""
        ...

    def saw(self, ref: ObjectRef, sight: Sight, before: Live | None) -> None:
        """One object changed; the view holds the new state already."""
        ...

    def kind_changed(self, kind: Kind, namespace: str) -> None:
        """A kind became known or Unknown in a namespace; in all of them ("")."""
        ...

    def proved(self, kind: Kind) -> None:
        """The kind's stream is alive and complete up to its resourceVersion."""
        ...


_RELEASED = (MarkKind.ANNOTATION_LOST, MarkKind.UNMARKED, MarkKind.COPIED)


def _ref_in(view: KindView, document: Document) -> ObjectRef:
    """The reference of an object of a followed kind; cheap, because every event asks for it."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        return ref_of(document)
    served = view.served
    return ObjectRef(served.group, served.kind, str(metadata.get("namespace", "")), str(metadata.get("name", "")))


class Observer:
    """Follows kinds until cancelled."""

    def __init__(
        self,
        kube: Kube,
        view: LiveView,
        selector: str,
        watcher: Watcher,
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        places: Places,
    ) -> None:
        self._kube, self._view, self._selector, self._watcher = kube, view, selector, watcher
        self._places = places
        self._spawn = spawn
        self._looking: dict[ObjectRef, str] = {}  # with the resourceVersion that an answer must have reached

    async def follow(self, served: ServedKind, since: str) -> None:
        """Keep one kind's view; never ends by itself."""
        kind = (served.group, served.kind)
        view = self._view.kinds[kind]
        if not self._places.is_narrow(kind):
            whole = view.parts[""]
            whole.version = since
            async for seen in self._kube.follow(served, selector=self._selector, since=since):
                if isinstance(seen, Lost) and self._places.narrows(served, seen):
                    break
                self._take_seen(view, whole, seen)
        await self._follow_parts(view, kind)

    async def _follow_parts(self, view: KindView, kind: Kind) -> None:
        """One stream per namespace, each known by itself. Such a view cannot be resumed."""
        parts, whole = view.parts, view.parts.pop("")
        streams: dict[str, asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                wanted = self._places.of(kind)
                for namespace in parts.keys() - wanted:
                    streams.pop(namespace).cancel()
                    del parts[namespace]
                    for ref in [ref for ref in view.rows if ref.namespace == namespace]:
                        self._view.drop(ref)
                for namespace in sorted(wanted - parts.keys()):
                    part = parts[namespace] = Part(namespace, told_at=whole.told_at)
                    work = self._follow_part(view, part)
                    streams[namespace] = tasks.create_task(work, name=f"follow {kind[1]} in {namespace}")
                whole = Part()  # what it told says nothing of namespaces that come later
                await self._places.moved()

    async def _follow_part(self, view: KindView, part: Part) -> None:
        async for seen in self._kube.follow(view.served, namespace=part.namespace, selector=self._selector):
            self._take_seen(view, part, seen)

    def _take_seen(self, view: KindView, part: Part, seen: Seen) -> None:
        kind = (view.served.group, view.served.kind)
        match seen:
            case Listed(items, resource_version, age):
                self._take_list(view, part, items, resource_version)
                self._prove(view, part, resource_version, age)
                self._watcher.proved(kind)
            case Changed(document, resource_version, age):
                self.take(view, document)
                self._prove(view, part, resource_version, age)
            case Removed(document, resource_version, age):
                ref = ref_of(document)
                self._watcher.left(ref)
                self.verify(view.served, ref, since=resource_version)
                self._prove(view, part, resource_version, age)
            case Proved(resource_version, age):
                self._prove(view, part, resource_version, age)
                self._watcher.proved(kind)
            case Lost(reason, message):
                part.message = message
                if part.unknown != reason:
                    part.unknown = reason
                    self._watcher.kind_changed(kind, part.namespace)

    async def listed(self, served: ServedKind, namespaces: Iterable[str]) -> tuple[Document, ...]:
        """The metadata of all objects of a kind in these parts of it that can be ours; raises ClusterError."""
        before = dict(self._looking)
        items = await self._places.list(served, namespaces, metadata_only=True)
        for item in items:
            ref = replace(ref_of(item), group=served.group, kind=served.kind)
            if ref in self._looking and self._looking[ref] == before.get(ref):
                self._looking[ref] = ""
        return items

    def verify(self, served: ServedKind, ref: ObjectRef, *, since: str = "") -> None:
        """A hint that an object is gone or not as it was seen: read by name if it is ours, else just forget it.

        since: the resourceVersion of the hint. An answer from before it (a stale read, or one that was on its way
        already) contradicts the hint, and nothing later would correct it: it is asked again, until a list that was
        asked for after the hint shows the object all the same. That is so where the history went back.
        """
        if self._watcher.expects(ref) is None:
            self._view.drop(ref)
            return
        is_new = ref not in self._looking
        self._looking[ref] = since or self._looking.get(ref, "")
        if is_new:
            self._spawn(self._look_until_known(served, ref), f"verify {ref}")

    async def look(self, served: ServedKind, ref: ObjectRef) -> Sight:
        """Read one object by name and say what became of it (design, section 6.2). Raises ClusterError."""
        document = await self._read(served, ref)
        if document is not None and _stands_at_or_before(document, since := self._looking.get(ref, "")):
            raise AnswerInvalid(
                f"{ref} was answered as it stood before",
                why=f"the watch was at resourceVersion {since} already",
                next_step="it is read again by itself",
            )
        before, expected = self._view.find(ref), self._watcher.expects(ref)
        if document is None:
            self._view.drop(ref)
            sight = Sight.GONE
        else:
            live = self._watcher.see(ref, document)
            if expected not in (None, "", live.uid) and live.mark.kind in _RELEASED:
                sight = Sight.STRANGER
            elif live.mark.kind in _RELEASED:
                sight = Sight.RELEASED
            else:
                sight = Sight.UNLABELLED if live.mark.kind is MarkKind.LABEL_LOST else Sight.CHANGED
        self._watcher.saw(ref, sight, before)
        return sight

    async def _read(self, served: ServedKind, ref: ObjectRef) -> Document | None:
        """An object by name, read anew where a write of ours overtook the answer."""
        while True:
            written = self._watcher.written(ref)
            document = await self._kube.get(served, ref.namespace, ref.name)
            now = self._watcher.written(ref)
            if document is None or now == written or not is_before(_version_of(document), now):
                return document

    async def _look_until_known(self, served: ServedKind, ref: ObjectRef) -> None:
        wait = _LOOK_FIRST_SECONDS
        try:
            while (view := self._view.kinds.get((served.group, served.kind))) is not None:
                try:
                    await self.look(view.served, ref)
                    return
                except ENDS_SESSION:
                    raise
                except ClusterError:
                    await asyncio.sleep(wait)  # Unknown meanwhile: it stays as it was seen last
                    wait = min(wait * 2, _LOOK_MOST_SECONDS)
        finally:
            self._looking.pop(ref, None)

    def take(self, view: KindView, document: Document) -> None:
        """Believe an event, unless it says nothing new."""
        ref = _ref_in(view, document)
        if self._watcher.news(ref, document) is News.NEW:
            self._believe(view, ref, document)

    def _believe(self, view: KindView, ref: ObjectRef, document: Document) -> None:
        before = view.rows.get(ref)
        live = self._watcher.see(ref, document)
        sight = Sight.RELEASED if live.mark.kind in _RELEASED else Sight.CHANGED
        self._watcher.saw(ref, sight, before)

    def _take_list(self, view: KindView, part: Part, items: tuple[Document, ...], resource_version: str) -> None:
        """Believe a whole list: what it shows, and of what it does not show that it is to be read by name.

        A list is asked for after all that its stream told before. One that lies before that, or shows an object as it
        was before our last write, either met that write on its way, or the cluster's store was put back to an earlier
        state (etcd restored from a snapshot): then nothing later would tell that what we wrote is gone.
        """
        kind = (view.served.group, view.served.kind)
        if is_before(resource_version, part.version):
            self._watcher.went_back(kind, resource_version)
        missing = {*view.rows, *self._watcher.recorded(kind)}
        if part.namespace:
            missing = {ref for ref in missing if ref.namespace == part.namespace}
        for document in items:
            ref = _ref_in(view, document)
            missing.discard(ref)
            if ref in self._looking:
                self._looking[ref] = ""
            match self._watcher.news(ref, document):
                case News.NEW:
                    self._believe(view, ref, document)
                case News.OLDER:
                    self.verify(view.served, ref)
                case News.KNOWN | News.WAITS:
                    pass
        for ref in missing:
            self.verify(view.served, ref, since=resource_version)

    def _prove(self, view: KindView, part: Part, resource_version: str, age: float) -> None:
        part.version, part.told_at = resource_version, asyncio.get_running_loop().time() - age
        view.resource_version = "" if part.namespace else resource_version
        if part.unknown:
            part.unknown = part.message = ""
            self._watcher.kind_changed((view.served.group, view.served.kind), part.namespace)


def _version_of(document: Document) -> str:
    return text_at(document, "metadata", "resourceVersion")


def _stands_at_or_before(document: Document, since: str) -> bool:
    """Whether this is a state that carries our label from when, at `since`, nothing under its name carried it any more.

    Versions that are no numbers cannot be told apart.
    """
    place, bound = version_place(_version_of(document)), version_place(since)
    labelled = bool(text_at(document, "metadata", "labels", INSTALLATION_LABEL))
    return labelled and place is not None and bound is not None and place <= bound
