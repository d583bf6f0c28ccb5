"""How a rollout goes on: (passage, facts of its units, clock) to (next passage, releases, reasons in words). Pure.

Each row goes through its overlay's steps in their order. A step is over when every cluster that it changes is Healthy
on the new result, at least one is, and its soak has passed; clusters that cannot be reached or that a person stopped
are left out, and follow later under the limits of their step. Approvals, limits and halts hold for all rows of the
commit together. What is not known never lets anything go on (R5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from itertools import islice, repeat

from fleet.core.approving import asking, asks_for, ends_at, lapsed, missing_of, standing_still, unseen, without_asking
from fleet.core.gates import Ask
from fleet.core.gating import (
    GateView,
    all_passed,
    asks_of,
    closed,
    due_of,
    failures,
    folded,
    paused,
    views_of,
    waits_for,
    with_open,
    without,
)
from fleet.core.ids import ClusterName, OverlayName, UnitName, short
from fleet.core.overtaken import caught_up
from fleet.core.passage import Anew, Passage, Row, Stop
from fleet.core.rollout_facts import Condition, RowFacts
from fleet.core.rollout_policy import OnFailure
from fleet.core.standings import (
    Group,
    Load,
    groups_of,
    is_done,
    is_outrun,
    is_stopped,
    rooms_of,
    stamped,
    with_proven,
)
from fleet.core.steps import Stage
from fleet.values import dataclass, field

MOST_NAMED = 5  # clusters in one line
_OVERTAKEN = "with an earlier result"


class StepState(StrEnum):
    """How far a step is."""

    DONE = "done"
    RUNS = "runs"
    SOAKS = "soaks"
    WAITS = "waits"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of one overlay, for people.

    held_up_by: clusters with the reason of each; asks: people who must still approve it, where its turn has come.
    """

    overlay: OverlayName
    name: str
    done: int
    total: int
    state: StepState
    why: str = ""
    held_up_by: tuple[tuple[ClusterName, str], ...] = ()
    gates: tuple[GateView, ...] = ()
    asks: int = 0


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


def advance(passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float, wall: float) -> Advance:
    """One look at one commit. now: the hub's clock; wall: for people. Rows without facts stand still."""
    return _Look(passage, facts, now, wall).run()


