"""What is so of all rollouts: their rows in line with the newest results, and what is known of each row's units.

The loop of rollouts asks this before it decides; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fleet.controllers.board import Board
from fleet.core.fleet import Fleet, OverlayState, Unit
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.passage import Passages
from fleet.core.results import Rendered
from fleet.core.rollout_facts import RowFacts
from fleet.core.steps import goes_by_steps, stages_of, steps_without_clusters
from fleet.core.takeover import Wanted, drop_rows, open_rows, take_over
from fleet.core.unit_facts import fact_of
from fleet.core.view import View


@dataclass(frozen=True, slots=True)
class Rows:
    """One instance per hub. wall: seconds since the epoch."""

    board: Board
    view: View
    wall: Callable[[], float]

    def known(self, fleet: Fleet, wall: float) -> tuple[Passages, Mapping[OverlayName, RowFacts]]:
        """All rows in line with the newest results, and what is known of the units of each."""
        groups = self._groups(fleet)
        kept = self._taken_over(fleet, groups, wall)
        facts = {name: self._facts_of(fleet, groups[name], kept) for name in open_rows(kept) if name in groups}
        return kept, facts

    def _groups(self, fleet: Fleet) -> dict[OverlayName, list[Unit]]:
        """The units of overlays that wait or are under way."""
        waiting = {name for name in self.board.waiting() if self.board.waits(name)}
        concerned = {name.overlay for name in waiting} | open_rows(self.view.passages)
        groups: dict[OverlayName, list[Unit]] = {}
        if concerned:
            for name, unit in fleet.units.items():
                if name.overlay in concerned:
                    groups.setdefault(name.overlay, []).append(unit)
        return groups

    def is_rendering(self, units: Iterable[Unit]) -> bool:
        """Whether one of these units is not judged at the commit in force yet."""
        return any(unit.name in self.view.rendering or unit.name not in self.board.results for unit in units)

    def _taken_over(self, fleet: Fleet, groups: Mapping[OverlayName, list[Unit]], wall: float) -> Passages:
        kept, held = self.view.passages, self.board.held()
        gone = [
            overlay
            for overlay in open_rows(kept)
            if not fleet.unknown.covers(UnitName(overlay, ClusterName("")))
            and not any(name.overlay == overlay for name in fleet.unknown.units)
            and not any(goes_by_steps(unit) for unit in groups.get(overlay, ()))
        ]
        kept = drop_rows(kept, gone, wall)
        for overlay, units in groups.items():
            if self.is_rendering(units):
                continue
            wanted = {
                unit.name.cluster: Wanted(result, held.get(unit.name))
                for unit in units
                if goes_by_steps(unit) and isinstance(result := self.board.results.get(unit.name), Rendered)
            }
            kept = take_over(kept, overlay, wanted, fleet.commit, wall)
        return kept

    def _facts_of(self, fleet: Fleet, units: list[Unit], kept: Passages) -> RowFacts:
        """Facts of one overlay; units: all of it."""
        first = units[0].overlay
        steps = {unit.name.cluster: unit for unit in units if goes_by_steps(unit)}
        clusters = {name: unit.cluster for name, unit in steps.items()}
        policy = first.rollout
        among = clusters if policy.own_steps else fleet.clusters
        empty = steps_without_clusters(policy, among.values())
        now, quarantine = self.wall(), kept.quarantine.get(first.name, {})
        return RowFacts(
            stages=stages_of(policy, clusters, fleet.environments).stages,
            units={
                name: fact_of(
                    unit,
                    result=self.board.results.get(unit.name),
                    held=self.board.released_of(unit.name),
                    report=self.view.units.get(unit.name),
                    cluster=self.view.clusters.get(name),
                    suspensions=self.board.suspensions_of(unit),
                    quarantine=quarantine,
                    behind=self._behind(unit, fleet),
                    now=now,
                )
                for name, unit in steps.items()
            },
            patience_seconds=policy.health_timeout_seconds,
            on_failure=policy.on_failure,
            broken={step.name: f"it matches no cluster ({step.origin})" for step in empty},
        )

    def _behind(self, unit: Unit, fleet: Fleet) -> str:
        if unit.overlay.state is OverlayState.ABSENT:
            return ""  # it goes before what it depends on, which its worker sees to
        for other in unit.overlay.depends_on:
            name = UnitName(other, unit.name.cluster)
            if name in fleet.units and self.board.waits(name):
                return str(name)
        return ""
