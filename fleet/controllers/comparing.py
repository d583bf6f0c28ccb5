"""Two commits of a fleet repo, unit by unit: what is made from another input is rendered on both sides and compared.

The same for a person's plan before the merge and for the hub after it, so that both come to the same digest. The
renderer remembers nothing of it: the hub asks its index what the next commit touches of the one in force (R6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from fleet.core.fleet import Fleet, OverlayState, Unit
from fleet.core.ids import Digest, ObjectRef, Revision, UnitName
from fleet.core.objects import Bundle
from fleet.core.planning.change import How, SideProblem, SideResult, Sign, UnitChange, change_of_unit
from fleet.core.planning.inputs import RenderInputs, UnitInput, is_unit_touched
from fleet.core.planning.renamed_clusters import under_new_names
from fleet.core.problems import Problem
from fleet.core.results import EMPTY_BUNDLE, judge_rights
from fleet.errors import FleetError, RendererMissing
from fleet.ports.render import Renderer, request_of
from fleet.ports.source import Snapshot

_IN_FLIGHT = 16


class Comparing:
    """Both commits with one renderer, so that what they share is built once.

    Units of a renamed cluster are compared under its new name, each side made with the name that it gives (R2).
    """

    def __init__(
        self,
        renderer: Renderer,
        was: Snapshot,
        now: Snapshot,
        before: Fleet,
        after: Fleet,
        *,
        passing: tuple[type[FleetError], ...] = (),
    ) -> None:
        """passing: errors that say nothing of a unit and are raised; others are what cannot be told of it."""
        self._raised = RendererMissing, *passing
        self._renderer, self._was, self._now = renderer, was, now
        self._before, self._after = under_new_names(before, after), after
        self._gate = asyncio.Semaphore(_IN_FLIGHT)
        self._turn = asyncio.Lock()
        self.bundles: dict[UnitName, tuple[Bundle | None, Bundle | None]] = {}  # of what differs, before and after

    async def changes(self, is_same: Callable[[UnitName], bool] = lambda _: False) -> tuple[UnitChange, ...]:
        """All units whose input differs, or that cannot be told afterwards; sorted by name.

        is_same: says of a unit of both commits that it is the very same, without looking at its input. Raises
        RendererMissing, and what passes.
        """
        unknown = {*self._before.unknown.units, *self._after.unknown.units}
        names = {*self._before.units, *self._after.units, *unknown}
        asked = sorted(name for name in names if name in unknown or not self._is_known(name) or not is_same(name))
        found = await asyncio.gather(*(self._change(name) for name in asked))
        return tuple(change for change in found if change is not None)

    def _is_known(self, name: UnitName) -> bool:
        old = self._before.units.get(name)
        return old is not None and old is self._after.units.get(name)

    async def held_beside(
        self,
        changes: Iterable[UnitChange],
        also: Collection[UnitName] = (),
        *,
        signs: Collection[Sign] = (Sign.CREATE, Sign.DELETE),
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What all units hold on the clusters where the change brings or drops objects, by the later commit.

        Generated names clash with nothing, and units that cannot be built are left out. also: units of the later commit
        that are wanted in any case; signs: DELETE alone is enough for `with_moves`. Raises RendererMissing, and what
        passes.
        """
        clusters = {
            change.name.cluster
            for change in changes
            for item in change.objects
            if item.sign in signs and (item.sign is Sign.CREATE or item.hook is None)
        }
        names = [name for name in self._after.units if name.cluster in clusters or name in also]
        held = await asyncio.gather(*(self._refs(self._after.units[name]) for name in names))
        return {name: refs for name, refs in zip(names, held, strict=True) if refs is not None}

    async def _refs(self, unit: Unit) -> frozenset[ObjectRef] | None:
        """What a unit holds; its bundle is not kept: all of a fleet's together are gigabytes."""
        result = await self._result(self._now, unit)
        return frozenset(item.ref for item in result.objects) if isinstance(result, Bundle) else None

    async def learn(self, names: Iterable[UnitName]) -> None:
        """Have the bundles of these units too, which the same input makes on both sides; what fails has none."""
        for name in names:
            if name not in self.bundles:
                result = await self._result(self._now, self._after.units[name])
                whole = result if isinstance(result, Bundle) else None
                self.bundles[name] = (whole, whole)

    async def _change(self, name: UnitName) -> UnitChange | None:
        old, new = self._before.units.get(name), self._after.units.get(name)
        if new is None and (problem := self._after.unknown.covers(name)) is not None:
            if old is None and self._before.unknown.covers(name) is not None:
                return None  # it could not be told before either
            path = old.path if old else ""
            return UnitChange(name, How.UNKNOWN, path_before=path, path_after=path, problem=_problem_of(problem))
        async with self._turn:
            before = self._input(self._was, old) if old else None
            after = self._input(self._now, new) if new else None
            await asyncio.sleep(0)  # of thousands of units one at a time: the loop has other work too (R17)
        is_touched = before is None or after is None or is_unit_touched(before, after, lambda: self._differing)
        if before is not None and after is not None and before.gives_as(after) and not is_touched:
            return None
        sides = await asyncio.gather(self._side(self._was, before), self._side(self._now, after))
        was, now = (side.result if side and isinstance(side.result, Bundle) else None for side in sides)
        self.bundles[name] = (was, now)
        lost = self._before.unknown.covers(name) if old is None else None
        if lost is not None:
            sides = [SideResult("", _problem_of(lost)), sides[1]]
        change = change_of_unit(name, sides[0], sides[1], new.overlay.ignore if new is not None else ())
        if change.how is How.UNKNOWN and sides[0] is not None and sides[0].result == change.problem and not is_touched:
            return None  # it fails as it did
        return change

    @cached_property
    def _differing(self) -> tuple[str, ...]:
        """All paths that differ between the two commits."""
        was, now = self._was.tree, self._now.tree
        return tuple(path for path in was.keys() | now.keys() if was.get(path) != now.get(path))

    def _input(self, snapshot: Snapshot, unit: Unit) -> UnitInput:
        if unit.overlay.state is OverlayState.ABSENT:
            return UnitInput(unit, RenderInputs(Digest(""), Digest("")), None)
        request = request_of(unit)
        return UnitInput(unit, self._renderer.inputs(snapshot, request), (replace(request, facts=b""), unit.team))

    async def _side(self, snapshot: Snapshot, found: UnitInput | None) -> SideResult | None:
        if found is None:
            return None
        return SideResult(found.unit.path, await self._result(snapshot, found.unit), found.made_from.all)

    async def _result(self, snapshot: Snapshot, unit: Unit) -> Bundle | SideProblem:
        if unit.overlay.state is OverlayState.ABSENT:
            return EMPTY_BUNDLE
        try:
            async with self._gate:
                bundle = await self._renderer.render(snapshot, request_of(unit), remember=False)
        except self._raised:
            raise
        except FleetError as error:
            why = f": {error.why}" if error.why else ""
            return SideProblem(error.reason, f"{error.what}{why}", error.where, error.next_step)
        refused = judge_rights(unit, bundle, Revision(""))
        if refused is None:
            return bundle
        return SideProblem(refused.reason, refused.message, str(unit.overlay.origin), refused.next_step)


def _problem_of(problem: Problem) -> SideProblem:
    why = f": {problem.why}" if problem.why else ""
    return SideProblem(problem.reason, f"{problem.what}{why}", str(problem.origin), problem.next_step)
