"""The clock for what counts within an hour: on from where it was kept, whatever the wall clock says."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fleet.errors import StateDamaged
from fleet.store.run_time import RUN_TIME, RunTime, run_time_from
from fleet.store.sql import open_state

KEY = b"k" * 32


def test_it_goes_on_with_the_monotonic_clock_from_where_it_was() -> None:
    now = [50.0]
    run_time = RunTime(1_000.0, lambda: now[0])
    assert run_time() == 1_000.0
    now[0] += 7.5
    assert run_time() == 1_007.5


def test_a_first_start_begins_with_the_wall_clock() -> None:
    assert abs(run_time_from(None)() - time.time()) < 60


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_restart_goes_on_where_it_was_kept_and_counts_no_time_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_kept: bool
) -> None:
    """is_kept: by a hub that was killed since; else one that was closed."""
    state = await open_state(tmp_path, KEY)
    before = state.run_time()
    if is_kept:
        await state.keep_run_time()
        monkeypatch.setattr(state, "keep_run_time", lambda: state.flush())
    await state.close()
    wall = time.time
    monkeypatch.setattr(time, "time", lambda: wall() + 7200)
    again = await open_state(tmp_path, KEY)
    assert 0 <= again.run_time() - before < 60
    await again.close()


async def test_one_that_cannot_be_read_is_not_begun_anew(tmp_path: Path) -> None:
    state = await open_state(tmp_path, KEY)
    await state.set_value(RUN_TIME, "soon")
    state.keep_run_time = state.flush  # type: ignore[method-assign]
    await state.close()
    with pytest.raises(StateDamaged, match="how long the hub ran"):
        await open_state(tmp_path, KEY)
