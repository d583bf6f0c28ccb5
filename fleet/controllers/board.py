"""The orders for all clusters: kept in memory, released durably, published only where they differ.

What is decided is decided in core/release.py; this shell gathers what that needs, writes what was released before
any worker hears of it (R22), and wakes the workers whose Desired changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from fleet.core.fleet import Fleet, Suspension, Unit
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, UnitName
from fleet.core.objects import Bundle
from fleet.core.release import (
    EMPTY_BUNDLE,
    Orders,
    Rendered,
    RenderProblem,
    Result,
    judge_across,
    judge_fall,
    plan_desired,
    plan_leaving_unit,
    plan_unit,
    plan_unknown_unit,
    scopes_of,
    units_that_left,
)
from fleet.core.rollout import Approved, Desired, SyncRequest, UnitDesired
from fleet.core.view import View
from fleet.errors import StateDamaged
from fleet.ports.render import Vault
from fleet.ports.state import ReleasedBundle, State

SEQUENCE_BLOCK = 256


class _Slot:
    """The newest Desired of one cluster, and those who wait for it."""

    def __init__(self) -> None:
        self.desired: Desired | None = None
        self.changed = asyncio.Event()

    def put(self, desired: Desired) -> None:
        self.desired = desired
        self.changed.set()
        self.changed = asyncio.Event()


class BoardFeed:
    """ports.worker.Feed for one cluster, in this process."""

    def __init__(self, slot: _Slot, bundle_of: Callable[[Digest], Awaitable[Bundle]], vault: Vault) -> None:
        self._slot, self._bundle_of, self._vault = slot, bundle_of, vault

    async def next(self, after: int) -> Desired:
        """Wait for a Desired with a higher sequence; give the newest."""
        while True:
            changed, desired = self._slot.changed, self._slot.desired
            if desired is not None and desired.sequence > after:
                return desired
            await changed.wait()

    async def bundle(self, digest: Digest) -> Bundle:
        """From the render cache; raises StateDamaged."""
        return EMPTY_BUNDLE if digest == EMPTY_BUNDLE.digest else await self._bundle_of(digest)

    async def secrets(self, sealed: Collection[str]) -> Mapping[str, bytes]:
        """From the encrypted store; raises StateDamaged if one is missing."""
        values = await self._vault.get(sealed)
        if missing := len(set(sealed) - set(values)):
            raise StateDamaged(
                f"{missing} Secret values are not in the encrypted store",
                why="the store was cleared or has another key",
                next_step="touch the generator's input in Git, or restore a backup of the data directory",
            )
        return values


class Board:
    """All clusters' orders. Methods that release are called by one task at a time."""

    def __init__(
        self,
        state: State,
        view: View,
        bundle_of: Callable[[Digest], Awaitable[Bundle]],
        vault: Vault,
    ) -> None:
        self._state, self._view, self._bundle_of, self._vault = state, view, bundle_of, vault
        self._slots: dict[ClusterName, _Slot] = {}
        self._refs: dict[Digest, frozenset[ObjectRef]] = {EMPTY_BUNDLE.digest: frozenset()}
        self.results: dict[UnitName, Result] = {}
        self._held: dict[UnitName, Rendered] = {}
        self._permits: dict[UnitName, frozenset[ObjectRef]] = {}
        self._approved: Mapping[UnitName, frozenset[Approved]] = {}
        self._suspensions: tuple[Suspension, ...] = ()
        self._requests: tuple[SyncRequest, ...] = ()
        self._identities: dict[ClusterName, Identity] = {}
        self._recovered: frozenset[ClusterName] = frozenset()
        self._leaving: dict[UnitName, str] = {}  # unit -> why its leaving is held, "" when it may go
        self._parts: dict[ClusterName, dict[UnitName, UnitDesired]] = {}
        self._dirty: set[UnitName] = set()
        self._dirty_clusters: set[ClusterName] = set()
        self._sequence, self._sequence_end = 0, 0
        view.results = self.results

    @property
    def fleet(self) -> Fleet | None:
        """The inventory in force."""
        return self._view.fleet

    def feed(self, cluster: ClusterName) -> BoardFeed:
        """The feed of one cluster's worker."""
        return BoardFeed(self._slots.setdefault(cluster, _Slot()), self._bundle_of, self._vault)

    def released_of(self, unit: UnitName) -> Rendered | None:
        """What a unit was told to hold last."""
        return self._held.get(unit)

    async def start(self) -> None:
        """Take over what an earlier process released."""
        self._identities = dict(await self._state.identities())
        self._held = {row.unit: Rendered(row.bundle, row.commit) for row in await self._state.released()}

    # The commit in force

    def take_fleet(self, fleet: Fleet) -> frozenset[UnitName]:
        """Put an inventory in force; returns the units that are new or were resolved differently.

        Clusters whose file is Unknown at this commit keep their entry and their orders (R5).
        """
        before = self._view.fleet
        if before is not None and fleet.unknown.everything is not None:
            self._view.fleet = replace(before, problems=fleet.problems)
            return frozenset()
        if before is not None:
            kept = {name: before.clusters[name] for name in fleet.unknown.clusters if name in before.clusters}
            if kept:
                fleet = replace(fleet, clusters={**fleet.clusters, **kept})
        self._view.fleet = fleet
        if before is not None and before.units is fleet.units and before.unknown == fleet.unknown:
            return frozenset()
        changed = _changed_units(before, fleet)
        self._leave(before, fleet)
        self._dirty |= changed
        self._dirty |= set(fleet.unknown.units)
        self._dirty_clusters |= _changed_clusters(before, fleet)
        return changed

    def _leave(self, before: Fleet | None, after: Fleet) -> None:
        """Note which units left; at a start, what was released before stands for the inventory of then."""
        for name in [name for name in self._leaving if name in after.units]:
            del self._leaving[name]
        had: Collection[UnitName] = tuple(self._held) if before is None else tuple(before.units)
        gone = units_that_left(had, after)
        falls = judge_fall(gone, had)
        for name in gone:
            self._leaving[name] = falls.get(name.overlay, "")
            self.results.pop(name, None)
            self._dirty.add(name)

    async def release(self, results: Mapping[UnitName, Result]) -> None:
        """Take results of one overlay or more: judge their deletions, write them down, publish."""
        fresh = {name: result for name, result in results.items() if self.results.get(name) != result}
        if not fresh:
            return
        rows: list[ReleasedBundle] = []
        for name, result in fresh.items():
            if isinstance(result, Rendered):
                rows.append(ReleasedBundle(name, result.commit, result.bundle))
        await self._judge_deletions(fresh)
        if rows:
            await self._state.put_released(rows)
        for row in rows:
            self._held[row.unit] = Rendered(row.bundle, row.commit)
        self.results.update(fresh)
        self._dirty |= set(fresh)
        await self.publish()

    async def _judge_deletions(self, fresh: Mapping[UnitName, Result]) -> None:
        fleet = self._view.fleet
        if fleet is None:
            return
        candidates: dict[OverlayName, dict[UnitName, frozenset[ObjectRef]]] = {}
        for name, result in fresh.items():
            if isinstance(result, RenderProblem):
                continue
            wanted = await self._refs_of(result.bundle)
            had = await self._refs_owned(name)
            gone = had - wanted
            candidates.setdefault(name.overlay, {})[name] = gone - await self._moved(name, gone)
        for per_unit in candidates.values():
            verdict = judge_across(per_unit, limit_clusters=fleet.budget.clusters)
            self._permits.update(verdict.permits)

    async def _refs_owned(self, name: UnitName) -> frozenset[ObjectRef]:
        """What a unit holds as far as the hub knows: what it was told to hold, and what its worker reported."""
        held, report = self._held.get(name), self._view.units.get(name)
        refs = set(await self._refs_of(held.bundle)) if held else set[ObjectRef]()
        if report is not None:
            refs.update(status.ref for status in report.objects)
        return frozenset(refs)

    async def _moved(self, name: UnitName, gone: frozenset[ObjectRef]) -> frozenset[ObjectRef]:
        """Those of `gone` that another unit of the same cluster holds at this commit: moves, no deletions (R16)."""
        moved: set[ObjectRef] = set()
        if gone:
            for other, result in self.results.items():
                if other.cluster == name.cluster and other != name and isinstance(result, Rendered):
                    moved |= gone & await self._refs_of(result.bundle)
        return frozenset(moved)

    async def _refs_of(self, digest: Digest) -> frozenset[ObjectRef]:
        refs = self._refs.get(digest)
        if refs is None:
            try:
                bundle = await self._bundle_of(digest)
            except StateDamaged:  # a bundle of an earlier data directory: the worker's record tells what it held
                return frozenset()
            refs = self._refs[digest] = frozenset(item.ref for item in bundle.objects)
        return refs

    # What people ordered

    def take_orders(
        self,
        suspensions: Sequence[Suspension],
        requests: Sequence[SyncRequest],
        approved: Mapping[UnitName, frozenset[Approved]],
        released_falls: frozenset[UnitName],
        recovered: frozenset[ClusterName],
    ) -> None:
        """Suspensions, sync requests, approvals and confirmed recoveries as they stand in the state now."""
        fleet = self._view.fleet
        changed_scopes = {s.scope for s in set(suspensions) ^ set(self._suspensions)}
        if fleet is not None and changed_scopes:
            self._dirty |= {name for name, unit in fleet.units.items() if scopes_of(unit) & changed_scopes}
        for name in set(approved) | set(self._approved):
            if approved.get(name) != self._approved.get(name):
                self._dirty.add(name)
        for request in set(requests) ^ set(self._requests):
            self._dirty_clusters.add(request.unit.cluster)
        self._dirty_clusters |= recovered ^ self._recovered
        self._recovered = recovered
        for name in released_falls:
            if self._leaving.get(name):
                self._leaving[name] = ""
                self._dirty.add(name)
        self._suspensions, self._requests, self._approved = tuple(suspensions), tuple(requests), approved

    def take_identity(self, cluster: ClusterName, identity: Identity) -> None:
        """An identity that was recorded or accepted; its cluster's Desired is published again."""
        if self._identities.get(cluster) != identity:
            self._identities[cluster] = identity
            self._dirty_clusters.add(cluster)

    def left(self, unit: UnitName) -> None:
        """A worker confirmed that it let go of a unit."""
        self._leaving.pop(unit, None)
        self._held.pop(unit, None)
        self._permits.pop(unit, None)
        self.results.pop(unit, None)
        parts = self._parts.get(unit.cluster)
        if parts is not None and parts.pop(unit, None) is not None:
            self._dirty_clusters.add(unit.cluster)

    def leaving_of(self, cluster: ClusterName) -> frozenset[UnitName]:
        """Units of a cluster that are not let go yet."""
        return frozenset(name for name in self._leaving if name.cluster == cluster)

    def falls(self) -> Mapping[UnitName, str]:
        """Units whose leaving is held, with the reason (R8)."""
        return {name: why for name, why in self._leaving.items() if why}

    # Publishing

    async def publish(self) -> None:
        """Give each cluster whose orders changed a new Desired."""
        fleet = self._view.fleet
        if fleet is None:
            return
        dirty, self._dirty = self._dirty, set()
        clusters, self._dirty_clusters = self._dirty_clusters, set()
        for name in sorted(dirty):
            if self._put_part(name, fleet):
                clusters.add(name.cluster)
        for cluster in sorted(clusters):
            if cluster in fleet.clusters:
                await self._publish_cluster(cluster, fleet)

    def _put_part(self, name: UnitName, fleet: Fleet) -> bool:
        orders = Orders(
            result=self.results.get(name),
            held=self._held.get(name),
            permits=self._permits.get(name, frozenset()),
            approved=self._approved.get(name, frozenset()),
            suspensions=self._suspensions,
            fall=self._leaving.get(name, ""),
        )
        unit: Unit | None = fleet.units.get(name)
        if unit is not None:
            part = plan_unit(unit, fleet, orders)
        elif name in fleet.unknown.units:
            part = plan_unknown_unit(name, fleet.unknown.units[name], fleet, orders)
        elif name in self._leaving:
            part = plan_leaving_unit(name, fleet, orders)
        else:
            part = None
        parts = self._parts.setdefault(name.cluster, {})
        if part is None or parts.get(name) == part:
            return False
        parts[name] = part
        return True

    async def _publish_cluster(self, cluster: ClusterName, fleet: Fleet) -> None:
        desired = plan_desired(
            cluster,
            self._parts.get(cluster, {}),
            fleet,
            identity=self._identities.get(cluster),
            requests=[request for request in self._requests if request.unit.cluster == cluster],
            sequence=await self._next_sequence(),
            recover_confirmed=cluster in self._recovered,
        )
        self._slots.setdefault(cluster, _Slot()).put(desired)

    async def _next_sequence(self) -> int:
        if self._sequence >= self._sequence_end:
            self._sequence = await self._state.next_sequence(SEQUENCE_BLOCK)
            self._sequence_end = self._sequence + SEQUENCE_BLOCK
        self._sequence += 1
        return self._sequence - 1


def _changed_units(before: Fleet | None, after: Fleet) -> frozenset[UnitName]:
    if before is None:
        return frozenset(after.units)
    return frozenset(name for name, unit in after.units.items() if before.units.get(name) is not unit)


def _changed_clusters(before: Fleet | None, after: Fleet) -> set[ClusterName]:
    if before is None or before.name != after.name:
        return set(after.clusters)
    return {name for name, entry in after.clusters.items() if before.clusters.get(name) is not entry}
