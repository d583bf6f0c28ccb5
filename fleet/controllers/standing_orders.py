"""What people ordered, as it stands in the state now: suspensions, sync requests, approvals, confirmed recoveries.

The loop of orders reads and judges it (controllers/orders.py); here it is kept, and who is concerned is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from fleet.controllers.books import Books
from fleet.controllers.identities import Identities
from fleet.controllers.publishing import Publisher
from fleet.controllers.roster import Roster
from fleet.core.fleet import Cluster, Unit
from fleet.core.guard import Approvals
from fleet.core.ids import ClusterName, UnitName
from fleet.core.recovery import Words
from fleet.core.release import policy_of, scope_renamed, scopes_of
from fleet.core.rollout import SyncRequest
from fleet.core.sync_policy import Suspension
from fleet.core.view import View


class StandingOrders:
    """One instance per hub."""

    def __init__(self, view: View, books: Books, roster: Roster, identities: Identities, publisher: Publisher) -> None:
        self._view, self._books, self._roster = view, books, roster
        self._identities, self._publisher = identities, publisher
        self.suspensions: tuple[Suspension, ...] = ()
        self.requests: tuple[SyncRequest, ...] = ()
        self.approved: Approvals = {}
        self.recovered: Words = {}

    def suspend(self, suspensions: Sequence[Suspension]) -> None:
        """What people stopped, as it stands now; what differs goes out with the next publish."""
        fleet = self._view.fleet
        changed_scopes = {s.scope for s in set(suspensions) ^ set(self.suspensions)}
        if fleet is not None and changed_scopes:
            self._books.dirty |= {
                name for name in {*fleet.units, *self._publisher.told()} if scopes_of(name) & changed_scopes
            }
        self.suspensions = tuple(suspensions)

    def take(
        self,
        requests: Sequence[SyncRequest],
        approved: Approvals,
        released_falls: frozenset[UnitName],
        recovered: Words,
    ) -> None:
        """All else as it stands now; what differs goes out with the next publish."""
        changed = {of for of in {*approved, *self.approved} if approved.get(of) != self.approved.get(of)}
        self._books.dirty |= {name for name, _ in changed}
        for request in set(requests) ^ set(self.requests):
            self._publisher.dirty.add(request.unit.cluster)
            self._books.dirty.add(request.unit)  # which sync brings what it is shown
        words = {*recovered, *self.recovered}
        self._publisher.dirty |= {name for name in words if recovered.get(name) != self.recovered.get(name)}
        self.recovered = recovered
        self._books.dirty |= {name for name in self._roster.falls() if name in released_falls}
        self._roster.allow(released_falls)
        self.requests, self.approved = tuple(requests), approved

    def suspensions_of(self, unit: Unit) -> Sequence[Suspension]:
        """What a person stopped of it, in Git or by command."""
        fleet = self._view.fleet
        return policy_of(unit, fleet, self.suspensions).suspensions if fleet is not None else ()

    def suspensions_at(self, name: UnitName, entry: Cluster) -> Sequence[Suspension]:
        """What stops writes of an overlay to a cluster, whether it has a unit there or not; a shared identity too."""
        fleet = self._view.fleet
        shared = self._identities.stops_at(name.cluster, fleet.clusters) if fleet is not None else ()
        if fleet is not None and name in fleet.units:
            return (*shared, *self.suspensions_of(fleet.units[name]))
        in_git = (*shared, fleet.suspend if fleet is not None else None, entry.suspend)
        by_command = (each for each in self.suspensions if each.scope in scopes_of(name))
        return (*(each for each in in_git if each is not None), *by_command)

    def rename(self, old: ClusterName, new: ClusterName) -> None:
        """What was stopped of a cluster stays so under its new name."""
        self.suspensions = tuple(replace(s, scope=scope_renamed(s.scope, old, new)) for s in self.suspensions)
