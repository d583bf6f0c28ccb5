"""How many calls are in flight: few at first, more while it goes well, fewer when the cluster says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from hypothesis import given
from hypothesis.strategies import floats, lists, none, sampled_from, tuples

from fleet.kube.gate import Allowance, Gate, after_answer, after_congestion, after_silence
from fleet.kube.limits import KubeLimits

LIMITS = KubeLimits(concurrency=8, joining_concurrency=2, joining_answers=4)


@given(lists(tuples(sampled_from("cas"), none() | floats(0.001, 20), floats(0, 5))))
def test_the_allowance_stays_between_one_and_the_limit(calls: list[tuple[str, float | None, float]]) -> None:
    state, now = Allowance(2.0), 0.0
    for how, seconds, passed in calls:
        now += passed
        if how == "a":
            state = after_answer(state, seconds, now, LIMITS)
        else:
            state = after_congestion(state, now) if how == "c" else after_silence(state, now)
        assert 1 <= state.allowed <= LIMITS.concurrency
        assert how != "s" or state.allowed == 1 or state.answered_at == now
        assert state.answers > LIMITS.joining_answers or state.allowed <= LIMITS.joining_concurrency


def test_it_grows_to_the_limit_in_one_answer_each_after_joining() -> None:
    state = Allowance(2.0)
    for _ in range(LIMITS.joining_answers + 6):
        state = after_answer(state, 0.01, 0, LIMITS)
    assert state.allowed == LIMITS.concurrency


def test_one_burst_of_refusals_halves_once() -> None:
    state = Allowance(8.0, answers=100)
    for moment in (10.0, 10.1, 10.2):
        state = after_congestion(state, moment)
    assert state.allowed == 4
    assert after_congestion(state, 11.5).allowed == 2


def test_after_congestion_it_grows_slowly() -> None:
    state = after_answer(after_congestion(Allowance(8.0, answers=100), 10), 0.01, 11, LIMITS)
    assert 4 < state.allowed < 4.5


def test_after_silence_one_call_asks_and_its_answer_lets_others_join() -> None:
    state = after_silence(after_silence(Allowance(8.0, answers=100), 0.0), 0.0)
    assert state.allowed == 1
    state = after_answer(state, None, 0, LIMITS)
    assert (state.allowed, state.silent) == (LIMITS.joining_concurrency, False)
    for _ in range(LIMITS.joining_answers + 6):
        state = after_answer(state, None, 0, LIMITS)
    assert state.allowed == LIMITS.concurrency


def test_a_call_that_hangs_while_others_are_answered_holds_up_none() -> None:
    state = after_answer(Allowance(8.0, answers=100), None, 30, LIMITS)
    assert after_silence(state, began=10) == state
    assert after_silence(state, began=31).allowed == 1


def test_rising_answer_times_of_writes_shrink_and_steady_ones_do_not() -> None:
    state = Allowance(8.0, answers=100)
    for moment in range(50):
        state = after_answer(state, 0.1, moment, LIMITS)
    assert state.allowed == 8
    for moment in range(50, 100):
        state = after_answer(state, 3.0, moment, LIMITS)
    assert state.allowed < 4


async def test_never_more_than_allowed_are_in_flight_and_all_get_through() -> None:
    gate = Gate(replace(LIMITS, joining_answers=0), asyncio.get_running_loop().time)
    in_flight = most = done = 0

    async def call() -> None:
        nonlocal in_flight, most, done
        await gate.enter()
        in_flight += 1
        most = max(most, in_flight)
        assert in_flight <= LIMITS.concurrency
        await asyncio.sleep(0)
        in_flight -= 1
        done += 1
        gate.leave_answered(0.01)

    async with asyncio.timeout(5):
        await asyncio.gather(*(call() for _ in range(100)))
    assert done == 100
    assert 2 < most <= LIMITS.concurrency


async def test_a_pause_holds_everybody() -> None:
    clock = asyncio.get_running_loop().time
    gate = Gate(LIMITS, clock)
    await gate.enter()
    gate.leave_congested(0.2)
    began = clock()
    await asyncio.gather(gate.enter(), gate.enter() if gate.allowed > 1 else asyncio.sleep(0))
    assert clock() - began >= 0.19


async def test_those_who_give_up_lose_nobody_elses_turn() -> None:
    gate = Gate(replace(LIMITS, joining_concurrency=1), asyncio.get_running_loop().time)
    await gate.enter()
    waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
    await asyncio.sleep(0)
    gate.leave_congested(0.05)  # wakes the first, which then waits for the end of the pause
    await asyncio.sleep(0)
    waiting[0].cancel()
    async with asyncio.timeout(5):
        await waiting[1]
        gate.leave_answered(None)
        await waiting[2]
