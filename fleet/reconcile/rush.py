"""What is new before what follows from it, for all workers of one process that share an event loop.

A commit that touches a thousand clusters makes as many workers due at once. Side by side all of them would plan before
the first one writes; by turns each goes its way to its first write, and all else that is ready comes between them. What
follows an apply (the parent, the report) waits until nobody has anything new to bring, for a short while at most.

Nobody waits for a cluster here: a turn ends once the first write has its connection, and after HOLD_SECONDS in any case
(R18). So a hub that was idle for a while does not connect to thousands of clusters at one time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field

from fleet.core.ids import UnitName

# Turns at a time. A turn takes several rounds of the event loop, and each round reads all that clusters answered
# meanwhile: with few turns a round most of the answers are dealt with before the last cluster is written to.
WIDE = 128
HOLD_SECONDS = 0.25  # above what so many turns take when none of them hangs
LOOK_SECONDS = 0.05
LULL_SECONDS = 5.0


class Turn:
    """Leave to bring something new, until its end."""

    __slots__ = ("_rush", "is_over")

    def __init__(self, rush: Rush) -> None:
        self._rush, self.is_over = rush, False

    def end(self) -> None:
        """The first write is on its way, or there is none; may be called again."""
        if not self.is_over:
            self.is_over = True
            self._rush.end(self)


@dataclass(slots=True)
class Rush:
    """One instance per process; used by one event loop."""

    _held: dict[Turn, float] = field(default_factory=dict[Turn, float])  # with the loop time at which each ends
    _waiting: deque[asyncio.Future[Turn]] = field(default_factory=deque[asyncio.Future[Turn]])
    _lulls: deque[tuple[float, asyncio.Future[None]]] = field(default_factory=deque[tuple[float, asyncio.Future[None]]])
    _timer: asyncio.TimerHandle | None = None
    _more: asyncio.Handle | None = None  # of what waits where it is calm

    async def turn(self) -> Turn:
        """Wait for a turn, first come first served."""
        if len(self._held) < WIDE:
            return self._begin()
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                place.result().end()  # it had come to the one who leaves
            raise

    def _begin(self) -> Turn:
        turn = Turn(self)
        self._held[turn] = asyncio.get_running_loop().time() + HOLD_SECONDS
        self._watch()
        return turn

    def end(self, turn: Turn) -> None:
        """See `Turn.end`."""
        del self._held[turn]
        self._go_on()

    def lull(self) -> asyncio.Future[None]:
        """Done once nobody brings anything new, in LULL_SECONDS at the latest; who asks may end it before."""
        loop = asyncio.get_running_loop()
        lull = loop.create_future()
        if self._held:
            self._lulls.append((loop.time() + LULL_SECONDS, lull))
            self._watch()
        else:
            lull.set_result(None)
        return lull

    def _go_on(self) -> None:
        """Give turns to those who wait; where nobody does, and nobody has one, it is calm."""
        while self._waiting and len(self._held) < WIDE:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(self._begin())
        if self._more is None:
            self._calm()

    def _calm(self) -> None:
        """Where it is calm, let what follows go on: in portions, and what is ready elsewhere between."""
        self._more, left = None, WIDE
        while self._lulls and left and not self._held:
            left -= 1
            _end(self._lulls.popleft()[1])
        if self._lulls and not self._held:
            self._more = asyncio.get_running_loop().call_soon(self._calm)

    def _watch(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        """End what lasts too long; one timer for all, while there is anything to end."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        for turn in [turn for turn, until in self._held.items() if until <= now]:
            turn.end()
        while self._lulls and self._lulls[0][0] <= now:
            _end(self._lulls.popleft()[1])
        if self._held or self._lulls:
            self._watch()


def _end(lull: asyncio.Future[None]) -> None:
    if not lull.done():
        lull.set_result(None)


@dataclass(slots=True)
class Share:
    """One cluster's part in the rush: at most one turn at a time, and the passes that wait with what follows."""

    rush: Rush
    _turn: Turn | None = None
    _lulls: dict[UnitName, asyncio.Future[None]] = field(default_factory=dict[UnitName, asyncio.Future[None]])

    async def begin(self) -> None:
        """Something new is to be planned; waits for a turn."""
        if self._turn is None or self._turn.is_over:
            self._turn = await self.rush.turn()

    def end(self) -> None:
        """It goes out now, or there is nothing to write."""
        if self._turn is not None:
            self._turn.end()

    async def lull(self, unit: UnitName) -> None:
        """Wait with what follows an apply; `hurry` ends it. A unit has at most one pass."""
        self._lulls[unit] = lull = self.rush.lull()
        try:
            await lull
        finally:
            del self._lulls[unit]

    def hurry(self, units: Collection[UnitName]) -> None:
        """These are due anew."""
        for unit in self._lulls.keys() & units:
            _end(self._lulls[unit])
