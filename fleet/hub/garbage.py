"""Python's cyclic garbage collector, told that most of a hub's objects stay for good.

Left alone it walks over every object of the process each time these have grown by a quarter, amid the very commit that
made them grow: with 1,000 clusters that is seconds in which no cluster is served. What has lived for a while is frozen
here, so that a look costs in proportion to what is new. All of it is looked at only when the frozen has grown, in
number or in bytes, and a few times a day.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable

import psutil

from fleet.values import dataclass

YOUNG = 20_000  # new objects before the youngest are looked at; most have ended by then
SETTLE_SECONDS = 10.0
LOOK_SECONDS = 300.0
GROWTH = 1.25
ROOM = 100_000  # objects, about 10 MB of small ones
ROOM_BYTES = 64 << 20  # large ones are few
MOST_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Frozen:
    """What is frozen: how many objects, and in a process of how many bytes."""

    objects: int = 0
    resident_bytes: int = 0


def is_due(now: Frozen, before: Frozen, seconds: float) -> bool:
    """Whether all objects are to be looked at. before: after they were looked at last, so many seconds ago."""
    grown = now.objects > GROWTH * before.objects + ROOM
    heavier = now.resident_bytes > GROWTH * before.resident_bytes + ROOM_BYTES
    return grown or heavier or seconds >= MOST_SECONDS


def frozen_now() -> Frozen:
    """As it is in this process; the objects are counted one by one."""
    return Frozen(gc.get_freeze_count(), psutil.Process().memory_info().rss)


async def tend_garbage(pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
    """Until cancelled; the collector of this process is then as it was before. pause: how to wait, in seconds."""
    usual = gc.get_threshold()
    gc.set_threshold(YOUNG, usual[1], 1_000_000)
    known, since, ago = Frozen(), 0.0, 0.0
    try:
        while True:
            await pause(SETTLE_SECONDS)
            gc.collect()
            gc.freeze()
            since += SETTLE_SECONDS
            if since >= LOOK_SECONDS:
                since, ago = 0.0, ago + since
                if is_due(frozen_now(), known, ago):
                    gc.unfreeze()
                    gc.collect()
                    gc.freeze()
                    known, ago = frozen_now(), 0.0
    finally:
        gc.unfreeze()
        gc.set_threshold(*usual)
