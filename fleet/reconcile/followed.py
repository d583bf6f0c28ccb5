"""The kinds of one cluster that a session watches: those of its objects, as far as the cluster serves them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from fleet.core.documents import Document
from fleet.core.ids import ObjectRef, is_before
from fleet.core.record import PARENT_NAMESPACE, RowState, installation_hash
from fleet.core.rollout import UnitDesired
from fleet.reconcile.judging import quiet_live
from fleet.reconcile.memory import Kind, KindView, UnitState, kind_of
from fleet.reconcile.observe import Observer
from fleet.reconcile.places import Places
from fleet.reconcile.reading import read_bundle
from fleet.reconcile.served import discover_anew, is_doubted, outdated, pause_of
from fleet.reconcile.sightings import Sightings, hook_refs, token_key
from fleet.reconcile.site import Site
from fleet.reconcile.standing import bundle_of

_CONFIG_MAPS: Kind = ("", "ConfigMap")  # always followed: it holds the parents, and proves that the cluster is there


class FollowedKinds:
    """One stream for each kind, from where the journal says if it knows.

    resume: tokens of the journal by kind, taken out as they are used; spawn, start: tasks of the session.
    """

    def __init__(
        self,
        site: Site,
        sightings: Sightings,
        resume: dict[str, str],
        spawn: Callable[[Coroutine[Any, Any, None], str], None],
        start: Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]],
    ) -> None:
        self._site, self._sightings, self._resume, self._start = site, sightings, resume, start
        self._streams: dict[Kind, asyncio.Task[None]] = {}
        selector = f"fleet.internal/installation={installation_hash(site.installation)}"
        self._places = Places(site.kube, selector, self._namespaces_of)
        self.observer = Observer(site.kube, site.view, selector, sightings, spawn, self._places)

    def begin(self) -> None:
        """Follow what the record holds."""
        self.follow({_CONFIG_MAPS, *(kind_of(ref) for unit in self._site.units.values() for ref in unit.rows)})

    def follow(self, kinds: set[Kind]) -> None:
        """Watch these kinds, from where the journal says if it knows."""
        site = self._site
        for kind in sorted(kinds):
            served = site.catalog.find(*kind)
            if served is None or kind in site.view.kinds or not {"list", "watch"} <= served.verbs:
                continue
            served = served.at(site.version_of(kind) or served.version)
            view = site.view.kinds[kind] = KindView(served)
            since = self._resume.pop(token_key(kind), "")
            if since and not self._fill(view, kind, since):
                since = ""
            self._streams[kind] = self._start(self.observer.follow(served, since), f"follow {kind[1]}")
        self._places.move()

    def unfollow(self, kind: Kind) -> None:
        """Watch a kind no more, and forget what was seen of it."""
        self._streams.pop(kind).cancel()
        del self._site.view.kinds[kind]

    def _namespaces_of(self, kind: Kind) -> frozenset[str]:
        """Where a kind has objects of ours, or shall have."""
        units = self._site.units.values()
        found = {ref.namespace for unit in units for ref in (*unit.refs(), *hook_refs(unit)) if kind_of(ref) == kind}
        return frozenset(found | ({PARENT_NAMESPACE} if kind == _CONFIG_MAPS else set()))

    def _fill(self, view: KindView, kind: Kind, since: str) -> bool:
        """Take the journal's word for a kind whose watch resumes: its token says that all was well then.

        It says nothing of what we wrote after it, and the event of that write tells nothing new.
        """
        site = self._site
        for unit in site.units.values():
            for ref, row in unit.rows.items():
                if kind_of(ref) != kind or row.state.is_end:
                    continue
                is_after = is_before(since, row.resource_version)
                if row.state is not RowState.APPLIED or not row.fingerprint or is_after:
                    view.rows.clear()
                    return False
                view.rows[ref] = quiet_live(row)
        return True

    async def discover_anew(self, unit: UnitState, told: UnitDesired) -> None:
        """Kinds and versions may have come or gone: asked when a definition was established, else seldom."""
        site = self._site
        due = site.catalog_at + pause_of(site, self._sightings.defined_at)
        if site.clock() < due:
            site.wake_at(unit.name, due)
            return
        if await discover_anew(site):
            for kind in outdated(site):
                self.unfollow(kind)
            site.wake(None)
        if bundle_of(told) is not None:
            await read_bundle(self._site, unit, told)
            self.follow({kind_of(ref) for ref in (*unit.refs(), *hook_refs(unit))})
        if is_doubted(site, unit):
            site.wake_at(unit.name, site.clock() + pause_of(site, self._sightings.defined_at))

    def verify(self, ref: ObjectRef) -> None:
        """Read an object of the record by name, soon."""
        view = self._site.view.kinds.get(kind_of(ref))
        if view is not None:
            self.observer.verify(view.served, ref)

    def arrived(self, ref: ObjectRef, document: Document) -> None:
        """Take an event that waited until the object was written."""
        view = self._site.view.kinds.get(kind_of(ref))
        if view is not None:
            self.observer.take(view, document)
