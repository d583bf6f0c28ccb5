"""Two commits of a checkout, read and rendered: only the units whose input differs are built, on both sides.

What differs is judged in core/planning; here files are read and builds are run, without any cluster or hub.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from fleet.cli.kept import Read
from fleet.cli.planning_read import Both, read_both
from fleet.controllers.comparing import Comparing
from fleet.core.fleet import Fleet, OverlayState
from fleet.core.ids import UnitName
from fleet.core.objects import is_secret, seals_of
from fleet.core.planning.change import How, UnitChange, with_moves
from fleet.core.planning.fleet_plan import Comparison, SideWords
from fleet.core.planning.woken import Begins, woken_of
from fleet.errors import UsageInvalid
from fleet.ports.render import request_of
from fleet.render.index import Place, place_of
from fleet.render.inputs import Closure
from fleet.source.local import Side

if TYPE_CHECKING:
    from fleet.cli.opening import Opened
    from fleet.cli.planning_hub import Asking
    from fleet.core.planning.live import LiveView
    from fleet.ports.render import Vault
    from fleet.render.service import Renderer


async def compare(opened: Opened, asking: Asking | None) -> Comparison:
    """Compare both sides; what is wrong inside a commit is in the result.

    asking: for the clusters too; None: nobody is asked.
    """
    kept, renderer = opened.kept, opened.renderer
    known = await kept.read_of(*opened.names)  # git lists files meanwhile
    sides = await opened.sides
    before, after = sides.before, sides.after
    is_new = await opened.expect(after.snapshot.revision)
    both = read_both(before.snapshot, after.snapshot, known)
    fleets = both.before, both.after
    if not any(fleet.problems or fleet.clusters or fleet.overlays for fleet in fleets):
        raise UsageInvalid(
            "no fleet repo here",
            why="neither commit has a fleet.yaml, a Cluster below clusters/ or an overlay below overlays/",
            next_step="fleet init",
        )
    comparing = Comparing(renderer, both.was, both.now, both.before, both.after)
    closures, is_same = _learnt(renderer, both, known)
    if known is None and both.clusters_directory is not None:
        await kept.keep_read(Read(both.before, closures, both.clusters_directory, both.asked), *opened.names)
    units = await comparing.changes(is_same)
    woken = woken_of(both.before, both.after)
    first = {name for name, begins in woken.items() if Begins.WRITES in begins}
    held = await comparing.held_beside(units, first)
    live = None
    if asking is not None:
        await comparing.learn(woken)
        live = await _looked(
            comparing, with_moves(units, held, comparing.bundles), woken, both.after, opened.vault, asking, before
        )
    if is_new:
        await opened.note(after.snapshot.revision)
    notes = () if sides.is_ancestor else (_note(before, after),)
    files, bundles = tuple(sorted(both.files)), comparing.bundles
    return Comparison(_words(before), _words(after), *fleets, files, units, held, notes, live, bundles)


def _note(before: Side, after: Side) -> str:
    missing = f"{_words(after).name or 'the head'} does not contain {_words(before).name or 'the base'}"
    return f"{missing}: what only the base has is shown as undone; a merge would keep it"


def _words(side: Side) -> SideWords:
    if side.info is None:
        return SideWords("", side.words)
    return SideWords(side.info.revision, side.words, side.info.subject)


async def _looked(
    sides: Comparing,
    units: Sequence[UnitChange],
    woken: Mapping[UnitName, Collection[Begins]],
    fleet: Fleet,
    vault: Vault,
    asking: Asking,
    base: Side,
) -> LiveView:
    from fleet.cli.planning_hub import hub_view
    from fleet.cli.planning_live import LiveUnit, concerned, look

    changes = {name: UnitChange(name, How.CHANGES) for name in woken} | {unit.name: unit for unit in units}
    asked = [
        LiveUnit(unit, fleet.units[name], *sides.bundles[name])
        for name, unit in sorted(changes.items())
        if name in fleet.units and name in sides.bundles
    ]
    asked = concerned(asked, woken)
    commit = base.info.revision if base.info is not None else ""
    if asking.through == "hub":
        return await hub_view(asked, commit, asking)
    bundles = [bundle for unit in asked for bundle in (unit.before, unit.after) if bundle is not None]
    sealed = {
        seal
        for bundle in bundles
        for item in bundle.objects
        if is_secret(item.ref)
        for seal in seals_of(item.document())
    }
    otherwise = None if asking.through else partial(hub_view, commit=commit, asking=asking)
    return await look(asked, fleet, await vault.get(sealed), seconds=asking.seconds, otherwise=otherwise)


def _learnt(
    renderer: Renderer, both: Both, known: Read | None
) -> tuple[Mapping[Place, Closure], Callable[[UnitName], bool]]:
    """The closures of the base that another command may take over, and which units no changed file touches."""
    built = {name: unit for name, unit in both.before.units.items() if unit.overlay.state is OverlayState.PRESENT}
    places = {name: place_of(unit) for name, unit in built.items()}
    closures: dict[Place, Closure] = {}
    failed: set[Place] = set()  # what else belongs to it is not known
    if known is not None:
        wanted = set(places.values())
        closures = {place: closure for place, closure in known.closures.items() if place in wanted}
        renderer.learn(both.was, closures)
    for name, place in places.items():
        if place in closures or place in failed:
            continue
        closure = renderer.closure(both.was, request_of(built[name]))
        if closure.error is not None:
            failed.add(place)
        elif not closure.widened:
            closures[place] = closure
    touched = failed.union(renderer.places(both.files))
    return closures, lambda name: places.get(name) not in touched
