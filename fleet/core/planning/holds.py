"""Which stops a change would run into, judged by the same rules as the worker's and the hub's (R8-R10).

Without a cluster: what a unit owns is what its commit before holds, and the hour before the change is empty.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from fleet.core.across import Places, judge_fall, permits_by_steps
from fleet.core.budgets import stricter
from fleet.core.fleet import Fleet, Unit
from fleet.core.guard import Doomed, judge_prune, list_of
from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.objects import PruneRule
from fleet.core.planning.aside import deletes, is_written
from fleet.core.planning.change import How, Sign, UnitChange
from fleet.core.steps import Stage, goes_by_steps, stages_of
from fleet.core.sync_policy import Budget
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class HoldForecast:
    """A hold that would be asked for: the same for all its units. reason: as in HoldRequest."""

    reason: str
    message: str
    overlay: OverlayName
    units: tuple[UnitName, ...]
    refs: tuple[ObjectRef, ...] = ()  # what would be deleted; empty: units that would be let go of


def forecast_holds(changes: Iterable[UnitChange], before: Fleet, after: Fleet) -> tuple[HoldForecast, ...]:
    """All holds of a change, by overlay."""
    found = tuple(changes)
    budget = stricter(before.budget, after.budget)  # as `Budgets.in_force` when the commit has just been fetched
    holds = (*_falls(found, before), *_remakes(found, after, budget), *_deletions(found, after, budget))
    return tuple(sorted(holds, key=lambda hold: hold.units))


def _falls(changes: tuple[UnitChange, ...], before: Fleet) -> Iterator[HoldForecast]:
    left = [change.name for change in changes if change.how is How.VANISHES]
    for overlay, message in judge_fall(left, before.units).items():
        units = tuple(sorted(name for name in left if name.overlay == overlay))
        yield HoldForecast("sharp-fall", message, overlay, units)


def _remakes(changes: tuple[UnitChange, ...], after: Fleet, budget: Budget) -> Iterator[HoldForecast]:
    """Objects that are deleted and made anew, one after the other as `judge_force` judges them (R15)."""
    alike: dict[tuple[OverlayName, str, str, ObjectRef], list[UnitName]] = {}
    for change in changes:
        remade = [item for item in change.objects if item.is_remade] if is_written(after.units.get(change.name)) else []
        done = 0
        for item in remade:
            doomed = Doomed(item.ref, prune=item.prune)
            permits = frozenset({item.ref})
            hold = judge_prune([doomed], owned=change.owned - done, recent=done, budget=budget, permits=permits).hold
            if hold is None:
                done += 1
                continue
            message = f"would delete {item.ref} and make it anew: {', '.join(item.fixed)} cannot be changed"
            alike.setdefault((change.name.overlay, hold.reason, message, item.ref), []).append(change.name)
    for (overlay, reason, message, ref), units in alike.items():
        yield HoldForecast(reason, message, overlay, tuple(sorted(units)), (ref,))


def _deletions(changes: tuple[UnitChange, ...], after: Fleet, budget: Budget) -> Iterator[HoldForecast]:
    doomed = {change.name: _doomed(change) for change in changes if deletes(after.units.get(change.name))}
    owned = {change.name: change.owned for change in changes}
    moving: dict[OverlayName, set[ClusterName]] = {}  # those alone take a place in a step
    for change in changes:
        if change.has_new_result:
            moving.setdefault(change.name.overlay, set()).add(change.name.cluster)
    by_overlay: dict[OverlayName, dict[UnitName, frozenset[ObjectRef]]] = {}
    for name, items in doomed.items():
        counted = frozenset(item.ref for item in items if not item.replaced and item.prune is not PruneRule.DISABLED)
        # What is replaced counts on no number of clusters, and asks all the same where it says so.
        if counted or any(item.prune is PruneRule.CONFIRM for item in items):
            by_overlay.setdefault(name.overlay, {})[name] = counted
    if not by_overlay:
        return
    stages = _stages(moving, after)
    clusters: dict[str, set[ClusterName]] = {}
    for stage in (stage for found in stages.values() for stage in found):
        clusters.setdefault(stage.name, set()).update(stage.clusters)
    places = Places({name: len(found) for name, found in clusters.items()})
    for overlay in sorted({*moving, *by_overlay}):
        candidates = by_overlay.get(overlay, {})
        permits = permits_by_steps(
            candidates,
            stages.get(overlay, ()),
            changed=moving.get(overlay, set()),
            limit_clusters=budget.clusters,
            alone={name: _asked_alone(doomed[name], owned[name], budget) for name in candidates},
            places=places,
        )
        yield from _of_overlay(overlay, {name: doomed[name] for name in candidates}, owned, budget, permits)


def _asked_alone(items: list[Doomed], owned: int, budget: Budget) -> frozenset[ObjectRef]:
    """What a unit's worker asks about by itself, though the hub permits all."""
    permits = frozenset(item.ref for item in items)
    hold = judge_prune(items, owned=owned, recent=0, budget=budget, permits=permits).hold
    return frozenset(item.ref for item in hold.doomed) if hold is not None else frozenset()


def _stages(overlays: Collection[OverlayName], after: Fleet) -> Mapping[OverlayName, tuple[Stage, ...]]:
    """The steps of those that go by steps, with all clusters that each takes."""
    members: dict[OverlayName, dict[ClusterName, Unit]] = {}
    for name, unit in after.units.items():
        if name.overlay in overlays and goes_by_steps(unit):
            members.setdefault(name.overlay, {})[name.cluster] = unit
    return {
        overlay: stages_of(
            next(iter(units.values())).overlay.rollout,
            {name: unit.cluster for name, unit in units.items()},
            after.environments,
        ).stages
        for overlay, units in members.items()
    }


def _of_overlay(
    overlay: OverlayName,
    doomed: Mapping[UnitName, list[Doomed]],
    owned: Mapping[UnitName, int],
    budget: Budget,
    permits: Mapping[UnitName, frozenset[ObjectRef]],
) -> Iterator[HoldForecast]:
    """Units that would stop for the same reason at the same list are one forecast."""
    alike: dict[tuple[str, str, tuple[ObjectRef, ...]], list[UnitName]] = {}
    for name, items in doomed.items():
        verdict = judge_prune(items, owned=owned[name], recent=0, budget=budget, permits=permits[name])
        if verdict.hold is not None:
            refs = tuple(sorted(item.ref for item in verdict.hold.doomed))
            alike.setdefault((verdict.hold.reason, verdict.hold.message, refs), []).append(name)
        elif verdict.waiting:
            refs = tuple(sorted(item.ref for item in verdict.waiting))
            message = f"would delete {list_of(refs)} on more than {budget.clusters} clusters at once"
            alike.setdefault(("prune-budget", message, refs), []).append(name)
    for (reason, message, refs), units in alike.items():
        yield HoldForecast(reason, message, overlay, tuple(sorted(units)), refs)


def _doomed(change: UnitChange) -> list[Doomed]:
    lost = [
        Doomed(item.ref, prune=item.prune, replaced=item.comes_as is not None)
        for item in change.of_sign(Sign.DELETE)
        if not item.moved_to and item.hook is None
    ]
    renamed = [
        Doomed(item.renamed_from, prune=item.prune, replaced=True)
        for item in change.objects
        if item.renamed_from is not None and item.hook is None
    ]
    return lost + renamed
