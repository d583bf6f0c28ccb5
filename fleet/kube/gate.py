"""How many calls one cluster may have in flight: few while joining, more while it is quick, fewer when it says so.

Additive increase, multiplicative decrease: 429, 503 and a rising answer time of writes shrink it, answers grow it. A
cluster that does not answer, or only with errors, is asked by one call at a time, over one socket, until it is well
again. A pause that Retry-After asks for holds all calls of the cluster (R20); no other cluster notices (R18).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import replace

from fleet.kube.limits import KubeLimits
from fleet.values import dataclass

_SLOW_FACTOR = 5.0
_SLOW_FLOOR_SECONDS = 0.5
_CALM_SECONDS = 1.0  # one cause of congestion shrinks once, not once for each call in flight
_SMOOTHING = 0.2


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is known of the cluster's pace. `best` and `usual`: seconds a write takes at best, and lately."""

    allowed: float
    answers: int = 0
    congested: bool = False
    shrunk_at: float = float("-inf")
    best: float = 0.0
    usual: float = 0.0
    silent: bool = False  # the last call had no answer of use
    answered_at: float = float("-inf")


def after_answer(state: Allowance, write_seconds: float | None, now: float, limits: KubeLimits) -> Allowance:
    """The allowance after a call that was answered; `write_seconds` None for a read."""
    state = replace(state, answered_at=now)
    usual, best = state.usual, state.best
    if write_seconds is not None:
        usual = write_seconds if not usual else usual + _SMOOTHING * (write_seconds - usual)
        # The best drifts up by a percent an answer: a cluster that got slower for good is not held down for ever.
        best = usual if not best else min(usual, best * 1.01)
        if usual > _SLOW_FLOOR_SECONDS and usual > _SLOW_FACTOR * best:
            return _shrunk(replace(state, usual=usual, best=best), 0.8, now)
    if state.silent:
        allowed = float(min(limits.joining_concurrency, limits.concurrency))
        return replace(state, allowed=allowed, answers=1, best=best, usual=usual, silent=False)
    answers, allowed = state.answers + 1, state.allowed
    if answers > limits.joining_answers:
        allowed = min(float(limits.concurrency), allowed + (1 / allowed if state.congested else 1.0))
    return replace(state, allowed=allowed, answers=answers, best=best, usual=usual)


def after_congestion(state: Allowance, now: float) -> Allowance:
    """The allowance after 429 or 503."""
    return _shrunk(state, 0.5, now)


def after_silence(state: Allowance, began: float) -> Allowance:
    """The allowance after a call without an answer, or a read that failed on the server's side.

    A cluster that answered another call since this one began is not silent: one kind alone is, as where its conversion
    webhook hangs, and the others must not wait for that.
    """
    return state if state.answered_at >= began else replace(state, allowed=1.0, silent=True)


def _shrunk(state: Allowance, factor: float, now: float) -> Allowance:
    if now - state.shrunk_at < _CALM_SECONDS:
        return state
    return replace(state, allowed=max(1.0, state.allowed * factor), congested=True, shrunk_at=now)


class Gate:
    """Admits calls, first come first served, up to the allowance and not before a pause has ended."""

    def __init__(self, limits: KubeLimits, clock: Callable[[], float]) -> None:
        self._limits, self._clock = limits, clock
        self._state = Allowance(float(min(limits.joining_concurrency, limits.concurrency)))
        self._in_flight = 0
        self._paused_until = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """How many calls may be in flight now."""
        return int(self._state.allowed)

    @property
    def is_silent(self) -> bool:
        """Whether the last call had no answer of use."""
        return self._state.silent

    async def enter(self) -> None:
        """Wait for a place; give it back by one of the `leave_` calls, whatever happens."""
        while True:
            try:
                if (wait := self._paused_until - self._clock()) > 0:
                    await asyncio.sleep(wait)
                    continue
                if self._in_flight < self.allowed:
                    self._in_flight += 1
                    return
                await self._turn()
            except asyncio.CancelledError:
                self._wake()  # a turn that had come to the one who leaves goes to the next
                raise

    async def _turn(self) -> None:
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(place)

    def leave_unsent(self) -> None:
        """Nothing was asked of the cluster, and nothing is learned of it."""
        self._leave()

    def leave_silent(self, began: float) -> None:
        """The call ended without an answer, or with one that says that the server is not well."""
        self._state = after_silence(self._state, began)
        self._leave()

    def leave_answered(self, write_seconds: float | None) -> None:
        """The call was answered; `write_seconds` is how long a write took, None for a read."""
        self._state = after_answer(self._state, write_seconds, self._clock(), self._limits)
        self._leave()

    def leave_congested(self, pause_seconds: float) -> None:
        """429 or 503: fewer at once, and nobody before the pause has ended."""
        now = self._clock()
        self._state = after_congestion(self._state, now)
        self._paused_until = max(self._paused_until, now + pause_seconds)
        self._leave()

    def _leave(self) -> None:
        self._in_flight -= 1
        self._wake()

    def _wake(self) -> None:
        # Two are woken where the allowance has grown; one that finds no place waits again.
        free = self.allowed - self._in_flight
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1
