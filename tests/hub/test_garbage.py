"""What lives is frozen and costs no look any more; what was frozen and became of no use is found all the same."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest
from hypothesis import given
from hypothesis.strategies import builds, floats, integers

from fleet.hub import garbage
from fleet.hub.garbage import (
    LOOK_SECONDS,
    MOST_SECONDS,
    ROOM,
    ROOM_BYTES,
    SETTLE_SECONDS,
    Frozen,
    is_due,
    tend_garbage,
)


class Node:
    other: Node | None = None


async def ring_after(looks: int) -> bool:
    """Whether two objects that hold each other, let go once they were frozen, are there after so many looks."""
    one = Node()
    one.other = Node()
    one.other.other = one
    kept, made = weakref.ref(one), [one]
    del one
    left, frozen = int(looks * LOOK_SECONDS / SETTLE_SECONDS) + 1, gc.get_freeze_count()

    async def pause(seconds: float) -> None:
        nonlocal left
        assert seconds == SETTLE_SECONDS
        if gc.get_freeze_count() > frozen:
            made.clear()
        left -= 1
        if left < 0:
            raise asyncio.CancelledError

    try:
        await tend_garbage(pause)
    except asyncio.CancelledError:
        return kept() is not None
    raise AssertionError("it ends with its cancellation alone")


@pytest.mark.parametrize("due", [True, False])
async def test_all_is_looked_at_where_the_frozen_has_grown_and_only_there(
    monkeypatch: pytest.MonkeyPatch, due: bool
) -> None:
    monkeypatch.setattr(garbage, "is_due", lambda now, before, seconds: due)
    before = gc.get_threshold()
    assert await ring_after(looks=0)
    assert await ring_after(looks=1) is not due
    assert (gc.get_threshold(), gc.get_freeze_count()) == (before, 0)


sizes = builds(Frozen, integers(0, 10_000_000), integers(0, 8 << 30))


@given(sizes, sizes, floats(0, 2 * MOST_SECONDS))
def test_looks_at_all_cost_in_proportion_to_growth_and_are_never_far_apart(
    now: Frozen, before: Frozen, seconds: float
) -> None:
    if is_due(now, before, seconds):
        grown = now.objects - before.objects >= max(ROOM, before.objects / 4)
        heavier = now.resident_bytes - before.resident_bytes >= max(ROOM_BYTES, before.resident_bytes / 4)
        assert grown or heavier or seconds >= MOST_SECONDS
    else:
        assert seconds < MOST_SECONDS
        assert now.objects <= before.objects * 5 / 4 + ROOM
        assert now.resident_bytes <= before.resident_bytes * 5 / 4 + ROOM_BYTES
