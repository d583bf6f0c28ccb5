"""The orders for all clusters: kept in memory, released durably, published only where they differ.

What is decided is decided in core/release.py; this shell gathers what that needs, writes what was released before
any worker hears of it (R22), and wakes the workers whose Desired changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.controllers.deletions import Deletions, Known
from fleet.controllers.feed import BoardFeed
from fleet.controllers.identities import Identities
from fleet.controllers.publishing import Parts, Publisher
from fleet.controllers.rollout_store import read_rollouts
from fleet.controllers.rollout_store import values_of as rollout_values
from fleet.controllers.roster import Roster
from fleet.controllers.takers import Takers
from fleet.core.differences import changed_clusters, changed_units, other_policies
from fleet.core.fleet import Cluster, Fleet, Suspension, Unit
from fleet.core.guard import Approvals, approved_at
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, UnitName, short
from fleet.core.leaving import Leave
from fleet.core.objects import Bundle
from fleet.core.passage import Passages, Quarantine
from fleet.core.proven import Guidebook
from fleet.core.quarantine import told_of, with_found
from fleet.core.release import (
    Orders,
    plan_desired,
    plan_leaving_unit,
    plan_unit,
    plan_unknown_unit,
    policy_of,
    scope_renamed,
    scopes_of,
)
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.rollout import Desired, SyncRequest, UnitDesired
from fleet.core.status import Event, asks_recovery
from fleet.core.steps import goes_by_steps, is_at_once
from fleet.core.view import View
from fleet.errors import StateDamaged, StateError, StateLost
from fleet.ports.render import Vault
from fleet.ports.state import ReleasedBundle, State


class Board:
    """All clusters' orders. `take_fleet` and `release` are called by one task; the others by any."""

    def __init__(
        self,
        state: State,
        view: View,
        bundle_of: Callable[[Digest], Awaitable[Bundle]],
        vault: Vault,
        wall: Callable[[], float],
    ) -> None:
        self._state, self._view, self._bundle_of, self._vault = state, view, bundle_of, vault
        self._deletions = Deletions(state, bundle_of, wall)
        self.results: dict[UnitName, Result] = {}
        self._held: dict[UnitName, Rendered] = {}
        self._permits: dict[UnitName, frozenset[ObjectRef]] = {}
        self._waiting: dict[UnitName, Rendered] = {}  # newest results that wait for their step or for a person
        self._is_first = False
        self._unjudged: set[UnitName] = set()  # results that stand, whose deletions are to be judged anew
        self._takers = Takers()
        self._leaving_waits: dict[UnitName, str] = {}  # why what leaves is not let go yet
        self._is_known: dict[Digest, bool] = {}  # bundles that units keep, looked for once
        self._quarantine: Quarantine | None = None
        self._quarantined: Mapping[UnitName, tuple[Digest, ...]] = {}  # of that one, by unit
        self._permits_to_come: dict[UnitName, frozenset[ObjectRef]] = {}  # with them
        self._approved: Approvals = {}
        self._suspensions: tuple[Suspension, ...] = ()
        self._requests: tuple[SyncRequest, ...] = ()
        self._identities = Identities()
        self._recovered: frozenset[ClusterName] = frozenset()
        self._roster = Roster(state)
        self._publisher = Publisher(state)
        self._dirty: set[UnitName] = set()
        self._releasing = asyncio.Lock()  # what is held changes in one place at a time
        self._publishing = asyncio.Lock()  # sequences must reach each cluster in their order
        view.results = self.results

    @property
    def fleet(self) -> Fleet | None:
        """The inventory in force."""
        return self._view.fleet

    def feed(self, cluster: ClusterName) -> BoardFeed:
        """The feed of one cluster's worker."""
        return BoardFeed(self._publisher.slot(cluster), self._bundle_of, self._vault)

    def released_of(self, unit: UnitName) -> Rendered | None:
        """What a unit was told to hold last."""
        return self._held.get(unit)

    async def start(self) -> None:
        """Take over what an earlier process released."""
        self._identities = Identities(recorded=dict(await self._state.identities()))
        self._held = {row.unit: Rendered(row.bundle, row.commit) for row in await self._state.released()}
        self._is_first = not self._held
        await self._roster.start()
        await self._deletions.start()

    # The commit in force

    def take_fleet(self, fleet: Fleet) -> frozenset[UnitName] | None:
        """Put an inventory in force; returns the units that are new or were resolved differently.

        None where it says nothing at all: the one before stays in force as a whole. Clusters whose file is Unknown at
        this commit keep their entry and their orders (R5).
        """
        before, fleet = self._view.fleet, self._roster.whole(fleet)
        if before is not None and fleet.unknown.everything is not None:
            self._view.fleet = replace(before, problems=fleet.problems)
            return None
        self._view.fleet = fleet
        self._publisher.dirty |= changed_clusters(before, fleet)
        self._dirty |= other_policies(before, fleet)
        if self._identities.shared:
            self._dirty |= self._units_of(self._identities.shared.values())
            self._identities.keep_shared(lambda name: name in fleet.clusters)
        if before is not None and before.units is fleet.units and before.unknown == fleet.unknown:
            return frozenset()
        changed = changed_units(before, fleet)
        self._roster.take(fleet, {*self._held, *(before.units if before is not None else ())})
        self._leave()
        self._dirty |= changed
        self._dirty |= self._keep(before, fleet)
        return changed

    def _keep(self, before: Fleet | None, after: Fleet) -> set[UnitName]:
        """Units that this commit does not say because of a problem: they stay as they are, and are shown (R5)."""
        had: dict[UnitName, Unit] = {**self._view.kept, **(before.units if before is not None else {})}
        unsaid = {
            name
            for name in {*had, *self._held, *after.unknown.units}
            if name not in after.units
            and name not in self._roster.leaving.units
            and after.unknown.covers(name) is not None
        }
        self._view.kept = {name: had[name] for name in unsaid if name in had}
        return unsaid

    def _leave(self) -> None:
        """What leaves has no result any more."""
        for name in self._roster.leaving.units:
            self.results.pop(name, None)
            self._waiting.pop(name, None)
            self._dirty.add(name)

    async def release(self, results: Mapping[UnitName, Result]) -> None:
        """Take results of one overlay or more: judge their deletions, write them down, publish.

        Those of units that go by steps, and what was taken back, wait until `let` is called for them. What other units
        dropped and these might have taken is judged again.
        """
        async with self._releasing:
            building = self._view.rendering - results.keys()
            fresh = {name: self.results[name] for name in self._unjudged & self.results.keys()}
            fresh |= {name: result for name, result in results.items() if self.results.get(name) != result}
            again = self._to_judge(building, fresh)
            if not fresh and not again:
                self._view.rendering -= results.keys()
                return
            waiting = {
                name: result
                for name, result in fresh.items()
                if isinstance(result, Rendered) and self._must_wait(name, result)
            }
            # What waits for its step is judged when that comes, by what earlier steps have proven then.
            now = {name: fresh[name] for name in fresh if name not in waiting or not self._goes_by_steps(name)}
            coming = {**{name: self.results[name] for name in again if name in self.results}, **fresh}
            permits = await self._permits_of({**again, **now}, self._view.passages, building, coming)
            rows = [
                ReleasedBundle(name, result.commit, result.bundle)
                for name, result in fresh.items()
                if isinstance(result, Rendered) and name not in waiting
            ]
            if rows or self._deletions.values():
                await self._state.put_released(rows, values=self._deletions.values())
                self._deletions.saved()
            for row in rows:
                self._held[row.unit] = Rendered(row.bundle, row.commit)
            for name in fresh:
                self._waiting.pop(name, None)
                to_whom = self._permits_to_come if name in waiting else self._permits
                to_whom[name] = permits.get(name, frozenset())
            self._waiting.update(waiting)
            for name in again:
                to_whom = self._permits_to_come if self._is_shown_only(name) else self._permits
                to_whom[name] = permits.get(name, frozenset())
            self.results.update(fresh)
            self._view.rendering -= results.keys()  # of what it is by now: a commit may have begun meanwhile
            self._unjudged.clear()
            self._dirty |= {*fresh, *again}
            self._look_at_leaving_of(results)
        await self.publish()

    async def settle(self) -> None:
        """A commit is known as a whole: what waited for other units to be known is judged again, and published."""
        self.look_at_leaving()
        await self.release({})
        await self.publish()

    def look_at_leaving(self) -> None:
        """What leaves is judged anew with the next publish: more, or less, is known of what may take its objects."""
        self._dirty |= self._roster.leaving.units.keys()

    def _to_judge(self, building: Collection[UnitName], fresh: Container[UnitName]) -> dict[UnitName, Result]:
        """What units hold whose deletions waited for others, and may be judged again now."""
        found = ((name, self._told(name)) for name in self._deletions.to_judge(building) if name not in fresh)
        return {name: told for name, told in found if told is not None}

    def _told(self, name: UnitName) -> Result | None:
        return self._held.get(name) if self.waits(name) else self.results.get(name)

    def _is_shown_only(self, name: UnitName) -> bool:
        """Whether its newest result waits for a person, and is shown all the same."""
        return name in self._waiting and not self.waits(name)

    def _look_at_leaving_of(self, units: Iterable[UnitName]) -> None:
        """Something else is known or released on the clusters of these: what leaves there may be let go now."""
        if self._leaving_waits:
            clusters = {name.cluster for name in units}
            self._dirty |= {name for name, waits in self._leaving_waits.items() if waits and name.cluster in clusters}

    def first_is_over(self) -> None:
        """A commit was taken over as a whole; from now on there is something that a new result may break.

        The first commit of an empty state goes to all clusters together. One that holds our marks already takes
        nothing before a person confirmed what was found there (R24).
        """
        self._is_first = False

    async def let(
        self,
        units: Mapping[UnitName, Rendered],
        seen: Passages,
        kept: Passages,
        values: Mapping[str, str],
        events: Sequence[Event] = (),
        back: Mapping[UnitName, Rendered] | None = None,
    ) -> bool:
        """Release what waits, as a rollout says, durable together with `kept`, `values`, `events`; then publish.

        seen: all rollouts as they were looked at; kept: as they are from now on. False, and nothing was done, where
        they are not as seen any more (a cluster got another name meanwhile).

        A result that is not the unit's newest any more is passed over: its rollout looks again. back: what units held
        before and shall hold again; their newest results wait then, and deletions are judged as ever (R9).
        """
        async with self._releasing:
            if self._view.passages is not seen:
                return False
            chosen = {
                name: bundle
                for name, bundle in units.items()
                if name in self._waiting and self._waiting[name].bundle == bundle.bundle
            }
            back = {name: bundle for name, bundle in (back or {}).items() if name in self._held}
            both = {**chosen, **back}
            coming = {name: self.results[name] for name in both if name in self.results}
            permits = await self._permits_of(both, kept, self._view.rendering, coming)
            rows = [ReleasedBundle(name, bundle.commit, bundle.bundle) for name, bundle in both.items()]
            every = {**rollout_values(kept, seen), **values, **self._deletions.values()}
            await self._state.put_released(rows, values=every, events=events)
            self._deletions.saved()
            self._bar(kept)
            self._held.update(both)
            self._dirty |= {*both, *(name for name in self._waiting if not self._goes_by_steps(name))}
            for name in chosen:
                self._waiting.pop(name, None)  # it may have left the repo meanwhile
                self._permits_to_come.pop(name, None)
                self._permits[name] = permits.get(name, frozenset())
            for name in back:
                self._permits[name] = permits.get(name, frozenset())
                result = self.results.get(name)
                if isinstance(result, Rendered) and result.bundle != back[name].bundle:
                    self._waiting[name] = result
                else:
                    self._waiting.pop(name, None)
            self._look_at_leaving_of(both)
        await self.publish()
        return True

    async def take_rollouts(self) -> None:
        """Take over all rollouts as they are durable. Raises StateError."""
        async with self._releasing:
            self._bar(await read_rollouts(self._state))

    def _bar(self, kept: Passages) -> None:
        """Take over all rollouts with what was taken back; units whose parents shall say something else are told."""
        self._view.passages, before = kept, self._quarantined
        if kept.quarantine is not self._quarantine:
            self._quarantine, self._quarantined = kept.quarantine, told_of(kept.quarantine)
            units = before.keys() | self._quarantined.keys()
            self._dirty |= {unit for unit in units if before.get(unit) != self._quarantined.get(unit)}

    def waiting(self) -> Mapping[UnitName, Rendered]:
        """Newest results that are not released yet."""
        return self._waiting

    def held(self) -> Mapping[UnitName, Rendered]:
        """What each unit was told to hold last."""
        return self._held

    def suspensions_of(self, unit: Unit) -> Sequence[Suspension]:
        """What a person stopped of it, in Git or by command."""
        fleet = self._view.fleet
        return policy_of(unit, fleet, self._suspensions).suspensions if fleet is not None else ()

    def suspensions_at(self, name: UnitName, entry: Cluster) -> Sequence[Suspension]:
        """What stops writes of an overlay to a cluster, whether it has a unit there or not; a shared identity too."""
        fleet = self._view.fleet
        shared = self._identities.stops_at(name.cluster, fleet.clusters) if fleet is not None else ()
        if fleet is not None and name in fleet.units:
            return (*shared, *self.suspensions_of(fleet.units[name]))
        in_git = (*shared, fleet.suspend if fleet is not None else None, entry.suspend)
        by_command = (each for each in self._suspensions if each.scope in scopes_of(name))
        return (*(each for each in in_git if each is not None), *by_command)

    def waits(self, name: UnitName) -> bool:
        """Whether a unit keeps what it holds although it has a newer result.

        Where nothing is written, or a person syncs, a result that waits is shown all the same (as what a sync would
        bring), unless it was taken back; it counts as held only once the cluster has it.
        """
        return name in self._waiting and (self._goes_by_steps(name) or self.is_barred(name, self._waiting[name]))

    def _goes_by_steps(self, name: UnitName) -> bool:
        fleet = self._view.fleet
        return fleet is not None and name in fleet.units and goes_by_steps(fleet.units[name])

    def is_barred(self, name: UnitName, result: Rendered) -> bool:
        """Whether a result was taken back: nothing but a person's word lets it in again."""
        report = self._view.units.get(name)
        is_told = report is not None and result.bundle in report.quarantined
        return is_told or result.bundle in self._view.passages.quarantine.get(name.overlay, ())

    def _must_wait(self, name: UnitName, result: Rendered) -> bool:
        fleet, held = self._view.fleet, self._held.get(name)
        if fleet is None or name not in fleet.units or self._is_first:
            return False
        if held is not None and held.bundle == result.bundle:
            return False
        unit = fleet.units[name]
        is_shown_only = held is not None and not is_at_once(unit.overlay.rollout)
        return goes_by_steps(unit) or is_shown_only or self.is_barred(name, result)

    async def _permits_of(
        self,
        fresh: Mapping[UnitName, Result],
        kept: Passages,
        building: Collection[UnitName],
        coming: Mapping[UnitName, Result] | None = None,
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """building: units that are not known at this commit; coming: results that are not taken over yet."""
        fleet = self._view.fleet
        if fleet is None or not fresh:
            return {}
        return await self._deletions.permits_of(
            fresh,
            self._known(fleet, building, coming or {}),
            limit_clusters=fleet.budget.clusters,
            guides=Guidebook(fleet, kept),
        )

    def _known(self, fleet: Fleet, building: Collection[UnitName], coming: Mapping[UnitName, Result]) -> Known:
        def newest(name: UnitName) -> Result | None:
            return coming.get(name) or self.results.get(name)

        unsure = self._takers.unsure(fleet, newest, building)
        return Known(self._held, self._view.units, self.results, coming, unsure)

    # What people ordered

    def take_orders(
        self,
        suspensions: Sequence[Suspension],
        requests: Sequence[SyncRequest],
        approved: Approvals,
        released_falls: frozenset[UnitName],
        recovered: frozenset[ClusterName],
    ) -> None:
        """Suspensions, sync requests, approvals and confirmed recoveries as they stand in the state now."""
        fleet = self._view.fleet
        changed_scopes = {s.scope for s in set(suspensions) ^ set(self._suspensions)}
        if fleet is not None and changed_scopes:
            self._dirty |= {
                name for name in {*fleet.units, *self._publisher.told()} if scopes_of(name) & changed_scopes
            }
        changed = {of for of in {*approved, *self._approved} if approved.get(of) != self._approved.get(of)}
        self._dirty |= {name for name, _ in changed}
        for request in set(requests) ^ set(self._requests):
            self._publisher.dirty.add(request.unit.cluster)
        self._publisher.dirty |= recovered ^ self._recovered
        self._recovered = recovered
        self._dirty |= {name for name in self.falls() if name in released_falls}
        self._roster.allow(released_falls)
        self._suspensions, self._requests, self._approved = tuple(suspensions), tuple(requests), approved

    async def believe(self, clusters: frozenset[ClusterName], values: Mapping[str, str], wall: float) -> None:
        """Units that wait for a recovery were told to hold what they hold (R24), durable together with `values`.

        A state from a backup may know older bundles, and what waits for its step would go back to them. What their
        parents bar is barred here from now on: a worker says it no more once it is confirmed. wall: for people.
        """
        async with self._releasing:
            fleet = self._view.fleet
            found = {
                name: Rendered(report.bundle, report.commit)
                for name, report in self._view.units.items()
                if name.cluster in clusters and report.bundle is not None and asks_recovery(report)
                if name in self._held or (fleet is not None and name in fleet.units)
                if name in self._waiting
                or not isinstance(result := self.results.get(name), Rendered)
                or self.is_barred(name, result)
            }
            rows = [ReleasedBundle(name, held.commit, held.bundle) for name, held in found.items()]
            kept = with_found(self._view.passages, self._view.units.values(), self.results, wall)
            await self._state.put_released(rows, values={**values, **rollout_values(kept, self._view.passages)})
            self._bar(kept)
            self._held.update(found)
            self._dirty |= set(found)
            for name, held in found.items():  # the first commit after a loss did not wait for anything
                result = self.results.get(name)
                if isinstance(result, Rendered) and result.bundle != held.bundle and self.is_barred(name, result):
                    self._waiting.setdefault(name, result)
            there = {
                name: held
                for name, held in found.items()
                if name in self._waiting and self._waiting[name].bundle == held.bundle
            }
            permits = await self._permits_of(there, self._view.passages, self._view.rendering)
            if self._deletions.values():
                await self._state.put_released((), values=self._deletions.values())
                self._deletions.saved()
            self._permits.update(permits)
            for name in there:
                self._waiting.pop(name, None)
                self._permits_to_come.pop(name, None)

    def take_identity(self, cluster: ClusterName, identity: Identity) -> None:
        """An identity that was recorded or accepted; its cluster's Desired is published again."""
        if self._identities.recorded.get(cluster) != identity:
            self._identities.recorded[cluster] = identity
            self._publisher.dirty.add(cluster)
            self._dirty |= set(self._roster.leaving.units)  # what waited for it to say which cluster it is

    async def claim(self, cluster: ClusterName, identity: Identity) -> tuple[ClusterName, bool] | None:
        """Take an identity for an entry (R2).

        If it is another entry's, that one is returned, and whether it left the repo: then the cluster was renamed,
        which `renames` says from now on. If this one left the repo, it never reached its cluster before the other one
        did, and has nothing there to let go. Else both entries are stopped. Raises StateError.
        """
        fleet, stopped = self._view.fleet, set(self._identities.shared.values())
        owner = self._identities.claim(cluster, identity, self.entries())
        is_gone = fleet is not None and owner is not None and self._has_left(owner, fleet)
        if owner is not None and is_gone:
            self._identities.renames[owner] = cluster
            return owner, True
        if owner is not None and fleet is not None and self._has_left(cluster, fleet):
            for unit in self.leaving_of(cluster) if self.identity_of(cluster) is None else ():
                await self.left(unit)
            await self.publish()
            return owner, False
        if owner is not None:
            self._identities.shared[cluster] = owner
        concerned = self._units_of(stopped ^ set(self._identities.shared.values())) | set(self._roster.leaving.units)
        if concerned:
            self._dirty |= concerned
            await self.publish()
        return (owner, False) if owner is not None else None

    def renames(self) -> Mapping[ClusterName, ClusterName]:
        """Old and new names of clusters whose record is to be taken along, once no worker of either runs."""
        return self._identities.renames

    async def rename(self, old: ClusterName, new: ClusterName) -> None:
        """Carry all that is known of a cluster over to its new name. Raises StateError, and then nothing changed."""
        fleet = self._view.fleet
        async with self._releasing, self._publishing:
            kept = self._view.passages.renamed(old, new)
            values = rollout_values(kept, self._view.passages)
            judged = self._deletions.rename(old, new)
            try:
                values = {**values, **self._deletions.values()}
                await self._roster.rename(old, new, fleet.units if fleet is not None else (), values)
            except StateError:
                self._deletions.restore(judged)
                raise
            self._deletions.saved()
            self._bar(kept)
            self._identities.rename(old, new)
            self._suspensions = tuple(replace(s, scope=scope_renamed(s.scope, old, new)) for s in self._suspensions)
            self._publisher.forget(old)
            for name in [name for name in self._held if name.cluster == old]:
                self._held[replace(name, cluster=new)] = self._held.pop(name)
                if name in self._permits:
                    self._permits[replace(name, cluster=new)] = self._permits.pop(name)
                self._waiting.pop(name, None)
        self._publisher.dirty.add(new)
        self._dirty |= self.leaving_of(new)
        # What it holds now is another thing than when it looked new: its deletions are judged anew (R9).
        self._unjudged |= {name for name in self.results if name.cluster == new}
        await self.release({})

    def identity_of(self, cluster: ClusterName) -> Identity | None:
        """The recorded identity."""
        return self._identities.recorded.get(cluster)

    async def left(self, unit: UnitName) -> None:
        """A worker confirmed that it let go of a unit; of one that came back meanwhile it is told anew."""
        if self._view.fleet is not None and unit in self._view.fleet.units:
            self._publisher.dirty.add(unit.cluster)
            return
        async with self._releasing:
            await self._state.put_released((), gone=(unit,))
            self._roster.let_go(unit)
            books = (self._held, self._permits, self._permits_to_come, self._waiting, self.results, self._leaving_waits)
            for book in books:
                book.pop(unit, None)
        self._publisher.drop(unit)

    def forget(self, cluster: ClusterName) -> None:
        """A cluster that left, and whose units are all let go."""
        self._identities.forget(cluster)
        self._publisher.forget(cluster)

    def entries(self) -> Mapping[ClusterName, Cluster]:
        """All clusters that need a worker: those of the repo, and those with units to let go."""
        fleet = self._view.fleet
        return {**self._roster.leaving.clusters, **(fleet.clusters if fleet is not None else {})}

    def leaving_of(self, cluster: ClusterName) -> frozenset[UnitName]:
        """Units of a cluster that are not let go yet."""
        return self._roster.leaving.of_cluster(cluster)

    def leaving(self) -> Mapping[UnitName, Leave]:
        """All units that left the repo and are not let go yet."""
        return self._roster.leaving.units

    def wipe(self, asked: Mapping[UnitName, str], over: Container[UnitName]) -> None:
        """Have what leaving units own deleted before they are let go; asked: by whose word, over: where it is done.

        `publish` makes it durable before a worker hears of it.
        """
        self._dirty |= self._roster.wipe(asked, over)

    def falls(self) -> Mapping[UnitName, Leave]:
        """Units whose leaving is held, with commit and reason (R8)."""
        return self._roster.falls()

    # Publishing

    async def publish(self) -> None:
        """Give each cluster whose orders changed a new Desired; raises StateError, and then nothing is forgotten."""
        async with self._publishing:
            while (fleet := self._view.fleet) is not None:
                await self._roster.save(fleet)
                for name in list(self._dirty):
                    await self._look_for_held(name)
                    if name in self._roster.leaving.units:
                        await self._look_at_leaving(name, fleet)
                if fleet is not self._view.fleet:
                    continue
                for name in list(self._dirty):
                    self._publisher.put(name, self._part_of(name, fleet))
                    self._dirty.discard(name)
                await self._publisher.reserve()
                if fleet is self._view.fleet:  # else parts of one commit would go out with entries of the next (R6)
                    break
            else:
                return
            entries = self.entries()
            self._publisher.publish(lambda name, parts, number: self._desired_of(entries.get(name), parts, number))

    async def _look_for_held(self, name: UnitName) -> None:
        """Whether what a unit keeps is known here: a hub that lost its data knows it by its digest alone."""
        held = self._held.get(name)
        if held is None or not self.waits(name) or held.bundle in self._is_known:
            return
        try:
            await self._bundle_of(held.bundle)
        except StateDamaged:
            self._is_known[held.bundle] = False
        else:
            self._is_known[held.bundle] = True

    async def _look_at_leaving(self, name: UnitName, fleet: Fleet) -> None:
        """Whether a unit that left may be let go: not before all is known and told that may take its objects (R16).

        Nor while it cannot be read whether Git wants it again (R5).
        """
        if (problem := fleet.unknown.covers(name)) is not None:
            words = f"whether it is back cannot be read: {problem.reason} ({problem.origin})"
            self._leaving_waits[name] = f"it left the repo; {words}"
            return
        units = (unit.name for unit in self._takers.on(name.cluster, fleet))
        waiting = {other: self._waiting[other] for other in units if self.waits(other)}
        try:
            known = self._known(fleet, self._view.rendering, {})
            waits = await self._deletions.leaving_waits(name, known, waiting)
        except StateDamaged as error:
            waits = f"it left the repo; what moves of it is not known: {error.brief}"
        self._leaving_waits[name] = waits

    def _units_of(self, clusters: Iterable[ClusterName]) -> set[UnitName]:
        fleet, concerned = self._view.fleet, set(clusters)
        return {name for name in fleet.units if name.cluster in concerned} if fleet is not None and concerned else set()

    def _has_left(self, cluster: ClusterName, fleet: Fleet) -> bool:
        return cluster not in fleet.clusters and fleet.unknown.covers_cluster(cluster) is None

    def _part_of(self, name: UnitName, fleet: Fleet) -> UnitDesired | None:
        is_known = self._identities.recorded.get(name.cluster) is not None
        may_be_renamed = is_known and name in self._roster.leaving.units and self._has_left(name.cluster, fleet)
        waits = self.waits(name)
        permits = self._permits_to_come if self._is_shown_only(name) else self._permits
        held = self._held.get(name)
        result: Result | None = held if waits else self.results.get(name)
        if waits and held is not None and not self._is_known.get(held.bundle, True):
            message = f"what it holds ({short(held.commit)}) is known to an earlier hub alone; it stays as it is"
            result = RenderProblem(StateLost.__name__, message, held.commit)
        leave = self._roster.leaving.units.get(name)
        asked = result.commit if result is not None else leave.commit if leave is not None else None
        orders = Orders(
            result=result,
            held=None if isinstance(result, RenderProblem) and waits else held,
            permits=permits.get(name, frozenset()),
            approved=approved_at(self._approved, name, asked) if asked is not None else frozenset(),
            renames=self._deletions.renames_of(name),
            moves=self._deletions.moves_of(name),
            waits=self._leaving_waits.get(name, ""),
            suspensions=(*self._suspensions, *self._identities.stops(fleet.clusters)),
            unproven=self._identities.unproven(fleet.clusters) if may_be_renamed else (),
            fall=leave.fall if leave is not None else "",
            wipe=leave,
        )
        unit: Unit | None = fleet.units.get(name)
        if unit is not None:
            part = plan_unit(unit, fleet, orders)
        elif leave is not None:
            part = plan_leaving_unit(name, fleet, orders)
        elif (problem := fleet.unknown.covers(name)) is not None:
            part = plan_unknown_unit(name, problem, fleet, orders, self._view.kept.get(name))
        else:
            part = None
        told = self._quarantined.get(name)
        return replace(part, quarantined=told) if part is not None and told else part

    def _desired_of(self, entry: Cluster | None, parts: Parts, sequence: int) -> Desired | None:
        fleet = self._view.fleet
        if fleet is None or entry is None:
            return None
        return plan_desired(
            entry,
            parts,
            fleet,
            identity=self._identities.recorded.get(entry.name),
            requests=[request for request in self._requests if request.unit.cluster == entry.name],
            sequence=sequence,
            recover_confirmed=entry.name in self._recovered,
        )
