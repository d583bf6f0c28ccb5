"""The clock by which rollouts wait, soak and lose patience: seconds in which somebody looked, over all processes.

Where no look followed for a while, as of a process that was stopped (SIGSTOP, a paused machine) or stood before a disk
that answers nothing, that is as if no hub had run (R24): the time does not count, and first words are waited for again.
"""

from __future__ import annotations

from collections.abc import Callable

GAP_SECONDS = 30.0  # between two looks: those at a rollout are due every five seconds, and may take long themselves
DEAF_SECONDS = 60.0  # after a start, for the first word of each worker


class LookClock:
    """steady: monotonic seconds of this process; wall: since the epoch."""

    def __init__(self, steady: Callable[[], float], wall: Callable[[], float]) -> None:
        self._steady, self._wall = steady, wall
        self._counted = 0.0  # up to the last look that decided something
        self._since_then = 0.0
        self._looked_at = steady()
        self._waits = False  # the last look waited for first words
        self._listens_at = 0.0
        self.listens_since = 0.0  # wall clock of the start, or of the look after a gap; 0.0 before

    def start(self, counted: float) -> None:
        """Go on where an earlier process, or this one before an error, was."""
        self._counted, self._since_then, self._looked_at = counted, 0.0, self._steady()
        if not self.listens_since:
            self._listen()

    @property
    def now(self) -> float:
        """Never further behind the last look than a gap."""
        return self._counted + self._since_then + min(self._steady() - self._looked_at, GAP_SECONDS)

    @property
    def listens(self) -> bool:
        """Whether first words may be waited for still."""
        return bool(self.listens_since) and self._steady() - self._listens_at < DEAF_SECONDS

    def look(self, *, is_awaited: bool) -> float:
        """A look begins, or goes on after it waited; returns how long nobody looked, 0.0 where that is no gap.

        is_awaited: something is under way, so that a look was due. After a look that waited for first words none is
        too late: a hub that is slow goes on all the same.
        """
        steady = self._steady()
        gap, self._looked_at = steady - self._looked_at, steady
        if gap > GAP_SECONDS and is_awaited and not self._waits:
            self._listen()
            return gap
        self._since_then += min(gap, GAP_SECONDS)
        return 0.0

    def stand(self) -> None:
        """This look waits for first words: no time counts since the last that did not."""
        self._since_then, self._waits = 0.0, True

    def go(self) -> None:
        """This look decides."""
        self._counted, self._since_then, self._waits = self._counted + self._since_then, 0.0, False

    def _listen(self) -> None:
        self._listens_at, self.listens_since = self._steady(), self._wall()
