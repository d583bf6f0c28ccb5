"""What a change says and the hub does not do by itself: it observes, waits for a person, or keeps what is dropped.

By what the change itself says: a suspension, mode or rule that comes with it is in force for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.core.fleet import Fleet, Mode, Unit
from fleet.core.ids import ClusterName, OverlayName
from fleet.core.objects import PruneRule
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.phrases import on_clusters
from fleet.core.sync_policy import SyncMode


def is_written(unit: Unit | None) -> bool:
    """Whether anything is written where this unit runs; of None, which is let go of, nothing but our marks is."""
    return unit is not None and unit.cluster.mode is Mode.MANAGE


def deletes(unit: Unit | None) -> bool:
    """Whether deletions of this unit are carried out at all."""
    return unit is not None and is_written(unit) and unit.overlay.sync.prune


def is_deleted(change: ObjectChange, unit: Unit | None) -> bool:
    """Whether an object that leaves a unit is deleted: not where it moves, or where something says that it is kept."""
    return _leaves(change) and deletes(unit)


def _leaves(change: ObjectChange) -> bool:
    is_plain = change.sign is Sign.DELETE and change.hook is None
    return is_plain and not change.moved_to and change.prune is not PruneRule.DISABLED


def remarks_aside(changes: Iterable[UnitChange], after: Fleet) -> Iterator[tuple[str, str]]:
    """What does not happen by itself, each with its heading word, as `By hand  web on 2 clusters: ...`."""
    found: dict[tuple[str, str], dict[OverlayName, list[ClusterName]]] = {}
    for change in changes:
        unit = after.units.get(change.name)
        if unit is None or change.how not in (How.APPEARS, How.CHANGES):
            continue
        for reason in _reasons(change, unit, after):
            found.setdefault(reason, {}).setdefault(unit.name.overlay, []).append(unit.name.cluster)
    for (word, why), overlays in sorted(found.items()):
        for overlay, clusters in overlays.items():
            yield word, f"{overlay} on {on_clusters(clusters)}: {why}"


def _reasons(change: UnitChange, unit: Unit, after: Fleet) -> Iterator[tuple[str, str]]:
    if not is_written(unit):
        yield "Observed", "nothing is written there (mode: observe)"
        return
    for what, suspension in (
        ("fleet.yaml", after.suspend),
        ("the cluster", unit.cluster.suspend),
        ("the overlay", unit.overlay.suspend),
    ):
        if suspension is not None:
            reason = f": {suspension.reason}" if suspension.reason else ""
            yield "Suspended", f"{what} is suspended in Git{reason}; nothing is written until that is resumed"
            break
    if unit.overlay.sync.mode is SyncMode.MANUAL:
        yield "By hand", "waits for a person's fleet sync (sync.mode: manual)"
    for item in change.objects:
        if item.ignored and not item.left:
            yield "Ignored", f"{item.ref} keeps {', '.join(item.ignored)} as it is there (ignoreDifferences)"
    if not unit.overlay.sync.prune and any(_leaves(item) for item in change.objects):
        yield "Kept", "what the change drops stays there (sync.prune: false)"
