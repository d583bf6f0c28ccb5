"""A worker that is started before there is work for it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from fleet.errors import RenderInterrupted
from fleet.render.workers import WorkerPool


@pytest.fixture
def pool(tmp_path: Path) -> WorkerPool:
    return WorkerPool(b"k" * 32, tmp_path / "scratch", (), 2)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_the_first_job_takes_the_worker_that_was_started_ahead(pool: WorkerPool) -> None:
    await pool.start_ahead()
    await pool.start_ahead()
    ahead = pool._ahead
    assert ahead is not None
    started = await pool._started()
    assert started is await ahead
    assert len(pool._all) == 1
    assert pool.measures
    await pool.close()
    assert is_gone(started.process.pid)


@pytest.mark.parametrize("turns", [0, 1, 5, 50])
async def test_one_that_is_not_needed_ends_with_the_pool(pool: WorkerPool, turns: int) -> None:
    await pool.start_ahead()
    for _ in range(turns):
        await asyncio.sleep(0)
    before = {worker.process.pid for worker in pool._all}
    await pool.close()
    assert not pool._all
    assert all(is_gone(pid) for pid in before)
    with pytest.raises(RenderInterrupted):
        await pool._start()
