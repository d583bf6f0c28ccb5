"""Deletes single objects, each read just before (R11), and counts what a unit deleted within the hour (R9).

That an object goes is durable in journal and audit log before the request; its row stays until the server said that it
is gone (R12). What the server refused to delete stands as before, and counts as no deletion.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from fleet.core.documents import Document, items_at, text_at
from fleet.core.fingerprint import content_of
from fleet.core.guard import Approved, Doomed, prune_rule_of, wave_of
from fleet.core.ids import ObjectRef
from fleet.core.inside import covers
from fleet.core.record import Deletable, Gone, NotDeletable, Row, RowState, judge_deletion
from fleet.core.renames import holds_more
from fleet.core.rollout import Apply
from fleet.errors import ClusterError, Conflict
from fleet.ports.kube import May
from fleet.ports.worker import Deletion, JournalEntry
from fleet.reconcile.losses import Losses
from fleet.reconcile.memory import UnitState
from fleet.reconcile.site import UNKNOWN_RESULT, Site

HOUR_SECONDS = 3600.0


class Deleter:
    """Deletes objects of any unit of one site. It judges nothing but whether they are as they were judged."""

    def __init__(self, site: Site, losses: Losses) -> None:
        self._site, self._losses = site, losses

    async def delete(
        self,
        unit: UnitState,
        ref: ObjectRef,
        reason: str,
        may: May,
        judged: Doomed | None = None,
        agreed: Collection[ObjectRef] = (),
    ) -> bool:
        """Delete one object of the record, by R11; True once it is gone. Raises ClusterError.

        may: asked again after each wait, and just before the request is sent (R17).

        What another unit wants by now, or has taken over, is left to it (R16). judged: what the guards let go; another
        content by now, another prune rule on it, or more that goes along, is a Conflict, and judged anew (R9).
        agreed: as in `Holds.with_inside`.
        """
        site, row = self._site, unit.rows.get(ref)
        served = site.served(ref, row.version) if row is not None else None
        if row is None or served is None:
            return False
        if judged is not None and judged.inside is not None:
            # A long pass may have come here minutes after it was judged.
            now = await self._losses.inside(ref, {*agreed, *on_their_way(unit)}, _approved(unit))
            if not covers(judged.inside, now):
                raise _judged_anew(ref, "more goes along than when its deletion was judged")
        live = await site.kube.get(served, ref.namespace, ref.name)
        if not self.is_ours(unit, ref) or not may():
            return False
        match judge_deletion(row, live, site.mark(unit.name)):
            case Gone():
                await self.found_gone(unit, [ref])
                return True
            case NotDeletable(reason=why, message=message):
                unit.kept[ref] = (why, message)
                return False
            case Deletable(uid=uid, resource_version=version):
                if live is not None and text_at(live, "metadata", "deletionTimestamp"):
                    self.stuck(unit, ref, live)
                    return False
                if judged is not None and live is not None and as_read(judged, live, site.key) != judged:
                    unit.doomed.pop(ref, None)
                    raise _judged_anew(ref, "it changed since its deletion was judged")
                await self._intend(unit, ref)
                if not self.is_ours(unit, ref):
                    await self._spare(unit, ref)
                    return False
                try:
                    left = await site.delete(unit, ref, served, may, uid=uid, reason=reason, version=version)
                except UNKNOWN_RESULT:
                    raise
                except ClusterError:
                    await self._spare(unit, ref)
                    raise
                await self._count(unit, ref)
                if left is None:
                    self.forget(unit, [ref])
                    return True
                self.stuck(unit, ref, left)
                return False

    def recent(self, unit: UnitState, asked: Collection[ObjectRef]) -> int:
        """Deletions of the unit in the sliding hour (R9), with those whose end is not known yet.

        asked: what would be deleted now, and is counted as that: a try of it that came to nothing counts no more.
        """
        oldest = self._site.journal.run_time() - HOUR_SECONDS
        unit.deletions = [gone for gone in unit.deletions if gone.at >= oldest]
        begun = [row for row in self._under_way(unit, asked) if not self._is_counted(unit, row)]
        return len(unit.deletions) + len(begun)

    def owned(self, unit: UnitState, asked: Collection[ObjectRef]) -> int:
        """Objects of the unit without those that `recent` counts, which are being deleted, or were made anew since."""
        counted = {row.ref for row in self._under_way(unit, asked)} | {gone.ref for gone in unit.deletions}
        return sum(ref not in counted for ref in unit.rows)

    async def found_gone(self, unit: UnitState, refs: Sequence[ObjectRef]) -> None:
        """Forget what is not there any more; a deletion that was begun and got no last word gets it now (R43)."""
        for ref in refs:
            row = unit.rows.get(ref)
            if row is not None and row.state is RowState.DELETING:
                reason = "a deletion that was begun before"
                await self._site.audited(unit, ref, "delete", uid=row.uid, reason=reason, outcome="gone")
                await self._count(unit, ref)
        self.forget(unit, refs)

    async def look_after(self, unit: UnitState, refs: Sequence[ObjectRef]) -> None:
        """Read what is on its way out by name, in each pass: the event that said so may have met a stale answer."""
        for ref in refs:
            row = unit.rows.get(ref)
            served = self._site.served(ref, row.version) if row is not None else None
            live = await self._site.kube.get(served, ref.namespace, ref.name) if served is not None else None
            if live is not None:
                self.stuck(unit, ref, live)
            elif served is not None:
                await self.found_gone(unit, [ref])

    def stuck(self, unit: UnitState, ref: ObjectRef, live: Document) -> None:
        """A finalizer is waited for and named, never taken off (R15)."""
        names = [name for name in items_at(live, "metadata", "finalizers") if isinstance(name, str)]
        waits = f"waits for {', '.join(names)}" if names else "is still being deleted"
        unit.kept[ref] = ("PruneStuck", f"{ref} is being deleted and {waits}")
        self._site.see(unit, ref, live)
        self._site.poll(unit.name, self._site.limits.watch_seconds)

    def is_ours(self, unit: UnitState, ref: ObjectRef) -> bool:
        """Whether it is this unit's still. Plans are older than what others may want by now (R16)."""
        return ref in unit.rows and not self._site.claims.others(ref, unit.name.overlay)

    def forget(self, unit: UnitState, refs: Sequence[ObjectRef]) -> None:
        """What is gone, or ours no more: neither record nor view holds it."""
        if not refs:
            return
        for ref in refs:
            self._site.drop_row(unit, ref)
            others = self._site.claims.others(ref, unit.name.overlay)
            for other in others:
                self._site.wake(replace(unit.name, overlay=other))  # to whom it is somebody else's from now on
            if not others and self._site.owners.get(ref) is None:
                self._site.view.drop(ref)
            unit.kept.pop(ref, None)
            unit.troubles.pop(ref, None)
            unit.doomed.pop(ref, None)
            unit.replaced.discard(ref)
            unit.created.pop(ref, None)
        unit.spared = tuple(ref for ref in unit.spared if ref not in refs)
        self._site.journal.jot(JournalEntry(drop=tuple((unit.name, ref) for ref in refs)))

    def _under_way(self, unit: UnitState, asked: Collection[ObjectRef]) -> list[Row]:
        """What was begun to be deleted within the hour, and is not known to be gone."""
        oldest = self._site.journal.run_time() - HOUR_SECONDS
        return [
            row
            for row in unit.rows.values()
            if row.state is RowState.DELETING
            and row.since >= oldest
            and row.ref not in asked
            and row.ref not in unit.replaced
        ]

    async def _intend(self, unit: UnitState, ref: ObjectRef) -> None:
        """That it is about to be deleted, durable before it is (R12)."""
        site = self._site
        site.put_row(unit, replace(unit.rows[ref], state=RowState.DELETING, since=site.journal.run_time()))
        await site.journal.commit(JournalEntry(put=(unit.rows[ref],)))

    async def _spare(self, unit: UnitState, ref: ObjectRef) -> None:
        """The server refused: it stands as before, and when it goes that was not our doing (R43)."""
        site, row = self._site, unit.rows.get(ref)
        if row is None:
            return  # another unit has taken it over meanwhile, and writes its own row
        site.put_row(unit, replace(row, state=RowState.APPLIED, since=site.wall()))
        await site.journal.commit(JournalEntry(put=(unit.rows[ref],)))

    async def _count(self, unit: UnitState, ref: ObjectRef) -> None:
        """A deletion that was accepted or seen done, once; until this is durable the row says it.

        What is there under another name is none (R9).
        """
        row = unit.rows.get(ref)
        if ref not in unit.replaced and row is not None and not self._is_counted(unit, row):
            gone = Deletion(unit.name, ref, row.since)
            unit.deletions.append(gone)
            await self._site.journal.commit(JournalEntry(deletions=(gone,)))

    def _is_counted(self, unit: UnitState, row: Row) -> bool:
        return any((gone.ref, gone.at) == (row.ref, row.since) for gone in unit.deletions)


def as_read(item: Doomed, live: Document, key: bytes) -> Doomed:
    """The same with what the guards ask of the live object. key: for the content of Secrets."""
    return replace(
        item,
        uid=text_at(live, "metadata", "uid"),
        content=content_of(live, key=key),
        prune=prune_rule_of(live),
        more=holds_more(live),
        wave=wave_of(live),
    )


def created_at(document: Document) -> float:
    """creationTimestamp by the cluster's clock; 0.0 where there is none."""
    try:
        return datetime.fromisoformat(text_at(document, "metadata", "creationTimestamp")).timestamp()
    except ValueError:
        return 0.0


def on_their_way(unit: UnitState) -> list[ObjectRef]:
    """What the unit deletes already: nobody is asked about it again."""
    return [row.ref for row in unit.rows.values() if row.state is RowState.DELETING]


def _judged_anew(ref: ObjectRef, why: str) -> Conflict:
    return Conflict(f"{ref} was not deleted", why=why, next_step="it is judged anew")


def _approved(unit: UnitState) -> frozenset[Approved]:
    action = unit.desired.action if unit.desired is not None else None
    return action.approved if isinstance(action, Apply) else frozenset()
