"""Finds the results of units: which have to be found anew with a commit, their builds, and what a failed one says.

A build that fails keeps its units on what they hold (R5); one that failed for a passing reason is made again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Container, Mapping
from dataclasses import replace

import structlog

from fleet import telemetry
from fleet.controllers.books import Books
from fleet.controllers.refusals import Refusals
from fleet.controllers.releases import Releases
from fleet.controllers.unit_requests import UnitRequests
from fleet.core.fleet import Fleet, OverlayState, Unit
from fleet.core.ids import Digest, OverlayName, UnitName
from fleet.core.objects import Bundle
from fleet.core.refusal_log import Boundary, Refusal
from fleet.core.results import (
    EMPTY_BUNDLE,
    Rendered,
    RenderProblem,
    Result,
    holds_secret,
    inputs_of,
    judge_rights,
    takes_values,
)
from fleet.errors import FleetError, RenderInterrupted, RenderTimeout, Retry, StateError
from fleet.ports.render import Renderer, RenderRequest, request_of
from fleet.ports.source import Snapshot
from fleet.ports.state import Bells

log = structlog.get_logger("commits")
RENDERS_IN_FLIGHT = 8  # overlays, or twice the builders; those that have begun are always awaited
BUILD_SECONDS = 120.0  # then nothing more is begun before Git is asked again, where
BROKEN_OFF = 2  # so many builds of a take ran into their time limit, or were ended from outside
_PAUSE_OF_RELEASE = 4.0  # times what one took, before the next one of a commit


class Rendering:
    """Results of all units of the commit in force."""

    def __init__(
        self, renderer: Renderer, releases: Releases, books: Books, bells: Bells, refusals: Refusals, builders: int
    ) -> None:
        """builders: how many builds the renderer makes at one time."""
        self._renderer, self._releases, self._books = renderer, releases, books
        self._bells, self._refusals, self._builders = bells, refusals, builders
        self._requests = UnitRequests()
        self._again: set[UnitName] = set()  # their builds failed for a passing reason
        self._slow: set[OverlayName] = set()  # their last build ran into its time limit, or was ended from outside
        self._broken_off = 0  # builds of this take
        self._build_until = 0.0  # on the monotonic clock

    def stale(
        self, fleet: Fleet, resolved: frozenset[UnitName], changed: frozenset[str] | None
    ) -> dict[UnitName, RenderRequest]:
        """Units whose result must be found anew, with what to build for each; what broke off before is among them."""
        unused: list[RenderRequest] = []
        may_have_left = bool(resolved) or changed is None or bool(changed)
        for name in [name for name in self._requests.of_unit if name not in fleet.units] if may_have_left else []:
            request = self._requests.drop(name)
            if request is not None:
                unused.append(request)
        stale, self._again = self._again, set()
        for name in resolved:
            unit, result = fleet.units[name], self._books.results.get(name)
            request = request_of(unit)
            is_absent = unit.overlay.state is OverlayState.ABSENT
            was_absent = isinstance(result, Rendered) and result.bundle == EMPTY_BUNDLE.digest
            if not self._requests.is_as(name, request, unit.team) or result is None or is_absent != was_absent:
                stale.add(name)
                earlier = self._requests.put(name, request, unit.team)
                if earlier is not None:
                    unused.append(earlier)
        if changed is None:
            stale |= set(self._requests.of_unit)  # nobody can say what differs; the render cache makes this cheap
        else:
            for request in self._renderer.affected(changed):
                stale |= self._requests.users.get(request, set())
        self._renderer.forget(unused)
        return {name: self._requests.of_unit[name] for name in sorted(stale) if name in self._requests.of_unit}

    async def render(self, snapshot: Snapshot, fleet: Fleet, todo: Mapping[UnitName, RenderRequest]) -> None:
        """Build each request once; release an overlay as soon as all its units are known.

        Git is asked again after that. So that builds of a few that run into their limits hold up no newer commit,
        suspension or sync of all others (R17), none is begun `BUILD_SECONDS` after them: what is not built by then
        counts as a build that broke off, which keeps its units on what they hold, and is built with the next fetch. The
        first commit of an empty state is built as a whole: it goes to all clusters together.

        A release costs in proportion to all units of the clusters it concerns; those of a very large fleet are made
        fewer, so that they take a fifth of the time at most.
        """
        by_overlay: dict[OverlayName, dict[UnitName, RenderRequest]] = {}
        for name, request in todo.items():
            by_overlay.setdefault(name.overlay, {})[name] = request
        gate = asyncio.Semaphore(max(RENDERS_IN_FLIGHT, 2 * self._builders))
        self._broken_off = 0
        self._build_until = time.monotonic() + (float("inf") if self._books.is_first else BUILD_SECONDS)
        releasing = asyncio.Lock()
        ready: dict[UnitName, Result] = {}
        left = len(todo)

        async def one_overlay(units: Mapping[UnitName, RenderRequest]) -> None:
            nonlocal left
            async with gate:
                ready.update(await self._results_of(snapshot, fleet, units))
            async with releasing:
                if not ready:
                    return  # released together with another overlay
                results, began = dict(ready), time.monotonic()
                ready.clear()
                left -= len(results)
                await self._releases.release(results)
                self._bells.rollouts.set()
                if left:
                    await asyncio.sleep(_PAUSE_OF_RELEASE * (time.monotonic() - began))

        try:
            async with asyncio.TaskGroup() as tasks:
                for overlay in self._in_turn(fleet, by_overlay):
                    tasks.create_task(one_overlay(by_overlay[overlay]), name=f"render {overlay}")
        except* StateError as group:
            error = group.exceptions[0]  # the state's trouble is the same for all overlays
            raise error from None

    def _in_turn(
        self, fleet: Fleet, overlays: Mapping[OverlayName, Mapping[UnitName, RenderRequest]]
    ) -> list[OverlayName]:
        """Teams take turns, each with what broke off before at its end; last comes what ran into its limits."""
        self._slow &= {name.overlay for name in self._requests.of_unit} if self._slow else set()
        broke_off = {
            overlay
            for overlay, units in overlays.items()
            for result in map(self._books.results.get, units)
            if isinstance(result, RenderProblem) and result.reason == RenderInterrupted.__name__
        }
        turns: dict[tuple[bool, str], int] = {}
        places: dict[OverlayName, tuple[bool, int, bool, OverlayName]] = {}
        for overlay in sorted(overlays, key=lambda name: (name in broke_off, name)):
            team = fleet.units[next(iter(overlays[overlay]))].team
            whose = (overlay in self._slow, team.name if team is not None else "")
            turns[whose] = turns.get(whose, 0) + 1
            places[overlay] = (overlay in self._slow, turns[whose], overlay in broke_off, overlay)
        return sorted(overlays, key=places.__getitem__)

    @property
    def failed_for_now(self) -> bool:
        """Whether a build failed for a passing reason."""
        return bool(self._again)

    async def retry(self, snapshot: Snapshot, fleet: Fleet | None) -> bool:
        """Build once more what failed for a passing reason, as a build that took too long on a busy machine.

        False where no commit is in force.
        """
        again, self._again = self._again, set()
        todo = {name: self._requests.of_unit[name] for name in sorted(again) if name in self._requests.of_unit}
        if fleet is None:
            return False
        try:
            await self.render(snapshot, fleet, todo)
        except StateError:
            self._again |= again
            raise
        return True

    async def _results_of(
        self, snapshot: Snapshot, fleet: Fleet, units: Mapping[UnitName, RenderRequest]
    ) -> dict[UnitName, Result]:
        done: dict[RenderRequest, Result] = {}
        results: dict[UnitName, Result] = {}
        for name, request in units.items():
            unit = fleet.units[name]
            if unit.overlay.state is OverlayState.ABSENT:
                results[name] = self._keep_commit(name, Rendered(EMPTY_BUNDLE.digest, snapshot.revision))
                continue
            if request not in done:
                done[request] = await self._result_of(snapshot, unit, request)
            results[name] = self._keep_commit(name, done[request])
        return results

    async def _result_of(self, snapshot: Snapshot, unit: Unit, request: RenderRequest) -> Result:
        try:
            bundle = await self._built(snapshot, request)
        except FleetError as error:
            telemetry.RENDERS.labels("failed").inc()
            where = f" ({error.where})" if error.where else ""
            if isinstance(error, RenderTimeout) or (error.retry is Retry.SOON and not self._is_cut):
                self._slow.add(unit.name.overlay)
                self._broken_off += 1
            if error.retry is Retry.SOON:
                self._again |= self._requests.users.get(request, set())
            problem = RenderProblem(error.reason, f"{error.brief}{where}", snapshot.revision, error.next_step)
            return self._refused(unit, problem)
        telemetry.RENDERS.labels("good").inc()
        self._slow.discard(unit.name.overlay)
        problem = judge_rights(unit, bundle, snapshot.revision)
        if problem:
            return self._refused(unit, problem)
        inputs = self._inputs_of(snapshot, unit, request) if holds_secret(bundle) else Digest("")
        return Rendered(bundle.digest, snapshot.revision, inputs)

    @property
    def _is_cut(self) -> bool:
        """Whether nothing more is begun before Git is asked again."""
        return self._broken_off >= BROKEN_OFF and time.monotonic() > self._build_until

    async def _built(self, snapshot: Snapshot, request: RenderRequest) -> Bundle:
        try:
            if self._is_cut:
                return await self._renderer.render(snapshot, request, only_kept=True)
            return await self._renderer.render(snapshot, request)
        except FleetError:
            raise
        except Exception as error:  # the edge of one build: a bug in it must not keep all others from being released
            log.exception("build failed", path=request.path, commit=snapshot.revision)
            raise RenderInterrupted(
                f"{request.path} could not be built",
                why=f"a bug of the hub ({type(error).__name__}); its log has the trace",
                next_step="report it as a bug of fleet; it is tried again with the next fetch",
            ) from error

    def _inputs_of(self, snapshot: Snapshot, unit: Unit, request: RenderRequest) -> Digest:
        files = self._renderer.inputs(snapshot, request).files
        ids = {path: entry.oid for path in _written(unit) if (entry := snapshot.tree.get(path)) is not None}
        return inputs_of(unit, files, ids)

    def made_anew(
        self, snapshot: Snapshot, fleet: Fleet, before: Fleet, changed: frozenset[str], built: Container[UnitName]
    ) -> dict[UnitName, Result]:
        """Results that are not built anew, and are made from other files all the same: where variables are written."""
        found: dict[UnitName, Result] = {}
        for name, result in self._books.results.items():
            if not isinstance(result, Rendered) or not result.inputs or name in built:
                continue
            unit, was = fleet.units.get(name), before.units.get(name)
            if unit is None or not takes_values(unit):
                continue
            if not changed.isdisjoint(_written(unit) | _written(was or unit)):
                inputs = self._inputs_of(snapshot, unit, self._requests.of_unit[name])
                found[name] = replace(result, inputs=inputs)
        return found

    def _refused(self, unit: Unit, problem: RenderProblem) -> RenderProblem:
        """Count it once for all units of the overlay that are built from the same input."""
        place = {"unit": str(unit.name.overlay), "object": unit.path, "commit": problem.commit}
        self._refusals.note(Refusal(Boundary.RENDER, problem.reason, problem.message, **place))
        return problem

    def _keep_commit(self, name: UnitName, result: Result) -> Result:
        """The commit that first brought a bundle stays with it: a unit whose result is the same is not touched.

        Also where a hub that was killed had only shown it: what came with one commit goes through the steps together.
        """
        if isinstance(result, Rendered):
            shown = self._books.shown.get(name)
            known = shown.result if shown is not None else None
            for earlier in (self._books.held.get(name), self._books.results.get(name), known):
                if isinstance(earlier, Rendered) and earlier.bundle == result.bundle:
                    return replace(result, commit=earlier.commit)
        return result


def _written(unit: Unit) -> set[str]:
    """The files in which its variables are written."""
    return {one.origin.path for one in unit.variables.values()}
