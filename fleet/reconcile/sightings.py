"""From what was seen of an object to what follows: the view, the record, a heal at once, or a pass that is due.

What is told here comes from the watches and from reads by name; what it means for a unit, its next pass decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fleet.core.documents import Document
from fleet.core.ids import ObjectRef, is_before
from fleet.core.objects import Mark
from fleet.core.record import Row, RowState
from fleet.core.status import EventKind, Kstatus
from fleet.errors import Conflict, ImmutableField, ObjectInvalid
from fleet.ports.worker import JournalEntry
from fleet.reconcile.heal import Healer
from fleet.reconcile.health_watch import HealthWatch
from fleet.reconcile.judging import as_ended, as_failed, as_seen_to_go, as_vanished, live_of
from fleet.reconcile.memory import Kind, KindView, Live, LiveView, UnitState, kind_of
from fleet.reconcile.observe import News, Sight
from fleet.reconcile.site import Site

_OF_ONE_STATE = (Conflict.__name__, ObjectInvalid.__name__, ImmutableField.__name__)  # not of what we want alone
_UNWELL = (Kstatus.IN_PROGRESS, Kstatus.FAILED)
# What a resume token vouches for: rises when that is more than before, so that a kind with an older one is listed.
# 2: what is suspended counts as not at rest, and what has completed as done.
_TOKEN_FORM = 2


class Sightings:
    """Implements `observe.Watcher` for one session. `wanter` finds the unit whose bundle holds an object."""

    def __init__(
        self,
        site: Site,
        healer: Healer,
        health: HealthWatch,
        wanter: Callable[[ObjectRef], UnitState | None],
        reach: Callable[[LiveView], object],
    ) -> None:
        self._site, self._healer, self._health = site, healer, health
        self._wanter, self._reach = wanter, reach
        self._jotted: dict[str, str] = {}
        self._left: set[ObjectRef] = set()  # of the record, seen to go, and not read by name since
        self.defined_at = float("-inf")  # when a definition was seen established last

    def expects(self, ref: ObjectRef) -> str | None:
        """See `observe.Watcher`."""
        unit = self._owner(ref)
        row = unit.rows.get(ref) if unit else None
        if row is not None:
            return row.uid
        wanter = self._wanter(ref)
        return "" if wanter is not None and ref in hook_refs(wanter) else None

    def recorded(self, kind: Kind) -> list[ObjectRef]:
        """See `observe.Watcher`."""
        return [
            ref
            for unit in self._site.units.values()
            for ref, row in unit.rows.items()
            if kind_of(ref) == kind and row.uid and not row.state.is_end
        ]

    def written(self, ref: ObjectRef) -> str:
        """See `observe.Watcher`."""
        unit = self._owner(ref)
        row = unit.rows.get(ref) if unit else None
        return row.resource_version if row else ""

    def news(self, ref: ObjectRef, document: Document) -> News:
        """See `observe.Watcher`."""
        written = self.written(ref)
        if written and self._site.view.find(ref) is not None:
            metadata = document.get("metadata")
            version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
            if version == written:
                return News.KNOWN
            if isinstance(version, str) and is_before(version, written):
                return News.OLDER
        if ref in self._site.in_flight:
            self._site.stash[ref] = document
            return News.WAITS
        return News.NEW

    def left(self, ref: ObjectRef) -> None:
        """See `observe.Watcher`."""
        if self._owner(ref) is not None:
            self._left.add(ref)

    def went_back(self, kind: Kind, resource_version: str) -> None:
        """See `observe.Watcher`."""
        site = self._site
        for unit in site.units.values():
            undone = [
                replace(row, resource_version="")
                for ref, row in unit.rows.items()
                if kind_of(ref) == kind and is_before(resource_version, row.resource_version)
            ]
            for row in undone:
                site.put_row(unit, row)
            if undone:
                site.journal.jot(JournalEntry(put=tuple(undone)))

    def see(self, ref: ObjectRef, document: Document) -> Live:
        """See `observe.Watcher`."""
        site, unit = self._site, self._owner(ref) or self._wanter(ref)
        if unit is not None:
            live = site.see(unit, ref, document)
            row = unit.rows.get(ref)
            if row is not None and is_before(live.resource_version, row.resource_version):
                row = replace(row, resource_version=live.resource_version)  # our write did not last: nor does its place
                site.put_row(unit, row)
                site.journal.jot(JournalEntry(put=(row,)))
            return live
        mark = Mark(site.installation, site.identity, "")
        live = live_of(document, mark, None, (), (), key=site.key, at=site.wall())
        live.document = None
        site.put_live(ref, live)
        return live

    def saw(self, ref: ObjectRef, sight: Sight, before: Live | None) -> None:
        """See `observe.Watcher`."""
        site = self._site
        unit, live = self._owner(ref) or self._wanter(ref), site.view.find(ref)
        if ref.kind == "CustomResourceDefinition" and live is not None and live.health.kstatus is Kstatus.CURRENT:
            self.defined_at = site.clock()
            for other in site.units.values():
                if any(not item.served for item in other.wanted.values()):
                    self._site.wake(other.name)
        if unit is None:
            return
        match sight:
            case Sight.GONE:
                site.gone.add(ref)
                self._gone(unit, ref)
            case Sight.STRANGER:
                self._lost_to_stranger(unit, ref, before)
            case Sight.RELEASED:
                self._released(unit, ref)
            case Sight.CHANGED | Sight.UNLABELLED:
                self._taken_back(unit, ref)
        trouble = unit.troubles.get(ref)
        if trouble is not None and trouble.reason in _OF_ONE_STATE and before is not None and _is_another(before, live):
            del unit.troubles[ref]  # what was refused is not there any more
            site.wake(unit.name)
        self._note_end(unit, ref, live, before)
        self._left.discard(ref)
        if live is not None and live.own_health.kstatus in _UNWELL:
            if before is not None and before.health != before.own_health and before.own_health == live.own_health:
                live.health = before.health  # the cause that its pods showed still stands
            self._health.nudge()
        self._healer.saw(unit, ref)
        if before is None or live is None or ref in unit.drifts or _tells_more(before, live):
            self._site.wake(unit.name)

    def kind_changed(self, kind: Kind, namespace: str) -> None:
        """See `observe.Watcher`."""
        for unit in self._site.units.values():
            refs = (*unit.refs(), *hook_refs(unit))
            if any(kind_of(ref) == kind and namespace in ("", ref.namespace) for ref in refs):
                self._site.wake(unit.name)
        was_reached = self._site.outbox.reach.reachable
        self._reach(self._site.view)
        if self._site.outbox.reach.reachable and not was_reached:
            self._site.wake(None)  # what no stream shows yet is Unknown from now on

    def proved(self, kind: Kind) -> None:
        """See `observe.Watcher`. A resume token is kept only while everything of the kind is well."""
        view = self._site.view.kinds[kind]
        if not self._is_quiet(view, kind):
            return
        key = token_key(kind)
        if self._jotted.get(key) != view.resource_version:
            self._jotted[key] = view.resource_version
            self._site.journal.jot(JournalEntry(resume={key: view.resource_version}))

    def _is_quiet(self, view: KindView, kind: Kind) -> bool:
        for unit in self._site.units.values():
            for ref, row in unit.rows.items():
                if kind_of(ref) != kind or row.state.is_end:
                    continue
                live = view.rows.get(ref)
                if live is None or live.document is not None or row.state is not RowState.APPLIED:
                    return False
        return not any(part.unknown for part in view.parts.values())

    def _note_end(self, unit: UnitState, ref: ObjectRef, live: Live | None, before: Live | None) -> None:
        row = unit.rows.get(ref)
        if row is None:
            return
        if live is not None:
            known = as_ended(row, live)
        elif (known := self._as_gone(row, before)) is row:
            known = as_seen_to_go(row)
        if known is not row:
            self._site.put_row(unit, known)
            self._site.journal.jot(JournalEntry(put=(known,)))

    def _as_gone(self, row: Row, before: Live | None) -> Row:
        """The row of what is gone: a Job may have ended, well or not; the same row where it was seen not to have."""
        is_unseen = row.ref not in self._left
        failed = as_failed(row, before.document if before is not None else None, is_unseen=is_unseen)
        return as_vanished(failed, at=self._site.wall()) if is_unseen else failed

    def _lost_to_stranger(self, unit: UnitState, ref: ObjectRef, before: Live | None) -> None:
        """Ours is gone and another object has its name: the row goes, and the newcomer is met like any stranger.

        Not that a Job ended, or may have, as nobody saw it go: the newcomer may go too, and it is not run again then
        (R22).
        """
        live, row = self._site.view.find(ref), unit.rows.get(ref)
        if row is not None:
            known = self._as_gone(row, before)
            if known.state.is_end:
                known = replace(known, uid="")
            if known is row:
                self._site.drop_row(unit, ref)
                self._site.journal.jot(JournalEntry(drop=((unit.name, ref),)))
            else:
                known = replace(known, fields=b"")  # what we had of ours is nothing of the newcomer's
                self._site.put_row(unit, known)
                self._site.journal.jot(JournalEntry(put=(known,)))
        self._site.view.drop(ref)
        unit.contact[ref] = live

    def _released(self, unit: UnitState, ref: ObjectRef) -> None:
        row = unit.rows.get(ref)
        if row is None or row.state is RowState.RELEASED:
            return
        released = replace(row, state=RowState.RELEASED, since=self._site.wall())
        self._site.put_row(unit, released)
        self._site.journal.jot(JournalEntry(put=(released,)))
        self._site.outbox.tell(
            EventKind.DRIFTED, f"{ref} was released: our annotation is gone", unit=unit.name, ref=ref
        )

    def _gone(self, unit: UnitState, ref: ObjectRef) -> None:
        """What was released is gone: nothing is left to put our annotation on, and it is as any other that vanished.

        So it is made anew (V4), but for a Job: nobody watched how it ended (R22).
        """
        row, now = unit.rows.get(ref), self._site.wall()
        if row is None or row.state is not RowState.RELEASED:
            return
        again = as_vanished(replace(row, state=RowState.APPLIED, since=now), at=now)
        self._site.put_row(unit, again)
        self._site.journal.jot(JournalEntry(put=(again,)))

    def _taken_back(self, unit: UnitState, ref: ObjectRef) -> None:
        """The annotation is back on a released object: it is managed again."""
        row, live = unit.rows.get(ref), self._site.view.find(ref)
        if row is None or row.state is not RowState.RELEASED or live is None or not live.mark.ours:
            return
        again = replace(row, state=RowState.INTENDED, since=self._site.wall())
        self._site.put_row(unit, again)
        self._site.journal.jot(JournalEntry(put=(again,)))

    def _owner(self, ref: ObjectRef) -> UnitState | None:
        name = self._site.owners.get(ref)
        return self._site.units.get(name) if name is not None else None


def token_key(kind: Kind) -> str:
    """Under what the journal keeps the resume token of a kind."""
    return f"{'/'.join(kind)}/{_TOKEN_FORM}"


def _is_another(before: Live, live: Live | None) -> bool:
    return live is None or live.uid != before.uid


def _tells_more(before: Live, live: Live) -> bool:
    """Whether anything changed that a pass or a report would say."""
    return (
        before.fingerprint != live.fingerprint
        or before.uid != live.uid
        or before.health != live.health
        or before.mark != live.mark
        or before.deleting != live.deleting
        or before.comparable != live.comparable
    )


def hook_refs(unit: UnitState) -> list[ObjectRef]:
    """The objects of a unit's hooks."""
    return [hook.ref for hook in unit.hooks]
