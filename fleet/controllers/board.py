"""What every cluster is told: the commit in force and all that is known of it, published only where it differs.

What a unit is told is decided in core/release.py; this shell gathers what that needs, and wakes the workers whose
Desired changed. Which result a unit may have, and when, is decided in releases.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace

from fleet.controllers.books import Books
from fleet.controllers.deletions import Deletions
from fleet.controllers.departures import Departures
from fleet.controllers.feed import BoardFeed
from fleet.controllers.fetches import Fetches
from fleet.controllers.identities import Identities
from fleet.controllers.publishing import Parts, Publisher
from fleet.controllers.roster import Roster, has_left
from fleet.controllers.standing_orders import StandingOrders
from fleet.core.differences import changed_clusters, changed_units, other_policies
from fleet.core.fleet import Cluster, Fleet, Unit
from fleet.core.guard import approved_at
from fleet.core.ids import ClusterName, Digest, OverlayName, UnitName, short
from fleet.core.moves import whole_commit
from fleet.core.objects import Bundle
from fleet.core.release import Orders, linked, plan_desired, plan_leaving_unit, plan_unit, plan_unknown_unit
from fleet.core.results import EMPTY_BUNDLE, Rendered, RenderProblem, Result
from fleet.core.rollout import Desired, Move, UnitDesired
from fleet.core.steps import by_hand
from fleet.core.unit_facts import still_coming
from fleet.core.view import View
from fleet.errors import StateDamaged, StateLost
from fleet.ports.render import Vault
from fleet.ports.state import State


class Board:
    """One instance per hub. `take_fleet` is called by one task; the others by any.

    Its parts are what a Desired is made of. Who changes one of them marks what is to be told (`books.dirty` the units,
    `publisher.dirty` the clusters), and then calls `publish`.
    """

    def __init__(
        self,
        state: State,
        view: View,
        bundle_of: Callable[[Digest], Awaitable[Bundle]],
        vault: Vault,
        wall: Callable[[], float],
    ) -> None:
        self._state, self._view, self._bundle_of, self._vault, self.wall = state, view, bundle_of, vault, wall
        self.roster = Roster(state)
        self.identities = Identities()
        self.books = Books(view, self.identities)
        self.deletions = Deletions(state, bundle_of, wall)
        self.publisher = Publisher(state)
        self.departures = Departures(state, view, self.books, self.roster, self.deletions, self.publisher)
        self.fetches = Fetches(view.head)
        self.standing = StandingOrders(view, self.books, self.roster, self.identities, self.publisher)
        self._is_known: dict[Digest, bool] = {}  # bundles that units keep, looked for once
        self._linked = frozenset[OverlayName]()  # overlays that depend on others, and those
        self.publishing = asyncio.Lock()  # sequences must reach each cluster in their order

    async def start(self) -> None:
        """Take over what an earlier process released."""
        self.identities.recorded.update(await self._state.identities())
        released = {row.unit: Rendered(row.bundle, row.commit) for row in await self._state.released()}
        self.books.begin(released, await self._state.shown())
        await self.roster.start()
        await self.deletions.start()
        self.standing.suspensions = await self._state.suspensions()  # not read yet is no word to go on (R5)

    def feed(self, cluster: ClusterName) -> BoardFeed:
        """The feed of one cluster's worker."""
        return BoardFeed(self.publisher.slot(cluster), self._bundle_of, self._vault)

    def entries(self) -> Mapping[ClusterName, Cluster]:
        """All clusters that need a worker: those of the repo, and those with units to let go."""
        fleet = self._view.fleet
        return {**self.roster.leaving.clusters, **(fleet.clusters if fleet is not None else {})}

    def has_gone(self, cluster: ClusterName) -> bool:
        """Whether it is gone from the repo, and none of its units waits to be let go (R13)."""
        fleet = self._view.fleet
        return fleet is not None and has_left(cluster, fleet) and not self.roster.leaving.of_cluster(cluster)

    # The commit in force

    def take_fleet(self, fleet: Fleet) -> frozenset[UnitName] | None:
        """Put an inventory in force; returns the units that are new or were resolved differently.

        None where it says nothing at all: the one before stays in force as a whole. Clusters whose file is Unknown at
        this commit keep their entry and their orders (R5).
        """
        before, fleet = self._view.fleet, self.roster.whole(fleet)
        if before is not None and fleet.unknown.everything is not None:
            self._view.fleet = replace(before, problems=fleet.problems)
            return None
        was_linked, self._linked = self._linked, linked(fleet)
        self.books.go_by_hand(fleet)
        self._view.fleet = fleet
        if now_otherwise := was_linked ^ self._linked:  # what is still coming of them is news to those beside
            self.books.dirty |= {name for name in (*fleet.units, *self._view.kept) if name.overlay in now_otherwise}
        self.publisher.dirty |= changed_clusters(before, fleet)
        self.books.dirty |= other_policies(before, fleet)
        if self.identities.shared:
            self.books.dirty |= self.books.units_on(self.identities.shared.values())
            self.identities.keep_shared(lambda name: name in fleet.clusters)
        self.compare_identities()
        is_same = before is not None and before.units is fleet.units and before.clusters == fleet.clusters
        if is_same and before is not None and before.unknown == fleet.unknown:
            return frozenset()
        changed = changed_units(before, fleet)
        had = {*self.books.held, *self.books.shown, *(before.units if before is not None else ())}
        self.books.come_back(self.roster.take(fleet, had))
        self.departures.find(fleet, [name for each in self._view.clusters.values() for name in each.unordered])
        self.books.leave(self.roster.leaving.units)
        self.books.dirty |= changed
        self.books.dirty |= self._keep(before, fleet)
        return changed

    def build(self, units: Collection[UnitName]) -> None:
        """These are being built at the commit in force, and no others; nobody goes on behind them."""
        before = self._view.rendering
        self._view.rendering = frozenset(units)
        self._tell_linked(before ^ self._view.rendering)

    def built(self, units: Collection[UnitName]) -> None:
        """Results of these are taken over."""
        self._view.rendering = self._view.rendering.difference(units)  # of what it is by now: a commit may have begun
        self._tell_linked(units)

    def _tell_linked(self, units: Iterable[UnitName]) -> None:
        self.books.dirty |= {name for name in units if name.overlay in self._linked}

    def compare_identities(self) -> bool:
        """Stop entries that are one cluster, and let them go on once they are not (R2); whether any is concerned."""
        fleet = self._view.fleet
        concerned = self.identities.compare(fleet.clusters) if fleet is not None else ()
        self.books.dirty |= self.books.units_on(concerned)
        return bool(concerned)

    def _keep(self, before: Fleet | None, after: Fleet) -> set[UnitName]:
        """Units that this commit does not say because of a problem: they stay as they are, and are shown (R5).

        What it says of their clusters counts for them as well, a suspension above all.
        """
        had: dict[UnitName, Unit] = {**self._view.kept, **(before.units if before is not None else {})}
        unsaid = {
            name
            for name in {*had, *self.books.held, *after.unknown.units}
            if name not in after.units
            and name not in self.roster.leaving.units
            and after.unknown.covers(name) is not None
        }
        self._view.kept = {
            name: replace(had[name], cluster=after.clusters.get(name.cluster, had[name].cluster))
            for name in unsaid
            if name in had
        }
        return unsaid

    # Publishing

    async def publish(self) -> None:
        """Give each cluster whose orders changed a new Desired; raises StateError, and then nothing is forgotten."""
        while True:
            async with self.publishing:
                if await self._publish():
                    return
            await self._note_shown()

    async def _note_shown(self) -> None:
        """Make durable what units are about to be shown."""
        async with self.books.changing:
            if shown := self.books.unnoted(self.standing.requests):
                await self._state.put_released((), shown=shown)
                self.books.note(shown)

    async def _publish(self) -> bool:
        """False where units are to be shown by now what is not noted yet."""
        while (fleet := self._view.fleet) is not None:
            for name in list(self.books.dirty):
                await self._look_for_kept(name)
                if name in self.roster.leaving.units:
                    await self.departures.look_at(name, fleet)
            if self.books.unnoted(self.standing.requests):
                return False
            if await self.roster.save(fleet) or fleet is not self._view.fleet:
                continue  # what came meanwhile is looked at as well
            for name in list(self.books.dirty):
                part = self._part_of(name, fleet)
                if part is None and self.books.waits(name):
                    self.publisher.drop(name)  # what it was only shown until now must not be applied
                else:
                    self.publisher.put(name, part)
                self.books.dirty.discard(name)
            await self.publisher.reserve()
            if fleet is self._view.fleet:  # else parts of one commit would go out with entries of the next (R6)
                break
        else:
            return True
        entries = self.entries()
        self.publisher.publish(lambda name, parts, number: self._desired_of(entries.get(name), parts, number))
        return True

    async def lost(self, results: Iterable[Rendered]) -> str:
        """Why a worker could not read one of these results; "" where it can read them all."""
        for digest in sorted({result.bundle for result in results} - {EMPTY_BUNDLE.digest}):
            try:
                await self._bundle_of(digest)
            except StateDamaged as error:
                return error.brief
        return ""

    async def _look_for_kept(self, name: UnitName) -> None:
        """Whether what a unit keeps is known here: a hub that lost its data knows it by its digest alone."""
        kept = self.books.kept(name)
        if kept is not None and kept.bundle not in self._is_known:
            self._is_known[kept.bundle] = not await self.lost([kept])

    def _part_of(self, name: UnitName, fleet: Fleet) -> UnitDesired | None:
        is_known = self.identities.of(name.cluster) is not None
        may_be_renamed = is_known and name in self.roster.leaving.units and has_left(name.cluster, fleet)
        held, kept = self.books.held.get(name), self.books.kept(name)
        result: Result | None = self.books.told(name)
        is_lost = kept is not None and not self._is_known.get(kept.bundle, True)
        if kept is not None and is_lost:
            message = f"what it holds ({short(kept.commit)}) is known to an earlier hub alone; it stays as it is"
            result = RenderProblem(StateLost.__name__, message, kept.commit)
        leave = self.roster.leaving.units.get(name)
        asked = result.commit if result is not None else leave.commit if leave is not None else None
        orders = Orders(
            result=result,
            held=None if is_lost else held,
            permits=self.books.permits_of(name),
            approved=approved_at(self.standing.approved, name, asked) if asked is not None else frozenset(),
            renames=self.deletions.renames_of(name),
            moves=self._moves_of(name),
            waits=self.departures.waits(name),
            suspensions=(*self.standing.suspensions, *self.identities.stops(fleet.clusters)),
            unproven=self.identities.unproven(name.cluster, fleet.clusters) if may_be_renamed else (),
            fall=leave.fall if leave is not None else "",
            wipe=leave,
        )
        unit: Unit | None = fleet.units.get(name)
        if unit is not None:
            part = plan_unit(by_hand(unit) if self.books.is_by_hand(name) else unit, fleet, orders)
        elif leave is not None:
            part = plan_leaving_unit(name, fleet, orders)
        elif (problem := fleet.unknown.covers(name)) is not None:
            part = plan_unknown_unit(name, problem, fleet, orders, self._view.kept.get(name))
        else:
            part = None
        if part is None:
            return None
        told, coming = self.books.quarantined.get(name, ()), self._coming_of(name)
        return replace(part, quarantined=told, coming=coming) if told or coming else part

    def _coming_of(self, name: UnitName) -> str:
        if name.overlay not in self._linked:
            return ""
        return still_coming(
            name,
            self.books.results.get(name),
            is_building=name in self._view.rendering,
            waits=self.books.waits(name) or self.books.is_by_hand(name),
            quarantine=self._view.passages.quarantine,
        )

    def _moves_of(self, name: UnitName) -> frozenset[Move]:
        """What a unit dropped, and stays."""
        moves = self.deletions.moves_of(name)
        return moves | whole_commit(self.books.unsettled_of(name) - {move.ref for move in moves})

    def _desired_of(self, entry: Cluster | None, parts: Parts, sequence: int) -> Desired | None:
        fleet = self._view.fleet
        if fleet is None or entry is None:
            return None
        return plan_desired(
            entry,
            parts,
            fleet,
            identity=self.identities.of(entry.name),
            requests=[request for request in self.standing.requests if request.unit.cluster == entry.name],
            sequence=sequence,
            recovered=self.standing.recovered.get(entry.name, frozenset()),
        )
