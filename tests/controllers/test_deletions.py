"""Deletions judged across clusters: what proves, what counts, and what a restart or a later commit must not let go."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import pytest
from core.building import ref

from fleet.controllers.deletions import JUDGED, Deletions
from fleet.controllers.holdings import Known
from fleet.core.audit import AuditEntry
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.judged import MOST_OF_ONE, MOST_PERMITTED
from fleet.core.moves import Unsure
from fleet.core.objects import Bundle, Scope
from fleet.core.results import Rendered
from fleet.core.status import Health, HoldRequest, ObjectStatus, PendingDeletion, Sync, UnitReport
from fleet.errors import StateDamaged
from fleet.ports.state import HoldRow
from fleet.store.memory import MemoryState

X, Y, Z = ref("x"), ref("y"), ref("z")
WEB = OverlayName("web")
WITH, WITHOUT = Rendered(Digest("with"), Revision("c" * 40)), Rendered(Digest("without"), Revision("d" * 40))
AGAIN = Rendered(Digest("again"), Revision("e" * 40))  # another result without x
DAMAGED = Rendered(Digest("damaged"), Revision("f" * 40))  # a bundle that cannot be had
SCOPES: dict[ObjectRef, Scope] = {}
HOLDS = {WITH.bundle: {X, Y}, WITHOUT.bundle: {Y}, AGAIN.bundle: {Y}}


@dataclass(frozen=True, slots=True)
class Item:
    """As much of an object as is asked for."""

    ref: ObjectRef
    scope: Scope = Scope.NAMESPACED


async def bundle_of(digest: Digest) -> Bundle:
    if digest == DAMAGED.bundle:
        raise StateDamaged("that bundle cannot be had")
    items = (Item(each, SCOPES.get(each, Scope.NAMESPACED)) for each in sorted(HOLDS[digest]))
    return Bundle(digest, tuple(items))  # pyright: ignore[reportArgumentType]


def web(*numbers: int) -> list[UnitName]:
    return [UnitName(WEB, ClusterName(f"c{number}")) for number in numbers]


@dataclass
class Guided:
    """A `Guidebook` in which the same clusters went before all others."""

    guides: dict[ClusterName, Rendered] = field(default_factory=dict)

    def of(self, unit: UnitName, digest: Digest) -> dict[ClusterName, Rendered]:
        return {} if unit.cluster in self.guides else self.guides


@dataclass
class World:
    """What a hub knows, and one process of it after another."""

    state: MemoryState = field(default_factory=MemoryState)
    now: float = 1_800_000_000.0
    stepped: float = 0.0  # how far the run time is from the wall clock
    held: dict[UnitName, Rendered] = field(default_factory=dict)
    reports: dict[UnitName, UnitReport] = field(default_factory=dict)
    results: dict[UnitName, Rendered] = field(default_factory=dict)
    guided: Guided = field(default_factory=Guided)
    unsure: dict[ClusterName, list[Unsure]] = field(default_factory=dict)
    coming: dict[UnitName, Rendered] = field(default_factory=dict)
    permits: Mapping[UnitName, frozenset[ObjectRef]] = field(default_factory=dict)  # as given last

    def __post_init__(self) -> None:
        self.state.run_time = lambda: self.now + self.stepped
        self.deletions = Deletions(self.state, bundle_of, lambda: self.now)

    async def restart(self) -> None:
        self.deletions = Deletions(self.state, bundle_of, lambda: self.now)
        await self.deletions.start()
        self.results = {}

    def says(self, unit: UnitName, told: Rendered, *owned: ObjectRef) -> None:
        """A worker's report."""
        self.held[unit] = told
        objects = tuple(ObjectStatus(each, Sync.SYNCED, Health.HEALTHY, uid="u") for each in owned)
        self.reports[unit] = UnitReport(
            unit, told.commit, told.bundle, Sync.SYNCED, Health.HEALTHY, self.now, objects=objects
        )
        self.deletions.hear([self.reports[unit]])

    async def release(self, units: list[UnitName], result: Rendered) -> set[UnitName]:
        """Who may delete x by this result; the others' workers hold it."""
        return await self.take(dict.fromkeys(units, result))

    async def take(self, fresh: dict[UnitName, Rendered], shown: Collection[UnitName] = ()) -> set[UnitName]:
        """The same, each with a result of its own. shown: units that keep what they hold."""
        known = Known(
            self.held, self.reports, self.results, self.coming, lambda name: self.unsure.get(name, ()), {}, shown
        )  # type: ignore
        permits = await self.deletions.permits_of(fresh, known, limit_clusters=3, guides=self.guided)  # type: ignore
        await self.state.put_released((), values=self.deletions.values())
        self.deletions.saved()
        self.held.update(fresh)
        self.results.update(fresh)
        self.permits = permits
        return {unit for unit in fresh if X in permits[unit]}

    async def show(self, units: list[UnitName], result: Rendered) -> set[UnitName]:
        """Who may delete x by a result that waits for a person's sync."""
        held = dict(self.held)
        let = await self.take(dict.fromkeys(units, result), shown=units)
        self.held.update(held)
        return let

    async def ask(self, units: list[UnitName], decision: str, content: str = "live") -> None:
        """A hold of x on these, and what a person says to it. content: of x there, on which the list depends."""
        asked = tuple(
            HoldRequest(unit, WITHOUT.commit, "prune-budget", "", (PendingDeletion(X, "u", Digest(content)),))
            for unit in units
        )
        digest = Digest(f"list of {content}")
        row = await self.state.put_hold(HoldRow("", WEB, WITHOUT.commit, self.now, digest, asked, self.now + 9e9))
        if decision:
            self.now += 1
            await self.state.decide_hold(
                row.id, list_digest=digest, decision=decision, actor="jo", reason="", at=self.now
            )

    async def audit(self, unit: UnitName) -> None:
        entry = AuditEntry(self.now, "worker", "delete", unit.cluster, unit=str(unit), object=X.key, outcome="done")
        await self.state.write(AuditEntry(**{**vars_of(entry), "commit": WITHOUT.commit}))


