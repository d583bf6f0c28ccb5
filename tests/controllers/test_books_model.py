"""Who holds what, held against a model: whatever people, Git, clusters and kills do, in any order.

The model knows what Git said, what people said and what is on the clusters, and nothing of how the hub decides. It
looks at what workers are told to write, at each write of the hub to its state and after each action.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import replace
from typing import Any

from controllers.books_world import (
    OVERLAYS,
    POLICIES,
    STAGES,
    Entry,
    Hub,
    Key,
    Killed,
    Policy,
    Process,
    Repo,
    made,
    refs_in,
)
from hypothesis import currently_in_test_context, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from fleet.controllers.commits import IN_FORCE
from fleet.controllers.rollout_clock import DEAF_SECONDS
from fleet.core.fleet import Mode
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.passage import Passage
from fleet.core.results import Rendered
from fleet.core.rollout import Apply, Desired, Detach, UnitDesired
from fleet.core.status import Health, ObjectStatus, OperationResult, Report, Sync, UnitReport
from fleet.core.sync_policy import SyncMode
from fleet.core.turns import is_stopped
from fleet.ports.state import OperationRow
from fleet.store.memory import MemoryState

NAMES = {"a": "A", "b": "B", "c": "C", "d": "C"}  # entries, and whose they may be
KEYS = tuple((overlay, cluster) for overlay in OVERLAYS for cluster in STAGES)
FIRST = "B"  # a cluster of a later step

clusters = st.sampled_from(sorted(STAGES))
overlays = st.sampled_from(OVERLAYS)
entries = st.sampled_from(
    [Entry("", ""), Entry("n"), Entry("n"), Entry("n", "observe"), Entry("n", is_suspended=True), Entry("m")]
)
policies = st.builds(Policy, st.sampled_from([*POLICIES]), st.sampled_from(["auto", "auto", "manual"]))
versions = st.integers(0, 4)
modes = st.sampled_from(["manage", "observe"])


class Holding(RuleBasedStateMachine):
    """Three clusters, two overlays, and one process of a hub after another."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now = 1.8e9
        self.durable = MemoryState(lambda: self.now)
        self.processes = 0
        self.is_well = False  # no rule was broken so far
        self.branch: list[Repo] = []
        self.force: Repo | None = None  # the commit that the hub read last
        self.since: dict[Key, int] = {}  # the commit that brought a unit's newest result
        self.going: dict[Key, int] = {}  # the commit since which a unit goes by itself
        # On the clusters
        self.has: dict[Key, Digest] = {}
        self.of: dict[Key, Revision] = {}  # the commit that was applied
        self.objects: dict[Key, frozenset[ObjectRef]] = dict.fromkeys(KEYS, frozenset[ObjectRef]())
        self.health: dict[Key, Health] = {}
        self.away: set[str] = set()
        # What was said
        self.ordered: dict[Key, Digest] = {}  # what a unit was told to write last
        self.ordered_at: dict[Key, int] = {}  # at which commit
        self.known: dict[Key, set[Digest]] = {}  # what it was told to write at any time
        self.returned: set[Key] = set()  # of clusters that left, or were called otherwise, and may be back
        self.ever: dict[Key, set[Digest]] = {}  # what was shown there at any time
        self.settled: set[Key] = set()  # of which the hub knew what is there when it looked last
        self.proven: dict[Key, Digest] = {}  # what it was Healthy on, as reported last
        self.shown: dict[Key, Digest] = {}  # what was shown last where nothing was written, observed or by hand
        self.asked: dict[Key, Digest] = {}  # what a person's sync brings, as it was shown last
        self.stood: set[tuple[Key, Digest]] = set()  # well there at a look, and nothing of its overlay ill since
        self.cut: set[tuple[str, Digest]] = set()  # what rollouts bring that a person aborted: nothing proves it
        self.prior: dict[Key, tuple[Digest, Digest]] = {}  # what steps brought it last, and what was well before that
        self.barred: dict[tuple[str, Digest], set[str]] = {}  # by the commits with which it was taken back
        self.audit_read = 0
        self.backs: set[tuple[Key, Digest]] = set()  # what rollbacks on record bring again
        self.passed: set[str] = set()  # overlays of which a person promoted the rollout
        self.words = 0
        self.met: set[str] = set()  # entries whose cluster the hub heard
        self.lost: set[Key] = set()  # whose last report no process of the hub has
        self.syncing: dict[str, Key] = {}  # syncs that a cluster was told of
        self.ended: set[str] = set()  # syncs that a worker carried out: it does so once
        self.open: dict[str, tuple[str, str, set[tuple[str, Digest]]]] = {}  # orders: kind, target, what an abort bars
        self.booked: dict[Key, Digest] = {}  # what was held at the last look
        self.earlier: tuple[Any, ...] | None = None  # what was so before the newest commit came into force
        self.is_first = True  # nothing is held yet that a commit may break

    # Around the hub

    def clock(self) -> float:
        self.now += 0.001
        return self.now

    def make(self) -> None:
        before = self.process.reports if self.processes else []
        self.lost |= {key_of(unit.unit) for reports in before for report in reports for unit in report.units}
        self.ended = set()
        self.processes += 1
        self.born = self.now
        self.process = Process(self.durable, self.watch)
        self.hub = Hub(self.process, self.branch, self.clock, self.processes)
        self.sequences: dict[str, int] = {}
        self.began: dict[str, float] = {}
        self.settled = set()

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.loop.run_until_complete(asyncio.wait_for(work, 60))  # what waits for itself would hang for ever

    def do(self, work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        """Carry one action out; where the hub is killed amid it, another process begins."""
        self.is_well = False
        try:
            self.run(work())
        except BaseException as error:
            if not is_kill(error):
                raise
            say("killed")
            self.make()
            self.run(self.begin())
        self.watch(is_over=True)
        self.check()
        self.watch(is_over=True)  # once more, with the orders that ended by this
        self.is_well = True

    async def begin(self) -> None:
        """A process begins with the commit that is in force by the state."""
        self.is_first = not await self.durable.released()
        revision = await self.durable.get_value(IN_FORCE)
        if self.force is not None and revision != self.force.revision:
            assert self.earlier is not None
            self.force, self.since, self.going, self.shown, self.passed, self.asked = self.earlier
        await self.hub.begin()

    def teardown(self) -> None:
        if self.is_well:
            self.all_comes_to_its_end()
        self.loop.close()

    # What Git says

    @initialize(sets=st.fixed_dictionaries(dict.fromkeys(OVERLAYS, policies)), of=modes)
    def first(self, sets: dict[str, Policy], of: str) -> None:
        named = {name: Entry(name.lower(), of if name == FIRST else "manage") for name in STAGES}
        self.branch.append(Repo(1, named, sets, dict.fromkeys(KEYS, 1)))
        self.make()
        self.do(self.begin)
        self.do(self.fetch)

    @rule(
        sets=st.dictionaries(overlays, policies, max_size=1),
        changed=st.dictionaries(clusters, entries, max_size=1),
        some=st.dictionaries(st.sampled_from(KEYS), versions, max_size=2),
        every=st.dictionaries(overlays, versions, max_size=2),
        is_read=st.sampled_from([True, True, True, False]),
    )
    def commit(
        self,
        sets: dict[str, Policy],
        changed: dict[str, Entry],
        some: dict[Key, int],
        every: dict[str, int],
        is_read: bool,
    ) -> None:
        last = self.branch[-1]
        named = {**last.entries, **{name: called(name, entry) for name, entry in changed.items()}}
        new = {key: every[key[0]] for key in KEYS if key[0] in every}
        new |= some
        self.push(replace(last, entries=named, policies={**last.policies, **sets}, versions={**last.versions, **new}))
        if is_read:
            self.do(self.fetch)

    @rule(name=overlays, version=st.integers(1, 4))
    def commit_everywhere(self, name: str, version: int) -> None:
        self.commit({}, {}, {}, {name: version}, True)

    @rule(name=overlays, policy=policies)
    def commit_of_a_policy(self, name: str, policy: Policy) -> None:
        self.commit({name: policy}, {}, {}, {}, True)

    @rule(name=overlays, version=st.integers(1, 4), looks=st.integers(1, 2), is_let_in=st.booleans())
    def commit_that_is_taken_back(self, name: str, version: int, looks: int, is_let_in: bool) -> None:
        """By a person, on its way or once it is everywhere; and maybe let in again before anything went back."""
        self.commit_everywhere(name, version)
        self.look()
        self.all_work(looks)
        self.order("rollback", 0, name)
        if is_let_in and not self.open:
            self.order("resume", 0, name)
            self.look()

    @rule(name=overlays, behind=st.sampled_from(["B", "C"]), commits=st.integers(1, 2))
    def one_stays_behind_and_a_later_commit_is_taken_back(self, name: str, behind: str, commits: int) -> None:
        """The others have all of the commits before."""
        self.commit({name: Policy("steps", "auto")}, {behind: Entry("n", is_suspended=True)}, {}, {}, True)
        self.time_passes(70.0)
        for version in range(1, commits + 1):
            self.commit_everywhere(name, version)
            self.look()
            self.all_work(3)
        self.commit_everywhere(name, 4)
        self.look()
        self.order("rollback", 0, name)

    @rule(name=overlays, dropping=st.integers(1, 4), newest=st.integers(1, 4))
    def by_hand_for_a_while(self, name: str, dropping: int, newest: int) -> None:
        """A person syncs an overlay while something of it is on its way, and it goes by itself again after that."""
        policy = self.branch[-1].policies[name]
        self.commit_everywhere(name, dropping)
        self.look()
        self.commit_of_a_policy(name, replace(policy, sync="manual"))
        self.commit_everywhere(name, newest)
        self.commit_of_a_policy(name, replace(policy, sync="auto"))

    def push(self, repo: Repo) -> None:
        self.branch.append(replace(repo, number=len(self.branch) + 1))

    async def fetch(self) -> None:
        self.take(self.branch[-1])
        await self.hub.commits.fetch_once()
        self.watch()
        self.is_first = False

    def take(self, repo: Repo) -> None:
        """A commit comes into force."""
        before = self.force
        if before is repo:
            return
        books = dict(self.since), dict(self.going), dict(self.shown), set(self.passed), dict(self.asked)
        self.force, self.earlier = repo, (before, *books)
        say(f"in force: {difference(before, repo)}")
        for key in KEYS:
            if before is None or repo.result(key) != before.result(key):
                self.since[key] = repo.number
                self.passed.discard(key[0])
            if not self.goes(key):
                self.going.pop(key, None)
            else:
                self.going.setdefault(key, repo.number)
            self.is_shown_now(key)
            if before is not None and before.entries[key[1]].name != repo.entries[key[1]].name:
                self.returned.add(key)

    def is_shown_now(self, key: Key) -> None:
        """What a unit is to begin with, where nothing was written; not what was taken back."""
        assert self.force is not None
        result = self.force.result(key)
        if result is None or not self.is_shown(key) or (key[0], result) in self.barred:
            return
        self.asked[key] = result
        if key in self.has:
            return
        self.shown[key] = result
        self.ever.setdefault(key, set()).add(result)

    def goes(self, key: Key) -> bool:
        """Whether a unit goes by itself, and nobody stopped it."""
        assert self.force is not None
        entry, policy = self.force.entries[key[1]], self.force.policies[key[0]]
        return bool(entry.name) and entry.mode == "manage" and policy.sync == "auto" and not entry.is_suspended

    def is_shown(self, key: Key) -> bool:
        assert self.force is not None
        return self.force.entries[key[1]].mode == "observe" or self.force.policies[key[0]].sync == "manual"

    # What clusters do

    @rule(name=clusters, how=st.sampled_from(["well", "well", "well", "half", "busy", "bad", "stale"]))
    def work(self, name: str, how: str) -> None:
        if how != "well":
            self.stood.clear()
        self.do(lambda: self.pass_on(name, how))

    @rule(times=st.integers(1, 3))
    def all_work(self, times: int) -> None:
        for _ in range(times):
            for name in STAGES:
                self.work(name, "well")
            self.look()

    @rule(name=clusters, there=st.booleans())
    def reach(self, name: str, there: bool) -> None:
        (self.away.discard if there else self.away.add)(name)

    async def pass_on(self, name: str, how: str) -> None:
        """What the workers do of all entries that are this cluster."""
        for entry in [one for one in self.hub.board.entries() if NAMES[one] == name]:
            await self.answer(entry, how)
        for entry in [ClusterName(one) for one in NAMES if NAMES[one] == name and one in self.sequences]:
            if self.hub.board.has_gone(entry):
                await self.hub.intake.forget(entry)
                del self.sequences[entry], self.began[entry]
                self.met.discard(entry)

    async def answer(self, entry: ClusterName, how: str) -> None:
        name, hub = NAMES[entry], self.hub
        identity = Identity(f"uid-{name}")
        if entry not in self.sequences and name not in self.away:
            claimed = await hub.claims.claim(entry, identity)
            if claimed is not None and claimed[1]:
                await hub.intake.rename(claimed[0], entry)
                claimed = await hub.claims.claim(entry, identity)
            if claimed is not None:
                return
        is_full = entry not in self.sequences
        self.began.setdefault(entry, self.clock())
        self.sequences[entry] = self.sequences.get(entry, 0) + 1
        here = {"epoch": self.processes, "sequence": self.sequences[entry], "at": self.clock()}
        if name in self.away:
            if not is_full:
                await hub.intake.send(Report(entry, **here, message="no route", began_at=self.began[entry]))
            else:
                del self.sequences[entry], self.began[entry]
            return
        desired = hub.board.publisher.slot(entry).desired
        units = [self.unit_of(part, desired, how) for part in desired.units] if desired is not None else []
        ended = [
            OperationResult(each.operation, "done")
            for each in (desired.requests if desired is not None else ())
            if self.has.get(key_of(each.unit)) == self.part_bundle(desired, each.unit)
        ]
        report = Report(
            entry, **here, desired_sequence=desired.sequence if desired is not None else 0, identity=identity,
            reachable=True, version="v1.36.3", units=tuple(units), operations=tuple(ended),
            full=is_full and desired is not None, began_at=self.began[entry],
        )  # fmt: skip
        self.ended |= {each.operation for each in ended}
        self.lost |= {key_of(unit.unit) for unit in units}
        await hub.intake.send(report)
        self.met.add(entry)
        self.lost -= {key_of(unit.unit) for unit in units}
        for unit in units:
            if unit.health is Health.HEALTHY and unit.bundle is not None:
                self.proven[key_of(unit.unit)] = unit.bundle

    def part_bundle(self, desired: Desired | None, unit: UnitName) -> Digest | None:
        parts = desired.units if desired is not None else ()
        actions = (each.action for each in parts if each.unit == unit)
        return next((action.bundle for action in actions if isinstance(action, Apply)), None)

    def unit_of(self, part: UnitDesired, desired: Desired, how: str) -> UnitReport:
        """One unit in a pass of its worker."""
        key, action = key_of(part.unit), part.action
        if isinstance(action, Detach) and not action.waits:
            if self.force is not None and self.force.has(key):
                return UnitReport(part.unit, part.commit, None, Sync.SYNCED, Health.HEALTHY, self.now, detached=True)
            if key in self.has:
                self.shown.pop(key, None)
            for book in (self.has, self.of, self.health, self.ordered, self.proven):
                book.pop(key, None)
            self.objects[key] = frozenset()
            return UnitReport(part.unit, part.commit, None, Sync.SYNCED, Health.HEALTHY, self.now, detached=True)
        is_asked = any(each.unit == part.unit and each.operation not in self.ended for each in desired.requests)
        if (
            how != "stale"
            and isinstance(action, Apply)
            and not part.policy.suspensions
            and may_write(part, desired, is_asked=is_asked)
        ):
            if is_asked:
                self.is_synced(key, action.bundle)
            self.apply(key, action, part.commit, how)
        has = self.has.get(key)
        wanted = action.bundle if isinstance(action, Apply) else has
        sync = Sync.SYNCED if has == wanted else Sync.OUT_OF_SYNC
        seen = part.commit if how != "stale" else self.of.get(key, Revision(""))
        objects = tuple(ObjectStatus(ref, Sync.SYNCED, Health.HEALTHY) for ref in sorted(self.objects[key]))
        return UnitReport(
            part.unit, self.of.get(key, Revision("")), has, sync, self.health.get(key, Health.MISSING), self.now,
            observed_commit=seen, objects=objects,
        )  # fmt: skip

    def apply(self, key: Key, action: Apply, commit: Revision, how: str) -> None:
        wanted = refs_in(action.bundle)
        if how == "half":
            if self.has.get(key) != action.bundle:
                self.health[key] = Health.PROGRESSING
            return
        stays = {move.ref for move in action.moves}
        gone = self.objects[key] - wanted & (action.permits - stays)
        self.objects[key] = (self.objects[key] | wanted) - gone
        self.has[key], self.of[key] = action.bundle, commit
        self.health[key] = {"busy": Health.PROGRESSING, "bad": Health.DEGRADED}.get(how, Health.HEALTHY)

    # What people do

    @rule()
    def look(self) -> None:
        self.do(self.hub.rollouts.look)
        if self.now - self.born >= DEAF_SECONDS:
            self.settled = {key_of(name) for name in self.hub.view.units}
            told = {(key, digest) for key, digest in self.ordered.items() if self.proven.get(key) == digest}
            self.stood |= {(key, digest) for key, digest in told if (key[0], digest) not in self.cut}

    @rule(
        kind=st.sampled_from(["pause", "resume", "resume", "abort", "promote", "rollback", "rollback"]),
        which=st.integers(0, 3),
        name=overlays,
    )
    def order(self, kind: str, which: int, name: str) -> None:
        every = self.hub.view.passages.all
        if every:
            passage = every[-1 - which % len(every)]
            self.say(f"rollout-{kind}", name if kind == "rollback" else passage.commit, passage)
            self.look()

    def say(self, kind: str, target: str, passage: Passage | None = None) -> None:
        """A person's word is in the state; what it lets in is let in from now on, whoever is killed."""
        self.words += 1
        row = OperationRow(f"op-{self.words}", kind, target, "jo", self.clock(), "because")
        self.run(self.durable.add_operation(row))
        say(f"{row.id}: {kind} {target}")
        rows = passage.rows if passage is not None else {}
        # What the commit in force has no more went over to that one, though its look may be still to come.
        newest = {(key[0], self.force.result(key)) for key in KEYS} if self.force is not None else set()
        stops = {
            entry
            for overlay, row in rows.items()
            for name, digest in row.targets.items()
            if (entry := (str(overlay), Digest(digest))) in newest
            and not row.done
            and self.ordered.get((overlay, NAMES[name])) != digest
        }
        self.open[row.id] = kind, target, stops
        if kind == "rollout-resume":
            self.lets_in(target)
        elif kind == "rollout-promote":
            self.passed |= rows.keys()
        elif kind == "rollout-abort":
            self.cut |= {(str(name), Digest(digest)) for name, row in rows.items() for digest in row.targets.values()}
            self.stood = {(key, digest) for key, digest in self.stood if (key[0], digest) not in self.cut}

    def lets_in(self, commit: str) -> None:
        for entry in [entry for entry, by in self.barred.items() if commit in by]:
            del self.barred[entry]
        for key in KEYS:
            self.is_shown_now(key)

    @rule(key=st.sampled_from(KEYS), how=st.sampled_from(["well", "well", "half", "none"]))
    def sync(self, key: Key, how: str) -> None:
        """A person asks for what is shown, which Git is asked for first."""
        if self.force is None or not (entry := self.force.entries[key[1]]).name:
            return
        self.say("sync", f"{key[0]}@{entry.name}")
        self.do(self.fetch)
        self.do(self.hub.orders.look)
        if how != "none":
            self.work(key[1], how)

    # What time and machines do

    @rule(seconds=st.sampled_from([1.0, 70.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.look()

    @rule(writes=st.integers(1, 6))
    def is_killed_soon(self, writes: int) -> None:
        self.process.dies_after = writes

    @rule()
    def kill(self) -> None:
        """Reports that were not written yet are lost."""
        self.restart(is_kill=True)

    @rule()
    def restart(self, is_kill: bool = False) -> None:
        if not is_kill:
            self.run(self.process.flush())
        self.process.is_dead, self.is_well = True, False
        before = self.hub
        was = dict(self.told_by(before))
        self.make()
        self.run(self.begin())
        after = self.hub
        self.watch(is_over=True)
        self.check()
        assert self.led(after.books.held) == self.led(before.books.held)
        assert after.view.passages == before.view.passages
        assert after.books.quarantined == before.books.quarantined
        assert self.led(after.books.waiting).keys() >= self.led(before.books.waiting).keys(), (
            "what waited does not wait"
        )
        for key, bundle in self.told_by(after):
            if self.is_led(key):
                assert was.get(key, bundle) == bundle, f"{key} is told something else after a restart"
        self.is_well = True

    def led(self, book: Mapping[UnitName, Rendered]) -> dict[UnitName, Rendered]:
        """Those of units that rollouts lead: what others hold goes by what their clusters say."""
        return {name: one for name, one in book.items() if self.is_led(key_of(name))}

    def is_led(self, key: Key) -> bool:
        """Whether a unit goes by itself, and not at once: what else waits, the next look or a new process releases."""
        assert self.force is not None
        return self.force.policies[key[0]].rollout != "at once" and not self.is_shown(key)

    def told_by(self, hub: Hub) -> Iterator[tuple[Key, Digest]]:
        for entry in NAMES:
            desired = hub.board.publisher.slot(ClusterName(entry)).desired
            for part in desired.units if desired is not None else ():
                if isinstance(part.action, Apply):
                    yield key_of(part.unit), part.action.bundle

    # What must be so

    def watch(self, *, is_over: bool = False) -> None:
        """Look at all that workers are told now. is_over: nothing of the hub is under way."""
        if self.force is None:
            return
        self.run_through_log()
        for entry in NAMES:
            desired = self.hub.board.publisher.slot(ClusterName(entry)).desired
            for request in desired.requests if desired is not None else ():
                self.syncing[request.operation] = key_of(request.unit)
            for part in desired.units if desired is not None else ():
                if isinstance(part.action, Apply):
                    self.is_permitted(key_of(part.unit), part.action, is_over=is_over)
                    if may_write(part, desired):
                        self.is_ordered(key_of(part.unit), part.action.bundle)

    def is_ordered(self, key: Key, bundle: Digest) -> None:
        """A unit is told to write this."""
        if self.ordered.get(key) == bundle:
            return
        assert self.force is not None
        before, newest = self.ordered.get(key), self.force.result(key)
        say(f"{key}: {told(before)} -> {told(bundle)}, newest {told(newest)}, has {told(self.has.get(key))}")
        self.ordered[key], self.ordered_at[key] = bundle, self.force.number
        self.prior.pop(key, None)
        if before is not None and (key, before) in self.stood and self.is_led(key) and key not in self.returned:
            self.prior[key] = bundle, before
        self.stood = {(other, digest) for other, digest in self.stood if other != key}
        is_known = bundle in self.known.get(key, set())
        self.known.setdefault(key, set()).add(bundle)
        if self.has.get(key) == bundle or (key, bundle) in self.backs:
            self.backs.discard((key, bundle))
            return
        is_known |= bundle in self.ever.get(key, set())
        assert (key[0], bundle) not in self.barred, f"{key} is told {told(bundle)}, which was taken back"
        if key in self.lost and is_known:
            return  # the hub was killed before it had kept what its cluster said
        if key in self.returned and is_known:
            return  # it left, was not let go, and keeps what it was told then
        is_begun = key not in self.has and key in self.shown  # it begins with what was shown there last
        is_asked = bundle == self.asked.get(key) and self.is_amid_sync(key)  # also once it goes by itself
        assert bundle == newest or is_asked or (is_begun and bundle == self.shown[key]), (
            f"{key} is told {told(bundle)}, which no commit in force has for it"
        )
        if self.is_first or (is_begun and key not in self.settled) or self.is_amid_sync(key):
            return
        is_stopped_now = is_stopped(self.hub.view.passages, OverlayName(key[0]))
        assert not is_stopped_now, f"{key} is told {told(bundle)}, and its rollout is stopped"
        if not is_begun:
            self.is_its_turn(key)

    def is_amid_sync(self, key: Key) -> bool:
        """Whether a person's sync goes on there, as far as anybody knows."""
        told = [name for name, of in self.syncing.items() if of == key]
        return any(not self.run_now(self.durable.operation(name)).outcome for name in told)

    def is_its_turn(self, key: Key) -> None:
        """All that go before a unit have what the same commit brought them."""
        assert self.force is not None
        overlay, cluster = key
        if self.force.policies[overlay].rollout == "at once" or STAGES[cluster] == "dev" or overlay in self.passed:
            return
        for other in [(overlay, name) for name, stage in STAGES.items() if stage == "dev"]:
            newest = self.force.result(other)
            since = self.going.get(other)
            if since is None or newest is None or other[1] in self.away:
                continue
            is_met = self.force.entries[cluster].name in self.met  # else it may be another cluster, which has nothing
            if since > max(self.since[key], self.going.get(key, 0) if is_met else 0):
                continue  # it joined what was under way
            if (overlay, newest) in self.barred:
                continue
            assert self.ordered.get(other) == newest, f"{key} goes before {other}"
            if since <= self.since[other] == self.since[key] <= self.ordered_at[other]:
                assert self.proven.get(other) == newest, f"{key} goes, and {other} was not Healthy yet"

    def is_permitted(self, key: Key, action: Apply, *, is_over: bool) -> None:
        assert self.force is not None
        permits = action.permits & self.objects[key] - {move.ref for move in action.moves}
        assert not permits & refs_in(action.bundle), f"{key} may delete what it holds"
        newest = self.force.result(key)
        is_settled = is_over and not self.open
        barred = self.hub.view.passages.quarantine.get(OverlayName(key[0]), {})  # with what was not released anywhere
        if is_settled and newest is not None and newest not in barred:
            assert not permits & refs_in(newest), f"{key} may delete what its newest result has"

    def is_synced(self, key: Key, bundle: Digest) -> None:
        """A person's word brings what Git says now, and nothing that was taken back."""
        assert self.force is not None
        shown = self.shown.get(key) if key not in self.has else None
        known = (self.force.result(key), self.ordered.get(key), shown)
        assert bundle in known, f"a sync brings {told(bundle)} to {key}"
        if bundle != self.has.get(key) and bundle != self.ordered.get(key):
            assert (key[0], bundle) not in self.barred
        self.ordered[key], self.ordered_at[key] = bundle, self.force.number

    def run_through_log(self) -> None:
        """What went back by whose word, as the audit log has it, is barred from then on."""
        links = self.run_now(self.durable.audit_entries(after=self.audit_read, limit=10_000))
        self.audit_read += len(links)
        for entry in (link.entry for link in links):
            if entry.action != "rollback":
                continue
            key = key_of(UnitName.parse(entry.unit))
            left, _, to = entry.object.removeprefix("bundle ").partition(" -> ")
            if not entry.outcome:
                brought, well = self.prior.get(key, (None, None))
                assert brought != left or well == to, f"{key} goes back behind {told(well)}, to {told(Digest(to))}"
                by = next(repo for repo in self.branch if repo.revision == entry.commit)
                is_its = by.number <= self.ordered_at.get(key, 0) or by.result(key) == left
                assert is_its or (key, left) not in self.stood, f"{key} goes back with a commit that never came there"
                self.backs.add((key, Digest(to)))
            elif entry.outcome == "done" or "nothing to go back to" in entry.outcome:
                self.barred.setdefault((key[0], Digest(left)), set()).add(entry.commit)

    def run_now(self, work: Coroutine[Any, Any, Any]) -> Any:
        """What waits for nothing, also within the hub's own work."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits")

    def check(self) -> None:
        """What is in memory is durable, people's words are in force, and nothing is booked that nobody has."""
        released = {row.unit: (row.bundle, row.commit) for row in self.run(self.durable.released())}
        books = self.hub.books
        held = {name: (one.bundle, one.commit) for name, one in books.held.items()}
        assert released == held, f"what is in memory is not what is durable: {released.items() ^ held.items()}"
        for name, (kind, target, stops) in list(self.open.items()):
            row = self.run(self.durable.operation(name))
            if row.outcome:
                del self.open[name]
                say(f"{name}: {row.outcome} {row.message}")
            if row.outcome == "done" and kind == "rollout-abort":
                for entry in stops:
                    self.barred.setdefault(entry, set()).add(target)
        if self.force is None:
            return
        held = {key_of(name): one.bundle for name, one in books.held.items()}
        for key in [key for key, bundle in held.items() if self.booked.get(key) != bundle]:
            entry = self.force.entries[key[1]]
            if entry.name and self.is_shown(key):
                report = self.hub.view.units.get(UnitName(OverlayName(key[0]), ClusterName(entry.name)))
                has = report.bundle if report is not None else None
                is_back = (key, held[key]) in self.backs
                is_heard = key in self.lost and self.has.get(key) == held[key]  # by a process that was killed then
                is_kept = key in self.returned and held[key] in self.known.get(key, set())  # under its other name
                assert is_back or is_heard or is_kept or has in (None, held[key]), (
                    f"{key} has {told(has)}, and {told(held[key])} is booked"
                )
        self.booked = held

    def all_comes_to_its_end(self) -> None:
        """Once everybody is well and nobody stops anything, the newest commit is everywhere."""
        self.away.clear()
        self.process.dies_after = None
        for _ in range(3):
            self.now += DEAF_SECONDS
            self.all_work(1)  # what people ordered meanwhile
        last = self.branch[-1]
        named = {name: Entry(entry.name or name.lower()) for name, entry in last.entries.items()}
        good = {name: Policy("steps", "auto") for name in OVERLAYS}
        is_new = last.number % 2
        known = {key: version or 1 for key, version in last.versions.items()}
        self.push(replace(last, entries=named, policies=good, versions=dict.fromkeys(KEYS, 5) if is_new else known))
        self.do(self.fetch)
        looks = 0
        while looks < 30 and not self.is_at_its_end():
            looks += 1
            for name in STAGES:
                self.work(name, "well")
            self.do(self.hub.orders.look)
            self.now += 30.0
            self.look()
            if not is_new:
                kept = self.hub.view.passages
                stopped = {entry.commit for entries in kept.quarantine.values() for entry in entries.values()}
                stopped |= {one.commit for one in kept.all if one.stopped and (one.shut or not one.outcome)}
                for commit in sorted(stopped):
                    self.say("rollout-resume", commit)
        assert self.force is self.branch[-1]
        for key in KEYS:
            assert self.has.get(key) == self.force.result(key), f"{key} has {told(self.has.get(key))} in the end"
        assert self.is_at_its_end()

    def is_at_its_end(self) -> bool:
        """Whether all has come where Git wants it, and nothing waits or is under way."""
        assert self.force is not None
        is_there = all(self.has.get(key) == self.force.result(key) for key in KEYS)
        return is_there and not self.hub.books.waiting and all(one.outcome for one in self.hub.view.passages.all)


def say(text: str) -> None:
    """For people who read what went wrong."""
    if currently_in_test_context():  # an example that stands as a test of its own has none
        note(text)


def is_kill(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(is_kill(each) for each in error.exceptions)
    return isinstance(error, Killed)


def called(cluster: str, entry: Entry) -> Entry:
    name = {"n": cluster.lower(), "m": "d" if cluster == "C" else cluster.lower()}.get(entry.name, "")
    return replace(entry, name=name)


def key_of(unit: UnitName) -> Key:
    return str(unit.overlay), NAMES[unit.cluster]


def difference(before: Repo | None, now: Repo) -> str:
    """For people who read what went wrong."""
    words = [f"commit {now.number}"]
    for book in ("entries", "policies", "versions"):
        had: dict[Any, Any] = getattr(before, book) if before is not None else {}
        words += [f"{key} {value}" for key, value in getattr(now, book).items() if had.get(key) != value]
    return "; ".join(words)


def told(digest: Digest | None) -> str:
    names = {made(overlay, version).digest: f"{overlay} {version}" for overlay in OVERLAYS for version in range(1, 9)}
    return names.get(digest, str(digest)) if digest is not None else "nothing"


def may_write(part: UnitDesired, desired: Desired, *, is_asked: bool = False) -> bool:
    """Whether a worker writes a new result by this order, or will once nobody suspends it."""
    if desired.mode is Mode.OBSERVE or not isinstance(part.action, Apply):
        return False
    return is_asked or part.policy.sync.mode is SyncMode.AUTO


TestHolding = Holding.TestCase
TestHolding.settings = settings(max_examples=8, stateful_step_count=20, deadline=None, derandomize=True)
