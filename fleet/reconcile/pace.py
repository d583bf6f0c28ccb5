"""How many writes are in flight to one cluster: few for few changes, fewer after a 429, never more than the limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Pace:
    """Slots for writes, shared by all units of a cluster.

    The width is min(most, changed / per_slot) over what is announced, at least 1. `slow_down` halves it; each answer
    without trouble widens it again by a little.
    """

    def __init__(self, most: int, per_slot: int) -> None:
        self._most, self._per_slot = most, per_slot
        self._announced = 0
        self._peak = 0
        self._in_flight = 0
        self._allowed = float(most)  # lowered by 429, raised again by answers
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def width(self) -> int:
        """Writes that may be in flight now."""
        return max(1, min(int(self._allowed), self._most, -(-self._peak // self._per_slot)))

    def slow_down(self) -> None:
        """The server asked for less (R20)."""
        self._allowed = max(1.0, self._allowed / 2)

    @asynccontextmanager
    async def slot(self) -> AsyncGenerator[None]:
        """One write; waits for its turn."""
        while self._in_flight >= self.width:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._let_in()  # the turn was given to somebody who left: pass it on
                raise
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            self._allowed = min(float(self._most), self._allowed + 1 / (8 * self._allowed))
            self._let_in()

    async def each(self, items: Sequence[Item], do: Callable[[Item], Awaitable[None]]) -> None:
        """Run `do` for all items, in their order, as many at once as the pace allows; the first bug ends it."""
        if not items:
            return
        self._announced += len(items)
        self._peak = max(self._peak, self._announced)
        rest = iter(items)

        async def work() -> None:
            for item in rest:
                async with self.slot():
                    try:
                        await do(item)
                    finally:
                        self._announced -= 1
                        done[0] += 1

        done = [0]
        try:
            if self.width == 1 or len(items) == 1:
                await work()
                return
            async with asyncio.TaskGroup() as group:
                for number in range(min(self.width, len(items))):
                    group.create_task(work(), name=f"write {number}")
        finally:
            self._announced -= len(items) - done[0]
            if self._announced == 0:
                self._peak = 0

    def _let_in(self) -> None:
        free = self.width - self._in_flight
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
