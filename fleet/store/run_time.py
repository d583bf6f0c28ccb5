"""The clock for what counts within an hour (R9): it goes on while a hub runs, and stands still while none does.

It begins with the wall clock of the first start, and no step of that clock moves it since: a machine whose time jumps
by an hour would else forget what was deleted just before.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.errors import StateDamaged

RUN_TIME = "run-time"  # value of the state, kept every few seconds


class RunTime:
    """Seconds; before: where an earlier process stopped."""

    def __init__(self, before: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._before, self._clock = before, clock
        self._began = clock()

    def __call__(self) -> float:
        """Now."""
        return self._before + self._clock() - self._began


def run_time_from(text: str | None) -> RunTime:
    """On from where it was kept last; raises StateDamaged."""
    try:
        return RunTime(float(text) if text is not None else time.time())
    except ValueError as error:
        raise StateDamaged(
            "how long the hub ran cannot be read",
            why=str(error),
            next_step="restore a backup of the data directory",
        ) from error
