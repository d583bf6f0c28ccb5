"""Hooks that a change runs: all of a unit that changes, once for its new result, whatever it is that changed."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.fleet import Fleet
from fleet.core.ids import ClusterName, ObjectRef, OverlayName
from fleet.core.objects import HookPhase
from fleet.core.planning.aside import is_written
from fleet.core.planning.change import How, Sign, UnitChange
from fleet.core.planning.phrases import on_clusters
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class HookRun:
    """One hook of an overlay, and where it runs. is_again: it was there before, and ran for the result before."""

    overlay: OverlayName
    phase: HookPhase
    ref: ObjectRef
    is_again: bool
    clusters: tuple[ClusterName, ...]

    @property
    def words(self) -> str:
        """`PreSync Job shop/migrate of web runs again on 28 clusters`."""
        again = " again" if self.is_again else ""
        when = ", if the sync fails" if self.phase is HookPhase.SYNC_FAIL else ""
        return f"{self.phase.value} {self.ref} of {self.overlay} runs{again} on {on_clusters(self.clusters)}{when}"


def hook_runs(changes: Iterable[UnitChange], after: Fleet) -> tuple[HookRun, ...]:
    """All of them, where anything is written."""
    found: dict[tuple[OverlayName, HookPhase, ObjectRef, bool], list[ClusterName]] = {}
    for change in changes:
        if not change.hooks or not is_written(after.units.get(change.name)):
            continue
        new = {item.ref for item in change.of_sign(Sign.CREATE)}
        for phase, ref in change.hooks:
            is_again = change.how is How.CHANGES and ref not in new
            found.setdefault((change.name.overlay, phase, ref, is_again), []).append(change.name.cluster)
    return tuple(HookRun(*key, tuple(sorted(clusters))) for key, clusters in sorted(found.items()))
