"""What was dropped and is wanted again before it went: it stays, whoever wants it, and over a restart of the hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from fleet.controllers.board import Board
from fleet.controllers.releases import Releases
from fleet.core.documents import canonical, digest_of_bytes
from fleet.core.fleet import (
    Cluster,
    Fleet,
    Mode,
    Overlay,
    Unit,
    Unknown,
)
from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.objects import Bundle, BundleObject, Scope
from fleet.core.passage import Passages, Quarantined, Stop
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.quarantine import readmitted
from fleet.core.results import Rendered, RenderProblem
from fleet.core.rollout import Apply, UnitDesired
from fleet.core.status import Health, ObjectStatus, Sync, UnitReport
from fleet.core.sync_policy import Budget, Suspension, SyncMode, SyncPolicy
from fleet.core.view import Head, View
from fleet.store.memory import MemoryState

EU = Cluster(ClusterName("eu-1"), Origin("clusters/eu-1.yaml", 1), environment="prod")
A, B = UnitName.parse("a@eu-1"), UnitName.parse("b@eu-1")
REF = ObjectRef("", "ConfigMap", "d", "x")
KEPT = [f"k{number}" for number in range(9)]


def ref(name: str) -> ObjectRef:
    return replace(REF, name=name)


def bundle(*names: str, value: str = "1") -> Bundle:
    objects: list[BundleObject] = []
    for name in names:
        metadata = {"name": name, "namespace": "d"}
        body = canonical(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"v": value, "n": name}}
        )
        objects.append(BundleObject(ref(name), "v1", Scope.NAMESPACED, body, digest_of_bytes(body)))
    return Bundle(digest_of_bytes(b"".join(one.body for one in objects)), tuple(objects))


FIRST, DROPPED, LATER = bundle(*KEPT, "x"), bundle(*KEPT), bundle(*KEPT, value="2")  # of unit a
ALONE, TAKEN = bundle("z"), bundle("z", "x")  # of unit b
BUNDLES = {one.digest: one for one in (FIRST, DROPPED, LATER, ALONE, TAKEN)}


def result(of: Bundle, commit: str) -> Rendered:
    return Rendered(of.digest, Revision(commit))


def unit(name: UnitName, cluster: Cluster = EU, mode: SyncMode = SyncMode.AUTO) -> Unit:
    origin = Origin(f"overlays/{name.overlay}/overlay.yaml", 1)
    overlay = Overlay(name.overlay, f"overlays/{name.overlay}", origin, sync=SyncPolicy(mode=mode))
    return Unit(name, overlay.directory, overlay.origin, (), {}, overlay, cluster)


def fleet(commit: str, manual: frozenset[UnitName] = frozenset()) -> Fleet:
    units = {name: unit(name, EU, SyncMode.MANUAL if name in manual else SyncMode.AUTO) for name in (A, B)}
    overlays = {name.overlay: one.overlay for name, one in units.items()}
    return Fleet(Revision(commit), clusters={EU.name: EU}, overlays=overlays, units=units)


class Hub:
    """A board and its releases over one state; `again` is the next process over it."""

    def __init__(self, state: MemoryState) -> None:
        async def bundle_of(digest: Digest) -> Bundle:
            return BUNDLES[digest]

        self.state, self.view = state, View(Head("main"))
        self.manual = frozenset[UnitName]()  # units that a person syncs
        self.board = Board(state, self.view, bundle_of, None, lambda: 1000.0)  # type: ignore[arg-type]
        self.releases = Releases(state, self.view, self.board)

    async def commit(self, commit: str, **results: Rendered | RenderProblem) -> None:
        self.board.take_fleet(fleet(commit, self.manual))
        await self.releases.release({UnitName.parse(f"{name}@eu-1"): one for name, one in results.items()})
        await self.releases.settle()

    async def commit_everywhere(
        self,
        commit: str,
        names: Sequence[UnitName],
        of: Bundle,
        *,
        limit: int = 3,
        beside: Mapping[UnitName, Rendered] | None = None,
    ) -> None:
        """One result for an overlay on many clusters. limit: of the budget; beside: results of other units there."""
        results = {**dict.fromkeys(names, result(of, commit)), **(beside or {})}
        clusters = {name.cluster: replace(EU, name=name.cluster) for name in names}
        units = {name: unit(name, clusters[name.cluster]) for name in results}
        overlays, budget = {name.overlay: one.overlay for name, one in units.items()}, Budget(clusters=limit)
        self.board.take_fleet(Fleet(Revision(commit), clusters=clusters, overlays=overlays, units=units, budget=budget))
        await self.releases.release(results)
        await self.releases.settle()

    async def let(self, name: UnitName, one: Rendered) -> None:
        assert await self.releases.let({name: one}, self.view.passages, self.view.passages, {})

    def told(self, name: UnitName) -> tuple[Digest, set[str], set[str]]:
        """The bundle that a unit is told to hold, what it may delete by it, and what stays because it may move."""
        action = self.part(name).action
        assert isinstance(action, Apply)
        stays = {move.ref for move in action.moves}  # whatever else is said of it: permits too
        return action.bundle, {one.name for one in action.permits - stays}, {one.name for one in stays}

    def told_bundle(self, name: UnitName) -> Digest | None:
        """The bundle that a unit is told to hold, None where it is told to hold none."""
        desired = self.board.publisher.slot(EU.name).desired
        action = next((one.action for one in (desired.units if desired else ()) if one.unit == name), None)
        return action.bundle if isinstance(action, Apply) else None

    def part(self, name: UnitName) -> UnitDesired:
        desired = self.board.publisher.slot(EU.name).desired
        assert desired is not None
        return next(one for one in desired.units if one.unit == name)

    def report(self, name: UnitName, of: Bundle, *names: str) -> None:
        objects = tuple(ObjectStatus(ref(one), Sync.SYNCED, Health.HEALTHY) for one in names)
        self.view.units[name] = UnitReport(
            name, Revision("c1"), of.digest, Sync.SYNCED, Health.HEALTHY, 1.0, objects=objects
        )


async def begun(state: MemoryState) -> Hub:
    hub = Hub(state)
    await hub.board.start()
    return hub


@pytest.fixture
async def hub() -> Hub:
    """Unit a was released what drops x, and has it still; unit b holds something else."""
    hub = await begun(MemoryState())
    await hub.commit("c0", a=result(FIRST, "c0"), b=result(ALONE, "c0"))
    hub.board.books.first_is_over()
    await hub.commit("c1", a=result(DROPPED, "c1"))
    await hub.let(A, result(DROPPED, "c1"))
    hub.report(A, DROPPED, *KEPT, "x")
    hub.report(B, ALONE, "z")
    assert hub.told(A) == (DROPPED.digest, {"x"}, set())
    return hub


async def test_what_the_units_own_newest_result_has_again_stays_while_that_waits(hub: Hub) -> None:
    await hub.commit("c2", a=result(FIRST, "c2"))
    assert hub.told(A) == (DROPPED.digest, set(), {"x"})


async def test_what_another_units_newest_result_has_stays_while_that_waits(hub: Hub) -> None:
    await hub.commit("c2", b=result(TAKEN, "c2"))
    assert hub.told(A) == (DROPPED.digest, set(), {"x"})


async def test_what_nobody_wants_again_goes(hub: Hub) -> None:
    await hub.commit("c2", a=result(LATER, "c2"))
    assert hub.told(A) == (DROPPED.digest, {"x"}, set())


async def test_what_was_permitted_on_many_clusters_asks_nobody_when_a_newer_commit_only_waits() -> None:
    names = [UnitName.parse(f"a@eu-{number}") for number in range(1, 7)]
    ran = [0.0]
    hub = await begun(MemoryState(lambda: ran[0]))

    def permitted(hub: Hub) -> list[int]:
        return [len(hub.board.books.permits[name]) for name in names]

    await hub.commit_everywhere("c0", names, FIRST, limit=6)
    hub.board.books.first_is_over()
    await hub.commit_everywhere("c1", names, DROPPED, limit=6)
    seen = hub.view.passages
    assert await hub.releases.let(dict.fromkeys(names, result(DROPPED, "c1")), seen, seen, {})
    for name in names:
        hub.report(name, DROPPED, *KEPT, "x")
    assert permitted(hub) == [1] * 6
    ran[0] += 3700.0
    await hub.commit_everywhere("c2", names, LATER, limit=3)
    assert permitted(hub) == [1] * 6
    await hub.commit_everywhere("c3", names, DROPPED, limit=3)  # what they hold already
    assert permitted(hub) == [1] * 6
    later = await begun(hub.state)
    later.view.units.update(hub.view.units)
    await later.commit_everywhere("c3", names, DROPPED, limit=3)
    assert permitted(later) == [1] * 6


@pytest.mark.parametrize(("taker", "moves"), [(TAKEN, {"x"}), (ALONE, set[str]())])
async def test_what_a_person_was_asked_about_stays_once_another_unit_takes_it_after_a_restart(
    taker: Bundle, moves: set[str]
) -> None:
    """It may be approved: that a worker which began anew asks for nothing says nothing (R5)."""
    names = [UnitName.parse(f"a@eu-{number}") for number in range(1, 6)]
    hub = await begun(MemoryState())
    await hub.commit_everywhere("c0", names, FIRST, beside={B: result(ALONE, "c0")})
    hub.board.books.first_is_over()
    await hub.commit_everywhere("c1", names, DROPPED, beside={B: result(ALONE, "c0")})
    seen = hub.view.passages
    assert await hub.releases.let(dict.fromkeys(names, result(DROPPED, "c1")), seen, seen, {})
    assert hub.told(A) == (DROPPED.digest, set(), set())  # on so many clusters a person is asked
    again = await begun(hub.state)
    for name in names:
        again.report(name, DROPPED, *KEPT, "x")
    again.report(B, ALONE, "z")
    again.view.units[A] = replace(again.view.units[A], unjudged=Revision("c1"))
    await again.commit_everywhere("c1", names, DROPPED, beside={B: result(ALONE, "c0")})
    await again.commit_everywhere("c1", names, DROPPED, beside={B: result(taker, "c2")})  # of a it changed nothing
    assert again.told_bundle(B) == ALONE.digest  # the newer one waits for its step
    assert again.told(A) == (DROPPED.digest, set(), moves)


async def test_what_is_only_shown_of_a_unit_that_a_person_syncs_stays_once_another_one_takes_it() -> None:
    hub = await begun(MemoryState())
    await hub.commit("c0", a=result(FIRST, "c0"), b=result(ALONE, "c0"))
    hub.board.books.first_is_over()
    hub.manual = frozenset({A})
    hub.report(A, FIRST, *KEPT, "x")
    hub.report(B, ALONE, "z")
    await hub.commit("c1", a=result(DROPPED, "c1"))
    assert hub.told(A) == (DROPPED.digest, {"x"}, set())
    await hub.commit("c2", b=result(TAKEN, "c2"))
    assert hub.told(A) == (DROPPED.digest, set(), {"x"})


@pytest.mark.parametrize(("newest", "permits", "moves"), [(FIRST, set[str](), {"x"}), (LATER, {"x"}, set[str]())])
async def test_what_was_shown_for_a_person_to_sync_keeps_what_it_has_once_its_unit_goes_by_itself(
    hub: Hub, newest: Bundle, permits: set[str], moves: set[str]
) -> None:
    hub.manual = frozenset({A})
    await hub.commit("c2", a=result(newest, "c2"))
    assert hub.told_bundle(A) == newest.digest
    hub.manual = frozenset()
    hub.board.take_fleet(fleet("c3"))
    await hub.board.publish()  # as a commit is told before anything of it is built
    assert hub.told_bundle(A) == newest.digest
    assert hub.part(A).policy.sync.mode is SyncMode.MANUAL
    await hub.commit("c3", a=result(newest, "c2"))
    assert hub.told(A) == (DROPPED.digest, permits, moves)


async def test_what_was_shown_for_a_person_to_sync_keeps_nothing_once_it_is_taken_back(hub: Hub) -> None:
    hub.manual = frozenset({A})
    await hub.commit("c2", a=result(FIRST, "c2"))
    seen, entry = hub.view.passages, Quarantined(Revision("c2"), Stop("crashes", "mara", 1.0), frozenset({EU.name}))
    assert await hub.releases.let({}, seen, Passages(quarantine={A.overlay: {FIRST.digest: entry}}), {})
    assert hub.told(A) == (DROPPED.digest, {"x"}, set())


async def test_what_only_a_result_that_was_taken_back_has_goes(hub: Hub) -> None:
    entry = Quarantined(Revision("c2"), Stop("crashes", "mara", 1.0), frozenset({EU.name}))
    hub.view.passages = Passages(quarantine={A.overlay: {FIRST.digest: entry}})
    await hub.commit("c2", a=result(FIRST, "c2"))
    assert hub.told(A) == (DROPPED.digest, {"x"}, set())


@pytest.mark.parametrize(("let_in", "permits", "moves"), [("c2", set[str](), {"x"}), ("c9", {"x"}, set[str]())])
async def test_what_a_result_has_that_a_person_lets_in_again_stays(
    hub: Hub, let_in: str, permits: set[str], moves: set[str]
) -> None:
    """Before the rollout that brings it moves; the word about another commit is the twin."""
    stop, at = Stop("crashes", "mara", 1.0), frozenset({EU.name})
    barred = {
        FIRST.digest: Quarantined(Revision("c2"), stop, at),
        ALONE.digest: Quarantined(Revision("c9"), stop, at),
    }
    hub.view.passages = Passages(quarantine={A.overlay: barred})
    await hub.commit("c2", a=result(FIRST, "c2"))
    assert hub.told(A) == (DROPPED.digest, {"x"}, set())
    seen = hub.view.passages
    assert await hub.releases.let({}, seen, readmitted(seen, Revision(let_in)), {})
    assert hub.told(A) == (DROPPED.digest, permits, moves)


async def test_a_build_that_fails_takes_nothing_from_what_was_judged(hub: Hub) -> None:
    await hub.commit("c2", b=result(TAKEN, "c2"))
    await hub.commit("c3", a=RenderProblem("RenderFailed", "no such file", Revision("c3")))
    await hub.commit("c4", a=result(LATER, "c4"))
    assert hub.told(A) == (DROPPED.digest, set(), {"x"})


@pytest.mark.parametrize(("taker", "permits", "moves"), [(TAKEN, set[str](), {"x"}), (ALONE, {"x"}, set[str]())])
async def test_a_restart_judges_what_is_held_while_a_newer_result_waits(
    hub: Hub, taker: Bundle, permits: set[str], moves: set[str]
) -> None:
    await hub.commit("c2", a=result(LATER, "c2"), b=result(taker, "c2"))
    assert hub.told(A) == (DROPPED.digest, permits, moves)
    later = await begun(hub.state)
    later.view.units.update(hub.view.units)
    later.board.take_fleet(fleet("c2"))
    await later.releases.release({A: result(LATER, "c2"), B: result(taker, "c2")})
    await later.releases.settle()
    assert later.told(A) == (DROPPED.digest, permits, moves)


async def test_a_restart_knows_what_a_person_suspended_before_anything_is_told(hub: Hub) -> None:
    stopped = Suspension("night", "mara", scope="cluster eu-1")
    await hub.state.put_suspension(stopped)
    later = await begun(hub.state)
    assert later.board.standing.suspensions == (stopped,)
    await later.commit("c1", a=result(DROPPED, "c1"))
    assert later.part(A).policy.suspensions == (stopped,)


async def test_what_is_kept_of_a_broken_overlay_goes_by_what_its_cluster_says_now(hub: Hub) -> None:
    broken = Problem(Severity.ERROR, "InventoryInvalid", "not YAML", Origin("overlays/a/overlay.yaml", 1))

    def with_broken(commit: str, cluster: Cluster) -> Fleet:
        return Fleet(
            Revision(commit),
            clusters={EU.name: cluster},
            overlays={B.overlay: unit(B).overlay},
            units={B: unit(B, cluster)},
            unknown=Unknown(overlays={OverlayName("a"): broken}),
        )

    hub.board.take_fleet(with_broken("c2", EU))
    assert hub.board.standing.suspensions_of(hub.view.kept[A]) == ()
    hub.board.take_fleet(with_broken("c3", replace(EU, suspend=Suspension("night"), mode=Mode.OBSERVE)))
    assert [one.reason for one in hub.board.standing.suspensions_of(hub.view.kept[A])] == ["night"]
    assert hub.view.kept[A].cluster.mode is Mode.OBSERVE
