"""V8 is judged: what a run leaves behind is found, and what ends by itself is none."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from dataclasses import replace

import pytest
from safety import level
from safety.level import DESCRIPTORS, GROWTH_BYTES, Level, left_over


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level, "_LOOKS", 3)


async def test_what_is_left_is_named() -> None:
    before = Level()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    task = asyncio.create_task(asyncio.sleep(600))
    handles = [os.open(os.devnull, os.O_RDONLY) for _ in range(DESCRIPTORS + 1)]
    try:
        words = " ".join(await left_over(before))
        assert all(what in words for what in ("descriptors", "children", "tasks"))
        assert "memory" not in words
        grown = replace(before, resident=before.resident + GROWTH_BYTES + (1 << 20))
        assert grown.above(before) == [f"V8 {grown.resident >> 20} MiB of memory are left, at most "
                                       f"{(before.resident + GROWTH_BYTES) >> 20} were to be"]  # fmt: skip
    finally:
        for handle in handles:
            os.close(handle)
        task.cancel()
        child.communicate()
    assert await left_over(before) == []


async def test_what_ends_within_moments_is_not_left() -> None:
    before = Level()
    task = asyncio.create_task(asyncio.sleep(0.05))
    assert Level().above(before)
    assert await left_over(before) == []
    assert task.done()
