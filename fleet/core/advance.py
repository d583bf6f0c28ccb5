"""How a rollout goes on: (passage, facts of its units, clock) to (next passage, releases, reasons in words). Pure.

Each row goes through its overlay's steps in their order. A step is over when every cluster that it changes is Healthy
on the new result, at least one is, and its soak has passed; clusters that cannot be reached or that a person stopped
are left out, and follow later under the limits of their step. Approvals, limits and halts hold for all rows of the
commit together. What is not known never lets anything go on (R5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum

from fleet.core.fleet import OnFailure
from fleet.core.gates import Ask, Reading
from fleet.core.gating import (
    GateView,
    all_passed,
    asks_of,
    due_of,
    failures,
    folded,
    views_of,
    waits_for,
    with_open,
    without,
)
from fleet.core.ids import ClusterName, OverlayName, UnitName, short
from fleet.core.passage import Passage, Row, Stop
from fleet.core.steps import Stage, limit_of

MOST_NAMED = 5  # clusters in one line


class Condition(StrEnum):
    """How a unit stands with what it was told to hold last."""

    WELL = "well"  # Synced and Healthy
    BUSY = "busy"  # on its way
    BAD = "bad"  # Degraded or Missing
    AWAY = "away"  # not reachable, or nothing is known
    STOPPED = "stopped"  # suspended, held or quarantined: a person goes on with it
    WAITS = "waits"  # for a window or another unit: goes on by itself


_TAKES_TIME = frozenset({Condition.BUSY, Condition.BAD, Condition.AWAY})


@dataclass(frozen=True, slots=True)
class UnitFact:
    """One unit of an overlay. target: the digest of its newest result, "" where there is none."""

    target: str
    released: bool  # it was told to hold `target`
    condition: Condition
    available: bool = True  # reachable and Healthy, on whatever it holds
    why: str = ""  # the cause, in one line


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What is known of one overlay now: its stages, and all its units that go by them, changed or not."""

    stages: tuple[Stage, ...]
    units: Mapping[ClusterName, UnitFact]
    patience_seconds: float
    on_failure: OnFailure = OnFailure.HALT
    broken: Mapping[str, str] = field(default_factory=dict[str, str])  # step -> why it cannot be done
    readings: Mapping[str, Reading] = field(default_factory=dict[str, Reading])  # the newest, by STEP/GATE


class StepState(StrEnum):
    """How far a step is."""

    DONE = "done"
    RUNS = "runs"
    SOAKS = "soaks"
    WAITS = "waits"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of one overlay, for people. held_up_by: clusters with the reason of each."""

    overlay: OverlayName
    name: str
    done: int
    total: int
    state: StepState
    why: str = ""
    held_up_by: tuple[tuple[ClusterName, str], ...] = ()
    gates: tuple[GateView, ...] = ()


@dataclass(frozen=True, slots=True)
class Advance:
    """What follows. due: the clock's next moment at which time alone changes something."""

    passage: Passage
    releases: tuple[UnitName, ...] = ()
    take_back: bool = False  # a failure whose policy asks for a rollback
    steps: tuple[StepView, ...] = ()
    waits: Mapping[UnitName, str] = field(default_factory=dict[UnitName, str])  # why each is not released
    due: float | None = None
    asks: tuple[Ask, ...] = ()  # gates to be read now


class _Standing(Enum):
    """Where a changed unit is on its way."""

    THERE = "there"
    FLIGHT = "flight"
    READY = "ready"  # may be released
    PENDING = "pending"  # may not, and goes on by itself
    LEFT = "left"  # the step goes on without it
    FAILED = "failed"


_IN_WORDS = {
    _Standing.FLIGHT: "on its way",
    _Standing.PENDING: "waits",
    _Standing.LEFT: "left out",
    _Standing.FAILED: "failed",
}


@dataclass(slots=True)
class _Load:
    """What a step has under way, over all rows of the commit that have it."""

    total: set[ClusterName] = field(default_factory=set[ClusterName])
    flight: set[ClusterName] = field(default_factory=set[ClusterName])
    unavailable: set[ClusterName] = field(default_factory=set[ClusterName])


