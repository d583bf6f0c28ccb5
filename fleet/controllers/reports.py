"""From the workers' reports to what people see: the view, the timeline, operations, holds, convergence.

A report is folded in at once; its durable copy goes with the store's batched lane.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace

import structlog

from fleet.controllers.board import Board
from fleet.controllers.claims import Claims
from fleet.controllers.convergence import Convergence
from fleet.controllers.last_words import end
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, UnitName
from fleet.core.refusal_log import Boundary, Refusal
from fleet.core.status import Event, EventKind, Report, asks_recovery
from fleet.core.view import View
from fleet.ports.state import Bells, State

log = structlog.get_logger("reports")


class Intake:
    """ports.worker.Sink for all clusters of this process."""

    def __init__(
        self,
        *,
        view: View,
        state: State,
        board: Board,
        releases: Releases,
        claims: Claims,
        bells: Bells,
        convergence: Convergence,
        refusals: Refusals,
        wall: Callable[[], float],
    ) -> None:
        self._view, self._state, self._bells = view, state, bells
        self._board, self._releases, self._claims = board, releases, claims
        self._convergence, self._refusals, self._wall = convergence, refusals, wall
        self._holding: set[UnitName] = set()  # units that asked for a hold when they reported last
        self._missing: set[UnitName] = set()  # units that have what no report that was kept says; not noted yet

    async def send(self, report: Report) -> None:
        """Fold one report in; older ones than known change nothing (R36)."""
        refused, missed = self._refused(report), self._missed(report)
        if not self._view.take(report):
            return
        self._missing |= missed
        for refusal in refused:
            self._refusals.note(refusal)
        unnoted = [unit.unit for unit in report.units if unit.unit in self._missing]
        self._state.put_reports((_without(report, unnoted),))
        self._board.deletions.hear(report.units)
        await self._take_identity(report)
        for name in unnoted:
            await self._releases.synced(name)
            self._missing.discard(name)
        if unnoted:
            self._state.put_reports((replace(report, events=()),))
        for unit in report.units:
            if unit.detached:
                await self._board.departures.end(unit.unit)
                self._bells.clusters.set()  # a cluster that left may be forgotten now
                self._bells.orders.set()
            else:
                await self._convergence.heard(unit)
        for ended in report.operations:  # a worker says it again until it is heard
            if ended.outcome == "done":
                await self._note_synced(ended.operation)
            await end(self._state, ended.operation, ended.outcome, ended.message, report.at)
        await self._releases.hand_over([unit.unit for unit in report.units])  # a sync that is over brings nothing
        fleet = self._view.fleet
        if fleet is not None and self._board.departures.find(fleet, report.unordered):
            self._bells.orders.set()
        holding = {unit.unit for unit in report.units if unit.holds}
        reported = {unit.unit for unit in report.units}
        wiped = any(leave.wipe for unit, leave in self._board.roster.leaving.units.items() if unit in reported)
        approved = any(unit in reported for unit, _ in self._board.standing.approved)  # it may be carried out by now
        if holding or self._holding & reported or report.operations or wiped or approved:
            self._bells.orders.set()
        self._holding = (self._holding - reported) | holding
        for event in report.events:
            if event.kind in {EventKind.FAILED, EventKind.HELD, EventKind.LOST}:
                log.warning(event.message, cluster=event.cluster, unit=str(event.unit or ""), kind=event.kind)
        self._bells.rollouts.set()
        if report.events or report.units:
            self._bells.news.ring()

    async def _note_synced(self, operation: str) -> None:
        """What a sync brought is held before the sync is over, so that a hub that is killed between hears it again."""
        row = await self._state.operation(operation)
        if row is not None and row.kind == "sync" and not row.outcome:
            await self._releases.synced(UnitName.parse(row.target))

    def _missed(self, report: Report) -> set[UnitName]:
        """Units that have another result than was known, by their worker's first word.

        The report of it was lost with an earlier process: a person may have synced it. Until now they may have been
        noted to hold what was only shown, as if they were to begin with it.
        """
        known, cluster = self._view.units, self._view.clusters.get(report.cluster)
        is_anew = cluster is None or cluster.began_at != report.began_at
        return {
            unit.unit
            for unit in report.units
            if unit.bundle is not None and not asks_recovery(unit)
            if (before := known.get(unit.unit)) is None
            or (before.bundle != unit.bundle and (is_anew or unit.unit in self._view.unspoken))
        }

    def _refused(self, report: Report) -> list[Refusal]:
        """What this report refuses that the one before did not: a refusal that stays is counted once."""
        found: list[Refusal] = []
        before = self._view.clusters.get(report.cluster)
        if report.reason and (before is None or (before.reason, before.message) != (report.reason, report.message)):
            found.append(Refusal(Boundary.CLUSTER, report.reason, report.message, cluster=report.cluster))
        for unit in report.units:
            known = self._view.units.get(unit.unit)
            if unit.reason and (known is None or (known.reason, known.message) != (unit.reason, unit.message)):
                place = {
                    "cluster": report.cluster,
                    "unit": str(unit.unit),
                    "commit": unit.observed_commit or unit.commit,
                }
                found.append(Refusal(Boundary.UNIT, unit.reason, unit.message, **place))
        return found

    async def _take_identity(self, report: Report) -> None:
        """Record the identity of a first contact, or of one that Git asked for (R1).

        Asks memory alone, because each report comes by here.
        """
        identity, recorded = report.identity, self._board.identities.of(report.cluster)
        is_trouble = report.reason and not report.reachable  # where another installation is, it is this cluster still
        if identity is None or is_trouble or recorded == identity:
            return
        entry = self._board.entries().get(report.cluster) if recorded is not None else None
        if recorded is not None and (entry is None or entry.identity != identity):
            return
        await self._state.write(
            AuditEntry(
                at=report.at,
                actor="hub",
                action="record-identity",
                cluster=report.cluster,
                identity=identity,
                reason="first contact" if recorded is None else f"written in Git; recorded before: {recorded}",
                outcome="done",
            )
        )
        await self._state.record_identity(report.cluster, identity)
        self._claims.record(report.cluster, identity)
        self._bells.orders.set()

    async def rename(self, old: ClusterName, new: ClusterName) -> None:
        """A cluster that has another name in the repo now (R2); no worker of either name runs."""
        identity = self._board.identities.of(old)
        reason = f"entry {old} is called {new} now"
        entry = AuditEntry(self._wall(), "hub", "rename-cluster", new, identity or "", reason=reason, outcome="done")
        await self._state.write(entry)
        await self._claims.rename(old, new)
        self._view.forget(old)
        event = Event(self._wall(), EventKind.NOTE, new, None, f"renamed: {reason}; record and objects stay")
        await self._state.add_events([event])
        self._bells.orders.set()  # its suspensions and holds have another name now
        self._bells.rollouts.set()  # and its way through them
        self._bells.news.ring()

    async def forget(self, cluster: ClusterName) -> None:
        """A cluster that left the repo and whose units are all let go; one that is back by now stays as it is."""
        async with self._board.publishing:  # what one that comes back meanwhile is told must not be forgotten with it
            if not self._board.has_gone(cluster):
                return
            await self._state.forget_cluster(cluster)
            self._view.forget(cluster)
            self._claims.forget(cluster)


def _without(report: Report, unnoted: Collection[UnitName]) -> Report:
    """What is kept of a report before it is noted what these units hold.

    A hub that is killed between would find them kept, and miss nothing: so what was kept of them before stays.
    """
    if not unnoted:
        return report
    return replace(report, units=tuple(unit for unit in report.units if unit.unit not in unnoted), full=False)
