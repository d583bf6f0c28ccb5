"""Rollouts as a model: whatever clusters, clocks, people and commits do, no rule is broken and the newest wins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleet.core.advance import Advance, advance
from fleet.core.fleet import Amount, Cluster, OnFailure, Origin, RolloutPolicy, Step
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Stop, decode_passages, encode_passages
from fleet.core.results import Rendered
from fleet.core.rollout_facts import Condition, RowFacts, UnitFact
from fleet.core.steps import Stage, limit_of, stages_of
from fleet.core.takeover import (
    Wanted,
    aborted,
    approved,
    promoted,
    readmitted,
    resumed,
    settle,
    take_over,
    taken_back,
)

HERE = Origin("fleet.yaml", 1)
CLUSTERS = {
    ClusterName(name): Cluster(ClusterName(name), HERE, environment=stage)
    for name, stage in [("a1", "dev"), ("a2", "dev"), ("b1", "prod"), ("b2", "prod"), ("b3", "prod"), ("c1", "edge")]
}
OVERLAYS = (OverlayName("api"), OverlayName("web"))
PATIENCE, KEEP = 60.0, 5.0
names = st.sampled_from(sorted(CLUSTERS))
overlays = st.sampled_from(OVERLAYS)
limits = st.one_of(st.none(), st.builds(Amount, number=st.integers(1, 3)), st.just(Amount(share=0.5)))


@st.composite
def policies(draw) -> RolloutPolicy:
    if draw(st.booleans()):
        return RolloutPolicy(on_failure=draw(st.sampled_from(OnFailure)))
    steps = [
        Step(
            name, HERE, environments=(name,), rest=name == "edge",
            soak_seconds=draw(st.sampled_from([0.0, 30.0])), one_first=draw(st.booleans()),
            max_parallel=draw(limits), max_unavailable=draw(limits), approvals=draw(st.sampled_from([0, 0, 2])),
        )
        for name in ("dev", "prod")
    ]  # fmt: skip
    steps += [Step("gate", HERE, approvals=1)] if draw(st.booleans()) else []
    return RolloutPolicy((*steps, Step("edge", HERE, rest=True)), on_failure=draw(st.sampled_from(OnFailure)))


class Rollouts(RuleBasedStateMachine):
    """A hub's rollouts around the pure functions; the machine plays clusters, clock, people and Git."""

    @initialize(policy=policies())
    def begin(self, policy: RolloutPolicy) -> None:
        self.policy = policy
        self.stages = stages_of(policy, CLUSTERS, ()).stages
        self.kept = Passages()
        self.commits = 0
        self.clock, self.stored_clock, self.uptime, self.wall = 0.0, 0.0, 0.0, 1e9
        self.units = {UnitName(overlay, name): "0" for overlay in OVERLAYS for name in CLUSTERS}  # newest results
        self.held = {unit: Rendered(Digest("0"), Revision("c0")) for unit in self.units}
        self.condition = dict.fromkeys(self.units, Condition.WELL)
        self.away: set[ClusterName] = set()
        self.suspended: set[ClusterName] = set()
        self.trouble: dict[tuple[Revision, OverlayName, str], float] = {}  # uptime when a step was last not calm
        self.last: dict[Revision, Advance] = {}

    # The world

    @rule(changed=st.lists(st.tuples(overlays, names), min_size=1, max_size=12), back=st.booleans())
    def commit(self, changed: list[tuple[OverlayName, ClusterName]], back: bool) -> None:
        self.commits += 1
        for overlay, name in changed:
            self.units[UnitName(overlay, name)] = "0" if back else str(self.commits)

    @rule(overlay=overlays)
    def commit_everywhere(self, overlay: OverlayName) -> None:
        self.commits += 1
        self.units |= {UnitName(overlay, name): str(self.commits) for name in CLUSTERS}

    @rule(overlay=overlays, name=names, word=st.sampled_from(["well", "well", "well", "bad", "busy"]))
    def report(self, overlay: OverlayName, name: ClusterName, word: str) -> None:
        self.condition[UnitName(overlay, name)] = Condition(word)

    @rule()
    def all_report_well(self) -> None:
        self.condition = dict.fromkeys(self.units, Condition.WELL)

    @rule(name=names, there=st.booleans())
    def reach(self, name: ClusterName, there: bool) -> None:
        (self.away.discard if there else self.away.add)(name)

    @rule(name=names, stop=st.booleans())
    def suspend(self, name: ClusterName, stop: bool) -> None:
        (self.suspended.add if stop else self.suspended.discard)(name)

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock, self.uptime, self.wall = self.clock + seconds, self.uptime + seconds, self.wall + seconds
        if self.clock - self.stored_clock >= KEEP:
            self.stored_clock = self.clock
        self.look()

    @rule(down=st.sampled_from([0.0, 3600.0, -3600.0]))
    def restart(self, down: float) -> None:
        """Killed: what was written is there, up to 5 s of the clock are lost, the wall clock may jump either way."""
        text = encode_passages(self.kept)
        self.kept = decode_passages(text)
        assert encode_passages(self.kept) == text
        self.clock, self.wall = self.stored_clock, self.wall + down

    # People

    @rule(word=st.sampled_from(["pause", "resume", "promote", "abort", "rollback", "readmit"]))
    def order(self, word: str) -> None:
        stop = Stop("test", "jo", self.wall)
        for passage in self.kept.all:
            match word:
                case "pause" if not passage.outcome:
                    self.kept = settle(self.kept, replace(passage, paused=stop), self.wall)
                case "resume" if not passage.outcome:
                    self.kept = settle(self.kept, resumed(passage), self.wall)
                case "promote" if not passage.outcome:
                    self.kept = settle(self.kept, promoted(passage, self.facts()), self.wall)
                    self.trouble.clear()
                case "abort" if not passage.outcome:
                    self.kept = aborted(self.kept, passage, stop)
                case "rollback" if not passage.outcome:
                    self.take_back(passage, stop)
                case "readmit":
                    self.kept = readmitted(self.kept, passage.commit)
                case _:
                    pass

    @rule(step=st.sampled_from(["dev", "prod", "gate"]), who=st.sampled_from(["jo", "mara"]))
    def approve(self, step: str, who: str) -> None:
        for passage in self.kept.all:
            if not passage.outcome:
                self.kept = settle(self.kept, approved(passage, step, who), self.wall)

    # The hub

    def facts(self) -> Mapping[OverlayName, RowFacts]:
        return {
            overlay: RowFacts(
                self.stages,
                {name: self.fact(UnitName(overlay, name)) for name in CLUSTERS},
                PATIENCE,
                self.policy.on_failure,
            )
            for overlay in OVERLAYS
        }

    def fact(self, unit: UnitName) -> UnitFact:
        target = self.units[unit]
        released = self.held[unit].bundle == target
        condition = self.condition[unit]
        barred = not released and target in self.kept.quarantine.get(unit.overlay, {})
        if unit.cluster in self.suspended or barred:
            condition = Condition.STOPPED
        elif unit.cluster in self.away:
            condition = Condition.AWAY
        available = unit.cluster not in self.away and self.condition[unit] is Condition.WELL
        return UnitFact(target, released, condition, available)

    def wanted(self, overlay: OverlayName) -> dict[ClusterName, Wanted]:
        head = Revision(f"c{self.commits}")
        return {
            name: Wanted(
                Rendered(Digest(self.units[UnitName(overlay, name)]), head), self.held[UnitName(overlay, name)]
            )
            for name in CLUSTERS
        }

    def hold(self, unit: UnitName, bundle: Rendered) -> None:
        self.held[unit] = bundle
        self.condition[unit] = Condition.BUSY

    def take_back(self, passage: Passage, stop: Stop) -> None:
        done = taken_back(self.kept, passage, self.held, stop, passage.rows)
        self.kept = done.kept
        for unit, bundle in done.back.items():
            self.hold(unit, bundle)

    def look(self) -> None:
        for overlay in OVERLAYS:
            self.kept = take_over(self.kept, overlay, self.wanted(overlay), Revision(f"c{self.commits}"), self.wall)
        for before in self.kept.all:
            if before.outcome:
                continue
            facts = self.facts()
            found = advance(before, facts, self.clock, self.wall)
            self.last[before.commit] = found
            self.check(before, found, facts)
            self.keep(found)
            if found.take_back:
                self.take_back(found.passage, Stop("failed", "hub", self.wall))

    def keep(self, found: Advance) -> None:
        passage = found.passage
        rows = dict(passage.rows)
        for unit in found.releases:
            row = rows[unit.overlay]
            rows[unit.overlay] = replace(row, before={unit.cluster: self.held[unit], **row.before})
            self.hold(unit, Rendered(Digest(self.units[unit]), passage.commit))
            stage = next(stage for stage in self.stages if unit.cluster in stage.clusters)
            self.trouble[passage.commit, unit.overlay, stage.name] = self.uptime
        self.kept = settle(self.kept, replace(passage, rows=rows), self.wall)
        if found.releases:
            self.stored_clock = self.clock

    # The rules

    def check(self, before: Passage, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        after = found.passage
        if before.halted or before.paused or after.halted:
            lifted = before.halted is not None and after.halted is None
            assert lifted or not found.releases, "a stopped rollout released something"
        self.check_steps(before, found, facts)
        stage_of = {name: stage for stage in self.stages for name in stage.clusters}
        for step in {stage_of[unit.cluster].name for unit in found.releases}:
            self.check_limits(after, step, found, facts)
        for unit in found.releases:
            row, stage = after.rows[unit.overlay], stage_of[unit.cluster]
            fact = facts[unit.overlay].units[unit.cluster]
            assert not fact.released
            assert fact.target
            assert fact.condition in (Condition.WELL, Condition.BUSY, Condition.BAD)
            for earlier in self.stages[: self.stages.index(stage)]:
                if earlier.step.takes_clusters and not set(earlier.clusters) & set(row.targets):
                    continue
                assert earlier.name in row.passed, "a step was overtaken"
                given = len(set(after.approvals.get(earlier.name, ())))
                assert given >= earlier.step.approvals, "not approved"
        for unit, why in found.waits.items():
            assert why
            assert unit not in found.releases

    def check_limits(self, after: Passage, step: str, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        stage = next(stage for stage in self.stages if stage.name == step)
        fresh = {unit.cluster for unit in found.releases if unit.cluster in stage.clusters}
        flying, missing, ill = set(fresh), set(fresh), set[ClusterName]()
        for overlay, row in after.rows.items():
            for name in stage.clusters:
                fact = facts[overlay].units[name]
                is_on_its_way = fact.released and fact.condition in (Condition.BUSY, Condition.BAD)
                if is_on_its_way and name in row.targets and not row.done and name not in row.excused:
                    flying.add(name)
                if not row.done and not fact.available:
                    ill.add(name)
        missing |= ill
        at_once, may_miss = (
            limit_of(limit, len(stage.clusters)) for limit in (stage.step.max_parallel, stage.step.max_unavailable)
        )
        assert at_once is None or len(flying) <= at_once or fresh <= flying_before(facts, after, stage)
        assert may_miss is None or len(missing) <= may_miss or fresh <= ill | flying_before(facts, after, stage)
        if stage.step.one_first:
            for overlay, row in after.rows.items():
                mine = {unit.cluster for unit in found.releases if unit.overlay == overlay} & set(stage.clusters)
                touched = [facts[overlay].units[name] for name in stage.clusters if name in row.targets]
                is_proven = any(fact.released and fact.condition is Condition.WELL for fact in touched)
                assert is_proven or len(mine) <= 1, "more than one went first"

    def check_steps(self, before: Passage, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        """A step that is over had all of it Healthy or left out, some of it Healthy, and its whole soak."""
        for overlay, row in found.passage.rows.items():
            for stage in self.stages:
                touched = [name for name in stage.clusters if name in row.targets]
                known = {name: facts[overlay].units[name] for name in touched}
                well = [name for name, fact in known.items() if fact.released and fact.condition is Condition.WELL]
                others = {name: fact for name, fact in known.items() if name not in well}
                calm = bool(well) and all(
                    fact.condition in (Condition.STOPPED, Condition.AWAY) or name in row.excused
                    for name, fact in others.items()
                )
                key = (before.commit, overlay, stage.name)
                if touched and not calm:
                    self.trouble[key] = self.uptime
                if stage.name in row.passed - before.rows[overlay].passed and touched:
                    assert calm or set(touched) <= row.excused, "a step was over too early"
                    assert self.uptime - self.trouble.get(key, -1e9) >= stage.step.soak_seconds, "a soak was cut short"

    @invariant()
    def look_again(self) -> None:
        if hasattr(self, "kept"):
            self.look()

    def teardown(self) -> None:
        """All faults end, all people agree: every unit comes to its newest result, or was taken back by a person."""
        if not hasattr(self, "kept"):
            return
        self.away.clear()
        self.suspended.clear()
        for _ in range(120):
            self.all_report_well()
            for passage in self.kept.all:
                if not passage.outcome:
                    passage = resumed(passage)
                    for step in ("dev", "prod", "gate"):
                        passage = approved(approved(passage, step, "jo"), step, "mara")
                    self.kept = settle(self.kept, passage, self.wall)
            self.time_passes(40.0)
        for unit, target in self.units.items():
            is_barred = target in self.kept.quarantine.get(unit.overlay, {})
            assert self.held[unit].bundle == target or is_barred, (unit, self.last)
        assert all(passage.outcome for passage in self.kept.all)


def flying_before(facts: Mapping[OverlayName, RowFacts], passage: Passage, stage: Stage) -> set[ClusterName]:
    """Clusters that had a unit of this commit under way already: another one on them is free."""
    return {
        name
        for overlay, row in passage.rows.items()
        for name in stage.clusters
        if name in row.targets and facts[overlay].units[name].released
        and facts[overlay].units[name].condition is not Condition.WELL
    }  # fmt: skip


Rollouts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRollouts = Rollouts.TestCase
