"""Gates as a decision: whatever is read, in whatever order, nothing passes without a proven window."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.gates import (
    GateState,
    Reading,
    Verdict,
    Word,
    decode_states,
    encode_states,
    expires_at,
    judge_gate,
    next_at,
    opened,
    wants_of,
    words_of,
)
from fleet.core.measured import judge_http, judge_prometheus
from fleet.core.problems import Origin
from fleet.core.rollout_policy import Gate, HttpCheck, JobCheck, PrometheusCheck

HERE = Origin("fleet.yaml", 1)
QUERY = PrometheusCheck("https://p", "up", below=0.5)


def gate_of(**more: float) -> Gate:
    return replace(Gate("g", QUERY, HERE, 10.0, 100.0, 0.0, 2), **more)


gates = st.builds(
    gate_of, window_seconds=st.sampled_from([0.0, 20.0, 35.0]), retries=st.integers(0, 2),
    timeout_seconds=st.sampled_from([60.0, 200.0]),
)  # fmt: skip
words = st.sampled_from([Word.GOOD, Word.GOOD, Word.BAD, Word.NONE])
# What a hub does between two looks: time passes, a reading comes or not, an old one is folded again, it restarts.
events = st.lists(st.tuples(st.sampled_from([1.0, 10.0, 11.0]), st.none() | words, st.booleans()), max_size=40)


@given(gates, events)
def test_a_gate_passes_only_after_a_window_of_good_readings_and_fails_only_for_a_reason(gate: Gate, script) -> None:
    now, state, read = 5.0, opened(gate, 5.0), list[Reading]()
    for seconds, word, again in script:
        now += seconds
        if word is not None:
            read.append(Reading(word, str(word), 0.0, now))
        before = state
        state = judge_gate(gate, state, read[-1] if read else None, now)
        if again:  # a look that was repeated, or a process that was killed after it was durable
            (state,) = decode_states(encode_states({"s/g": state})).values()
            assert judge_gate(gate, state, read[-1] if read else None, now) == state
        if before.verdict is not Verdict.WAITS:
            assert state == before, "a verdict changed"
        elif state.verdict is Verdict.PASSED:
            good = [one for one in read if one.asked_at >= state.good_since]
            assert good
            assert good[0].word is good[-1].word is Word.GOOD
            assert all(one.word is not Word.BAD for one in good)
            assert not any(one.word is two.word is Word.NONE for one, two in pairwise(good)), "one may be missed alone"
            assert good[-1].asked_at - good[0].asked_at >= gate.window_seconds
        elif state.verdict is Verdict.FAILED:
            tail = [one.word for one in read if one.word is not Word.NONE][-gate.retries - 1 :]
            is_bad = tail == [Word.BAD] * (gate.retries + 1)
            assert is_bad or now - state.opened >= gate.timeout_seconds
            assert state.is_blind != is_bad, "only more bad readings than are forgiven say something of the change"
        else:
            assert now < expires_at(gate, state)


@given(gates, st.lists(words, max_size=30))
def test_a_gate_always_ends_and_is_asked_in_its_interval(gate: Gate, script: list[Word]) -> None:
    now, state = 0.0, opened(gate, 0.0)
    for word in [*script, *[Word.NONE] * 40]:
        now = max(now, next_at(gate, state))
        state = judge_gate(gate, state, Reading(word, "", 0.0, now), now)
        if state.verdict is not Verdict.WAITS:
            return
        assert next_at(gate, state) == now + gate.interval_seconds
    raise AssertionError("it never ends")


HOUR = gate_of(interval_seconds=30.0, window_seconds=3600.0, timeout_seconds=4200.0)  # soak: 1h, and no more said


@pytest.mark.parametrize(
    ("others", "minute", "verdict"),
    [
        ({}, 60.0, Verdict.PASSED),
        ({15.0: Word.NONE}, 60.0, Verdict.PASSED),
        ({15.0: Word.NONE, 15.5: Word.NONE}, 76.0, Verdict.PASSED),
        ({15.0: Word.BAD}, 75.5, Verdict.PASSED),
        ({59.0: Word.BAD}, 119.5, Verdict.PASSED),
        ({15.0: Word.BAD, 69.5: Word.BAD}, 70.0, "halts"),
        ({15.0: Word.BAD, 72.0: Word.BAD}, 72.5, "halts"),
        ({15.0: Word.BAD, 72.0: Word.NONE, 72.5: Word.NONE}, 72.5, "halts"),
        ({15.0: Word.BAD, 72.0: Word.NONE}, 75.5, Verdict.PASSED),
        ({15.0: Word.BAD, 75.5: Word.NONE}, 76.0, Verdict.PASSED),
        ({15.0: Word.BAD, 75.5: Word.NONE, 76.0: Word.NONE}, 76.0, "halts"),
        ({15.0: Word.BAD, 72.0: Word.BAD, 72.5: Word.BAD, 73.0: Word.BAD}, 73.0, "taken back"),
        ({15.0: Word.BAD, 15.5: Word.BAD, 16.0: Word.BAD}, 16.0, "taken back"),
    ],
)
def test_a_reading_that_is_missed_or_forgiven_takes_no_healthy_rollout_back(
    others: dict[float, Word], minute: float, verdict: str
) -> None:
    at, state = 0.0, opened(HOUR, 0.0)
    while state.verdict is Verdict.WAITS:
        state = judge_gate(HOUR, state, Reading(others.get(at / 60, Word.GOOD), "0.1", 0.0, at), at)
        at = next_at(HOUR, state)
        for now in (at, at + 10.0) if state.verdict is Verdict.WAITS else ():  # its next reading takes its time
            assert judge_gate(HOUR, state, None, now) == state
    found = state.verdict if state.verdict is Verdict.PASSED else "halts" if state.is_blind else "taken back"
    assert state.last is not None
    assert (state.last.asked_at / 60, found) == (minute, verdict)


def test_twin_a_gate_that_reads_well_by_turns_alone_never_passes_and_ends() -> None:
    at, state = 0.0, opened(HOUR, 0.0)
    while state.verdict is Verdict.WAITS:
        word = Word.BAD if at % 600 == 0 else Word.GOOD
        state = judge_gate(HOUR, state, Reading(word, "0.1", 0.0, at), at)
        at = next_at(HOUR, state)
    assert (state.verdict, state.is_blind) == (Verdict.FAILED, True)
    assert state.why == "not passed within 70m00s: 0.1"
    assert at <= HOUR.timeout_seconds + 2 * HOUR.interval_seconds


def test_twin_a_gate_whose_readings_end_while_it_reads_well_ends_too() -> None:
    state = judge_gate(HOUR, opened(HOUR, 0.0), Reading(Word.GOOD, "0.1", 0.0, 4170.0), 4170.0)
    assert expires_at(HOUR, state) == 4170.0 + 3600.0 + 80.0
    assert judge_gate(HOUR, state, None, 7849.0) == state
    ended = judge_gate(HOUR, state, None, 7850.0)
    assert (ended.verdict, ended.is_blind) == (Verdict.FAILED, True)


def test_the_reading_that_decides_beyond_the_timeout_may_be_the_one_that_is_missed() -> None:
    """Readings come when they come: the last good one was a second short of the window."""
    state = opened(HOUR, 0.0)
    for at, word in ((900.0, Word.BAD), (930.0, Word.GOOD), (4529.0, Word.GOOD), (4559.0, Word.NONE)):
        state = judge_gate(HOUR, state, Reading(word, "0.1", 0.0, at), at + 10.0)
    assert judge_gate(HOUR, state, None, 4599.0) == state
    assert judge_gate(HOUR, state, Reading(Word.GOOD, "0.1", 0.0, 4589.0), 4599.0).verdict is Verdict.PASSED


SMOKE = Gate("smoke", JobCheck("gates/smoke.yaml"), HERE, timeout_seconds=600.0)


def test_a_job_that_failed_once_and_whose_second_try_is_too_slow_takes_nothing_back() -> None:
    state = judge_gate(SMOKE, opened(SMOKE, 0.0), Reading(Word.BAD, "Job a failed", 0.0, 0.0), 400.0)
    assert state.verdict is Verdict.WAITS
    assert judge_gate(SMOKE, state, None, 599.0) == state
    ended = judge_gate(SMOKE, state, None, 600.0)
    assert (ended.verdict, ended.is_blind, ended.why) == (
        Verdict.FAILED, True, "not passed within 10m00s: Job a failed",
    )  # fmt: skip


def test_twin_one_that_fails_more_often_than_is_forgiven_is_proven_bad() -> None:
    state = opened(SMOKE, 0.0)
    for at in (0.0, 100.0, 200.0):
        state = judge_gate(SMOKE, state, Reading(Word.BAD, "Job a failed", 0.0, at), at + 90.0)
    assert (state.verdict, state.is_blind) == (Verdict.FAILED, False)


def test_a_reading_from_before_the_gate_opened_does_not_count() -> None:
    state = opened(gate_of(), 50.0)
    assert judge_gate(gate_of(), state, Reading(Word.GOOD, "", 0.0, 49.0), 51.0) == state


def test_words_say_what_was_read_and_what_is_missing() -> None:
    gate = gate_of(window_seconds=60.0)
    assert wants_of(gate) == "below 0.5 for 1m00s"
    assert wants_of(replace(gate, check=PrometheusCheck("", "", 1.0, 0.25), window_seconds=0)) == (
        "below 1 and above 0.25"
    )
    assert wants_of(replace(gate, check=HttpCheck("", 204, "ok"), window_seconds=0)) == "status 204 with 'ok'"
    good = judge_gate(gate, opened(gate, 0.0), Reading(Word.GOOD, "0.1", 0.0, 1.0), 1.0)
    assert words_of(gate, good, 31.0) == "0.1; for 30s more"
    bad = judge_gate(gate, good, Reading(Word.BAD, "0.9, not below 0.5", 0.0, 11.0), 11.0)
    assert words_of(gate, bad, 11.0) == "0.9, not below 0.5 (1 of 3 bad readings in a row)"
    late = judge_gate(gate, opened(gate, 0.0), None, 100.0)
    assert words_of(gate, late, 100.0) == "no reading within 1m40s: no answer yet"


def answer(result: str, kind: str = "vector", more: str = "") -> bytes:
    return f'{{"status":"success","data":{{"resultType":"{kind}","result":{result}}}{more}}}'.encode()


def series(*values: str) -> str:
    return "[" + ",".join(f'{{"metric":{{}},"value":[1.5,"{value}"]}}' for value in values) + "]"


@pytest.mark.parametrize(
    ("body", "word", "text"),
    [
        (answer(series("0.1")), Word.GOOD, "0.1"),
        (answer('[1.5,"0.1"]', "scalar"), Word.GOOD, "0.1"),
        (answer(series("0.1", "0.7", "0.2")), Word.BAD, "0.7, the worst of 3, not below 0.5"),
        (answer(series("0.5")), Word.BAD, "0.5, not below 0.5"),
        (answer(series("+Inf")), Word.NONE, "Inf"),
        (answer(series()), Word.NONE, "no series"),
        (answer(series("NaN")), Word.NONE, "NaN"),
        (answer(series("0.1", "NaN")), Word.NONE, "NaN"),
        (answer(series("0.1"), more=',"warnings":["store 3 is away"]'), Word.NONE, "may be partial: store 3 is away"),
        (answer(series("x")), Word.NONE, "none of Prometheus"),
        (answer('[{"metric":{}}]'), Word.NONE, "none of Prometheus"),
        (answer("[[1]]", "scalar"), Word.NONE, "none of Prometheus"),
        (answer("[]", "matrix"), Word.NONE, "gives a matrix"),
        (answer(series(*["0.1"] * 1001)), Word.NONE, "1001 series"),
        (b'{"status":"error","error":"bad\\u001b query"}', Word.NONE, "status 200: bad query"),
        (b"<html>", Word.NONE, "no JSON"),
        (b"", Word.NONE, "no JSON"),
        (b"[]", Word.NONE, "none of Prometheus"),
        (b"[" * 100_000, Word.NONE, "no JSON"),
    ],
)
def test_only_a_whole_answer_with_numbers_is_a_reading(body: bytes, word: Word, text: str) -> None:
    found = judge_prometheus(QUERY, 200, body)
    assert found.word is word
    assert text in found.text


@given(st.binary(max_size=300), st.integers(200, 599))
def test_no_nonsense_is_ever_good(body: bytes, status: int) -> None:
    assert judge_prometheus(QUERY, status, body).word is Word.NONE


@given(st.floats(allow_nan=False), st.floats(-5, 5), st.floats(-5, 5))
def test_a_value_is_good_exactly_within_its_bounds(value: float, below: float, above: float) -> None:
    found = judge_prometheus(replace(QUERY, below=below, above=above), 200, answer(series(repr(value))))
    assert (found.word is Word.GOOD) == (above < value < below)
    assert (found.word is Word.NONE) == math.isinf(value), "x/0 is no number"


def test_a_health_check_is_good_by_status_and_text_alone() -> None:
    check = HttpCheck("https://x", 200, "ready")
    assert judge_http(check, 200, b"all ready").word is Word.GOOD
    assert judge_http(check, 200, b"starting; token=s3cret").word is Word.BAD
    assert "s3cret" not in judge_http(check, 200, b"starting; token=s3cret").text
    assert judge_http(check, 503, b"ready").word is Word.BAD


@pytest.mark.parametrize("status", [401, 403, 407, 429])
def test_a_refusal_of_whoever_asks_says_nothing_of_the_change(status: int) -> None:
    assert judge_http(HttpCheck("https://x"), status, b"").word is Word.NONE
    assert judge_http(HttpCheck("https://x", status), status, b"").word is Word.GOOD, "where it is what was asked for"
    assert judge_http(HttpCheck("https://x", status), 200, b"").word is Word.BAD


def test_a_state_of_an_edited_gate_is_another_one() -> None:
    assert opened(gate_of(), 0.0).spec != opened(gate_of(retries=1), 0.0).spec
    assert isinstance(opened(gate_of(), 0.0), GateState)
