"""Rollouts as a model: whatever clusters, clocks, people and commits do, no rule is broken and the newest wins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fleet.core.advance import Advance, advance
from fleet.core.fallbacks import goes_back_to
from fleet.core.fleet import Cluster, Overlay, Unit
from fleet.core.gates import Reading, Verdict, Word, key_of
from fleet.core.ids import ClusterName, Digest, OverlayName, Revision, UnitName
from fleet.core.passage import Passage, Passages, Stop, decode_last, decode_passages, encode_last, encode_passages
from fleet.core.problems import Origin
from fleet.core.quarantine import readmitted
from fleet.core.results import Rendered, RenderProblem, Result
from fleet.core.rollout_facts import Condition, RolloutUnit, RowFacts, UnitFact
from fleet.core.rollout_orders import approved, promoted, resumed
from fleet.core.rollout_policy import (
    Amount,
    Gate,
    HttpCheck,
    OnFailure,
    RolloutPolicy,
    Step,
)
from fleet.core.status import Blocker, Health, Report, Standing, Sync, UnitReport
from fleet.core.steps import Stage, limit_of, stages_of, unavailable_limit_of
from fleet.core.sync_policy import Suspension
from fleet.core.takeover import ROWS_KEPT, aborted, settle, take_over, taken_back
from fleet.core.turns import latest_of
from fleet.core.unit_facts import fact_of, judged_by

HERE = Origin("fleet.yaml", 1)
CLUSTERS = {
    ClusterName(name): Cluster(ClusterName(name), HERE, environment=stage)
    for name, stage in [("a1", "dev"), ("a2", "dev"), ("b1", "prod"), ("b2", "prod"), ("b3", "prod"), ("c1", "edge")]
}
OVERLAYS = (OverlayName("api"), OverlayName("web"))
HEALTH = {Condition.WELL: Health.HEALTHY, Condition.BUSY: Health.PROGRESSING, Condition.BAD: Health.DEGRADED}
_UNWELL = (Condition.BUSY, Condition.BAD, Condition.HELD, Condition.WAITS)
_UNSEEN = (Condition.AWAY, Condition.STOPPED, Condition.HELD)
PATIENCE, KEEP = 60.0, 5.0
WAIT = 90.0  # for approvals, where they have a timeout
GATE = Gate("errors", HttpCheck("https://x"), HERE, interval_seconds=10.0, timeout_seconds=50.0, retries=1)
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
            gates=draw(st.sampled_from([(), (GATE,)])), approve_timeout_seconds=draw(st.sampled_from([None, WAIT])),
        )
        for name in ("dev", "prod")
    ]  # fmt: skip
    steps += [Step("gate", HERE, approvals=1)] if draw(st.booleans()) else []
    return RolloutPolicy((*steps, Step("edge", HERE, rest=True)), on_failure=draw(st.sampled_from(OnFailure)))


class Rollouts(RuleBasedStateMachine):
    """A hub's rollouts around the pure functions; the machine plays clusters, clock, people and Git."""

    @initialize(policy=policies(), word=st.sampled_from(Word))
    def begin(self, policy: RolloutPolicy, word: Word) -> None:
        self.policy = policy
        self.kept = Passages()
        self.commits = 0
        self.clock, self.stored_clock, self.uptime, self.wall = 0.0, 0.0, 0.0, 1e9
        self.units = {UnitName(overlay, name): "0" for overlay in OVERLAYS for name in CLUSTERS}  # newest results
        self.held = {unit: Rendered(Digest("0"), Revision("c0")) for unit in self.units}
        self.condition = dict.fromkeys(self.units, Condition.WELL)
        self.breaking: set[tuple[UnitName, str]] = set()  # of each unit: results on which it is never Healthy
        self.closed: set[OverlayName] = set()  # their window is closed
        self.reports: dict[UnitName, UnitReport] = {}  # the last ones: of what was released since they say nothing
        self.all_report_well()
        self.going: set[UnitName] = set()  # released, be it overtaken since, and not seen Healthy on what they hold
        self.away: dict[ClusterName, float] = {}  # uptime since when
        self.suspended: set[ClusterName] = set()
        self.hidden: set[ClusterName] = set()  # their file does not parse
        self.forgotten: set[ClusterName] = set()  # of these: the hub was started since, and knows no step of them
        self.unbuilt: set[UnitName] = set()  # their build fails
        self.word = word  # what gates read
        self.readings: dict[tuple[Revision, OverlayName], dict[str, Reading]] = {}
        self.open_since: dict[tuple[Revision, OverlayName, str], float] = {}  # since when each gate could be read
        self.asked_since: dict[tuple[Revision, OverlayName, str], float] = {}  # uptime since when people are asked
        self.turn = 0
        self.begun: dict[tuple[Revision, OverlayName], int] = {}  # at which turn each row began with its results
        self.said: dict[tuple[Revision, str], dict[str, int]] = {}  # at which turn who approved each step
        # Of each step that was not calm: for how long it is since, and at which uptime that was seen last.
        self.calm: dict[tuple[Revision, OverlayName, str], tuple[float, float | None]] = {}
        self.last: dict[Revision, Advance] = {}
        self.proven: set[tuple[UnitName, str]] = set()  # of each unit: results with which its step was over
        self.went_back: set[OverlayName] = set()  # by a person, and nothing was released to them since
        self.coming: dict[OverlayName, str] = {}  # what is being built of the newest commit
        self.shut: set[Revision] = set()  # aborted, or taken back by policy, and not let in since
        self.began: dict[tuple[Revision, OverlayName], float] = {}  # uptime when each row began, or went on
        self.well = {(unit, held) for unit, held in self.held.items()}  # what was well there, and nothing of it failed
        self.prior: dict[UnitName, Rendered] = {}  # what each unit held before its newest was released
        self.shaky: set[tuple[UnitName, Rendered]] = set()  # overtaken on its way, proven by no step, and not well then

    @property
    def stages(self) -> tuple[Stage, ...]:
        known = {name: entry for name, entry in CLUSTERS.items() if name not in self.forgotten}
        return stages_of(self.policy, known, ()).stages

    # The world

    @rule(changed=st.lists(st.tuples(overlays, names), min_size=1, max_size=12), back=st.booleans())
    def commit(self, changed: list[tuple[OverlayName, ClusterName]], back: bool) -> None:
        self.builds_end()
        self.commits += 1
        for overlay, name in changed:
            self.units[UnitName(overlay, name)] = "0" if back else str(self.commits)

    @rule(late=overlays, canary=st.booleans())
    def commit_of_which_one_is_built_late(self, late: OverlayName, canary: bool) -> None:
        """The other one goes its way meanwhile."""
        self.commit_everywhere([name for name in OVERLAYS if name != late])
        self.coming[late] = str(self.commits)
        if canary:
            self.mend()
            self.a_calm_while(0, agreed=True)
            self.time_passes(1.0)

    @rule()
    def builds_end(self) -> None:
        for overlay, result in self.coming.items():
            self.units |= {UnitName(overlay, name): result for name in CLUSTERS}
        self.coming.clear()

    @rule(changed=st.sampled_from([OVERLAYS, OVERLAYS[:1], OVERLAYS[1:]]))
    def commit_everywhere(self, changed: Sequence[OverlayName]) -> None:
        self.builds_end()
        self.commits += 1
        self.units |= {UnitName(overlay, name): str(self.commits) for overlay in changed for name in CLUSTERS}

    @rule(
        overlay=overlays, name=names, word=st.sampled_from(["well", "well", "well", "bad", "busy"]),
        link=st.sampled_from([None, None, Standing.HELD, Standing.WAITS, Standing.SUSPENDED]), half=st.booleans(),
    )  # fmt: skip
    def report(
        self, overlay: OverlayName, name: ClusterName, word: str, link: Standing | None = None, half: bool = False
    ) -> None:
        """What its worker says; link: what it names beside, be it long over; half: not all of it is applied."""
        unit = UnitName(overlay, name)
        held = self.held[unit]
        word = "bad" if word == "well" and (unit, held.bundle) in self.breaking else word
        self.condition[unit] = Condition(word)
        if unit.overlay in self.closed and self.reports[unit].bundle != held.bundle:  # nothing new is written
            wait = Blocker(Standing.WAITS, str(unit), "outside all allow windows", 1.0)
            said = replace(self.reports[unit], observed_commit=held.commit, blocked_by=(wait,))
            self.reports[unit], self.condition[unit] = said, Condition.BUSY
            return
        if word == "bad":
            self.well.discard((unit, held))
        links = (Blocker(link, "fleet" if link is Standing.SUSPENDED else str(unit), "test", 1.0),) if link else ()
        self.reports[unit] = UnitReport(
            unit, held.commit, Digest("half") if half and link else held.bundle,
            Sync.OUT_OF_SYNC if link else Sync.SYNCED, HEALTH[Condition(word)], 1.0,
            observed_commit=held.commit, blocked_by=links,
        )  # fmt: skip

    @rule(link=st.sampled_from([None, Standing.HELD, Standing.WAITS, Standing.SUSPENDED]), half=st.booleans())
    def all_start_with_a_link(self, link: Standing | None, half: bool) -> None:
        """As where a commit changes an image and drops a volume: all that was released says so while it starts."""
        for unit, held in self.held.items():
            if held.bundle == self.units[unit] and self.condition[unit] is Condition.BUSY:
                self.report(unit.overlay, unit.cluster, "busy", link, half)

    @rule()
    def all_report_well(self) -> None:
        for unit in self.units:
            self.report(unit.overlay, unit.cluster, "well")

    @rule(name=names, there=st.booleans())
    def reach(self, name: ClusterName, there: bool) -> None:
        if there:
            self.away.pop(name, None)
        else:
            self.away.setdefault(name, self.uptime)

    def lose(self, lost: Iterable[ClusterName]) -> None:
        for name in CLUSTERS:
            self.reach(name, name not in lost)
        self.look()

    @rule(times=st.integers(1, 4), before=st.booleans())
    def who_waits_is_lost_for_a_moment(self, times: int, before: bool) -> None:
        """What is on its way has outages of its own; just when it is Healthy, all that wait for their turn are lost."""
        if before:
            self.mend()
            self.commit_everywhere(OVERLAYS)
            self.a_calm_while(0, agreed=True)
        for _ in range(times):
            self.lose({unit.cluster for unit, at in self.condition.items() if at is not Condition.WELL})
            self.time_passes(50.0)
            self.lose(())
            self.all_report_well()
            for name in {unit.cluster for unit, newest in self.units.items() if self.held[unit].bundle != newest}:
                self.reach(name, False)
            self.time_passes(20.0)
            self.lose(())

    @rule(lost=st.lists(names, min_size=1, max_size=3, unique=True), after=st.sampled_from(["well", "well", "busy"]))
    def some_are_lost_for_a_moment_amid_a_soak(self, lost: list[ClusterName], after: str) -> None:
        """One after the other, and back in the same order; there were no other troubles."""
        self.mend()
        self.word = Word.GOOD
        self.commit_everywhere(OVERLAYS)
        for _ in range(4):
            self.look()
            self.a_calm_while(0, agreed=True)
            self.all_report_well()
            self.time_passes(1.0)
        for there in (False, True):
            for name in lost:
                self.reach(name, there)
                self.look()
                self.time_passes(20.0 if not there else 1.0)
        self.report(OVERLAYS[0], lost[0], after)
        self.look()
        self.time_passes(1.0)
        self.all_report_well()
        self.time_passes(1.0)

    @rule(name=names, stop=st.booleans())
    def suspend(self, name: ClusterName, stop: bool) -> None:
        (self.suspended.add if stop else self.suspended.discard)(name)

    @rule(overlay=overlays, closes=st.booleans())
    def window(self, overlay: OverlayName, closes: bool) -> None:
        (self.closed.add if closes else self.closed.discard)(overlay)

    @rule(closed=overlays, looks=st.integers(0, 4))
    def a_window_closes_amid_a_commit(self, closed: OverlayName, looks: int) -> None:
        """Of what was released before, and of what was not."""
        self.mend()
        self.commit_everywhere(OVERLAYS)
        for _ in range(looks):
            self.a_calm_while(1, agreed=True)
        self.look()
        self.closed.add(closed)
        self.a_calm_while(2, agreed=True)

    @rule(name=names, hide=st.booleans())
    def file_breaks(self, name: ClusterName, hide: bool) -> None:
        (self.hidden.add if hide else self.hidden.discard)(name)
        self.forgotten &= self.hidden

    @rule(overlay=overlays, name=names, fails=st.booleans())
    def build(self, overlay: OverlayName, name: ClusterName, fails: bool) -> None:
        (self.unbuilt.add if fails else self.unbuilt.discard)(UnitName(overlay, name))

    @rule(overlay=overlays)
    def commit_that_does_not_build_at_first(self, overlay: OverlayName) -> None:
        self.commit_everywhere([overlay])
        self.unbuilt.add(UnitName(overlay, min(CLUSTERS)))

    @rule(overlay=overlays, name=names)
    def the_newest_breaks_one(self, overlay: OverlayName, name: ClusterName) -> None:
        unit = UnitName(overlay, name)
        self.breaking.add((unit, self.units[unit]))

    @rule(overlay=overlays, broken=st.lists(names, min_size=1, max_size=2), looks=st.integers(2, 9))
    def a_commit_breaks_some_and_the_next_one_mends_them(
        self, overlay: OverlayName, broken: list[ClusterName], looks: int
    ) -> None:
        """Nothing but the newest result mends them."""
        self.mend()
        self.commit_everywhere([overlay])
        for name in broken:
            self.the_newest_breaks_one(overlay, name)
        for _ in range(looks):
            self.a_calm_while(1, agreed=True)
        self.commit_everywhere([overlay])

    @rule(overlay=overlays)
    def the_same_commit_gives_something_else(self, overlay: OverlayName) -> None:
        """A hub with other tools builds it anew."""
        self.units |= {UnitName(overlay, name): f"{self.units[UnitName(overlay, name)]}+" for name in CLUSTERS}

    @rule(word=st.sampled_from([Word.GOOD, Word.GOOD, Word.BAD, Word.NONE]))
    def gates_read(self, word: Word) -> None:
        self.word = word

    @rule(seconds=st.sampled_from([1.0, 20.0, 40.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.clock, self.uptime, self.wall = self.clock + seconds, self.uptime + seconds, self.wall + seconds
        if self.clock - self.stored_clock >= KEEP:
            self.stored_clock = self.clock
        self.look()

    @rule(looks=st.integers(2, 8), agreed=st.booleans())
    def a_calm_while(self, looks: int, agreed: bool) -> None:
        """Nothing happens but that rollouts go on; people may approve what is asked for first."""
        for step in ("dev", "prod", "gate") if agreed else ():
            self.approve(step, "jo")
            self.approve(step, "mara")
        for _ in range(looks):
            self.all_report_well()
            self.time_passes(40.0)

    def mend(self) -> None:
        for trouble in (self.away, self.suspended, self.hidden, self.forgotten, self.unbuilt, self.closed):
            trouble.clear()

    @rule(overlay=overlays, word=st.sampled_from([Word.GOOD, Word.NONE]))
    def one_fails_and_is_mended_later(self, overlay: OverlayName, word: Word) -> None:
        """The other one of its commit stands still meanwhile, amid a gate where it has one."""
        self.mend()
        self.word = word
        self.commit_everywhere(OVERLAYS)
        for _ in range(6):
            self.a_calm_while(0, agreed=True)
            self.all_report_well()
            self.time_passes(1.0)
        for name in CLUSTERS:
            self.report(overlay, name, "bad")
        self.time_passes(1.0)
        self.time_passes(70.0)
        self.commit_everywhere([overlay])

    @rule(overlay=overlays, name=names, commits=st.integers(1, 3), is_away=st.booleans(), looks=st.integers(1, 4))
    def one_stays_behind_and_a_later_commit_fails(
        self, overlay: OverlayName, name: ClusterName, commits: int, is_away: bool, looks: int
    ) -> None:
        """The others have all of the commits before."""
        self.mend()
        self.word = Word.GOOD
        if is_away:
            self.reach(name, False)
        else:
            self.suspend(name, True)
        for _ in range(commits):
            self.commit_everywhere([overlay])
            self.a_calm_while(looks, agreed=True)
        self.commit_everywhere([overlay])
        self.a_calm_while(0, agreed=True)
        self.time_passes(1.0)
        for unit, held in self.held.items():
            if unit.overlay == overlay and held.bundle == self.units[unit]:
                self.report(overlay, unit.cluster, "bad")
        self.time_passes(1.0)

    @rule(
        overlay=overlays, word=st.sampled_from(["busy", "bad"]), is_later=st.booleans(), between=st.integers(0, 2),
    )  # fmt: skip
    def what_landed_is_well_no_more_and_a_later_commit_fails(
        self, overlay: OverlayName, word: str, is_later: bool, between: int
    ) -> None:
        """is_later: it is so only once the next commit took over; between: how many come that are never released."""
        self.mend()
        self.word = Word.GOOD
        for _ in range(4):
            self.a_calm_while(1, agreed=True)
        self.commit_everywhere([overlay])
        self.look()
        self.a_calm_while(0, agreed=True)
        self.time_passes(1.0)
        self.all_report_well()
        self.time_passes(1.0)
        landed = {
            unit for unit, held in self.held.items() if unit.overlay == overlay and held.bundle == self.units[unit]
        }
        for number in range(between + 1):
            if number or not is_later:
                self.ill_without_a_look(landed, word)
            self.commit_everywhere([overlay])
            self.look()
        self.ill_without_a_look(landed, word)
        self.a_calm_while(0, agreed=True)
        self.time_passes(1.0)
        for unit, held in self.held.items():
            if unit.overlay == overlay and held.bundle == self.units[unit]:
                self.report(overlay, unit.cluster, "bad")
        self.time_passes(1.0)

    def ill_without_a_look(self, units: Iterable[UnitName], word: str) -> None:
        for unit in units:
            if self.held[unit].bundle != "0":
                self.report(unit.overlay, unit.cluster, word)

    @rule()
    def all_is_done_and_built_anew(self) -> None:
        for _ in range(6):
            self.a_calm_while(2, agreed=True)
        for overlay in OVERLAYS:
            self.the_same_commit_gives_something_else(overlay)

    @rule(
        agreed=st.booleans(),
        looks=st.integers(1, 3),
        seconds=st.sampled_from([0.0, 20.0, 90_000.0]),
        ended=st.integers(0, ROWS_KEPT + 1),
        well=st.booleans(),
        late=st.sampled_from([None, *OVERLAYS]),
    )
    def all_is_aborted_and_let_in_again(
        self, agreed: bool, looks: int, seconds: float, ended: int, well: bool, late: OverlayName | None
    ) -> None:
        """What has it already is a part of what begins again, be it ill or not proven yet, and however much later.

        ended: rollouts of another overlay that end meanwhile.
        """
        self.mend()
        self.commit_everywhere([name for name in OVERLAYS if name != late])
        if late is not None:
            self.coming[late] = str(self.commits)
        self.a_calm_while(0, agreed=agreed)
        for _ in range(looks):
            if well:
                self.all_report_well()
            self.time_passes(1.0)
        self.order("abort")
        self.time_passes(seconds)
        self.builds_end()
        self.time_passes(0.0)
        self.others_end(ended)
        self.order("readmit")

    def others_end(self, count: int) -> None:
        for _ in range(count):
            commit = Revision(f"o{len(self.kept.all)}-{self.turn}-{self.wall}")
            self.wall += 1.0
            only = Passage(commit, self.wall, {}, overlays=(OverlayName("other"),))
            self.kept = settle(self.kept, only, self.wall)

    @rule(down=st.sampled_from([0.0, 3600.0, -3600.0]))
    def restart(self, down: float) -> None:
        """Killed: what was written is there, up to 5 s of the clock are lost, the wall clock may jump either way."""
        text, last = encode_passages(self.kept), encode_last(self.kept)
        self.kept = replace(decode_passages(text), last=decode_last(last))
        assert (encode_passages(self.kept), encode_last(self.kept)) == (text, last)
        self.clock, self.wall = self.stored_clock, self.wall + down
        self.forgotten = set(self.hidden)
        self.readings.clear()

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
                    self.began |= {(passage.commit, overlay): self.uptime for overlay in passage.rows}
                case "promote" if not passage.outcome:
                    self.promote(passage)
                case "abort" if not passage.outcome:
                    self.kept = aborted(self.kept, passage, stop)
                    self.prior = {unit: held for unit, held in self.prior.items() if unit.overlay not in passage.rows}
                    self.shut.add(passage.commit)
                case "rollback" if not passage.outcome:
                    self.take_back(passage, stop)
                case "readmit":
                    self.let_in(passage.commit)
                case _:
                    pass

    def let_in(self, commit: Revision) -> None:
        self.kept = readmitted(self.kept, commit)
        self.shut.discard(commit)

    def promote(self, passage: Passage) -> None:
        facts = self.facts(passage.commit)
        after = promoted(passage, facts, self.clock)
        for overlay, row in after.rows.items():
            for name in row.excused - passage.rows[overlay].excused:
                fact = facts[overlay].units[name]
                assert not (fact.released and fact.condition is Condition.WELL), "what is Healthy may fail no more"
            for stage in (each for each in self.stages if each.name in row.passed - passage.rows[overlay].passed):
                known = [facts[overlay].units[name] for name in stage.clusters if name in row.targets]
                is_left = all(fact.condition in (Condition.AWAY, Condition.STOPPED) for fact in known)
                assert is_left or any(fact.released for fact in known), "went past a step that was not begun"
        self.note_proven(passage, after)
        self.kept = settle(self.kept, after, self.wall)
        self.calm.clear()

    @rule(overlay=overlays)
    def roll_one_back(self, overlay: OverlayName) -> None:
        for passage in self.kept.all:
            if not passage.outcome and overlay in passage.rows:
                self.take_back(passage, Stop("test", "jo", self.wall), overlay)

    @rule(overlay=overlays)
    def the_latest_is_rolled_back(self, overlay: OverlayName) -> None:
        passage = latest_of(self.kept, overlay)
        if passage is None or passage.rows[overlay].back:
            return
        assert overlay not in self.went_back, "an older one was taken back, and nothing was released since"
        self.went_back.add(overlay)
        self.take_back(passage, Stop("test", "jo", self.wall), overlay)
        again = latest_of(self.kept, overlay)
        assert again is not None
        assert again.rows[overlay].back

    @rule(step=st.sampled_from(["dev", "prod", "gate"]), who=st.sampled_from(["jo", "mara"]))
    def approve(self, step: str, who: str) -> None:
        for passage in self.kept.all:
            if not passage.outcome:
                self.kept = settle(self.kept, approved(passage, step, who), self.wall)
                self.said.setdefault((passage.commit, step), {})[who] = self.turn

    # The hub

    def facts(self, commit: Revision) -> Mapping[OverlayName, RowFacts]:
        return {
            overlay: RowFacts(
                self.stages,
                {name: self.fact(UnitName(overlay, name)) for name in CLUSTERS},
                PATIENCE,
                self.policy.on_failure,
                readings=self.readings.get((commit, overlay), {}),
                lost={name: "test" for name in CLUSTERS if self.is_lost(UnitName(overlay, name))},
            )
            for overlay in OVERLAYS
        }

    def result(self, unit: UnitName) -> Result:
        head = Revision(f"c{self.commits}")
        if unit.cluster in self.hidden or unit in self.unbuilt:
            return RenderProblem("", "test", head)
        return Rendered(Digest(self.units[unit]), head)

    def judged(self, unit: UnitName) -> Result:
        rows = [passage.rows[unit.overlay] for passage in self.kept.all if is_under_way(passage, unit.overlay)]
        return judged_by(self.result(unit), self.held[unit], rows[0].targets.get(unit.cluster) if rows else None)

    def is_lost(self, unit: UnitName) -> bool:
        return isinstance(self.result(unit), RenderProblem) and unit.cluster not in self.suspended

    def fact(self, unit: UnitName, result: Rendered | None = None) -> UnitFact:
        overlay = Overlay(unit.overlay, f"overlays/{unit.overlay}", HERE)
        cluster = Report(unit.cluster, 1, 1, 100.0, reachable=unit.cluster not in self.away, began_at=0.5)
        found = fact_of(
            Unit(unit, overlay.directory, HERE, (), {}, overlay, CLUSTERS[unit.cluster]),
            result=result or self.judged(unit),
            held=self.held[unit], report=self.reports[unit], cluster=cluster,
            suspensions=(Suspension("test", "jo"),) if unit.cluster in self.suspended else (),
            quarantine=self.kept.quarantine, behind="", now=100.0,
            closed="outside all allow windows" if unit.overlay in self.closed else "",
        )  # fmt: skip
        return replace(found, available=found.available and self.condition[unit] is Condition.WELL)

    def is_there(self, unit: UnitName) -> bool:
        """Whether all of what it holds was applied and is Healthy, by the last word of its worker."""
        report = self.reports[unit]
        return report.bundle == self.held[unit].bundle and report.health is Health.HEALTHY

    def wanted(self, overlay: OverlayName) -> dict[ClusterName, RolloutUnit]:
        units = {name: UnitName(overlay, name) for name in CLUSTERS}
        rows = [passage.rows[overlay] for passage in self.kept.all if is_under_way(passage, overlay)]
        found: dict[ClusterName, RolloutUnit] = {}
        for name, unit in units.items():
            if isinstance(judged := self.judged(unit), Rendered):
                held, standing = self.held[unit], Condition.WELL
                if rows and held.bundle == rows[0].targets.get(name) != judged.bundle:  # it is overtaken now
                    standing = self.fact(unit, held).condition
                found[name] = RolloutUnit(judged, held, standing=standing)
        return found

    def hold(self, unit: UnitName, bundle: Rendered) -> None:
        self.held[unit] = bundle
        self.condition[unit] = Condition.BUSY

    def take_back(self, passage: Passage, stop: Stop, *overlays: OverlayName) -> None:
        done = taken_back(self.kept, passage, self.held, stop, overlays or passage.rows)
        for unit, to in done.back.items():
            self.check_back(unit, passage, to)
        self.put(done.kept)
        self.going -= {unit for unit in self.going if unit.overlay in (overlays or passage.rows)}  # all at once
        for unit, bundle in done.back.items():
            self.hold(unit, bundle)
            self.prior.pop(unit, None)

    def check_back(self, unit: UnitName, passage: Passage, to: Rendered) -> None:
        """Each goes back to what it held, well, before the commit that failed, and who did not get that stays."""
        held, prior = self.held[unit], self.prior.get(unit)
        is_its = held.commit == passage.commit or held.bundle == passage.rows[unit.overlay].targets.get(unit.cluster)
        assert is_its or (unit, held) not in self.well, "taken back, and the commit was not released there"
        assert (unit, to) not in self.shaky, "gone back to what was not well"
        if held.commit == passage.commit and prior is not None and prior.commit != held.commit:
            assert (unit, prior) not in self.well or to == prior, "gone back behind what was well"

    def note_well(self, passage: Passage, facts: Mapping[OverlayName, RowFacts]) -> None:
        """What is Healthy on what its rollout brought, as long as nothing of that fails."""
        failed = passage.halted.overlay if passage.halted is not None else None
        for overlay, row in passage.rows.items():
            for unit in (UnitName(overlay, name) for name in row.targets):
                fact, held = facts[overlay].units[unit.cluster], self.held[unit]
                if overlay == failed or unit.cluster in row.excused:
                    self.well.discard((unit, held))
                elif not row.done and fact.released and fact.condition is Condition.WELL:
                    self.well.add((unit, held))

    def put(self, kept: Passages) -> None:
        """Take over what no person said: a halt is lifted by the way of what failed alone."""
        after = {passage.commit: passage for passage in kept.all}
        for passage in self.kept.all:
            now, stop = after.get(passage.commit), passage.halted
            if stop is not None and now is not None and not now.outcome and now.halted is None:
                assert not is_under_way(now, stop.overlay), "a halt was lifted, and what failed goes on"
        for passage in kept.all:
            for overlay, row in passage.rows.items():
                was = next((one.rows.get(overlay) for one in self.kept.all if one.commit == passage.commit), None)
                is_new = was is None or (was.done and not row.done)
                if is_new or any(row.targets.get(name, digest) != digest for name, digest in was.targets.items()):
                    self.begun[passage.commit, overlay] = self.turn
                    self.began[passage.commit, overlay] = self.uptime
                    # No soak is over that began with an earlier row.
                    self.calm |= {(passage.commit, overlay, stage.name): (0.0, None) for stage in self.stages}
        self.kept = kept

    def look(self) -> None:
        self.turn += 1
        for overlay in OVERLAYS:
            if overlay in self.coming:
                continue
            wanted = self.wanted(overlay)
            for name, one in wanted.items():
                if one.standing in _UNWELL:
                    self.note_unwell(UnitName(overlay, name))
            self.put(take_over(self.kept, overlay, wanted, Revision(f"c{self.commits}"), self.wall))
        self.turn += 1
        self.see_who_goes()
        for before in self.kept.all:
            if before.outcome:
                continue
            facts = self.facts(before.commit)
            found = advance(before, facts, self.clock, self.wall)
            self.last[before.commit] = found
            self.check(before, found, facts)
            self.note_well(found.passage, facts)
            self.keep(found, facts)
            self.read(found)
            if found.take_back and (stop := found.passage.halted) is not None:
                self.take_back(found.passage, stop)
                self.shut.add(found.passage.commit)

    def see_who_goes(self) -> None:
        self.going = {unit for unit in self.going if not self.is_there(unit)}
        for passage in self.kept.all:
            for overlay, row in passage.rows.items() if not passage.outcome else ():
                has = [UnitName(overlay, name) for name, digest in row.targets.items() if not row.done]
                has = [unit for unit in has if self.held[unit].bundle == row.targets[unit.cluster]]
                self.going |= {unit for unit in has if not self.is_there(unit)}

    def note_unwell(self, unit: UnitName) -> None:
        """What it holds was overtaken, and is not seen well before a newer one comes: it is nothing to go back to.

        Where a commit that was over by itself brought it, one that people ended or a rollback, there is nothing else.
        """
        held = self.held[unit]
        if (unit, held.bundle) in self.proven:
            return
        self.well.discard((unit, held))
        was = next((one for one in self.kept.all if one.commit == held.commit), None)
        if was is not None and was.outcome == "superseded" and unit in self.prior:
            self.shaky.add((unit, held))

    def keep(self, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        passage = found.passage
        rows = dict(passage.rows)
        for unit in found.releases:
            row = rows[unit.overlay]
            to = goes_back_to(row, unit.cluster, self.held[unit], facts[unit.overlay].units[unit.cluster])
            rows[unit.overlay] = replace(row, before={unit.cluster: to, **row.before})
            if not self.is_there(unit):
                self.note_unwell(unit)
            else:
                self.shaky.discard((unit, self.held[unit]))  # it is well again as the newer one is released
            self.prior[unit] = self.held[unit]
            self.hold(unit, Rendered(Digest(self.units[unit]), passage.commit))
            self.going.add(unit)
            self.went_back.discard(unit.overlay)
            stage = next(stage for stage in self.stages if unit.cluster in stage.clusters)
            self.calm[passage.commit, unit.overlay, stage.name] = 0.0, None
        self.kept = settle(self.kept, replace(passage, rows=rows), self.wall)
        if found.releases:
            self.stored_clock = self.clock

    def read(self, found: Advance) -> None:
        for ask in found.asks:
            readings = self.readings.setdefault((ask.commit, ask.overlay), {})
            readings[key_of(ask.step, ask.gate)] = Reading(self.word, str(self.word), self.wall, ask.asked_at)

    # The rules

    def check(self, before: Passage, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        after = found.passage
        if before.halted is not None and after.halted is None:
            assert before.halted.overlay not in before.rows, "a halt was lifted, and what failed goes on"
        if before.paused or after.halted:
            assert not found.releases, "a stopped rollout released something"
        assert before.commit not in self.shut, "what was stopped for good began again"
        if (
            before.halted is None
            and (stop := after.halted) is not None
            and stop.reason.startswith("not Healthy in time")
        ):
            since = self.began[before.commit, stop.overlay]
            assert self.uptime - since >= PATIENCE, "late by the time of an earlier turn"
        self.check_failures(after)
        self.check_steps(before, found, facts)
        self.check_way(before, found)
        self.check_gates(before, found)
        self.check_approvals(before, found)
        stage_of = {name: stage for stage in self.stages for name in stage.clusters}
        for step in {stage_of[unit.cluster].name for unit in found.releases}:
            self.check_limits(after, step, found, facts)
        for unit in found.releases:
            row, stage = after.rows[unit.overlay], stage_of[unit.cluster]
            fact = facts[unit.overlay].units[unit.cluster]
            assert not fact.released
            assert fact.target
            assert unit.overlay not in self.closed, "released, and nothing of it can be written"
            assert fact.condition in (Condition.WELL, Condition.BUSY, Condition.BAD)
            assert not self.lost_among(unit.overlay, self.forgotten), "nobody knows which step it is in"
            assert not self.lost_among(unit.overlay, (unit.cluster,)), "released, and its result is not known"
            for reached in self.stages[: self.stages.index(stage)]:
                lost = self.lost_among(unit.overlay, reached.clusters)
                assert not lost or reached.name in row.passed, "released past a cluster of which nothing is known"
            for earlier in self.stages[: self.stages.index(stage)]:
                if earlier.step.takes_clusters and not set(earlier.clusters) & set(row.targets):
                    continue
                assert earlier.name in row.passed, "a step was overtaken"
                said = self.said.get((after.commit, earlier.name), {})
                ours = [who for who, turn in said.items() if turn >= self.begun[after.commit, unit.overlay]]
                assert len(ours) >= earlier.step.approvals, "not approved since there were these results"
        for unit, why in found.waits.items():
            assert why
            assert unit not in found.releases

    def check_limits(self, after: Passage, step: str, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        stage = next(stage for stage in self.stages if stage.name == step)
        fresh = {unit.cluster for unit in found.releases if unit.cluster in stage.clusters}
        flying, missing, ill = set(fresh), set(fresh), set[ClusterName]()
        overtaken = self.overtaken(after)
        free = flying_before(facts, after, stage) | {unit.cluster for unit in overtaken}
        for overlay, row in after.rows.items():
            for name in stage.clusters:
                fact = facts[overlay].units[name]
                unseen = self.away.keys() | self.suspended
                # Whatever its report says beside: what was released, and is not there, is on its way.
                is_on_its_way = fact.released and not self.is_there(UnitName(overlay, name)) and name not in unseen
                if is_on_its_way and name in row.targets and not row.done and name not in row.excused:
                    flying.add(name)
                if UnitName(overlay, name) in overtaken and not row.done and name not in unseen:
                    flying.add(name)
                if not row.done and not fact.available:
                    ill.add(name)
        missing |= ill
        at_once = limit_of(stage.step.max_parallel, len(stage.clusters))
        may_miss = unavailable_limit_of(stage.step.max_unavailable, len(stage.clusters))
        assert at_once is None or len(flying) <= at_once or fresh <= free
        assert may_miss is None or len(missing) <= may_miss or fresh <= ill | free
        if stage.step.one_first:
            for overlay, row in after.rows.items():
                mine = {unit.cluster for unit in found.releases if unit.overlay == overlay} & set(stage.clusters)
                touched = [facts[overlay].units[name] for name in stage.clusters if name in row.targets]
                is_proven = any(fact.released and fact.condition is Condition.WELL for fact in touched)
                before = {
                    name
                    for name in flying_before(facts, after, stage, overlay)
                    if not self.is_there(UnitName(overlay, name)) and name not in row.excused
                } - self.away.keys() - self.suspended  # fmt: skip
                assert is_proven or len(mine) <= (0 if before - mine else 1), "more than one went first"

    def overtaken(self, after: Passage) -> set[UnitName]:
        """What goes its way with an earlier result; the newest, to the same cluster, makes nothing more of it."""
        return {
            unit for unit in self.going if unit.overlay in after.rows and self.held[unit].bundle != self.units[unit]
        }

    def check_steps(self, before: Passage, found: Advance, facts: Mapping[OverlayName, RowFacts]) -> None:
        """A step that is over had all of it Healthy or left out, some of it Healthy, and its whole soak.

        Left out is what a person stopped, or what was waited for all the time that an outage may last.
        """
        for overlay, row in found.passage.rows.items():
            for stage in self.stages:
                touched = [name for name in stage.clusters if name in row.targets]
                known = {name: facts[overlay].units[name] for name in touched}
                well = [name for name, fact in known.items() if fact.released and fact.condition is Condition.WELL]
                others = {name: fact for name, fact in known.items() if name not in well}
                calm = bool(well) and all(
                    fact.condition in (Condition.STOPPED, Condition.HELD)
                    or (fact.condition is Condition.AWAY and self.uptime - self.away[name] >= PATIENCE)
                    or name in row.excused
                    for name, fact in others.items()
                )
                key = (before.commit, overlay, stage.name)
                if touched:
                    self.note_calm(key, calm, others)
                if stage.name in row.passed - before.rows[overlay].passed:
                    assert not self.lost_among(overlay, stage.clusters), "over, and of a cluster nothing is known"
                    for gate in stage.step.gates:
                        assert row.gates[key_of(stage.name, gate)].verdict is Verdict.PASSED
                if stage.name in row.passed - before.rows[overlay].passed and touched:
                    assert calm or set(touched) <= row.excused, "a step was over too early"
                    soaked, _ = self.calm.get(key, (1e9, None))
                    assert soaked >= stage.step.soak_seconds, "a soak was cut short"

    def note_calm(
        self, key: tuple[Revision, OverlayName, str], calm: bool, others: Mapping[ClusterName, UnitFact]
    ) -> None:
        """Time between looks that see all of it Healthy is soak, and up to the one that notices an outage.

        Nobody knows when that began; it alone keeps what was before.
        """
        if key not in self.calm and calm:
            return
        soaked, seen = self.calm.get(key, (0.0, None))
        if calm:
            self.calm[key] = soaked + (self.uptime - seen if seen is not None else 0.0), self.uptime
        else:
            is_outage = all(fact.condition in _UNSEEN for fact in others.values())
            unnoticed = self.uptime - seen if seen is not None else 0.0
            self.calm[key] = soaked + unnoticed if is_outage else 0.0, None

    def check_way(self, before: Passage, found: Advance) -> None:
        """Whatever a row takes for its part: what an earlier step has was proven there before it goes on."""
        self.note_proven(before, found.passage)
        unseen = self.away.keys() | self.suspended | self.hidden
        for unit in found.releases:
            row = found.passage.rows[unit.overlay]
            earlier = self.stages[: next(n for n, stage in enumerate(self.stages) if unit.cluster in stage.clusters)]
            for name in {name for stage in earlier for name in stage.clusters} - row.targets.keys() - unseen:
                other, digest = UnitName(unit.overlay, name), self.units[unit]
                if digest != "0" and self.units[other] == self.held[other].bundle == digest:
                    assert (other, digest) in self.proven or other in self.unbuilt, "what has it was forgotten"

    def note_proven(self, before: Passage, after: Passage) -> None:
        for overlay, row in after.rows.items():
            for stage in self.stages:
                if stage.name in row.passed - before.rows[overlay].passed:
                    has = [UnitName(overlay, name) for name in stage.clusters if name in row.targets]
                    self.proven |= {(unit, row.targets[unit.cluster]) for unit in has}

    def lost_among(self, overlay: OverlayName, names: Iterable[ClusterName]) -> list[ClusterName]:
        return [name for name in names if self.is_lost(UnitName(overlay, name))]

    def check_failures(self, after: Passage) -> None:
        """What was brought to a cluster and fails there halts the commit, whatever became of the cluster's file."""
        unseen = self.away.keys() | self.suspended | self.forgotten
        for overlay, row in after.rows.items():
            for name in row.targets.keys() - unseen - row.excused:
                unit = UnitName(overlay, name)
                is_bad = self.condition[unit] is Condition.BAD and self.reports[unit].bundle == row.targets[name]
                is_bad = is_bad and self.held[unit].bundle == row.targets[name]
                assert row.done or not is_bad or after.halted, "a failure was not seen"

    def check_gates(self, before: Passage, found: Advance) -> None:
        """A gate fails at its timeout only where it could be read all that time."""
        after = found.passage
        for overlay, row in after.rows.items():
            for stage in self.stages:
                for gate in stage.step.gates:
                    self.check_gate(before, after, overlay, stage, key_of(stage.name, gate))
            for key in [key for key in self.open_since if key[:2] == (after.commit, overlay)]:
                state = row.gates.get(key[2])
                if after.halted or after.paused or state is None or state.verdict is not Verdict.WAITS:
                    del self.open_since[key]

    def check_approvals(self, before: Passage, found: Advance) -> None:
        """Nobody's approval is late who was not asked for all of that time."""
        stop = found.passage.halted
        if before.halted is None and stop is not None and "was not approved within" in stop.reason:
            _, step, _ = stop.gate.split("/")
            since = self.asked_since.get((before.commit, stop.overlay, step), self.uptime)
            assert self.uptime - since >= WAIT, "time in which nobody was asked counted"
            assert stop.overlay is not None
            said, begun = self.said.get((before.commit, step), {}), self.begun[before.commit, stop.overlay]
            assert len([who for who, turn in said.items() if turn >= begun]) < 2
        asked = {
            (before.commit, step.overlay, step.name)
            for step in found.steps
            if step.why.startswith("waits for the approval") and not (found.passage.halted or found.passage.paused)
        }
        known = {key: at for key, at in self.asked_since.items() if key[0] != before.commit or key in asked}
        self.asked_since = {**dict.fromkeys(asked, self.uptime), **known}

    def check_gate(self, before: Passage, after: Passage, overlay: OverlayName, stage: Stage, name: str) -> None:
        key, had, state = (after.commit, overlay, name), None, after.rows[overlay].gates.get(name)
        if overlay in before.rows:
            had = before.rows[overlay].gates.get(name)
        is_stuck = bool(self.lost_among(overlay, (*stage.clusters, *self.forgotten)))
        if before.halted or before.paused or is_stuck:
            self.open_since.pop(key, None)
        if state is None:
            return
        is_new = had is None or had.verdict is Verdict.WAITS
        if state.verdict is Verdict.FAILED and is_new and " within " in state.why:
            since = self.open_since.get(key, self.clock)
            assert self.clock - since >= GATE.timeout_seconds, "time in which nothing was read counted"
        elif state.verdict is Verdict.WAITS:
            self.open_since.setdefault(key, self.clock)

    @invariant()
    def look_again(self) -> None:
        if hasattr(self, "kept"):
            self.look()

    def teardown(self) -> None:
        """All faults end, all people agree, also to what was taken back: every unit comes to its newest result.

        What an older result broke stays ill until then, and one whose window is closed holds no other up.
        """
        if not hasattr(self, "kept"):
            return
        closed = {*self.closed}
        self.mend()
        self.builds_end()
        self.breaking -= set(self.units.items())
        self.word = Word.GOOD
        for commit in {entry.commit for entries in self.kept.quarantine.values() for entry in entries.values()}:
            self.let_in(commit)
        for commit in [*self.shut]:
            self.let_in(commit)
        if closed:
            self.closed = closed
            self.all_go_on()
            # What was released before it closed goes on once it opens: it counts until then. So does what is ill there.
            is_free = not any(unit.overlay in closed for unit in self.going) and all(
                self.is_there(unit) for unit in self.units if unit.overlay in closed
            )
            for unit, target in self.units.items():
                assert not is_free or unit.overlay in closed or self.held[unit].bundle == target, (unit, self.last)
            self.closed.clear()
        self.all_go_on()
        for unit, target in self.units.items():
            assert self.held[unit].bundle == target, (unit, self.last)
        assert all(passage.outcome for passage in self.kept.all)

    def all_go_on(self) -> None:
        for _ in range(120):
            self.all_report_well()
            for passage in self.kept.all:
                if not passage.outcome:
                    passage = resumed(passage) if passage.halted or passage.paused else passage
                    for step in ("dev", "prod", "gate"):
                        passage = approved(approved(passage, step, "jo"), step, "mara")
                        self.said[passage.commit, step] = dict.fromkeys(("jo", "mara"), self.turn)
                    self.kept = settle(self.kept, passage, self.wall)
            self.time_passes(40.0)


def is_under_way(passage: Passage, overlay: OverlayName | None) -> bool:
    return not passage.outcome and overlay in passage.rows and not passage.rows[overlay].done


def flying_before(
    facts: Mapping[OverlayName, RowFacts], passage: Passage, stage: Stage, only: OverlayName | None = None
) -> set[ClusterName]:
    """Clusters that had a unit of this commit under way already: another one on them is free."""
    return {
        name
        for overlay, row in passage.rows.items()
        for name in stage.clusters
        if (only is None or overlay == only) and name in row.targets and facts[overlay].units[name].released
        and facts[overlay].units[name].condition is not Condition.WELL
    }  # fmt: skip


Rollouts.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRollouts = Rollouts.TestCase
