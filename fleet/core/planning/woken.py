"""What a setting sets in motion though nothing is built anew: a hub writes, takes over or deletes from the merge on.

No object of such a unit differs between both commits, so that no group tells it; only its cluster says what happens
there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.planning.aside import is_written
from fleet.core.planning.phrases import counted, on_clusters, some_of
from fleet.core.planning.renamed_clusters import under_new_names
from fleet.core.sync_policy import Adopt, SyncMode
from fleet.values import dataclass


class Begins(StrEnum):
    """What a hub does from the merge on that it did not do before."""

    WRITES = "first-writes"
    RESUMES = "resumes"
    BY_ITSELF = "syncs-by-itself"
    DELETES = "deletes-what-was-kept"
    HEALS = "corrects-drift"
    ADOPTS = "takes-over"


_WORDS = {
    Begins.WRITES: "first writes there (mode: manage), at once and without steps",
    Begins.RESUMES: "the suspension ends: what waited there is written",
    Begins.BY_ITSELF: "what waited for a person's fleet sync goes by itself (sync.mode: auto), at once where none came",
    Begins.DELETES: "what was kept until now is deleted (sync.prune: true); which objects is not listed offline",
    Begins.HEALS: "drift that was left is written over (sync.selfHeal: true)",
    Begins.ADOPTS: "objects that are there already and not ours are taken over",
}
_ADOPTS = (Adopt.NEVER, Adopt.IF_NO_DIFF, Adopt.ALWAYS)  # each takes over what the one before does, and more


@dataclass(frozen=True, slots=True)
class Woken:
    """Units in which the same begins. objects: of all that is written first, where it could be built; else None."""

    begins: Begins
    units: tuple[UnitName, ...]
    objects: int | None = None

    @property
    def words(self) -> str:
        """`2 clusters (api, web): first writes there (mode: manage), 31 objects, at once and without steps`."""
        clusters: list[ClusterName] = sorted({name.cluster for name in self.units})
        overlays: list[OverlayName] = sorted({name.overlay for name in self.units})
        count = f", {counted(self.objects, 'object')}" if self.objects is not None else ""
        return f"{some_of(overlays)} on {on_clusters(clusters)}: {_WORDS[self.begins]}{count}"


def woken_of(before: Fleet, after: Fleet) -> Mapping[UnitName, tuple[Begins, ...]]:
    """What begins in each unit of both commits, by what Git says; suspensions by command are not known here."""
    found: dict[UnitName, tuple[Begins, ...]] = {}
    units = under_new_names(before, after).units
    for name, new in after.units.items():
        old = units.get(name)
        if old is None or (old is new and before.suspend == after.suspend):
            continue
        if is_written(new) and not _is_suspended(new, after) and (begins := tuple(_begins(old, new, before))):
            found[name] = begins
    return found


def woken_in_all(
    woken: Mapping[UnitName, Sequence[Begins]], held: Mapping[UnitName, frozenset[ObjectRef]]
) -> tuple[Woken, ...]:
    """The same by what begins. held: what units hold afterwards, of those that could be built."""
    found: list[Woken] = []
    for begins in Begins:
        units = tuple(sorted(name for name, several in woken.items() if begins in several))
        is_counted = begins is Begins.WRITES and all(name in held for name in units)
        if units:
            found.append(Woken(begins, units, sum(len(held[name]) for name in units) if is_counted else None))
    return tuple(found)


def _begins(old: Unit, new: Unit, before: Fleet) -> Iterator[Begins]:
    was, now = old.overlay.sync, new.overlay.sync
    is_auto = now.mode is SyncMode.AUTO
    if not is_written(old):
        if is_auto:
            yield Begins.WRITES
        return
    if is_auto and _is_suspended(old, before):
        yield Begins.RESUMES
    if is_auto and was.mode is not SyncMode.AUTO:
        yield Begins.BY_ITSELF
    if now.prune and not was.prune:
        yield Begins.DELETES
    if now.self_heal and not was.self_heal:
        yield Begins.HEALS
    if _ADOPTS.index(now.adopt) > _ADOPTS.index(was.adopt):
        yield Begins.ADOPTS


def _is_suspended(unit: Unit, fleet: Fleet) -> bool:
    return any(one is not None for one in (fleet.suspend, unit.cluster.suspend, unit.overlay.suspend))