def vars_of(entry: AuditEntry) -> dict[str, object]:
    return {name: getattr(entry, name) for name in AuditEntry.__dataclass_fields__}


@pytest.fixture
def world() -> World:
    made = World()
    for unit in web(*range(12)):
        made.says(unit, WITH, X, Y)
    return made


@pytest.mark.parametrize("how", ["deleted", "let go", "taken over", "deleted for another commit"])
async def test_only_what_a_guide_deleted_by_this_result_is_proven(world: World, how: str) -> None:
    guide, *others = web(*range(6))
    world.guided.guides[guide.cluster] = WITH
    world.says(guide, WITHOUT, Y)
    if how != "let go":
        await world.audit(guide)
    if how == "taken over":
        world.says(UnitName(OverlayName("more"), guide.cluster), AGAIN, X)
    if how == "deleted for another commit":
        world.says(guide, Rendered(WITHOUT.bundle, Revision("f" * 40)), Y)
    assert await world.release(others, WITHOUT) == (set(others) if how == "deleted" else set())


@pytest.mark.parametrize("of", [Y, X])
async def test_a_rejection_takes_back_what_it_listed_and_nothing_that_was_asked_about_after_it(
    world: World, of: ObjectRef
) -> None:
    """Where it listed that very object, the harmless twin takes it back."""
    first, asking, last = web(0, 1, 2)
    assert await world.release([first, asking, last], WITHOUT) == {first, asking, last}
    for unit in (first, asking, last):
        world.says(unit, WITHOUT, X, Y)

    def request(unit: UnitName, ref: ObjectRef) -> HoldRequest:
        return HoldRequest(unit, WITHOUT.commit, "prune-budget", "", (PendingDeletion(ref, "u", Digest("live")),))

    world.reports[first] = replace(world.reports[first], holds=(request(first, of),))
    before, later = (request(first, of),), (request(first, of), request(asking, X))
    row = await world.state.put_hold(HoldRow("", WEB, WITHOUT.commit, world.now, Digest("1"), before, world.now + 9e9))
    await world.state.decide_hold(
        row.id, list_digest=Digest("1"), decision="rejected", actor="jo", reason="", at=world.now + 1
    )
    world.reports[asking] = replace(world.reports[asking], holds=(later[1],))
    await world.state.put_hold(HoldRow("", WEB, WITHOUT.commit, world.now, Digest("2"), later, world.now + 9e9))
    assert await world.release([last], WITHOUT) == (set() if of == X else {last})


async def test_a_restart_forgets_neither_what_was_permitted_nor_what_was_held(world: World) -> None:
    first, then = web(0, 1, 2), web(3, 4, 5)
    assert await world.release(first, WITHOUT) == set(first)
    for unit in first:
        world.says(unit, WITHOUT, Y)
    assert await world.release(then, WITHOUT) == set()
    for unit in then:
        world.says(unit, WITHOUT, X, Y)
    await world.restart()
    assert await world.release([*first, *then], WITHOUT) == set()
    world.now += 3700  # the hour is over, and nobody was asked
    await world.restart()
    assert await world.release([*first, *then], WITHOUT) == set()