def advance(passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float, wall: float) -> Advance:
    """One look at one commit. now: the hub's clock; wall: for people. Rows without facts stand still."""
    return _Look(passage, facts, now, wall).run()


class _Look:
    def __init__(self, passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float, wall: float) -> None:
        self.passage, self.now, self.wall = passage, now, wall
        self.facts = {name: facts[name] for name, row in sorted(passage.rows.items()) if name in facts and not row.done}
        self.rows = dict(passage.rows)
        self.outrun = {name for name, row_facts in self.facts.items() if _is_outrun(self.rows[name], row_facts)}
        self.releases: list[UnitName] = []
        self.views: list[StepView] = []
        self.waits: dict[UnitName, str] = {}
        self.dues: list[float] = []
        self.asks: list[Ask] = []
        self.standings: dict[OverlayName, dict[ClusterName, _Standing]] = {}
        self.loads: dict[str, _Load] = {}

    def run(self) -> Advance:
        for overlay, facts in self.facts.items():
            row = self._stamped(self.rows[overlay], facts)
            # While it stands still nothing is read, and a gate's time does not run out.
            self.rows[overlay] = row if self._stopped(overlay) else folded(row, facts.stages, facts.readings, self.now)
            self.standings[overlay] = self._standings(self.rows[overlay], facts)
        self._weigh()
        passage = replace(self.passage, rows=self.rows)
        stopper = passage.halted.overlay if passage.halted is not None else None
        if stopper is not None and stopper not in self.rows:
            passage = replace(passage, halted=None)  # what failed goes its way with a newer commit
        failed = self._failure(OnFailure.ROLLBACK)  # even where another failure, or a person, stopped it before
        take_back = failed is not None
        if passage.halted is None:
            failed = failed or self._failure(OnFailure.HALT)
        if failed is not None:
            passage = replace(passage, halted=failed)
        if passage.halted is not None or passage.paused is not None:
            self.rows = {
                name: row if row.disturbed else replace(row, disturbed=True) for name, row in self.rows.items()
            }
        self.passage = passage
        for overlay in self.facts:
            self._walk(overlay)
            if overlay not in self.outrun and _is_done(self.rows[overlay], self.facts[overlay]):
                self.rows[overlay] = replace(self.rows[overlay], done=True)
        return Advance(
            replace(passage, rows=self.rows),
            tuple(self.releases),
            take_back,
            tuple(self.views),
            self.waits,
            min(self.dues, default=None),
            tuple(self.asks),
        )

    # What is so

    def _stamped(self, row: Row, facts: RowFacts) -> Row:
        """Note since when each released unit is on its way.

        A person's stop, a closed window and, once it is back, the time a cluster could not be reached are not counted.
        """
        moments: dict[ClusterName, float] = {}
        away: dict[ClusterName, float] = {}
        landed = dict(row.landed)
        for name, target in row.targets.items():
            fact = facts.units.get(name)
            if fact is None or fact.target != target or not fact.released:
                continue
            if fact.condition in _TAKES_TIME:
                moments[name] = row.flying.get(name, self.now)
                lost = row.away.get(name, self.now)
                if fact.condition is Condition.AWAY:
                    away[name] = lost
                else:
                    moments[name] += self.now - lost
            elif fact.condition is Condition.WELL and name not in landed:
                landed[name] = round(self.now, 1)
        same = moments == row.flying and away == row.away and len(landed) == len(row.landed)
        return row if same else replace(row, flying=moments, away=away, landed=landed)

    def _standings(self, row: Row, facts: RowFacts) -> dict[ClusterName, _Standing]:
        found: dict[ClusterName, _Standing] = {}
        for stage in facts.stages:
            opened = row.opened.get(stage.name)
            for name in stage.clusters:
                if name in row.targets and name in facts.units:
                    found[name] = self._standing(row, name, facts.units[name], opened, facts.patience_seconds)
        return found

    def _standing(
        self, row: Row, name: ClusterName, fact: UnitFact, opened: float | None, patience: float
    ) -> _Standing:
        if fact.target not in ("", row.targets[name]):
            return _Standing.PENDING  # what is known of it is not about this row's result
        if fact.released and fact.condition is Condition.WELL:
            return _Standing.THERE
        if not fact.target or fact.condition is Condition.STOPPED:
            return _Standing.LEFT
        since = row.flying.get(name, opened)
        is_late = since is not None and self.now - since >= patience
        if since is not None and not is_late and fact.condition in (Condition.AWAY, Condition.BUSY):
            self.dues.append(since + patience)
        standing = _standing_of(fact, is_late=is_late)
        is_excused = name in row.excused and standing is not _Standing.READY
        return _Standing.LEFT if is_excused else standing

    def _weigh(self) -> None:
        for overlay, facts in self.facts.items():
            standings = self.standings[overlay]
            for stage in facts.stages:
                load = self.loads.setdefault(stage.name, _Load())
                load.total.update(stage.clusters)
                for name in stage.clusters:
                    fact = facts.units.get(name)
                    if fact is None or not fact.available:
                        load.unavailable.add(name)
                    if standings.get(name) in (_Standing.FLIGHT, _Standing.FAILED):
                        load.flight.add(name)
                        load.unavailable.add(name)

    def _failure(self, policy: OnFailure) -> Stop | None:
        """The first failure of an overlay with this policy, and why. What was not read is never taken back for it."""
        for overlay, facts in self.facts.items():
            for key, why, is_blind in failures(self.rows[overlay], facts.stages):
                if policy is (OnFailure.HALT if is_blind else facts.on_failure):
                    return Stop(why, "hub", self.wall, gate=f"{overlay}/{key}")
            for stage in facts.stages if facts.on_failure is policy else ():
                for name in stage.clusters:
                    if self.standings[overlay].get(name) is _Standing.FAILED:
                        fact = facts.units[name]
                        late = "" if fact.condition is Condition.BAD else "not Healthy in time: "
                        unit = UnitName(overlay, name)
                        return Stop(f"{late}{fact.why or fact.condition}", "hub", self.wall, unit)
        return None

    # What follows

    def _stopped(self, overlay: OverlayName) -> str:
        """Why nothing of this commit is released to an overlay now; "" when it may."""
        passage = self.passage
        if passage.outcome:
            return f"rollout {passage.outcome}"
        if passage.halted is not None:
            at = f" at {passage.halted.place}" if passage.halted.place else ""
            return f"rollout halted{at}: {passage.halted.reason}"
        if passage.paused is not None:
            return f"rollout paused by {passage.paused.by}: {passage.paused.reason}"
        return "a newer result is on its way" if overlay in self.outrun else ""

    def _walk(self, overlay: OverlayName) -> None:
        facts, standings = self.facts[overlay], self.standings[overlay]
        stopped, reached = self._stopped(overlay), True  # whether it is the next stage's turn
        last = max((n for n, stage in enumerate(facts.stages) if _any_of(stage, standings)), default=-1)
        behind = ""
        for stage in facts.stages[: last + 1]:
            touched = [name for name in stage.clusters if name in standings]
            there = [name for name in touched if standings[name] is _Standing.THERE]
            if stage.step.takes_clusters and not touched and stage.name not in facts.broken:
                continue
            row, released = self.rows[overlay], set[ClusterName]()
            is_over = stage.name in row.passed
            if reached and not is_over:
                row, is_over = self._try(overlay, row, stage, touched, stopped=bool(stopped))
                self.rows[overlay] = row
            state, why = self._state_of(overlay, row, stage, touched, is_over=is_over, reached=reached, behind=behind)
            if reached and not stopped and (is_over or not self._gate(stage, facts)):
                released, full = self._release(overlay, stage, touched)
                why = why if is_over else "; ".join(filter(None, (why, full)))
            for name in touched:
                if not facts.units[name].released and name not in released:
                    self.waits[UnitName(overlay, name)] = self._words(
                        stage, facts.units[name], stopped, why, behind, standings[name]
                    )
            held_up = tuple(
                (name, facts.units[name].why or _IN_WORDS[standings[name]])
                for name in touched
                if standings[name] not in (_Standing.THERE, _Standing.READY)
            )
            gates = views_of(self.rows[overlay], stage, self.now)
            self.views.append(StepView(overlay, stage.name, len(there), len(touched), state, why, held_up, gates))
            if not is_over and reached:
                reached, behind = False, stage.name

    def _gate(self, stage: Stage, facts: RowFacts) -> str:
        """What stands before a step, in words; "" when it may begin."""
        given = len(set(self.passage.approvals.get(stage.name, ())))
        if given < stage.step.approvals:
            need = stage.step.approvals - given
            people = "one person" if need == 1 else f"{need} people"
            return f"waits for the approval of {people}"
        return facts.broken.get(stage.name, "")

    def _try(
        self, overlay: OverlayName, row: Row, stage: Stage, touched: list[ClusterName], *, stopped: bool
    ) -> tuple[Row, bool]:
        """Whether a step whose turn it is, is over; its moments are kept in the row."""
        standings, name = self.standings[overlay], stage.name
        settled = {standings[cluster] for cluster in touched}
        is_judged = not touched or _Standing.THERE in settled or all(cluster in row.excused for cluster in touched)
        if not (settled <= {_Standing.THERE, _Standing.LEFT} and is_judged):
            if name in row.calm:
                row = replace(row, calm={key: at for key, at in row.calm.items() if key != name})
            row, is_calm = without(row, stage), False
        else:
            is_calm = True
        if stopped or self._gate(stage, self.facts[overlay]):
            return row, False
        if name not in row.opened:
            row = replace(row, opened={**row.opened, name: self.now})
        if not is_calm:
            return row, False
        if name not in row.calm:
            row = replace(row, calm={**row.calm, name: self.now})
        row = with_open(row, stage, self.now)
        self.asks += asks_of(self.passage.commit, overlay, row, (stage,), self.now)
        self.dues += due_of(row, (stage,), self.now)
        over_at = row.calm[name] + stage.step.soak_seconds
        if self.now < over_at:
            self.dues.append(over_at)
        if self.now < over_at or not all_passed(row, stage):
            return row, False
        return replace(row, passed=row.passed | {name}), True

    def _release(self, overlay: OverlayName, stage: Stage, touched: list[ClusterName]) -> tuple[set[ClusterName], str]:
        """Release what the limits allow; these, and what holds the rest back, in words."""
        let: list[ClusterName] = []
        full = self._choose(overlay, stage, touched, let)
        row = self.rows[overlay]
        self.rows[overlay] = replace(row, flying={**row.flying, **dict.fromkeys(let, self.now)}) if let else row
        self.releases += [UnitName(overlay, name) for name in let]
        return set(let), full

    def _choose(self, overlay: OverlayName, stage: Stage, touched: list[ClusterName], let: list[ClusterName]) -> str:
        standings, load, step = self.standings[overlay], self.loads[stage.name], stage.step
        flying = sum(1 for name in touched if standings[name] is _Standing.FLIGHT)
        is_proven = any(standings[name] is _Standing.THERE for name in touched)
        at_once = limit_of(step.max_parallel, len(load.total))
        missing = limit_of(step.max_unavailable, len(load.total))
        for name in touched:
            if standings[name] is not _Standing.READY:
                continue
            if step.one_first and not is_proven and flying:
                return "one cluster first"
            if at_once is not None and name not in load.flight and len(load.flight) >= at_once:
                return f"{at_once} at a time"
            if missing is not None and name not in load.unavailable and len(load.unavailable) >= missing:
                names = ", ".join(sorted(load.unavailable)[:MOST_NAMED])
                return f"{names} not available ({len(load.unavailable)} of {missing} that may be)"
            load.flight.add(name)
            load.unavailable.add(name)
            flying += 1
            let.append(name)
        return ""

    # In words

    def _state_of(
        self,
        overlay: OverlayName,
        row: Row,
        stage: Stage,
        touched: list[ClusterName],
        *,
        is_over: bool,
        reached: bool,
        behind: str,
    ) -> tuple[StepState, str]:
        standings, facts = self.standings[overlay], self.facts[overlay]
        left = [name for name in touched if standings[name] is _Standing.LEFT]
        without = f"left out: {', '.join(_named(facts, left))}" if left else ""
        if is_over:
            return StepState.DONE, without
        if not reached:
            return StepState.WAITS, f"for step {behind}"
        halted = self.passage.halted
        is_gate = halted is not None and halted.gate.startswith(f"{overlay}/{stage.name}/")
        if halted is not None and (is_gate or any(standings[name] is _Standing.FAILED for name in touched)):
            return StepState.HALTED, halted.reason
        if stopped := self._stopped(overlay):
            return StepState.WAITS, stopped
        if gate := self._gate(stage, facts):
            return StepState.WAITS, gate
        if stage.name in row.calm:
            left, measures = row.calm[stage.name] + stage.step.soak_seconds - self.now, waits_for(row, stage, self.now)
            if left > 0 or not measures:
                return StepState.SOAKS, "; ".join(filter(None, (f"soaks for {_span(left)} more", measures)))
            return StepState.WAITS, measures
        if touched and len(left) == len(touched):
            return StepState.WAITS, f"no cluster of it can be judged; {without}"
        moving = [name for name in touched if standings[name] in (_Standing.FLIGHT, _Standing.PENDING)]
        return StepState.RUNS, f"waits for {', '.join(_named(facts, moving))}" if moving else ""

    def _words(self, stage: Stage, fact: UnitFact, stopped: str, why: str, behind: str, standing: _Standing) -> str:
        """Why a unit is not released."""
        commit = short(self.passage.commit)
        if standing is _Standing.LEFT or (standing is _Standing.PENDING and not behind):
            return f"{commit} waits: {fact.why or fact.condition}"
        if stopped:
            return f"{commit} waits: {stopped}"
        if behind:
            return f"{commit} waits for step {behind}"
        return f"{commit} waits in step {stage.name}" + (f": {why}" if why else "")


