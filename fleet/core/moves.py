"""What one unit of a cluster drops and another one takes over, or may: it stays until that is known and done. Pure.

A commit comes into force piece by piece: one overlay is built while another is applied, a third cannot be built at all
or waits for its step. Until all that may want an object is known, that one unit dropped it says nothing (R5, R9, R16).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping

from fleet.core.fleet import TeamRights, Unit, Unknown
from fleet.core.guard import list_of, may_hold
from fleet.core.ids import ClusterName, ObjectRef, OverlayName, UnitName
from fleet.core.problems import Problem
from fleet.core.results import RenderProblem, Result
from fleet.core.rollout import Move
from fleet.values import dataclass

VALIDATE = "fleet validate"


@dataclass(frozen=True, slots=True)
class Unsure:
    """An overlay of which nobody knows what it shall hold on a cluster at this commit.

    overlay: its name, or the file that hides it; building: it will be known soon; rights: what its team may hold, None
    where it is not limited or not known.
    """

    overlay: str
    why: str
    next_step: str = VALIDATE
    building: bool = False
    rights: TeamRights | None = None

    def may_take(self, refs: Iterable[ObjectRef]) -> frozenset[ObjectRef]:
        """Those of these objects that may be among what it shall hold."""
        return frozenset(ref for ref in refs if self.rights is None or may_hold(ref, self.rights))

    @property
    def words(self) -> str:
        """The end of a sentence that says what is waited for."""
        return f"{self.overlay}, {self.why}"


@dataclass(frozen=True, slots=True)
class Taker:
    """Who wants an object that another unit of its cluster drops, or that the unit itself will have again.

    meanwhile: only by what it is told to hold until its newest result is released.
    """

    overlay: OverlayName
    meanwhile: bool = False


def unsure_on(
    cluster: ClusterName,
    units: Iterable[Unit],
    newest: Callable[[UnitName], Result | None],
    building: Collection[UnitName],
    unknown: Unknown,
) -> tuple[Unsure, ...]:
    """All of a cluster. units: those that the commit says of it; building: whose results are not its own yet."""
    found: list[Unsure] = []
    for unit in units:
        result, overlay = newest(unit.name), str(unit.name.overlay)
        step = f"fleet describe unit {unit.name}"
        if unit.name in building or result is None:
            found.append(Unsure(overlay, "which is being built", step, building=True, rights=unit.team))
        elif isinstance(result, RenderProblem):
            found.append(Unsure(overlay, f"which cannot be built: {result.reason}", rights=unit.team))
    for overlay, problem in unknown.overlays.items():
        found.append(_unread(str(overlay), problem))
    for name, problem in unknown.units.items():
        if name.cluster == cluster:
            found.append(_unread(str(name.overlay), problem))
    hidden = (unknown.everything, unknown.clusters.get(cluster), unknown.incomplete.get(cluster), *unknown.unnamed)
    found += [_unread("an overlay", problem) for problem in hidden if problem is not None]
    return tuple(found)


def _unread(overlay: str, problem: Problem) -> Unsure:
    return Unsure(overlay, f"which cannot be read: {problem.reason} ({problem.origin})")


def moves_of(
    unit: UnitName,
    gone: frozenset[ObjectRef],
    taken: Mapping[ObjectRef, Taker],
    unsure: Iterable[Unsure],
) -> frozenset[Move]:
    """Of what a unit drops, all that another unit of its cluster takes, or may, each with what it waits for.

    taken: by overlays whose newest result is known, whether it was released there or not; by the unit's own where that
    has the object again.
    """
    found: dict[ObjectRef, Move] = {}
    for ref in gone & taken.keys():
        taker = taken[ref].overlay
        step = f"fleet describe unit {UnitName(taker, unit.cluster)}"
        if taken[ref].meanwhile:
            why = f"is held by {taker} until its newest result is released here"
        elif taker == unit.overlay:
            why = "is in its newest result again and stays, once that is released here"
        else:
            why = f"moves to {taker} once that is released here"
        found[ref] = Move(ref, why, step)
    for other in unsure:
        if other.overlay == unit.overlay:
            continue
        for ref in other.may_take(gone - found.keys()):
            found[ref] = Move(ref, f"may move to {other.words}", other.next_step)
    return frozenset(found.values())


def is_built_soon(unit: UnitName, gone: frozenset[ObjectRef], unsure: Iterable[Unsure]) -> bool:
    """Whether something of a unit's cluster is being built that may take any of `gone`: it is judged after that."""
    return any(other.building and other.overlay != unit.overlay and other.may_take(gone) for other in unsure)


def whole_commit(refs: Iterable[ObjectRef]) -> frozenset[Move]:
    """What waits because the same overlay's deletions on other clusters cannot be judged yet (R9)."""
    why = "waits until it is known on all its clusters what moves: a part of the commit is being built"
    return frozenset(Move(ref, why, "fleet status") for ref in refs)


def overlays_to_judge(waiting: Iterable[UnitName], building: Collection[UnitName]) -> frozenset[OverlayName]:
    """Overlays whose deletions wait, and on none of these clusters anything is being built any more.

    All of an overlay at once: the same deletion on many clusters is held, also where they become known one by one.
    """
    busy = {name.cluster for name in building}
    names = tuple(waiting)
    return frozenset(name.overlay for name in names) - {name.overlay for name in names if name.cluster in busy}


def leaving_waits(
    unit: UnitName,
    owned: frozenset[ObjectRef],
    waiting: Mapping[ObjectRef, Taker],
    unsure: Iterable[Unsure],
) -> str:
    """Why a unit that left the repo is not let go yet; "" where it may go (R13).

    Its objects would else stand without a mark before the unit that takes them over is told so, which then leaves them
    alone as nobody's. waiting: what units of its cluster shall hold by results that were not released there yet.
    """
    for ref in sorted(owned & waiting.keys()):
        return f"it left the repo; {ref} moves to {waiting[ref].overlay} once that is released here"
    for other in unsure:
        if other.overlay != unit.overlay and (refs := other.may_take(owned)):
            return f"it left the repo; {list_of(sorted(refs))} may move to {other.words}"
    return ""
