"""How far each commit has come: from its fetch until every unit that it changes holds it and is Healthy.

The start of the newest commit is kept in the state, so that its trace and its figure survive a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fleet import telemetry
from fleet.core.ids import ClusterName, Revision, UnitName
from fleet.core.results import Rendered, RenderProblem
from fleet.core.status import WELL, Sync, UnitReport
from fleet.core.view import View
from fleet.ports.state import State
from fleet.telemetry import Traces, cluster_span_of

STARTED = "commit-started"  # "<revision> <wall clock>", then " done"
DONE = "done"
CONVERGED_KEPT = 1000  # commits that are known to have converged


class Convergence:
    """Follows the newest commit; an older one that did not finish is superseded.

    A unit whose build fails at this very commit keeps it from converging.
    """

    def __init__(self, view: View, state: State, traces: Traces, wall: Callable[[], float]) -> None:
        self._view, self._state, self._traces, self._wall = view, state, traces, wall
        self._commit: Revision | None = None
        self._started = 0.0
        self._all_released = False
        self._waiting: dict[ClusterName, set[UnitName]] = {}  # clusters with nothing to wait for are not in it
        self._spanned: set[UnitName] = set()  # their spans are sent
        self._touched: dict[ClusterName, float] = {}  # clusters with spans to come -> start of the first apply

    async def begin(self, commit: Revision, started: float) -> None:
        """A commit is in force from now on."""
        known = (await self._state.get_value(STARTED) or "").split()
        if len(known) >= 2 and known[0] == commit:
            started = float(known[1])
            if DONE in known:
                self._view.converged.add(commit)
        else:
            if len(known) == 2:
                self._root(Revision(known[0]), float(known[1]), "superseded")
            await self._state.set_value(STARTED, f"{commit} {started!r}")
        self._commit, self._started, self._all_released = commit, started, False
        self._waiting, self._touched = {}, {}
        # What was there before a restart has had its span.
        self._spanned = {name for name, unit in self._view.units.items() if unit.commit == commit and is_well(unit)}

    async def released(self, commit: Revision) -> None:
        """All results of this commit are with the workers now."""
        if commit != self._commit:
            return
        self._all_released = True
        self._waiting = {}
        for name, result in self._view.results.items():
            if result.commit == commit if isinstance(result, RenderProblem) else not self._is_there(name, result):
                self._waiting.setdefault(name.cluster, set()).add(name)
        self._close(list(self._touched))
        await self._settle()

    def _is_there(self, name: UnitName, result: Rendered) -> bool:
        return is_there(self._view.units.get(name), result)

    async def heard(self, unit: UnitReport) -> None:
        """A unit reported."""
        result = self._view.results.get(unit.unit)
        if not isinstance(result, Rendered):
            return
        if is_there(unit, result):
            # A quick cluster answers before all results of the commit are released.
            waiting = self._waiting.get(unit.unit.cluster, set())
            waiting.discard(unit.unit)
            if not waiting:
                self._waiting.pop(unit.unit.cluster, None)
            self._span(unit)
            self._close([unit.unit.cluster])
            await self._settle()
        elif self._all_released and result.commit == self._commit and self._commit not in self._view.converged:
            self._waiting.setdefault(unit.unit.cluster, set()).add(unit.unit)

    def _span(self, unit: UnitReport) -> None:
        commit, cluster = self._commit, unit.unit.cluster
        if commit is None or unit.commit != commit or unit.unit in self._spanned:
            return
        self._spanned.add(unit.unit)
        start = unit.applied_at or self._started
        self._touched[cluster] = min(start, self._touched.get(cluster, start))
        attributes = {
            telemetry.KEY_UNIT: str(unit.unit),
            telemetry.KEY_CLUSTER: str(cluster),
            telemetry.KEY_COUNT: unit.changed,
        }
        parent = cluster_span_of(self._traces.installation, commit, cluster)
        end = max(start, unit.observed_at)
        self._traces.span(telemetry.SPAN_UNIT, commit, start, end, attributes=attributes, parent=parent)

    def _close(self, clusters: Iterable[ClusterName]) -> None:
        """Send the spans of those among these clusters on which nothing waits any more."""
        commit = self._commit
        if commit is None or not self._all_released:
            return
        for cluster in [name for name in clusters if name in self._touched and name not in self._waiting]:
            start = self._touched.pop(cluster)
            where = {telemetry.KEY_CLUSTER: str(cluster)}
            span_id = cluster_span_of(self._traces.installation, commit, cluster)
            end = max(start, self._wall())
            self._traces.span(telemetry.SPAN_CLUSTER, commit, start, end, attributes=where, span_id=span_id)

    async def _settle(self) -> None:
        commit = self._commit
        if commit is None or not self._all_released or self._waiting or commit in self._view.converged:
            return
        if len(self._view.converged) >= CONVERGED_KEPT:
            self._view.converged.clear()
        self._view.converged.add(commit)
        telemetry.CONVERGED.observe(max(0.0, self._wall() - self._started))
        self._root(commit, self._started, "converged")
        await self._state.set_value(STARTED, f"{commit} {self._started!r} {DONE}")

    def _root(self, commit: Revision, started: float, outcome: str) -> None:
        end = max(started, self._wall())
        self._traces.span(telemetry.SPAN_COMMIT, commit, started, end, attributes={telemetry.KEY_OUTCOME: outcome})


def is_there(report: UnitReport | None, result: Rendered) -> bool:
    """Whether a unit holds this result and is Healthy with it."""
    return report is not None and report.bundle == result.bundle and is_well(report)


def is_well(report: UnitReport) -> bool:
    """Synced and Healthy."""
    return report.sync is Sync.SYNCED and report.health in WELL
