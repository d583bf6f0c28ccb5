"""Which cluster this is, by the UID of its namespace kube-system (R1): the rule, without the connection."""

from __future__ import annotations

import time
from collections.abc import Callable

from fleet.core.documents import text_at
from fleet.core.ids import Identity
from fleet.errors import AnswerInvalid, Forbidden, IdentityMismatch, IdentityUnreadable, NotFound
from fleet.kube.answers import Asked, Reply, document_of, error_of

IDENTITY_TARGET = "/api/v1/namespaces/kube-system"
_WHAT = "the cluster's identity cannot be read, so nothing is written to it (R1)"


def with_sleep() -> float:
    """Seconds that go on while the machine sleeps, where the system has such a clock; asyncio's stands still then."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class IdentityRule:
    """What is expected (or was found first), and when it was proven last, by the clock that says it is longest ago."""

    def __init__(self, cluster: str, expected: Identity | None, *clocks: Callable[[], float]) -> None:
        self.asked = Asked("read the identity", cluster)
        self._expected, self._clocks = expected, clocks
        self.forget()

    @property
    def identity(self) -> Identity:
        """As proven last; RuntimeError before the first proof."""
        if self._expected is None:
            raise RuntimeError("no identity has been proven yet")
        return self._expected

    def is_due(self, limit_seconds: float) -> bool:
        """Whether a write must be preceded by a proof."""
        return max(clock() - then for clock, then in zip(self._clocks, self._proven_at, strict=True)) > limit_seconds

    def forget(self) -> None:
        """The next write needs a proof."""
        self._proven_at = tuple(float("-inf") for _ in self._clocks)

    def judge(self, reply: Reply, place: str) -> None:
        """Accept the answer to GET `IDENTITY_TARGET`, or raise IdentityMismatch, IdentityUnreadable or its error."""
        if reply.status != 200:
            error = error_of(reply, self.asked)
            if not isinstance(error, Forbidden | NotFound):
                raise error
            raise IdentityUnreadable(
                _WHAT,
                where=self.asked.where,
                why=error.why,
                next_step="give the credential the right to get namespaces/kube-system (fleet cluster grant)",
            )
        found = text_at(document_of(reply, self.asked), "metadata", "uid")
        if not found:
            raise AnswerInvalid(
                _WHAT,
                where=self.asked.where,
                why="the namespace kube-system has no UID",
                next_step="see what answers at this address",
            )
        if self._expected is None:
            self._expected = Identity(found)
        if found != self._expected:
            self.forget()
            raise IdentityMismatch(
                "another cluster answers under this name; nothing is written to it",
                where=f"{self.asked.where} at {place}",
                why=f"identity {found}, expected {self._expected} (R1)",
                next_step=f"correct the address; if it was rebuilt: fleet cluster identity {self.asked.where}",
            )
        self._proven_at = tuple(clock() for clock in self._clocks)
