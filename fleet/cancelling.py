"""A task that was asked to end does end, also where an error came at the same moment; and no other does.

A TaskGroup whose tasks fail while it is being cancelled raises their errors and not the cancellation: who goes on after
an error would go on although it was told to stop. And before Python 3.13 one whose tasks fail while it only waits for
them leaves the task that has it counted as cancelled, though nobody asked: so what may fail runs in a task of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def in_own_task(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns or raises; a cancellation reaches it. Before `end_if_asked`, see above."""

    async def run() -> T:
        return await work()

    return await asyncio.create_task(run())


def end_if_asked() -> None:
    """Raise CancelledError where the running task was cancelled. To be asked before going on after an error."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
