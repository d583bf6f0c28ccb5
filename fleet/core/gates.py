"""What a rollout measures before it calls a step over: readings become a gate's state, and that a verdict. Pure.

A reading is good, bad, or none at all: a server that is silent, or answers nonsense, says nothing about a change. So
none neither passes a gate nor counts as bad; two of them in a row break the window, and run into the gate's timeout
(R5). A gate that reads well at its timeout may still end its window: whoever missed one reading is not ill for it. Only
more bad readings in a row than are forgiven say something against a change, a timeout never does. All moments but `at`
are seconds on the hub's own clock, in which time without a hub does not count (R24).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any, assert_never
from urllib.parse import urlsplit

from fleet.core.documents import digest_of_bytes
from fleet.core.ids import Digest, OverlayName, Revision
from fleet.core.rollout_policy import Gate, HttpCheck, JobCheck, PrometheusCheck
from fleet.values import dataclass

READ_SECONDS = 10.0  # a server that is silent for longer says nothing


class Word(StrEnum):
    """What one reading says of the change."""

    GOOD = "good"
    BAD = "bad"
    NONE = "none"  # nothing: no answer, or none that can be understood


class Verdict(StrEnum):
    """Where a gate stands."""

    WAITS = "waits"
    PASSED = "passed"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Read:
    """What a reader brings: the word, and what was read in words, as `0.031, not below 0.01`."""

    word: Word
    text: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading as it is kept. at: wall clock, for people; asked_at: when it was asked for."""

    word: Word
    text: str
    at: float
    asked_at: float


@dataclass(frozen=True, slots=True)
class GateState:
    """One gate of one step of one overlay. spec: of the gate it was opened for; another one begins anew."""

    spec: Digest
    opened: float
    verdict: Verdict = Verdict.WAITS
    good_since: float | None = None
    bad_in_a_row: int = 0
    readings: int = 0
    last: Reading | None = None
    why: str = ""  # it failed
    is_blind: bool = False  # it failed at its timeout: nothing is proven against the change
    stood: float = 0.0  # seconds since it opened in which its step stood still: no part of its timeout and window
    stood_before: float = 0.0  # so many of these when its last reading was judged


@dataclass(frozen=True, slots=True)
class Ask:
    """One reading that is due. run: the same for the same reading over restarts; seconds: it may take so long."""

    commit: Revision
    overlay: OverlayName
    step: str
    gate: Gate
    run: str
    asked_at: float
    seconds: float
    cluster: str = ""  # of a Job


States = Mapping[str, GateState]  # by `STEP/GATE`


def key_of(step: str, gate: Gate) -> str:
    """How a row keeps the state of a gate; neither name holds a slash."""
    return f"{step}/{gate.name}"


