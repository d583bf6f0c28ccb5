"""Renames as the hub judges them: no deletion on however many clusters, remembered until the old object is gone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
from core.building import ref
from core.test_renames import made

from fleet.controllers.deletions import Deletions
from fleet.controllers.holdings import Known
from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.judged import Judged, decode_judged, encode_judged
from fleet.core.objects import Bundle
from fleet.core.results import Rendered
from fleet.core.rollout import Rename
from fleet.core.status import Health, ObjectStatus, Sync, UnitReport
from fleet.errors import StateDamaged
from fleet.store.memory import MemoryState

X, Y, Z = ref("x"), ref("y"), ref("z")
BUNDLES: dict[str, dict[str, object]] = {
    "x": {"x": 1, "other": 0},
    "y": {"y": 1, "other": 0},
    "z": {"z": 1, "other": 0},
    "y changed": {"y": 2, "other": 0},
    "nothing": {"other": 0},
}


def told(name: str) -> Rendered:
    return Rendered(Digest(name), Revision("c" * 40))


async def bundle_of(digest: Digest) -> Bundle:
    if digest not in BUNDLES:
        raise StateDamaged(f"no {digest}")
    return Bundle(digest, tuple(made(ref(name), content) for name, content in BUNDLES[digest].items()))


@dataclass
class Guided:
    """A `Guidebook` in which the same clusters went before all others; without any no rollout is under way."""

    guides: dict[ClusterName, Rendered] = field(default_factory=dict)

    def of(self, unit: UnitName, digest: Digest) -> dict[ClusterName, Rendered]:
        return self.guides


@dataclass
class World:
    """Ten clusters with one unit each, and one process of a hub after another."""

    state: MemoryState = field(default_factory=MemoryState)
    held: dict[UnitName, Rendered] = field(default_factory=dict)
    reports: dict[UnitName, UnitReport] = field(default_factory=dict)
    results: dict[UnitName, Rendered] = field(default_factory=dict)

    guided: Guided = field(default_factory=Guided)

    def __post_init__(self) -> None:
        self.units = [UnitName(OverlayName("web"), ClusterName(f"c{number}")) for number in range(10)]
        self.deletions = Deletions(self.state, bundle_of, lambda: 1.8e9)
        self.report("x", X)

    def report(self, bundle: str, *owned: ObjectRef) -> None:
        """All workers say that they hold these by a bundle that they were told to hold."""
        objects = tuple(ObjectStatus(each, Sync.SYNCED, Health.HEALTHY, uid="u") for each in (*owned, ref("other")))
        self.held.update(dict.fromkeys(self.units, told(bundle)))
        for unit in self.units:
            one = UnitReport(unit, told(bundle).commit, Digest(bundle), Sync.SYNCED, Health.HEALTHY, 1.8e9)
            self.reports[unit] = UnitReport(**{**vars_of(one), "objects": objects})

    async def release(self, name: str) -> set[ObjectRef]:
        """What may go of the last unit by this result of all that nobody guides."""
        fresh = {unit: told(name) for unit in self.units if unit.cluster not in self.guided.guides}
        known = Known(self.held, self.reports, self.results)
        permits = await self.deletions.permits_of(fresh, known, limit_clusters=3, guides=self.guided)  # type: ignore
        await self.state.put_released((), values=self.deletions.values())
        self.deletions.saved()
        self.held.update(fresh)
        self.results.update(fresh)
        return set(permits[self.units[-1]])

    async def restart(self) -> None:
        self.deletions = Deletions(self.state, bundle_of, lambda: 1.8e9)
        await self.deletions.start()
        self.results = {}

    def held_back(self) -> set[ObjectRef]:
        """What a person is asked about."""
        return set().union(*(note.refs for note in self.deletions._judged.held.values()))

    def pairs(self) -> set[tuple[str, str, str]]:
        return {(each.old.name, each.new.name, each.said_by) for each in self.deletions.renames_of(self.units[0])}


def vars_of(report: UnitReport) -> dict[str, object]:
    return {name: getattr(report, name) for name in UnitReport.__dataclass_fields__}


async def test_a_rename_on_ten_clusters_asks_nobody_where_a_deletion_does() -> None:
    """It is not permitted either: where a worker sees that it is none, it is a deletion that nobody has judged."""
    world = World()
    assert await world.release("y") == set()
    assert world.pairs() == {("x", "y", "x")}
    assert world.held_back() == set()
    for other in ("nothing", "y changed"):
        world = World()
        assert await world.release(other) == set()
        assert world.held_back() == {X}


async def test_renames_are_known_after_a_restart_until_the_old_object_is_gone() -> None:
    world = World()
    await world.release("y")
    await world.restart()
    assert world.pairs() == {("x", "y", "x")}
    await world.release("y")  # the first look after a start judges everything anew
    assert world.held_back() == set()
    assert world.pairs() == {("x", "y", "x")}
    world.report("y", Y)
    assert await world.release("y") == set()
    assert world.pairs() == set()


async def test_the_second_of_two_renames_takes_along_what_the_first_left() -> None:
    world = World()
    await world.release("y")
    await world.release("z")
    assert world.held_back() == set()
    assert world.pairs() == {("x", "z", "x"), ("y", "z", "y")}


@pytest.mark.parametrize("then", ["y changed", "nothing"])
async def test_what_is_not_there_under_the_new_name_any_more_is_a_deletion_again(then: str) -> None:
    world = World()
    await world.release("y")
    assert await world.release(then) == set()
    assert world.pairs() == set()


async def test_a_successor_that_changes_before_the_old_one_is_gone_makes_it_a_deletion() -> None:
    """So its worker sees it, too."""
    world = World()
    await world.release("y")
    world.report("y", X, Y)
    await world.release("y changed")
    assert world.pairs() == set()
    assert world.held_back() == {X}


async def test_an_object_that_comes_back_under_its_own_name_is_nobodys_old_one() -> None:
    world = World()
    await world.release("y")
    world.report("y", X, Y)
    await world.release("x")
    assert world.held_back() == set()
    assert world.pairs() == {("y", "x", "y")}


async def test_an_object_that_appears_in_another_unit_is_no_rename_there() -> None:
    """It moves under its own name; under another one it is a deletion here."""
    world = World()
    world.results = {UnitName(OverlayName("more"), unit.cluster): told("y") for unit in world.units}
    assert await world.release("nothing") == set()


@pytest.mark.parametrize("guide_holds", ["y", "nothing"])
async def test_what_went_before_others_by_a_rename_proves_no_deletion_without_one(guide_holds: str) -> None:
    world = World()
    guide = world.units[0]
    world.guided.guides[guide.cluster] = told("x")
    world.held[guide] = told(guide_holds)
    there = (ref("other"), *([Y] if guide_holds == "y" else []))
    seen = world.reports[guide]
    objects = tuple(ObjectStatus(each, Sync.SYNCED, Health.HEALTHY, uid="u") for each in there)
    world.reports[guide] = UnitReport(**{**vars_of(seen), "bundle": Digest(guide_holds), "objects": objects})
    gone = AuditEntry(1.8e9, "worker", "delete", guide.cluster, unit=str(guide), object=X.key, outcome="done")
    await world.state.write(replace(gone, commit=told("x").commit))
    permitted = await world.release("nothing")
    assert (permitted, world.held_back()) == ((set(), {X}) if guide_holds == "y" else ({X}, set()))


async def test_bundles_that_nobody_has_any_more_prove_no_rename(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.delitem(BUNDLES, "x")
    assert await world.release("y") == set()


def test_what_was_judged_reads_back_as_it_was_written_and_as_an_older_hub_wrote_it() -> None:
    unit, other = (UnitName(OverlayName("web"), ClusterName(name)) for name in ("a", "b"))
    pairs = frozenset({Rename(X, Y, Digest("x")), Rename(Y, Z, Digest("y"))})
    judged = Judged().with_renames(unit, pairs).with_renames(other, pairs)
    assert decode_judged(encode_judged(judged)) == judged
    assert decode_judged('{"permitted":[],"held":[]}') == Judged()
    moved = judged.renamed(ClusterName("a"), ClusterName("c"))
    assert moved.renames.keys() == {UnitName(OverlayName("web"), ClusterName("c")), other}


def test_renames_beyond_what_can_be_remembered_are_deletions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fleet.core.judged.MOST_RENAMES", 1)
    unit, other = (UnitName(OverlayName("web"), ClusterName(name)) for name in ("a", "b"))
    one = frozenset({Rename(X, Y, Digest("x"))})
    judged = Judged().with_renames(unit, one).with_renames(other, one)
    assert judged.renames == {unit: one}
