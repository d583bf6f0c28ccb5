"""`fleet hub` as configured by the environment, which kills itself with SIGKILL right after a store commit, on order.

FLEET_KILL_METER names a file of two numbers: the commits so far, which the hub counts up, and the one that it does not
outlive, which the harness writes at any time. The commit is on disk then, and nobody in the hub has heard of it.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from pathlib import Path

NEVER = 2**62
_COUNT, _LAST = struct.Struct("q"), struct.Struct("q")


class Meter:
    """The two numbers, shared between processes."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(_COUNT.pack(0) + _LAST.pack(NEVER))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 16)

    @property
    def count(self) -> int:
        return _COUNT.unpack_from(self._memory, 0)[0]

    @property
    def last(self) -> int:
        return _LAST.unpack_from(self._memory, 8)[0]

    def commit(self) -> None:
        """One more commit is durable."""
        _COUNT.pack_into(self._memory, 0, self.count + 1)

    def order(self, last: int) -> None:
        """Die right after this commit."""
        _LAST.pack_into(self._memory, 8, last)


def count_commits(meter: Meter) -> None:
    """Count at the one place where a transaction was just committed and its caller does not know yet."""
    from fleet.store import database

    settled = database._settle

    def settle(wish, answer) -> None:  # type: ignore[no-untyped-def]
        if not isinstance(answer, BaseException):
            meter.commit()
            if meter.count >= meter.last:
                os.kill(os.getpid(), signal.SIGKILL)
        settled(wish, answer)

    database._settle = settle


if __name__ == "__main__":
    from fleet.cli.hub import hub

    count_commits(Meter(Path(os.environ["FLEET_KILL_METER"])))
    raise SystemExit(hub({}))