def origin_of(url: str) -> str:
    """Scheme, host and port of a URL, in one form; ValueError for none."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"{url!r:.80} is no URL of a server")
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def spec_of(gate: Gate) -> Digest:
    """What a gate asks, as a digest; the line it stands on is no part of it, and no commit that leaves it as it is."""
    check = replace(gate.check, at=Revision("")) if isinstance(gate.check, JobCheck) else gate.check
    asks = (check, gate.interval_seconds, gate.timeout_seconds, gate.window_seconds, gate.retries)
    return digest_of_bytes(repr(asks).encode())


def opened(gate: Gate, now: float) -> GateState:
    """A gate whose turn it is."""
    return GateState(spec_of(gate), now)


def judge_gate(gate: Gate, state: GateState, reading: Reading | None, now: float) -> GateState:
    """Fold one reading in, each at most once, and judge. A verdict is final; an older reading changes nothing."""
    if state.verdict is not Verdict.WAITS:
        return state
    is_new = reading is not None and reading.asked_at >= state.opened
    if reading is not None and is_new and (state.last is None or reading.asked_at > state.last.asked_at):
        state = _folded(gate, state, reading)
    if state.verdict is Verdict.WAITS and now >= expires_at(gate, state):
        last = state.last
        is_unread = last is None or last.word is Word.NONE
        text = last.text if last is not None else "no answer yet"
        why = f"{'no reading' if is_unread else 'not passed'} within {_span(gate.timeout_seconds)}: {text}"
        return replace(state, verdict=Verdict.FAILED, why=why, is_blind=True)
    return state


def _folded(gate: Gate, state: GateState, reading: Reading) -> GateState:
    is_missed_again = state.last is None or state.last.word is Word.NONE
    state = replace(state, last=reading, readings=state.readings + 1, stood_before=state.stood)
    match reading.word:
        case Word.GOOD:
            since = reading.asked_at if state.good_since is None else state.good_since
            is_passed = reading.asked_at - since >= gate.window_seconds
            verdict = Verdict.PASSED if is_passed else Verdict.WAITS
            return replace(state, good_since=since, bad_in_a_row=0, verdict=verdict)
        case Word.BAD:
            bad = state.bad_in_a_row + 1
            state = replace(state, good_since=None, bad_in_a_row=bad)
            return replace(state, verdict=Verdict.FAILED, why=reading.text) if bad > gate.retries else state
        case Word.NONE:
            return replace(state, good_since=None) if is_missed_again else state
        case _:
            assert_never(reading.word)


def delayed(state: GateState, seconds: float) -> GateState:
    """A gate whose step stood still for some time, and was not read. `opened` stays: a Job that runs is found by it."""
    if state.verdict is not Verdict.WAITS:
        return state
    since = state.good_since + seconds if state.good_since is not None else None
    return replace(state, good_since=since, stood=state.stood + seconds)


def next_at(gate: Gate, state: GateState) -> float:
    """When its next reading is due."""
    return state.opened if state.last is None else state.last.asked_at + gate.interval_seconds


def expires_at(gate: Gate, state: GateState) -> float:
    """When it has failed if nothing passes it: at its timeout, unless it is then on its way to a verdict.

    That is while it reads well, until the end of the window that it is in, and with a bad reading that is forgiven,
    until the next one.
    """
    end, since = state.opened + gate.timeout_seconds + state.stood, state.good_since
    # The reading that decides comes a while after it was due, and may be the one that is missed.
    spare = 2 * (gate.interval_seconds + READ_SECONDS)
    if since is not None and since < end:
        return max(end, since + gate.window_seconds + spare)
    if state.last is not None and state.last.word is Word.BAD:
        return max(end, state.last.asked_at + state.stood - state.stood_before + spare)
    return end


def run_of(commit: Revision, overlay: OverlayName, key: str, state: GateState) -> str:
    """A name for its next try, the same after a restart or a lost answer: a Job that runs already is found by it."""
    good_at = state.last.asked_at if state.last is not None and state.last.word is Word.GOOD else ""
    told = f"{commit} {overlay} {key} {state.spec} {state.opened!r} {state.bad_in_a_row} {good_at!r}"
    return digest_of_bytes(told.encode())[:10]


# In words


def kind_of(gate: Gate) -> str:
    """As in the repo."""
    match gate.check:
        case PrometheusCheck():
            return "prometheus"
        case HttpCheck():
            return "http"
        case JobCheck():
            return "job"
        case _:
            assert_never(gate.check)


def wants_of(gate: Gate) -> str:
    """What passes it, for people."""
    match gate.check:
        case PrometheusCheck(below=below, above=above):
            bounds = [f"below {below:g}" if below is not None else "", f"above {above:g}" if above is not None else ""]
            wants = " and ".join(filter(None, bounds))
        case HttpCheck(status=status, contains=contains):
            wants = f"status {status}" + (f" with {contains!r}" if contains else "")
        case JobCheck(path=path):
            wants = f"{path} completes"
        case _:
            assert_never(gate.check)
    return f"{wants} for {_span(gate.window_seconds)}" if gate.window_seconds else wants


def words_of(gate: Gate, state: GateState, now: float) -> str:
    """Where it stands, in one line; without the age of the reading, which whoever shows it adds."""
    text = state.last.text if state.last is not None else "not read yet"
    match state.verdict:
        case Verdict.PASSED:
            return text
        case Verdict.FAILED:
            return state.why
        case Verdict.WAITS if state.good_since is not None:
            left = gate.window_seconds - (now - state.good_since)
            return f"{text}; for {_span(left)} more"
        case Verdict.WAITS if state.bad_in_a_row:
            return f"{text} ({state.bad_in_a_row} of {gate.retries + 1} bad readings in a row)"
        case Verdict.WAITS:
            return text


def _span(seconds: float) -> str:
    whole = max(1, round(seconds))
    return f"{whole // 60}m{whole % 60:02d}s" if whole >= 60 else f"{whole}s"


# As it is kept


def encode_states(states: States) -> dict[str, list[object]]:
    """As plain JSON."""
    return {key: _encoded(state) for key, state in states.items()}


def _encoded(state: GateState) -> list[object]:
    last = state.last
    return [
        state.spec,
        state.opened,
        state.verdict.value,
        state.good_since,
        state.bad_in_a_row,
        state.readings,
        [last.word.value, last.text, last.at, last.asked_at] if last is not None else None,
        state.why,
        state.is_blind,
        state.stood,
        state.stood_before,
    ]


def decode_states(value: Mapping[str, list[Any]]) -> dict[str, GateState]:
    """The other way round; raises ValueError, TypeError."""
    return {key: _decoded(*parts) for key, parts in value.items()}


def _decoded(
    spec: str,
    opened: float,
    verdict: str,
    good_since: float | None,
    bad: int,
    readings: int,
    last: tuple[str, str, float, float] | None,
    why: str,
    is_blind: bool,
    stood: float = 0.0,
    stood_before: float = 0.0,
) -> GateState:
    reading = None if last is None else Reading(Word(last[0]), *last[1:])
    state = GateState(Digest(spec), opened, Verdict(verdict), good_since, bad, readings, reading, why, is_blind)
    return replace(state, stood=stood, stood_before=stood_before)