def _is_outrun(row: Row, facts: RowFacts) -> bool:
    """Whether a unit has another result already, and the row was not taken over yet: it stands still until then."""
    return any(
        name in facts.units and facts.units[name].target not in ("", digest) for name, digest in row.targets.items()
    )


def _is_done(row: Row, facts: RowFacts) -> bool:
    """Whether all that the row changes is Healthy on its new result, and every step that it needs is over."""
    for stage in facts.stages:
        touched = [facts.units[name] for name in stage.clusters if name in row.targets and name in facts.units]
        if touched and stage.name not in row.passed:
            return False
        if not all(fact.released and fact.condition is Condition.WELL for fact in touched):
            return False
    return True


def _standing_of(fact: UnitFact, *, is_late: bool) -> _Standing:
    match fact.condition:
        case Condition.AWAY if is_late:
            return _Standing.LEFT
        case Condition.AWAY | Condition.WAITS:
            return _Standing.FLIGHT if fact.released else _Standing.PENDING
        case _ if not fact.released:
            return _Standing.READY
        case Condition.BAD:
            return _Standing.FAILED
        case _:
            return _Standing.FAILED if is_late else _Standing.FLIGHT


def _any_of(stage: Stage, standings: Mapping[ClusterName, _Standing]) -> bool:
    return any(name in standings for name in stage.clusters)


def _named(facts: RowFacts, names: list[ClusterName]) -> Iterator[str]:
    """Names with the cause of each, the first few."""
    for name in names[:MOST_NAMED]:
        why = facts.units[name].why
        yield f"{name} ({why})" if why else str(name)
    if len(names) > MOST_NAMED:
        yield f"{len(names) - MOST_NAMED} more"


def _span(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
