"""Runs a command's coroutine to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def run_quietly(work: Coroutine[Any, Any, T]) -> T:
    """As asyncio.run, for large results.

    When asyncio.run puts the handler of Ctrl-C back, Python writes out the finished task with its result, and throws
    that text away: for the comparison of a fleet it takes longer than the comparison.
    """
    found: list[T] = []

    async def keep() -> None:
        found.append(await work)

    asyncio.run(keep())
    return found[0]
