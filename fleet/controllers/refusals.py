"""Every refusal of the hub passes by here: counted at once, and written to the audit log soon (R43)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from fleet import telemetry
from fleet.core.audit import AuditEntry
from fleet.core.refusal_log import Refusal, RefusalLog
from fleet.ports.worker import Audit

WAITING = 1000  # entries for a state that cannot be written; the oldest go first


class Refusals:
    """One instance per hub. What refuses never waits for the log, and never fails for it."""

    def __init__(self, audit: Audit, wall: Callable[[], float]) -> None:
        self._audit, self._wall = audit, wall
        self._log = RefusalLog()
        self._waiting: deque[AuditEntry] = deque(maxlen=WAITING)
        self._due = asyncio.Event()

    def note(self, refusal: Refusal) -> None:
        """Count one refusal or failure; a refusal that is new is written down by `run`."""
        telemetry.REFUSALS.labels(refusal.boundary, refusal.rule, refusal.reason).inc()
        entry = self._log.take(refusal, self._wall())
        if entry is not None:
            self._waiting.append(entry)
            self._due.set()

    async def run(self) -> None:
        """Until cancelled: write what waits. Raises StateError; nothing is lost when it is called again."""
        while True:
            self._due.clear()
            await self.flush()
            await self._due.wait()

    async def flush(self) -> None:
        """Write what waits now."""
        while self._waiting:
            entry = self._waiting[0]
            await self._audit.write(entry)
            if self._waiting and self._waiting[0] is entry:
                self._waiting.popleft()
