"""Reads the gates of rollouts beside the loop that judges them: each reading is a task with a deadline.

However many gates are due in one turn, READS_AT_ONCE are read at a time, at most READS_OF_ONE of them of one server,
so that one that is silent keeps no gate of another waiting; each has its whole time from when its turn comes. Nothing
here decides. A reading lies ready until the loop folds it in, and rings its bell; one that nobody waits for any more is
cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakValueDictionary

import structlog

from fleet.controllers.gate_jobs import GateJobs
from fleet.core.gates import Ask, GateState, Read, Reading, Verdict, Word, key_of, origin_of
from fleet.core.ids import OverlayName, Revision
from fleet.core.passage import Passages
from fleet.core.rollout_policy import JobCheck
from fleet.ports.gates import Measure
from fleet.ports.state import Bells

log = structlog.get_logger("gates")
_Key = tuple[Revision, OverlayName, str]  # commit, overlay, STEP/GATE
_END_SECONDS = 2.0
READS_AT_ONCE = 32  # over HTTP: 300 that begin in one turn of the loop hold up one another, and all else
# Of one server: most fleets measure by one Prometheus. Of M silent ones, each lets through so many in its 10 s: whoever
# waits behind them does for M / 8 such times at most, and not at all where they are fewer than 8.
READS_OF_ONE = 4


def _is_settled(state: GateState, found: Reading) -> bool:
    """Whether a reading was folded in, or is of a time before the gate opened."""
    return state.opened > found.asked_at or (state.last is not None and state.last.asked_at >= found.asked_at)


def _is_idle(ask: Ask, state: GateState | None) -> bool:
    """Whether nobody waits for this reading: its gate is over, or opened anew since and asks something else."""
    return state is None or ask.asked_at < state.opened


class Gates:
    """One instance per hub."""

    def __init__(self, *, measure: Measure, jobs: GateJobs, bells: Bells, wall: Callable[[], float]) -> None:
        self._measure, self._jobs, self._bells, self._wall = measure, jobs, bells, wall
        self._running: dict[_Key, tuple[Ask, asyncio.Task[None]]] = {}
        self._found: dict[_Key, Reading] = {}
        self._left: dict[_Key, tuple[Ask, Reading]] = {}  # Jobs that ended, until their reading is durable
        self._ending: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(READS_AT_ONCE)
        self._slots_of = WeakValueDictionary[str, asyncio.Semaphore]()  # by server, while a reading of it goes on

    def readings(self, commit: Revision, overlay: OverlayName) -> Mapping[str, Reading]:
        """What was read last, by STEP/GATE."""
        return {key: found for (of, row, key), found in self._found.items() if (of, row) == (commit, overlay)}

    def take(self, asks: Iterable[Ask], kept: Passages) -> None:
        """Begin what is due, and end what waits for nothing any more. kept: as it is durable now."""
        open_ones = {
            (passage.commit, overlay, key): state
            for passage in kept.all
            if not passage.outcome
            for overlay, row in passage.rows.items()
            for key, state in row.gates.items()
            if state.verdict is Verdict.WAITS and not row.done
        }
        for key in [key for key, (ask, _) in self._running.items() if _is_idle(ask, open_ones.get(key))]:
            self._end(key)
        self._found = {key: found for key, found in self._found.items() if key in open_ones}
        for key, (ask, found) in list(self._left.items()):
            state = open_ones.get(key)
            if state is None or _is_settled(state, found):
                del self._left[key]
                self._drop(ask)
        for ask in asks:
            key = (ask.commit, ask.overlay, key_of(ask.step, ask.gate))
            if key in open_ones and key not in self._running:
                task = asyncio.create_task(self._read(key, ask), name=f"gate {ask.overlay} {ask.step}/{ask.gate.name}")
                self._running[key] = (ask, task)

    async def _read(self, key: _Key, ask: Ask) -> None:
        check, asked_at = ask.gate.check, ask.asked_at
        try:
            if isinstance(check, JobCheck):
                found = await self._jobs.read(ask)
            else:
                clock = asyncio.get_running_loop().time
                of_one = self._slots_of.setdefault(origin_of(check.url), asyncio.Semaphore(READS_OF_ONE))
                began = clock() if of_one.locked() or self._slots.locked() else None
                async with of_one, self._slots:  # in this order: who waits for one server keeps no other from its turn
                    if began is not None:  # else a window would count time before it was read at all
                        asked_at += clock() - began
                    found = await self._measure.read(check, ask.seconds)
        except Exception as error:  # the edge of a loop: a bug in one reading is no reading, and stops nobody else
            log.exception("a gate could not be read", gate=ask.gate.name, overlay=ask.overlay)
            found = Read(Word.NONE, f"{type(error).__name__} while it was read")
        self._running.pop(key, None)
        self._found[key] = reading = Reading(found.word, found.text, self._wall(), asked_at)
        if isinstance(check, JobCheck) and found.word is not Word.NONE:
            self._left[key] = ask, reading
        self._bells.rollouts.set()

    def _end(self, key: _Key) -> None:
        ask, task = self._running.pop(key)
        task.cancel()
        if isinstance(ask.gate.check, JobCheck):
            self._drop(ask, task)

    def _drop(self, ask: Ask, reading: asyncio.Task[None] | None = None) -> None:
        """Delete a Job, once the task that may still create it has ended."""

        async def drop() -> None:
            if reading is not None:
                await asyncio.wait((reading,))
            await self._jobs.drop(ask)

        ending = asyncio.create_task(drop(), name=f"end gate {ask.gate.name}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    async def close(self) -> None:
        """End all readings; a Job that runs goes on, and is found again by the next hub."""
        tasks = [*(task for _, task in self._running.values()), *self._ending]
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_END_SECONDS)
