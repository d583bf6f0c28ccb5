"""What is so of all rollouts: their rows in line with the newest results, and what is known of each row's units.

The loop of rollouts asks this before it decides; nothing here changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from fleet.controllers.board import Board
from fleet.core.fleet import Fleet, Unit, Unknown
from fleet.core.gating import with_manifests
from fleet.core.ids import ClusterName, OverlayName, UnitName
from fleet.core.passage import Passage, Passages, Quarantine, Row, Stop
from fleet.core.quarantine import barred_by, with_found
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.rollout_facts import Condition, RolloutUnit, RowFacts, UnitFact
from fleet.core.steps import goes_by_steps, is_at_once, stages_of, steps_without_clusters
from fleet.core.sync_policy import Window
from fleet.core.takeover import drop_rows, halting, open_rows, take_over
from fleet.core.together import goes_along, going_back
from fleet.core.turns import with_row
from fleet.core.unit_facts import behind_of, fact_of, judged_by
from fleet.core.unsaid import is_placed, unsaid_units
from fleet.core.view import View
from fleet.core.windows import closed_by
from fleet.errors import StepInvalid
from fleet.values import dataclass, field

_ALL_IS_SAID = Unknown()


@dataclass(slots=True)
class _Group:
    """The units of one overlay. unsaid: those that the commit does not say because of a problem, and which one."""

    said: list[Unit] = field(default_factory=list[Unit])
    unsaid: list[tuple[Unit, RenderProblem]] = field(default_factory=list[tuple[Unit, RenderProblem]])

    def all(self) -> Iterator[Unit]:
        """All of them."""
        yield from self.said
        yield from (unit for unit, _ in self.unsaid)

    def units(self) -> Iterator[Unit]:
        """All of them that go by steps."""
        return filter(goes_by_steps, self.all())


@dataclass(frozen=True, slots=True)
class _Shut:
    """Which windows are closed at one look, and until when, in words. wall: seconds since the epoch."""

    wall: float
    known: dict[tuple[Window, ...], str] = field(default_factory=dict[tuple[Window, ...], str])

    def by(self, windows: tuple[Window, ...]) -> str:
        """Why these let nothing new be written; "" where they do."""
        if windows not in self.known:
            self.known[windows] = closed_by(windows, self.wall)
        return self.known[windows]


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
        rows = _open_rows_of(kept)
        shut = _Shut(wall)
        facts = {
            name: self._facts_of(fleet, groups[name], row, kept, shut)
            for name, row in rows.items()
            if name in groups and any(groups[name].units())
        }
        return kept, facts

    def _groups(self, fleet: Fleet) -> dict[OverlayName, _Group]:
        """The units of overlays that wait or are under way, or that failed, went back, and halt others."""
        books = self.board.books
        waiting = {name for name in books.waiting if books.waits(name)}
        concerned = {name.overlay for name in waiting} | open_rows(self.view.passages) | halting(self.view.passages)
        groups: dict[OverlayName, _Group] = {}
        if concerned:
            for name, unit in fleet.units.items():
                if name.overlay in concerned:
                    groups.setdefault(name.overlay, _Group()).said.append(unit)
            for unit, problem in self._unsaid(fleet, concerned):
                groups.setdefault(unit.name.overlay, _Group()).unsaid.append((unit, problem))
        return groups

    def _unsaid(self, fleet: Fleet, concerned: Iterable[OverlayName]) -> Iterator[tuple[Unit, RenderProblem]]:
        """Units that the hub knows of, and the commit in force does not say."""
        if fleet.unknown == _ALL_IS_SAID:
            return
        known = {*self.view.kept, *self.board.books.held, *fleet.unknown.units}
        for overlay, row in _open_rows_of(self.view.passages).items():
            known |= {UnitName(overlay, cluster) for cluster in row.targets if cluster in fleet.clusters}
        overlays = set(concerned)
        names = sorted(
            name
            for name in known
            if name.overlay in overlays and name not in fleet.units and name not in self.board.roster.leaving.units
        )
        for unit, problem in unsaid_units(fleet, self.view.kept, names):
            yield unit, RenderProblem(problem.reason, f"{problem.what} ({problem.origin})", fleet.commit)

    def is_rendering(self, units: Iterable[Unit]) -> bool:
        """Whether one of these units is not judged at the commit in force yet."""
        results = self.board.books.results
        return any(unit.name in self.view.rendering or unit.name not in results for unit in units)

    def _taken_over(self, fleet: Fleet, groups: Mapping[OverlayName, _Group], wall: float) -> Passages:
        books, nothing = self.board.books, _Group()
        held = books.held
        kept = with_found(self.view.passages, self.view.units.values(), books.results, wall)
        gone = [overlay for overlay in open_rows(kept) if self._is_gone(fleet, overlay, groups.get(overlay, nothing))]
        gone += [overlay for overlay in halting(kept) if self._has_left(fleet, overlay)]
        kept = drop_rows(kept, gone, wall)
        rows = _open_rows_of(kept)
        for overlay, group in groups.items():
            if self.is_rendering(group.said):
                continue
            row, wanted = rows.get(overlay), dict[ClusterName, RolloutUnit]()
            for unit, result in self._results_of(fleet, group):
                if isinstance(judged := self._judged_by(unit, result, row), Rendered):
                    had = held.get(unit.name)
                    is_asked = row is None and had is not None and had.bundle == judged.bundle
                    is_well = not is_asked or self._condition_of(fleet, unit, judged, kept) is Condition.WELL
                    target = row.targets.get(unit.name.cluster) if row is not None else None
                    is_overtaken = had is not None and had.bundle == target != judged.bundle
                    standing = Condition.WELL
                    if had is not None and is_overtaken:
                        standing = self._condition_of(fleet, unit, had, kept)
                    wanted[unit.name.cluster] = RolloutUnit(judged, had, is_well, standing)
            is_apart = self._is_apart(fleet, overlay, kept)
            kept = take_over(kept, overlay, wanted, fleet.commit, wall, is_apart=is_apart)
        return kept

    def going_back(self, passage: Passage, stop: Stop) -> frozenset[OverlayName]:
        """The overlays of a commit that go back for a failure whose policy says so."""
        known = {unit.overlay.name: unit.overlay for unit in self.view.kept.values()}
        known |= self.view.fleet.overlays if self.view.fleet is not None else {}
        return going_back(known, stop.overlay, passage.rows) if stop.overlay is not None else frozenset()

    def _is_apart(self, fleet: Fleet, overlay: OverlayName, kept: Passages) -> bool:
        """Whether the commit in force was taken back for a failure that does not take this overlay back with it."""
        stop = next((one.ended for one in kept.all if one.commit == fleet.commit and one.shut), None)
        if stop is None or stop.overlay is None:
            return False
        return not goes_along(fleet.overlays.get(overlay), fleet.overlays.get(stop.overlay))

    def _is_gone(self, fleet: Fleet, overlay: OverlayName, group: _Group) -> bool:
        """Whether an overlay goes by steps no more, or is not there any more.

        What is halted or paused, or waits where nothing is written now, stays as it is until a person goes on with it
        or a newer commit changes it: its policy alone says nothing of what was stopped.
        """
        if self._is_hidden(fleet, overlay) or any(group.units()):
            return False
        passage = with_row(self.view.passages, overlay)
        if passage is None or not group.said:
            return True
        if self.is_rendering(group.said):
            return False
        row, books = passage.rows[overlay], self.board.books
        newest = {unit.name: books.results.get(unit.name) for unit in group.said if unit.name.cluster in row.targets}
        is_newer = passage.commit != fleet.commit and any(
            isinstance(result, Rendered) and row.targets[name.cluster] != result.bundle
            for name, result in newest.items()
        )
        is_quiet = not is_at_once(group.said[0].overlay.rollout) and any(name in books.waiting for name in newest)
        return is_newer or not (passage.stopped or is_quiet)

    def _has_left(self, fleet: Fleet, overlay: OverlayName) -> bool:
        return overlay not in fleet.overlays and not self._is_hidden(fleet, overlay)

    def _is_hidden(self, fleet: Fleet, overlay: OverlayName) -> bool:
        """Whether a problem may hide what the commit in force says of it."""
        is_covered = fleet.unknown.covers(UnitName(overlay, ClusterName(""))) is not None
        return is_covered or any(name.overlay == overlay for name in fleet.unknown.units)

    def _condition_of(self, fleet: Fleet, unit: Unit, result: Rendered, kept: Passages) -> Condition:
        return self._fact_of(fleet, unit, result, kept.quarantine).condition

    def _results_of(self, fleet: Fleet, group: _Group) -> Iterator[tuple[Unit, Result]]:
        """All units that go by steps with their newest result, or why there is none."""
        results = self.board.books.results
        for unit in filter(goes_by_steps, group.said):
            yield unit, results.get(unit.name) or RenderProblem("", "it is not built yet", fleet.commit)
        yield from ((unit, problem) for unit, problem in group.unsaid if goes_by_steps(unit))

    def _judged_by(self, unit: Unit, result: Result, row: Row | None) -> Result:
        target = row.targets.get(unit.name.cluster) if row is not None else None
        return judged_by(result, self.board.books.held.get(unit.name), target)

    def _facts_of(self, fleet: Fleet, group: _Group, row: Row, kept: Passages, shut: _Shut) -> RowFacts:
        """Facts of one overlay; group: all of it."""
        first = next(group.all()).overlay
        closed = shut.by(first.sync.windows)
        steps = {unit.name.cluster: (unit, result) for unit, result in self._results_of(fleet, group)}
        clusters = {name: unit.cluster for name, (unit, _) in steps.items() if is_placed(unit)}
        policy = first.rollout
        # Also those that are only observed: their step is one that nothing is to be done in, and not a wrong one.
        own = {unit.name.cluster: unit.cluster for unit in group.all() if is_placed(unit)}
        among = own if policy.own_steps else fleet.clusters
        empty = steps_without_clusters(policy, among.values())
        staged = stages_of(policy, clusters, fleet.environments)
        stages = with_manifests(staged.stages, fleet)
        units = {
            name: self._fact_of(fleet, unit, self._judged_by(unit, result, row), kept.quarantine, closed)
            for name, (unit, result) in steps.items()
        }
        # A step whose clusters refuse what they should have now proves nothing: it is not one without a change.
        untouched = [
            stage
            for stage in stages
            if kept.quarantine.get(first.name) and not any(name in row.targets for name in stage.clusters)
        ]
        barred = {
            name: units[name].why
            for stage in untouched
            for name in stage.clusters
            if not units[name].released
            if barred_by(kept.quarantine, UnitName(first.name, name), (units[name].target,)) is not None
        }
        missing = {name: result.message for name, (_, result) in steps.items() if isinstance(result, RenderProblem)}
        return RowFacts(
            stages=stages,
            units=units,
            patience_seconds=policy.health_timeout_seconds,
            on_failure=policy.on_failure,
            broken={step.name: f"it matches no cluster ({step.origin})" for step in empty},
            lost={
                name: why
                for name, why in {**missing, **barred}.items()
                if not self.board.standing.suspensions_of(steps[name][0])
            },
            left_over=frozenset(
                name
                for name in staged.left_over
                # Another problem may hide another entry, which a step takes.
                if isinstance(result := steps[name][1], RenderProblem) and result.reason == StepInvalid.__name__
            ),
        )

    def _fact_of(self, fleet: Fleet, unit: Unit, result: Result, quarantine: Quarantine, closed: str = "") -> UnitFact:
        books = self.board.books
        return fact_of(
            unit,
            result=result,
            held=books.held.get(unit.name),
            report=self.view.units.get(unit.name),
            cluster=self.view.clusters.get(unit.name.cluster),
            suspensions=self.board.standing.suspensions_of(unit),
            quarantine=quarantine,
            behind=behind_of(
                unit,
                fleet,
                results=self.board.books.results,
                building=self.view.rendering,
                waits=lambda name: books.waits(name) or books.is_by_hand(name),
                quarantine=quarantine,
            ),
            now=self.wall(),
            is_unspoken=unit.name in self.view.unspoken,
            closed=closed,
        )


def _open_rows_of(kept: Passages) -> dict[OverlayName, Row]:
    """The rows that are under way."""
    return {
        overlay: row
        for passage in kept.all
        if not passage.outcome
        for overlay, row in passage.rows.items()
        if not row.done
    }