class _Look:
    def __init__(self, passage: Passage, facts: Mapping[OverlayName, RowFacts], now: float, wall: float) -> None:
        self.passage, self.now, self.wall = passage, now, wall
        self.facts = {name: facts[name] for name, row in sorted(passage.rows.items()) if name in facts and not row.done}
        self.rows = {name: row if row.done or name in self.facts else unseen(row) for name, row in passage.rows.items()}
        self.outrun = {name for name, row_facts in self.facts.items() if is_outrun(self.rows[name], row_facts)}
        self.frozen = {name for name, row_facts in self.facts.items() if is_stopped(self.rows[name], row_facts)}
        self.adrift = {name: why for name, row_facts in self.facts.items() if (why := row_facts.adrift)}
        self.releases: list[UnitName] = []
        self.views: list[StepView] = []
        self.waits: dict[UnitName, str] = {}
        self.dues: list[float] = []
        self.asks: list[Ask] = []
        self.groups: dict[OverlayName, tuple[Group, ...]] = {}
        self.loads: dict[str, Load] = {}

    def run(self) -> Advance:
        for overlay, facts in self.facts.items():
            row = caught_up(stamped(self.rows[overlay], facts, self.now), facts)
            groups = self.groups[overlay] = groups_of(row, facts, self.now)
            row = paused(row, facts.stages, groups, self.now)
            row = standing_still(row) if self._stopped(overlay) else folded(row, facts.stages, facts.readings, self.now)
            self.rows[overlay] = without_asking(row) if overlay in self.frozen else row
            for stage, group in zip(facts.stages, self.groups[overlay], strict=True):
                self.loads.setdefault(stage.name, Load()).add(stage, group)
                self.dues += [group.due] if group.due is not None else []
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
                name: standing_still(row if row.disturbed else replace(row, disturbed=True))
                for name, row in self.rows.items()
            }
        self.passage = passage
        for overlay, facts in self.facts.items():
            self._walk(overlay)
            self.rows[overlay] = with_proven(self.rows[overlay], facts.stages, self.groups[overlay])
            stands = overlay in self.outrun or overlay in self.adrift
            if not stands and is_done(self.rows[overlay], facts.stages, self.groups[overlay]):
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

    def _failure(self, policy: OnFailure) -> Stop | None:
        """The first failure of an overlay with this policy, and why. What was not read is never taken back for it."""
        for overlay, facts in self.facts.items():
            for key, why, is_blind in failures(self.rows[overlay], facts.stages):
                if policy is (OnFailure.HALT if is_blind else facts.on_failure):
                    return Stop(why, "hub", self.wall, gate=f"{overlay}/{key}")
            if policy is OnFailure.HALT and (stop := self._unapproved(overlay)) is not None:
                return stop
            for group in self.groups[overlay] if facts.on_failure is policy else ():
                for name in group.failed[:1]:
                    fact = facts.units[name]
                    late = "" if fact.condition is Condition.BAD else "not Healthy in time: "
                    return Stop(f"{late}{fact.why or fact.condition}", "hub", self.wall, UnitName(overlay, name))
        return None

    def _unapproved(self, overlay: OverlayName) -> Stop | None:
        """The step whose turn it is, where nobody approved it in time."""
        row = self.rows[overlay]
        if row.asked is None:
            return None
        stage = next((stage for stage, _, _ in self._way(overlay) if stage.name not in row.passed), None)
        why = lapsed(self.passage, row, stage, self.now) if stage is not None else ""
        return Stop(why, "hub", self.wall, gate=f"{overlay}/{row.asked.step}/") if why else None

    def _way(self, overlay: OverlayName) -> Iterator[tuple[Stage, Group, Mapping[ClusterName, str]]]:
        """The steps that a row goes through, up to the last that it changes something in; with what is lost in each."""
        facts, groups = self.facts[overlay], self.groups[overlay]
        last = max((n for n, group in enumerate(groups) if group.size), default=-1)
        for stage, group in zip(facts.stages[: last + 1], groups, strict=False):
            if lost := facts.lost_in(stage):
                group = replace(group, ready=[name for name in group.ready if name not in lost])
            if not stage.step.takes_clusters or group.size or lost or stage.name in facts.broken:
                yield stage, group, lost

    def _stopped(self, overlay: OverlayName) -> str:
        """Why nothing of this commit is released to an overlay now; "" when it may."""
        if self.passage.stopped:
            return self.passage.stopped
        return "a newer result is on its way" if overlay in self.outrun else self.adrift.get(overlay, "")

    # What follows

    def _walk(self, overlay: OverlayName) -> None:
        facts = self.facts[overlay]
        stopped, reached = self._stopped(overlay), True  # whether it is the next stage's turn
        behind = ""
        for stage, group, lost in self._way(overlay):
            row, stays, full = self.rows[overlay], group.ready, ""
            is_over = stage.name in row.passed
            if reached and not is_over:
                row, is_over = self._try(overlay, row, stage, group, stopped=bool(stopped))
                self.rows[overlay] = row
            state, why = self._state_of(overlay, row, stage, group, is_over=is_over, reached=reached, behind=behind)
            if reached and not stopped and (is_over or not self._gate(stage, facts, row)):
                stays, full = self._release(overlay, stage, group)
                why = why if is_over else "; ".join(filter(None, (why, full)))
            self._wait(overlay, group, stays, self._turn(stage, stopped, why, behind), behind=behind)
            counted = self._counted(overlay, stage) if full and not is_over else {}
            held_up = tuple({**group.others, **lost, **counted}.items())
            gates = views_of(self.rows[overlay], stage, self.now)
            asks = missing_of(self.passage, self.rows[overlay], stage) if reached and not is_over else 0
            there = len(group.there)
            self.views.append(StepView(overlay, stage.name, there, group.size, state, why, held_up, gates, asks))
            if not is_over and reached:
                reached, behind = False, stage.name

    def _counted(self, overlay: OverlayName, stage: Stage) -> dict[ClusterName, str]:
        """The clusters that a limit of a step counts for other reasons than this overlay, and why."""
        load, units, own = self.loads[stage.name], self.facts[overlay].units, self.groups[overlay]
        names = load.unavailable if stage.step.max_unavailable is not None else load.flight
        names = names.difference(*(group.others for group in own), (unit.cluster for unit in self.releases))
        causes = {
            name: f"{other}: {why}"
            for other, groups in self.groups.items()
            for group in groups
            for name, why in group.others.items()
            if other != overlay and name in names
        }
        own_causes = {name: units[name].why for name in names if name in units}
        return {name: causes.get(name) or own_causes.get(name) or "not available" for name in sorted(names)}

    def _wait(
        self, overlay: OverlayName, group: Group, ready: Sequence[ClusterName], turn: str, *, behind: str
    ) -> None:
        """Say why each unit that is not released is not: ready, those of the group that the limits keep back."""
        self.waits.update(dict.fromkeys(map(UnitName, repeat(overlay), ready), turn))
        commit = short(self.passage.commit)
        for names, is_own in ((group.pending, not behind), (group.left, True)):  # all others were released
            for name in names:
                fact = self.facts[overlay].units[name]
                if not fact.released:
                    own = f"{commit} waits: {fact.why or fact.condition}"
                    self.waits[UnitName(overlay, name)] = own if is_own else turn

    def _gate(self, stage: Stage, facts: RowFacts, row: Row) -> str:
        """What stands before a step, in words; "" when it may begin."""
        return asks_for(self.passage, row, stage) or facts.broken.get(stage.name, "")

    def _try(self, overlay: OverlayName, row: Row, stage: Stage, group: Group, *, stopped: bool) -> tuple[Row, bool]:
        """Whether a step whose turn it is, is over; its moments are kept in the row."""
        name, lost = stage.name, self.facts[overlay].lost_in(stage)
        is_judged = not group.size or group.there or (not group.ready and row.excused.issuperset(group.others))
        is_calm = group.is_settled and bool(is_judged) and not lost
        if not is_calm and (lost or name not in row.still):
            if name in row.calm:
                calm, still = ({key: at for key, at in of.items() if key != name} for of in (row.calm, row.still))
                ill = next(iter({**group.others, **lost}), None)
                times = row.anew[name].times if name in row.anew else 0
                anew = {**row.anew, name: Anew(times + 1, ill, self.now)} if ill is not None else row.anew
                row = replace(row, calm=calm, still=still, anew=anew)
            row = without(row, stage)
        asks = not stopped and overlay not in self.frozen and missing_of(self.passage, row, stage) > 0
        row = asking(row, stage, self.now, self.wall) if asks else without_asking(row)
        if (end := ends_at(row, stage)) is not None:
            self.dues.append(end)
        if stopped or self._gate(stage, self.facts[overlay], row):
            return closed(row), False
        if name not in row.opened:
            row = replace(row, opened={**row.opened, name: self.now})
        if not is_calm:
            return row, False
        if name not in row.calm:
            row = replace(row, calm={**row.calm, name: self.now})
        row = with_open(row, stage, self.now)
        self.asks += asks_of(self.passage.commit, overlay, row, stage, group.there, self.now)
        self.dues += due_of(row, (stage,), self.now)
        over_at = row.calm[name] + stage.step.soak_seconds
        if self.now < over_at:
            self.dues.append(over_at)
        if self.now < over_at or not all_passed(row, stage):
            return row, False
        return replace(row, passed=row.passed | {name}), True

    def _release(self, overlay: OverlayName, stage: Stage, group: Group) -> tuple[list[ClusterName], str]:
        """Release what the limits allow; those that are ready and stay back, and why, in words."""
        let, full = self._choose(overlay, stage, group)
        if not let:
            return group.ready, full
        load, row, gone = self.loads[stage.name], self.rows[overlay], set(let)
        load.flight |= gone
        load.unavailable |= gone
        self.rows[overlay] = replace(row, flying={**row.flying, **dict.fromkeys(let, self.now)})
        self.releases += map(UnitName, repeat(overlay), let)
        return [name for name in group.ready if name not in gone], full

    def _choose(self, overlay: OverlayName, stage: Stage, group: Group) -> tuple[list[ClusterName], str]:
        """Those that may go now, and why not more; one that must wait keeps back no other that need not.

        What is not available anyway goes first: it makes nothing worse there, and may be what mends it. A first one
        alone shows most where all was well before, and is the first in the order of the step.
        """
        load, is_one_first = self.loads[stage.name], stage.step.one_first and not group.there
        rooms = rooms_of(stage, group, load)
        if not rooms and not is_one_first:
            return group.ready, ""
        ready, let, full = group.ready, list[ClusterName](), None
        if not is_one_first and any(room.of_lost for room in rooms):
            ready = sorted(ready, key=lambda name: name not in load.unavailable)
        flying = bool(group.flight or group.held)
        for name in ready:
            if is_one_first and (flying or let):
                return let, f"one cluster first{self._asked(overlay, group)}"
            short_of = next((room for room in rooms if not room.has(name)), None)
            if short_of is None:
                let.append(name)
                for room in rooms:
                    room.taken.add(name)
            full = full or short_of
        if full is None:
            return let, ""
        if not full.of_lost:
            beside = ", ".join(islice(self._beside(overlay, stage, group), MOST_NAMED))
            return let, f"{full.most} at a time{self._asked(overlay, group)}{beside and f', under way: {beside}'}"
        names = ", ".join(sorted(full.taken)[:MOST_NAMED])
        return let, f"{names} not available ({len(full.taken)} of {full.most} that may be)"

    # In words

    def _asked(self, overlay: OverlayName, group: Group) -> str:
        """Whom of those that count by the limits a person holds up."""
        return f", and a person is asked: {', '.join(_named(self.facts[overlay], group.held))}" if group.held else ""

    def _beside(self, overlay: OverlayName, stage: Stage, group: Group) -> Iterator[str]:
        """What else counts by the limits of a step: with earlier results, and of the commit's other overlays."""
        yield from (f"{name} ({_OVERTAKEN})" for name in group.overtaken)
        for other, groups in self.groups.items():
            for its, found in zip(self.facts[other].stages, groups, strict=True) if other != overlay else ():
                for name in found.under_way if its.name == stage.name else ():
                    yield f"{UnitName(other, name)} ({found.others.get(name, _OVERTAKEN)})"

    def _state_of(
        self,
        overlay: OverlayName,
        row: Row,
        stage: Stage,
        group: Group,
        *,
        is_over: bool,
        reached: bool,
        behind: str,
    ) -> tuple[StepState, str]:
        facts, left = self.facts[overlay], group.left
        without = f"left out: {', '.join(_named(facts, left))}" if left else ""
        if is_over:
            return StepState.DONE, without
        if not reached:
            return StepState.WAITS, f"for step {behind}"
        halted = self.passage.halted
        is_gate = halted is not None and halted.gate.startswith(f"{overlay}/{stage.name}/")
        if halted is not None and (is_gate or group.failed):
            return StepState.HALTED, halted.reason
        if stopped := self._stopped(overlay):
            return StepState.WAITS, stopped
        if gate := self._gate(stage, facts, row):
            return StepState.WAITS, gate
        at = row.still.get(stage.name, self.now)
        soak = row.calm.get(stage.name, at) + stage.step.soak_seconds - at
        if stage.name in row.calm and stage.name not in row.still:
            measures = waits_for(row, stage, self.now)
            if soak > 0 or not measures:
                anew = _anew(row.anew.get(stage.name), self.now)
                return StepState.SOAKS, "; ".join(filter(None, (f"soaks for {_span(soak)} more", anew, measures)))
            return StepState.WAITS, measures
        if group.size and len(left) == group.size:
            return StepState.WAITS, f"no cluster of it can be judged; {without}"
        moving, lost = group.moving(), facts.stuck_at(stage)
        state = StepState.WAITS if lost and not moving and not group.ready else StepState.RUNS
        waits = f"waits for {', '.join(_named(facts, moving))}" if moving else ""
        rest = f"{_span(soak)} of its soak are left" if stage.name in row.still and soak > 0 else ""
        return state, "; ".join(filter(None, (waits, rest, lost)))

    def _turn(self, stage: Stage, stopped: str, why: str, behind: str) -> str:
        """Why a unit that could be released is not."""
        commit = short(self.passage.commit)
        if stopped:
            return f"{commit} waits: {stopped}"
        if behind:
            return f"{commit} waits for step {behind}"
        return f"{commit} waits in step {stage.name}" + (f": {why}" if why else "")


def _named(facts: RowFacts, names: list[ClusterName]) -> Iterator[str]:
    """Names with the cause of each, the first few."""
    for name in names[:MOST_NAMED]:
        why = facts.units[name].why
        yield f"{name} ({why})" if why else str(name)
    if len(names) > MOST_NAMED:
        yield f"{len(names) - MOST_NAMED} more"


def _anew(found: Anew | None, now: float) -> str:
    """That a soak began anew, which a step that flaps does again and again; "" where it never did."""
    if found is None:
        return ""
    times = "once" if found.times == 1 else f"{found.times} times"
    return f"began anew {times}, last {_span(now - found.at)} ago for {found.cluster}"


def _span(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"