@pytest.mark.parametrize("ran", [False, True])
async def test_an_hour_is_one_in_which_the_hub_ran_and_no_step_of_the_wall_clock(world: World, ran: bool) -> None:
    first, then = web(0, 1, 2), web(3, 4, 5)
    assert await world.release(first, WITHOUT) == set(first)
    for unit in first:
        world.says(unit, WITHOUT, Y)
    world.now += 3700
    world.stepped -= 0 if ran else 3700
    assert await world.release(then, WITHOUT) == (set(then) if ran else set())


async def test_what_was_permitted_counts_until_it_is_gone_and_an_hour_longer(world: World) -> None:
    """A window that opens on Saturday must not let go together what a week of commits permitted three by three."""
    first, then, last = web(0, 1, 2), web(3, 4, 5), web(6, 7, 8)
    assert await world.release(first, WITHOUT) == set(first)
    world.now += 2 * 24 * 3600
    assert await world.release(then, WITHOUT) == set()
    for unit in first:
        world.says(unit, WITHOUT, Y)
    world.now += 1800
    assert await world.release(then, WITHOUT) == set()
    await world.restart()
    world.now += 1900
    assert await world.release(last, WITHOUT) == set(), "what was held back is so still"
    for unit in (*then, *last):
        world.says(unit, WITHOUT, Y)
    assert await world.release(web(9, 10, 11), AGAIN) == set(web(9, 10, 11))


async def test_what_is_only_shown_counts_as_well_until_it_is_gone(world: World) -> None:
    """A person syncs these units: what they hold still is of before, and all of it goes with one sync."""
    first, then = web(0, 1, 2), web(3, 4, 5)
    assert await world.show(first, WITHOUT) == set(first)
    for unit in first:
        world.says(unit, WITH, X, Y)
    world.now += 2 * 24 * 3600
    assert await world.show([], WITHOUT) == set()
    world.now += 2 * 24 * 3600
    assert await world.show(then, WITHOUT) == set()
    for unit in (*first, *then):
        world.says(unit, WITHOUT, Y)
    world.now += 3700
    assert await world.show(web(6, 7, 8), AGAIN) == set(web(6, 7, 8))


async def test_what_a_person_rejected_is_permitted_no_more_to_those_that_had_it_either(world: World) -> None:
    first, then = web(0, 1, 2), web(3, 4, 5)
    assert await world.release(first, WITHOUT) == set(first)
    assert await world.release(then, WITHOUT) == set()
    assert await world.release(first, WITHOUT) == set(first)
    await world.ask(then, "rejected")
    assert await world.release(first, WITHOUT) == set()


async def test_three_that_were_permitted_and_not_done_yet_are_permitted_after_a_restart(world: World) -> None:
    assert await world.release(web(0, 1, 2), WITHOUT) == set(web(0, 1, 2))
    await world.restart()
    assert await world.release(web(0, 1, 2), WITHOUT) == set(web(0, 1, 2))


async def hold_on(world: World, units: list[UnitName]) -> None:
    assert await world.release(units, WITHOUT) == set()
    for unit in units:
        world.says(unit, WITHOUT, X, Y)


async def test_what_is_held_on_many_clusters_does_not_trickle_out_by_later_commits(world: World) -> None:
    await hold_on(world, web(*range(10)))
    world.now += 3700
    assert await world.release(web(0), AGAIN) == set()
    await world.restart()
    assert await world.release(web(1), AGAIN) == set()


async def test_what_is_held_bars_no_more_once_it_is_gone_or_wanted_again(world: World) -> None:
    await hold_on(world, web(*range(10)))
    world.now += 3700
    for unit in web(*range(2, 6)):
        world.says(unit, WITHOUT, Y)  # a person deleted it there
    assert await world.release(web(*range(6, 10)), WITH) == set()
    for unit in web(*range(6, 10)):
        world.says(unit, WITH, X, Y)
    assert await world.release(web(0, 1), AGAIN) == set()
    for unit in web(0, 1):
        world.says(unit, AGAIN, Y)
    assert await world.release(web(6, 7), AGAIN) == set(web(6, 7))


