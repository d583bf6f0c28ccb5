"""The gates of one overlay's way: which are open, what was read of each, which of them stop it. Pure.

Gates of a step open when all its clusters are Healthy, and are read while it soaks; a cluster that falls ill closes
them, and they begin anew. One that had it and cannot be reached says neither: soak and gates stand still meanwhile. A
step without clusters opens its gates when its turn comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from fleet.core.fleet import Fleet
from fleet.core.gates import (
    READ_SECONDS,
    Ask,
    GateState,
    Reading,
    Verdict,
    delayed,
    expires_at,
    judge_gate,
    key_of,
    kind_of,
    next_at,
    opened,
    run_of,
    spec_of,
    wants_of,
    words_of,
)
from fleet.core.ids import ClusterName, OverlayName, Revision
from fleet.core.passage import Row
from fleet.core.rollout_policy import Gate, JobCheck
from fleet.core.standings import Group
from fleet.core.steps import Stage
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class GateView:
    """One gate as it is shown. read_at: wall clock of the last reading, 0.0 for none."""

    name: str
    kind: str
    wants: str
    verdict: Verdict
    text: str
    read_at: float = 0.0


def with_manifests(stages: Sequence[Stage], fleet: Fleet) -> tuple[Stage, ...]:
    """The stages with what each Job is in the commit that asks for it, which need not be the one under way."""
    return tuple(
        replace(stage, step=replace(stage.step, gates=tuple(_found(gate, fleet) for gate in stage.step.gates)))
        if any(isinstance(gate.check, JobCheck) for gate in stage.step.gates)
        else stage
        for stage in stages
    )


def _found(gate: Gate, fleet: Fleet) -> Gate:
    if not isinstance(check := gate.check, JobCheck):
        return gate
    return replace(gate, check=replace(check, file=fleet.gate_jobs.get(check.path, ""), at=fleet.commit))


def paused(row: Row, stages: Sequence[Stage], groups: Sequence[Group], now: float) -> Row:
    """The row whose calm steps stand still while a part of them cannot be seen, and go on where they stood then."""
    calm, gates, still = dict(row.calm), dict(row.gates), dict[str, float]()
    for stage, group in zip(stages, groups, strict=True):
        name, since = stage.name, row.still.get(stage.name)
        if name in row.passed or name not in calm:
            continue
        if group.is_unseen:
            still[name] = now if since is None else since
        elif since is not None:
            calm[name] += now - since
            mine = {key_of(name, gate) for gate in stage.step.gates} & gates.keys()
            gates |= {key: delayed(gates[key], now - since) for key in mine}
    return row if still == row.still else replace(row, calm=calm, gates=gates, still=still)


def folded(row: Row, stages: Sequence[Stage], readings: Mapping[str, Reading], now: float) -> Row:
    """The row with its new readings judged; a gate whose spec was edited is closed, and opens anew.

    While its step stands still a gate is judged as of when that began, by what was asked before: folded in only
    afterwards, such a reading would count the time between as measured.
    """
    states: dict[str, GateState] = {}
    for stage, gate, key in _open(row, stages):
        state = row.gates[key]
        if state.spec == spec_of(gate):
            still, reading = row.still.get(stage.name), readings.get(key)
            if still is not None and (reading is None or reading.asked_at > still):
                states[key] = state
            else:
                states[key] = judge_gate(gate, state, reading, now if still is None else still)
    over = {key: state for key, state in row.gates.items() if key.partition("/")[0] in row.passed}
    states = {**over, **states}
    return row if states == row.gates else replace(row, gates=states)


def with_open(row: Row, stage: Stage, now: float) -> Row:
    """The row with all gates of a step open."""
    missing = {
        key: opened(gate, now) for gate in stage.step.gates if (key := key_of(stage.name, gate)) not in row.gates
    }
    return replace(row, gates={**row.gates, **missing}) if missing else row


def without(row: Row, stage: Stage) -> Row:
    """The row with all gates of a step closed: what was read of them does not count any more."""
    mine = {key_of(stage.name, gate) for gate in stage.step.gates}
    kept = {key: state for key, state in row.gates.items() if key not in mine}
    return row if len(kept) == len(row.gates) else replace(row, gates=kept)


def asked_again(row: Row) -> Row:
    """A person goes on after a stop: what has not passed is read anew, with its whole time before it."""
    kept = {key: state for key, state in row.gates.items() if state.verdict is Verdict.PASSED}
    return row if len(kept) == len(row.gates) else replace(row, gates=kept)


def closed(row: Row) -> Row:
    """Of a row that stands still nothing is read: what has no verdict begins anew, with its whole time, afterwards."""
    kept = {key: state for key, state in row.gates.items() if state.verdict is not Verdict.WAITS}
    return row if len(kept) == len(row.gates) else replace(row, gates=kept)


def all_passed(row: Row, stage: Stage) -> bool:
    """Whether nothing of a step is left to measure."""
    states = [row.gates.get(key_of(stage.name, gate)) for gate in stage.step.gates]
    return all(state is not None and state.verdict is Verdict.PASSED for state in states)


def failures(row: Row, stages: Sequence[Stage]) -> Iterator[tuple[str, str, bool]]:
    """Gates that failed in steps that are not over: `STEP/GATE`, why, and whether only for want of a reading."""
    for stage, gate, key in _open(row, stages):
        state = row.gates[key]
        if state.verdict is Verdict.FAILED:
            yield key, f"gate {gate.name} of step {stage.name}: {state.why}", state.is_blind


def asks_of(
    commit: Revision, overlay: OverlayName, row: Row, stage: Stage, there: Sequence[ClusterName], now: float
) -> Iterator[Ask]:
    """The readings of a step that are due now. there: its clusters that are Healthy on the new result."""
    for _, gate, key in _open(row, (stage,)):
        state = row.gates[key]
        if state.verdict is not Verdict.WAITS or now < next_at(gate, state):
            continue
        left = max(1.0, expires_at(gate, state) - now)
        seconds, cluster = min(left, READ_SECONDS), ""
        if isinstance(gate.check, JobCheck):
            # One that was left out may hold the old result, or be suspended: a Job there says nothing of the change.
            seconds, cluster = left, gate.check.cluster or next(iter(there), "")
        yield Ask(commit, overlay, stage.name, gate, run_of(commit, overlay, key, state), now, seconds, cluster)


def due_of(row: Row, stages: Sequence[Stage], now: float) -> Iterator[float]:
    """The moments at which time alone changes something."""
    for _, gate, key in _open(row, stages):
        state = row.gates[key]
        if state.verdict is Verdict.WAITS:
            yield expires_at(gate, state)
            if (due := next_at(gate, state)) > now:
                yield due


def views_of(row: Row, stage: Stage, now: float) -> tuple[GateView, ...]:
    """All gates of a step, for people."""
    now = row.still.get(stage.name, now)
    return tuple(_view(gate, row.gates.get(key_of(stage.name, gate)), now) for gate in stage.step.gates)


def waits_for(row: Row, stage: Stage, now: float) -> str:
    """What a step still measures, in words; "" for nothing."""
    open_ones = [view for view in views_of(row, stage, now) if view.verdict is not Verdict.PASSED]
    return "; ".join(f"gate {view.name} wants {view.wants}: {view.text}" for view in open_ones)


def _view(gate: Gate, state: GateState | None, now: float) -> GateView:
    kind, wants = kind_of(gate), wants_of(gate)
    if state is None:
        return GateView(gate.name, kind, wants, Verdict.WAITS, "")
    at = state.last.at if state.last is not None else 0.0
    return GateView(gate.name, kind, wants, state.verdict, words_of(gate, state, now), at)


def _open(row: Row, stages: Sequence[Stage]) -> Iterator[tuple[Stage, Gate, str]]:
    """Gates with a state, of steps that are not over."""
    for stage in stages:
        if stage.name in row.passed:
            continue
        for gate in stage.step.gates:
            key = key_of(stage.name, gate)
            if key in row.gates:
                yield stage, gate, key


def gate_news(name: str, before: Row | None, after: Row) -> Iterator[str]:
    """What is worth a line in the timeline: verdicts, and readings that turned. name: of overlay and commit."""
    for key, state in sorted(after.gates.items()):
        had = before.gates.get(key) if before is not None else None
        step, _, gate = key.partition("/")
        text = state.last.text if state.last is not None else ""
        if state.verdict is Verdict.PASSED and (had is None or had.verdict is not Verdict.PASSED):
            yield f"{name}: gate {gate} of step {step} passed: {text}"
        elif state.verdict is Verdict.FAILED and (had is None or had.verdict is not Verdict.FAILED):
            yield f"{name}: gate {gate} of step {step} failed: {state.why}"
        elif state.last is not None and (had is None or had.last is None or had.last.word is not state.last.word):
            yield f"{name}: gate {gate} of step {step} read {text}"
