"""Releases held against a model: whatever comes in which order, nothing goes that something still wants (R9, R16).

Three overlays of one cluster share a few objects. Commits give each object to one of them or to none, some builds fail,
results come in pieces, wait for their step, are let go, are taken back; workers are slow; the hub is started anew. The
model knows what was given to the hub and what stands on the cluster, and nothing of how the hub decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from controllers.test_wanted_again import BUNDLES, EU, begun, bundle, ref
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from fleet.core.fleet import Fleet, Overlay, Unit
from fleet.core.ids import Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Quarantined, Stop
from fleet.core.problems import Origin
from fleet.core.results import Rendered, RenderProblem
from fleet.core.rollout import Apply, Detach
from fleet.core.rollout_policy import RolloutPolicy
from fleet.core.status import Health, ObjectStatus, Sync, UnitReport
from fleet.core.sync_policy import SyncMode, SyncPolicy
from fleet.store.memory import MemoryState

UNITS = tuple(UnitName(OverlayName(name), EU.name) for name in ("a", "b", "c"))
SHARED = ("w", "x", "y", "z")
NONE = frozenset[UnitName]()
BROKEN = frozenset({"?"})

one_unit = st.sampled_from(UNITS)
owners = st.fixed_dictionaries({name: st.sampled_from([*UNITS, None]) for name in SHARED})


def unit_of(name: UnitName, is_stepwise: bool, is_manual: bool) -> Unit:
    origin = Origin(f"overlays/{name.overlay}/overlay.yaml", 1)
    sync = SyncPolicy(mode=SyncMode.MANUAL if is_manual else SyncMode.AUTO)
    policy = RolloutPolicy() if is_stepwise else RolloutPolicy(steps=())
    overlay = Overlay(name.overlay, f"overlays/{name.overlay}", origin, sync=sync, rollout=policy)
    return Unit(name, overlay.directory, overlay.origin, (), {}, overlay, EU)


class Model(RuleBasedStateMachine):
    """One cluster, its hub, and what is true of both."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.hub = self.run(begun(MemoryState()))
        self.commits = 0
        self.owner: dict[str, UnitName] = {}  # what stands on the cluster, and whose mark it has
        self.newest: dict[UnitName, frozenset[str]] = {}  # what was given to the hub last
        self.to_come: dict[UnitName, Rendered | RenderProblem] = {}  # of the newest commit, not given yet
        self.barred: set[tuple[UnitName, Digest]] = set()
        self.results: dict[UnitName, Rendered | RenderProblem] = {}
        self.fleet: Fleet | None = None
        self.manual = NONE
        self.applied: dict[UnitName, Digest] = {}
        self.made: dict[UnitName, list[Digest]] = {name: [] for name in UNITS}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        self.loop.close()

    # What a person and Git do

    @initialize(of=owners)
    def first(self, of: dict[str, UnitName | None]) -> None:
        self.commit(of, NONE, NONE, NONE, NONE)
        self.give_all()
        self.hub.board.books.first_is_over()
        for name in UNITS:
            self.work(name)

    @precondition(lambda self: self.fleet is not None and not self.to_come)
    @rule(
        of=owners,
        broken=st.frozensets(one_unit, max_size=1),
        stepwise=st.frozensets(one_unit),
        manual=st.frozensets(one_unit, max_size=1),
        left=st.frozensets(one_unit, max_size=1),
    )
    def commit(
        self,
        of: dict[str, UnitName | None],
        broken: frozenset[UnitName],
        stepwise: frozenset[UnitName],
        manual: frozenset[UnitName],
        left: frozenset[UnitName],
    ) -> None:
        """Each object has one owner at most; a person syncs those that are manual, and some left the repo."""
        self.commits += 1
        commit, self.manual = Revision(f"c{self.commits}"), manual
        units = {name: unit_of(name, name in stepwise, name in manual) for name in UNITS if name not in left}
        overlays = {name.overlay: unit.overlay for name, unit in units.items()}
        self.fleet = Fleet(commit, clusters={EU.name: EU}, overlays=overlays, units=units)
        for name in left:
            self.newest.pop(name, None)
            self.results.pop(name, None)
        for name in units:
            if name in broken:
                self.to_come[name] = RenderProblem("RenderFailed", "no such file", commit)
                continue
            names = (f"own-{name.overlay}", *sorted(each for each, owner in of.items() if owner == name))
            made = bundle(*names)
            BUNDLES[made.digest] = made
            self.made[name].append(made.digest)
            self.to_come[name] = Rendered(made.digest, commit)
        self.hub.view.rendering |= self.to_come.keys()
        self.hub.board.take_fleet(self.fleet)

    @precondition(lambda self: self.to_come)
    @rule(units=st.frozensets(one_unit, min_size=1))
    def give(self, units: frozenset[UnitName]) -> None:
        given = {name: self.to_come.pop(name) for name in sorted(units & self.to_come.keys())}
        for name, result in given.items():
            self.results[name] = result
            self.newest[name] = names_of(result)
        self.run(self.hub.releases.release(given))
        if not self.to_come:
            self.run(self.hub.releases.settle())

    @precondition(lambda self: self.to_come)
    @rule()
    def give_all(self) -> None:
        self.give(frozenset(UNITS))

    @precondition(lambda self: self.hub.board.books.waiting)
    @rule(name=one_unit)
    def let(self, name: UnitName) -> None:
        """Its step came."""
        waiting = self.hub.board.books.waiting.get(name)
        if name not in self.manual and waiting is not None and (name, waiting.bundle) not in self.barred:
            seen = self.hub.view.passages
            assert self.run(self.hub.releases.let({name: waiting}, seen, seen, {}))

    @rule(name=one_unit, to=st.integers(0, 3))
    def take_back(self, name: UnitName, to: int) -> None:
        """What it has is bad: it goes back to an earlier result."""
        held = self.hub.board.books.held.get(name)
        before = [
            one for one in self.made[name] if held is not None and one != held.bundle and (name, one) not in self.barred
        ]
        if held is None or self.to_come or not before:
            return
        seen = self.hub.view.passages
        entry = Quarantined(held.commit, Stop("crashes", "mara", 1.0), frozenset({EU.name}))
        entries = {**seen.quarantine.get(name.overlay, {}), held.bundle: entry}
        kept = replace(seen, quarantine={**seen.quarantine, name.overlay: entries})
        self.barred.add((name, held.bundle))
        back = {name: Rendered(before[to % len(before)], held.commit)}
        assert self.run(self.hub.releases.let({}, seen, kept, {}, back=back))

    # What happens to the hub and on the cluster

    @rule()
    def restart(self) -> None:
        """All of the newest commit is rendered anew."""
        reports = self.hub.view.units
        passages = self.hub.view.passages
        self.hub = self.run(begun(self.hub.state))
        self.hub.view.units.update(reports)
        self.hub.view.passages = passages
        self.hub.board.books.bar(passages)
        assert self.fleet is not None
        self.to_come = {**self.results, **self.to_come}
        self.hub.view.rendering |= self.to_come.keys()
        self.hub.board.take_fleet(self.fleet)

    @rule(name=one_unit)
    def work(self, name: UnitName) -> None:
        """A pass of a worker."""
        if name not in self.manual:
            self.carry_out(name)

    @rule(name=one_unit)
    def sync(self, name: UnitName) -> None:
        """A person's word; what the cluster has is held from now on."""
        if name not in self.manual:
            return
        self.carry_out(name)
        waiting = self.hub.board.books.waiting.get(name)
        if waiting is not None and waiting.bundle == self.applied.get(name):
            seen = self.hub.view.passages
            assert self.run(self.hub.releases.let({name: waiting}, seen, seen, {}))

    def carry_out(self, name: UnitName) -> None:
        """Apply, delete what may go, report."""
        desired = self.hub.board.publisher.slot(EU.name).desired
        part = next((one for one in desired.units if one.unit == name), None) if desired is not None else None
        if part is not None and isinstance(part.action, Detach) and not part.action.waits:
            self.is_let_go(name)
        if part is None or not isinstance(part.action, Apply):
            return
        action, wanted = part.action, names_in(part.action.bundle)
        self.applied[name] = action.bundle
        for each in wanted:
            self.owner[each] = name
        stays = {move.ref.name for move in action.moves}
        for each in [each for each, owner in self.owner.items() if owner == name and each not in wanted]:
            if each in {one.name for one in action.permits | {item.ref for item in action.approved}} - stays:
                self.goes(each, name)
        objects = tuple(
            ObjectStatus(ref(each), Sync.SYNCED, Health.HEALTHY) for each in self.owner if self.owner[each] == name
        )
        self.hub.view.units[name] = UnitReport(
            name, part.commit, action.bundle, Sync.SYNCED, Health.HEALTHY, 1.0, objects=objects
        )

    def is_let_go(self, name: UnitName) -> None:
        """What it has stays without a mark; what another unit wants of it, that one is told by now (R16)."""
        owned = {each for each, owner in self.owner.items() if owner == name}
        for other, newest in self.newest.items():
            told = self.hub.told_bundle(other)
            has = names_in(told) if told is not None else frozenset[str]()
            result = self.results[other]
            if not isinstance(result, Rendered) or (other, result.bundle) not in self.barred:
                assert not owned or newest != BROKEN, f"nobody knows what {other} wants, and {name} is let go"
                assert not owned & newest - has, f"{other} is not told yet to take {owned & newest - has}"
        for each in owned:
            del self.owner[each]
        self.run(self.hub.board.departures.end(name))
        self.hub.view.units.pop(name, None)

    def goes(self, each: str, name: UnitName) -> None:
        del self.owner[each]
        assert self.fleet is not None
        for other in self.fleet.units:
            has = self.applied.get(other) if other in self.manual else None
            assert has is None or each not in names_in(has), f"{other} has {each}, and nobody synced it"
            told = self.hub.told_bundle(other)
            assert told is None or each not in names_in(told), f"{other} is told to hold {each}"
            newest = self.newest.get(other, BROKEN)
            result = self.results.get(other)
            if isinstance(result, Rendered) and (other, result.bundle) in self.barred:
                continue
            assert each not in newest, f"{other} wants {each}, which {name} deleted"
            assert newest != BROKEN or other == name or other in self.to_come, (
                f"nobody knows what {other} wants, and {name} deleted {each}"
            )

    @precondition(lambda self: self.fleet is not None)
    @rule(of=owners)
    def all_is_well(self, of: dict[str, UnitName | None]) -> None:
        """Once all is known and let go, what nobody wants is gone, and what somebody wants is there."""
        if self.to_come:
            self.give_all()
        self.commit(of, NONE, NONE, NONE, NONE)
        self.give_all()
        for name in UNITS * 3:
            self.let(name)
            self.work(name)
        for name in UNITS:
            result = self.results[name]
            assert isinstance(result, Rendered)
            if (name, result.bundle) in self.barred:
                return
        assert self.owner.keys() == frozenset().union(*self.newest.values())


def names_in(digest: Digest) -> frozenset[str]:
    return frozenset(item.ref.name for item in BUNDLES[digest].objects)


def names_of(result: Rendered | RenderProblem) -> frozenset[str]:
    return names_in(result.bundle) if isinstance(result, Rendered) else BROKEN


TestReleases = Model.TestCase
TestReleases.settings = settings(
    max_examples=80, stateful_step_count=25, deadline=None, phases=(Phase.generate, Phase.shrink)
)