@pytest.mark.parametrize("decision", ["rejected", ""])
async def test_what_was_asked_about_stays_barred_however_few_clusters_are_left(world: World, decision: str) -> None:
    units = web(0, 1, 2, 3)
    await hold_on(world, units)
    await world.ask(units, decision)
    world.says(units[0], WITHOUT, Y)
    world.now += 3700
    assert await world.release(units[1:], AGAIN) == set()


async def test_so_many_deletions_within_an_hour_that_none_more_can_be_remembered_are_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleet.core.judged.MOST_PERMITTED", 2)
    assert await world.release(web(0, 1), WITHOUT) == set(web(0, 1))
    assert await world.release(web(2), WITHOUT) == set()


async def test_a_cluster_that_says_it_has_more_than_all_others_keeps_no_deletion_of_theirs(world: World) -> None:
    """Be it that nobody confirmed its record yet (R18): what it may delete is for it alone to ask."""
    (large, *others) = web(0, 1, 2)
    world.says(large, WITH, X, Y, *(ref(f"made-up-{number}") for number in range(MOST_PERMITTED)))
    is_let = await world.release([large], WITHOUT)
    assert await world.release(others, WITHOUT) == set(others)
    assert is_let == set()
    await world.restart()
    assert await world.release([large, *others], WITHOUT) == set(others)


async def test_twin_a_cluster_within_its_share_may_delete_all_of_it(world: World) -> None:
    (large, *others) = web(0, 1, 2)
    more = [ref(f"more-{number}") for number in range(MOST_OF_ONE - 1)]
    world.says(large, WITH, X, Y, *more)
    assert await world.release([large, *others], WITHOUT) == {large, *others}
    assert world.permits[large] == {X, *more}
    world.says(large, AGAIN, Y, Z)
    assert await world.release([large], WITHOUT) == set()
    assert world.permits[large] == frozenset(), "no more than that within the hour"
    world.now += 3700
    later = ref("later")
    world.says(large, AGAIN, Y, Z, later)
    await world.release([large], WITHOUT)
    assert world.permits[large] == {later}, "what was asked about is not let go by time"


async def test_notes_that_cannot_be_read_stop_the_hub(world: World) -> None:
    await world.state.set_value(JUDGED, "{}")
    with pytest.raises(StateDamaged):
        await world.restart()


async def test_an_object_that_no_key_can_name_does_not_stop_the_next_start(world: World) -> None:
    """As an earlier version reported it, of a cluster that answers what no API server does."""
    bad = ObjectRef("", "ConfigMap", "shop", "a/b")
    (unit, *others) = web(0, 1, 2)
    world.says(unit, WITH, X, Y, bad)
    assert await world.release([unit, *others], WITHOUT) == {unit, *others}
    await world.restart()
    assert await world.release([unit, *others], WITHOUT) == {unit, *others}, "what it said beside it stands"


# A bundle that cannot be read is not one that holds nothing (R5)


async def test_by_a_result_that_cannot_be_read_nothing_may_go(world: World) -> None:
    assert await world.release(web(0), DAMAGED) == set()


async def test_what_may_have_moved_to_a_unit_that_cannot_be_read_is_not_permitted_and_still_counts(
    world: World,
) -> None:
    (unclear, *others) = web(0, 1, 2, 3)
    world.results[UnitName(OverlayName("more"), unclear.cluster)] = DAMAGED
    assert await world.release([unclear], WITHOUT) == set()
    world.says(unclear, WITH, X, Y)
    assert await world.release([unclear, *others], WITHOUT) == set()


async def test_what_did_not_move_to_a_unit_that_can_be_read_is_permitted(world: World) -> None:
    world.results[UnitName(OverlayName("more"), web(0)[0].cluster)] = WITHOUT
    assert await world.release(web(0), WITHOUT) == set(web(0))


async def test_a_result_held_before_that_cannot_be_had_leaves_it_to_the_report_what_was_there(world: World) -> None:
    world.says(web(0)[0], DAMAGED, X, Y)
    assert await world.release(web(0), WITHOUT) == set(web(0))


async def test_nothing_is_proven_by_a_cluster_of_which_not_all_can_be_read(world: World) -> None:
    guide, *others = web(*range(6))
    world.guided.guides[guide.cluster] = WITH
    world.says(guide, WITHOUT, Y)
    await world.audit(guide)
    world.results[UnitName(OverlayName("more"), guide.cluster)] = DAMAGED
    assert await world.release(others, WITHOUT) == set()


# What may be a move is none of the deletions, until that is known (R16)

