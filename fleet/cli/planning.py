"""Two commits of a checkout, read and rendered: only the units whose input differs are built, on both sides.

What differs is judged in core/planning; here files are read and builds are run, without any cluster or hub.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.checkout import keeping_renderer
from fleet.cli.kept import Read, open_kept
from fleet.cli.planning_read import Both, read_both
from fleet.core.documents import canonical
from fleet.core.fleet import Fleet, OverlayState, Problem, Unit
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.objects import Bundle
from fleet.core.planning.change import How, SideProblem, SideResult, Sign, UnitChange, change_of_unit
from fleet.core.planning.fleet_plan import Comparison, SideWords
from fleet.core.release import EMPTY_BUNDLE, judge_rights
from fleet.errors import FleetError, RendererMissing, UsageInvalid
from fleet.ports.render import request_of
from fleet.ports.source import Snapshot
from fleet.render.closure import Closure
from fleet.render.facts import facts_for
from fleet.render.index import Place, place_of
from fleet.render.tools import charts_allowed
from fleet.source.local import LocalRepo, Side, open_local

if TYPE_CHECKING:
    from fleet.render.service import Renderer

_IN_FLIGHT = 16


async def compare_commits(root: Path, base: str, head: str) -> Comparison:
    """Compare two commits; base "": origin's main; head "": the working tree merged into base.

    Raises SourceError, UsageInvalid, RendererMissing; what is wrong inside a commit is in the result.
    """
    repo = open_local(root, os.environ)
    try:
        before = await repo.commit(base or await repo.default_base())
        after = await repo.commit(head, before) if head else await repo.merged_working_tree(before)
        return await _compared(before, after, await _notes(repo, before, after), repo.prefix)
    finally:
        await repo.close()


async def _notes(repo: LocalRepo, before: Side, after: Side) -> tuple[str, ...]:
    if after.info is None or await repo.is_ancestor(before, after):
        return ()
    missing = f"{_words(after).name or 'the head'} does not contain {_words(before).name or 'the base'}"
    return (f"{missing}: what only the base has is shown as undone; a merge would keep it",)


def _words(side: Side) -> SideWords:
    if side.info is None:
        return SideWords("", side.words)
    return SideWords(side.info.revision, side.words, side.info.subject)


async def _compared(before: Side, after: Side, notes: tuple[str, ...], prefix: str) -> Comparison:
    kept = open_kept(os.environ)
    names = ("base", before.snapshot.revision, prefix, str(charts_allowed(os.environ)))
    known = await kept.read_of(*names)
    both = read_both(before.snapshot, after.snapshot, known)
    fleets = both.before, both.after
    if not any(fleet.problems or fleet.clusters or fleet.overlays for fleet in fleets):
        raise UsageInvalid(
            "no fleet repo here",
            why="neither commit has a fleet.yaml, a Cluster below clusters/ or an overlay below overlays/",
            next_step="fleet init",
        )
    async with keeping_renderer(kept) as renderer:
        sides = _Sides(renderer, both, known)
        if known is None and both.clusters_directory is not None:
            await kept.keep_read(Read(both.before, sides.closures, both.clusters_directory, both.asked), *names)
        units = await sides.changes()
        held = await sides.held_beside(units)
    return Comparison(_words(before), _words(after), *fleets, tuple(sorted(both.files)), units, held, notes)


@dataclass(frozen=True, slots=True)
class _Input:
    """What one side of a unit is made from. key: equal on both sides where the result must be."""

    unit: Unit
    closure: Closure | None  # None: nothing is built, the overlay is absent
    key: object


class _Sides:
    """Both commits with one renderer, so that what they share is built once."""

    def __init__(self, renderer: Renderer, both: Both, known: Read | None) -> None:
        self._renderer, self._was, self._now = renderer, both.was, both.now
        self._before, self._after = both.before, both.after
        self._gate = asyncio.Semaphore(_IN_FLIGHT)
        built = [unit for unit in self._before.units.values() if unit.overlay.state is OverlayState.PRESENT]
        self._requests = {unit.name: request_of(unit) for unit in built}
        self.closures: dict[Place, Closure] = {}  # of the base, those that another command may take over
        for request in self._requests.values():
            place = place_of(request)
            closure = known.closures.get(place) if known is not None else None
            if closure is not None:
                renderer.learn(request, closure)
            else:
                closure = renderer.closure(self._was, request)
            if closure.error is None and not closure.widened:
                self.closures[place] = closure
        self._touched = renderer.affected(both.files)

    async def changes(self) -> tuple[UnitChange, ...]:
        """All units whose input differs, or that cannot be told afterwards."""
        unknown = {**_unknown(self._before), **_unknown(self._after)}
        names = {*self._before.units, *self._after.units, *unknown}
        found = await asyncio.gather(*(self._change(name) for name in sorted(names) if self._may_differ(name, unknown)))
        return tuple(change for change in found if change is not None)

    def _may_differ(self, name: UnitName, unknown: Mapping[UnitName, Problem]) -> bool:
        """False where the unit is the very same, and no file of its build differs."""
        old = self._before.units.get(name)
        is_same = old is not None and old is self._after.units.get(name) and name not in unknown
        return not is_same or self._requests.get(name) in self._touched

    async def held_beside(self, changes: Iterable[UnitChange]) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What all units hold on the clusters where the change brings objects; generated names clash with nothing."""
        clusters = {
            change.name.cluster for change in changes for item in change.of_sign(Sign.CREATE) if not item.renamed_from
        }
        names = [name for name in self._after.units if name.cluster in clusters]
        results = await asyncio.gather(*(self._result(self._now, self._after.units[name]) for name in names))
        return {
            name: frozenset(item.ref for item in result.objects)
            for name, result in zip(names, results, strict=True)
            if isinstance(result, Bundle)
        }

    async def _change(self, name: UnitName) -> UnitChange | None:
        old, new = self._before.units.get(name), self._after.units.get(name)
        if new is None and (problem := self._after.unknown.covers(name)) is not None:
            if old is None and self._before.unknown.covers(name) is not None:
                return None  # it could not be told before either
            path = old.path if old else ""
            return UnitChange(name, How.UNKNOWN, path_before=path, path_after=path, problem=_problem_of(problem))
        before = self._input(self._was, old) if old else None
        after = self._input(self._now, new) if new else None
        if before is not None and after is not None and before.key == after.key:
            return None
        sides = await asyncio.gather(self._side(self._was, before), self._side(self._now, after))
        lost = self._before.unknown.covers(name) if old is None else None
        if lost is not None:
            sides = [SideResult("", _problem_of(lost)), sides[1]]
        change = change_of_unit(name, *sides)
        if change.how is How.UNKNOWN and sides[0] is not None and sides[0].result == change.problem:
            return None  # it fails as it did
        return change

    def _input(self, snapshot: Snapshot, unit: Unit) -> _Input:
        if unit.overlay.state is OverlayState.ABSENT:
            return _Input(unit, None, None)
        request = request_of(unit)
        closure = self._renderer.closure(snapshot, request)
        facts = request.facts if request.substitute else canonical(facts_for(closure, request))
        failed = str(closure.error) if closure.error else ""
        digest = closure.input_digest(facts, failed.encode())
        return _Input(unit, closure, (digest, replace(request, facts=b""), unit.team))

    async def _side(self, snapshot: Snapshot, found: _Input | None) -> SideResult | None:
        if found is None:
            return None
        inputs = found.closure.input_digest() if found.closure else Digest("")
        return SideResult(found.unit.path, await self._result(snapshot, found.unit), inputs)

    async def _result(self, snapshot: Snapshot, unit: Unit) -> Bundle | SideProblem:
        if unit.overlay.state is OverlayState.ABSENT:
            return EMPTY_BUNDLE
        try:
            async with self._gate:
                bundle = await self._renderer.render(snapshot, request_of(unit))
        except RendererMissing:
            raise
        except FleetError as error:
            why = f": {error.why}" if error.why else ""
            return SideProblem(error.reason, f"{error.what}{why}", error.where, error.next_step)
        refused = judge_rights(unit, bundle, Revision(""))
        if refused is None:
            return bundle
        return SideProblem(refused.reason, refused.message, str(unit.overlay.origin), refused.next_step)


def _unknown(fleet: Fleet) -> Mapping[UnitName, Problem]:
    return fleet.unknown.units


def _problem_of(problem: Problem) -> SideProblem:
    why = f": {problem.why}" if problem.why else ""
    return SideProblem(problem.reason, f"{problem.what}{why}", str(problem.origin), problem.next_step)
