"""How far each commit has come: from its fetch until every unit that it changes holds it and is Healthy.

The start of the newest commit is kept in the state, so that its trace and its figure survive a restart.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet import telemetry
from fleet.core.ids import Revision, UnitName
from fleet.core.release import Rendered
from fleet.core.status import Health, Sync, UnitReport
from fleet.core.view import View
from fleet.ports.state import State
from fleet.telemetry import Traces

STARTED = "commit-started"  # "<revision> <wall clock>"


class Convergence:
    """Follows the newest commit; an older one that did not finish is superseded."""

    def __init__(self, view: View, state: State, traces: Traces, wall: Callable[[], float]) -> None:
        self._view, self._state, self._traces, self._wall = view, state, traces, wall
        self._commit: Revision | None = None
        self._started = 0.0
        self._all_released = False
        self._waiting: set[UnitName] = set()

    async def begin(self, commit: Revision, started: float) -> None:
        """A commit is in force from now on."""
        known = (await self._state.get_value(STARTED) or "").split()
        if len(known) == 2 and known[0] == commit:
            started = float(known[1])
        else:
            self._end(superseded=True)
            await self._state.set_value(STARTED, f"{commit} {started!r}")
        self._commit, self._started, self._all_released = commit, started, False
        self._waiting = set()

    def released(self, commit: Revision) -> None:
        """All results of this commit are with the workers now."""
        if commit != self._commit:
            return
        self._all_released = True
        self._waiting = {
            name
            for name, result in self._view.results.items()
            if isinstance(result, Rendered) and not is_there(self._view.units.get(name), result)
        }
        self._settle()

    def heard(self, unit: UnitReport) -> None:
        """A unit reported."""
        result = self._view.results.get(unit.unit)
        if isinstance(result, Rendered) and is_there(unit, result):
            if unit.unit in self._waiting:
                self._waiting.discard(unit.unit)
                self._span(unit)
                self._settle()
        elif self._all_released and isinstance(result, Rendered) and result.commit == self._commit:
            self._waiting.add(unit.unit)

    def _span(self, unit: UnitReport) -> None:
        if self._commit is None or unit.commit != self._commit:
            return
        start = unit.applied_at or self._started
        attributes = {
            telemetry.KEY_UNIT: str(unit.unit),
            telemetry.KEY_CLUSTER: str(unit.unit.cluster),
            telemetry.KEY_COUNT: unit.changed,
        }
        self._traces.span(telemetry.SPAN_UNIT, self._commit, start, unit.observed_at, attributes=attributes)

    def _settle(self) -> None:
        if self._all_released and not self._waiting:
            self._end(superseded=False)

    def _end(self, *, superseded: bool) -> None:
        commit = self._commit
        if commit is None or commit in self._view.converged:
            return
        now = self._wall()
        self._traces.span(
            telemetry.SPAN_COMMIT,
            commit,
            self._started,
            now,
            attributes={"fleet.outcome": "superseded" if superseded else "converged"},
        )
        if not superseded:
            self._view.converged.add(commit)
            telemetry.CONVERGED.observe(max(0.0, now - self._started))


def is_there(report: UnitReport | None, result: Rendered) -> bool:
    """Whether a unit holds this result and is Healthy with it."""
    return (
        report is not None
        and report.bundle == result.bundle
        and report.sync is Sync.SYNCED
        and report.health is Health.HEALTHY
    )