BUILDING, BROKEN = Unsure("more", "which is being built", building=True), Unsure("more", "which cannot be built")


def moves(world: World, unit: UnitName) -> dict[ObjectRef, str]:
    return {move.ref: move.why for move in world.deletions.moves_of(unit)}


async def test_what_a_broken_overlay_may_take_waits_and_goes_once_that_is_known(world: World) -> None:
    (first, second) = web(0, 1)
    world.unsure[first.cluster] = [BROKEN]
    assert await world.release([first, second], WITHOUT) == {second}
    assert moves(world, first) == {X: "may move to more, which cannot be built"}
    assert moves(world, second) == {}
    assert world.deletions.to_judge(()) == {first}
    world.unsure.clear()
    assert await world.release([first], WITHOUT) == {first}
    assert moves(world, first) == {}
    assert world.deletions.to_judge(()) == frozenset()


async def test_what_may_move_still_counts_among_the_clusters_of_a_deletion(world: World) -> None:
    for unit in web(1, 2, 3):
        world.unsure[unit.cluster] = [BROKEN]
    assert await world.release(web(0, 1, 2, 3), WITHOUT) == set()


async def test_an_overlay_is_judged_as_a_whole_once_all_is_built_that_may_take_something(world: World) -> None:
    """Cluster by cluster as each becomes known, three would go before the fourth is held."""
    units = web(0, 1, 2, 3)
    world.unsure[units[0].cluster] = [BUILDING]
    assert await world.release(units, WITHOUT) == set()
    assert all(moves(world, unit) for unit in units)
    building = {UnitName(OverlayName("more"), units[0].cluster)}
    assert world.deletions.to_judge(building) == frozenset()
    world.unsure.clear()
    assert world.deletions.to_judge(()) == set(units)
    assert await world.release(units, WITHOUT) == set()
    assert not any(moves(world, unit) for unit in units)  # now a person is asked


async def test_three_clusters_go_together_once_all_is_built(world: World) -> None:
    units = web(0, 1, 2)
    world.unsure[units[0].cluster] = [BUILDING]
    assert await world.release(units, WITHOUT) == set()
    world.unsure.clear()
    assert await world.release(units, WITHOUT) == set(units)


async def test_a_result_that_is_not_taken_over_yet_takes_what_it_holds_and_leaves_what_it_dropped(world: World) -> None:
    (unit,) = web(0)
    more = UnitName(OverlayName("more"), unit.cluster)
    world.results[more], world.coming[more] = AGAIN, WITH
    assert await world.release([unit], WITHOUT) == set()
    assert moves(world, unit) == {X: "moves to more once that is released here"}
    world.results[more], world.coming[more] = WITH, AGAIN
    assert await world.release([unit], WITHOUT) == {unit}


@pytest.mark.parametrize(("scope", "goes"), [(Scope.UNKNOWN, False), (Scope.NAMESPACED, True)])
async def test_what_may_live_in_no_namespace_moves_to_a_unit_that_has_it_in_another_one(
    world: World, scope: Scope, goes: bool
) -> None:
    """Kustomize writes `namespace:` on every custom kind; only the cluster knows which of them live in none."""
    (unit,) = web(0)
    more = UnitName(OverlayName("more"), unit.cluster)
    mine, there, theirs = (replace(X, kind="Net", namespace=namespace) for namespace in ("shop", "", "cart"))
    with_net, taker = (Rendered(Digest(name), Revision(name)) for name in ("net", f"taker-{scope}"))
    HOLDS.update({with_net.bundle: {mine, Y}, taker.bundle: {theirs}})
    SCOPES.update({mine: scope, theirs: scope})
    world.says(unit, with_net, mine if goes else there, Y)
    world.coming[more] = taker
    await world.take({unit: WITHOUT})
    assert (there if not goes else mine) not in world.permits[unit] or goes
    assert (moves(world, unit) == {}) == goes


async def test_what_another_unit_gets_back_moves_to_it_when_both_are_taken_back(world: World) -> None:
    (unit,) = web(0)
    more = UnitName(OverlayName("more"), unit.cluster)
    world.says(more, AGAIN)
    world.results |= {more: AGAIN, unit: WITH}
    world.coming |= {more: AGAIN, unit: WITH}
    assert await world.take({unit: WITHOUT, more: WITH}) == set()
    assert moves(world, unit) == {X: "is held by more until its newest result is released here"}
    world.says(unit, WITH, X, Y)
    assert await world.take({unit: WITHOUT, more: AGAIN}) == {unit}
