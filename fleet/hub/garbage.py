"""Python's cyclic garbage collector, told that most of a hub's objects stay for good.

Left alone it walks over every object of the process each time these have grown by a quarter, amid the very commit that
made them grow: with 1,000 clusters that is seconds in which no cluster is served. What has lived for a while is frozen
here, so that a look costs in proportion to what is new; all of it is looked at only when the frozen has grown.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

YOUNG = 20_000  # new objects before the youngest are looked at; most have ended by then
SETTLE_SECONDS = 10.0
LOOK_SECONDS = 300.0
GROWTH = 1.25
ROOM = 100_000  # objects, about 10 MB


def is_due(frozen: int, before: int) -> bool:
    """Whether all objects are to be looked at: so many are frozen now, and were after they were looked at last."""
    return frozen > GROWTH * before + ROOM


async def tend_garbage(pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Until cancelled; the collector of this process is then as it was before. pause: how to wait, in seconds."""
    usual = gc.get_threshold()
    gc.set_threshold(YOUNG, usual[1], 1_000_000)
    known, since = 0, 0.0
    try:
        while True:
            await pause(SETTLE_SECONDS)
            gc.collect()
            gc.freeze()
            since += SETTLE_SECONDS
            if since >= LOOK_SECONDS:
                since, frozen = 0.0, gc.get_freeze_count()  # counts them one by one
                if is_due(frozen, known):
                    gc.unfreeze()
                    gc.collect()
                    gc.freeze()
                    known = gc.get_freeze_count()
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
