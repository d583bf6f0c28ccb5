"""Notices that the keys of the store were exchanged, has all entries sealed anew, and says when an old one may go.

Where the new keys cannot be taken the hub goes on with those that it holds, and says so; nothing else stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from fleet import telemetry
from fleet.core.audit import KEY_TURNED, AuditEntry
from fleet.core.refusal_log import Boundary, Refusal
from fleet.errors import KeyMissing
from fleet.ports.state import UNREADABLE, Keys, KeyStanding
from fleet.ports.worker import Audit
from fleet.values import dataclass

LOOK_SECONDS = 10.0  # a small file is read; no cluster is asked

log = structlog.get_logger("keys")


@dataclass(slots=True)
class KeyKeeper:
    """One loop. wall: seconds since the epoch."""

    keys: Keys
    audit: Audit
    refused: Callable[[Refusal], None]
    wall: Callable[[], float]
    look_seconds: float = LOOK_SECONDS
    _said: str = ""  # the last refusal, so that it is logged once
    _shown: KeyStanding | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(self.look_seconds)

    async def look(self) -> None:
        """Once; raises StateError where the state is in trouble, and goes on at the next look."""
        try:
            standing = await self.keys.look()
        except KeyMissing as error:
            self.refused(Refusal(Boundary.HUB, error.reason, error.brief, object=error.where))
            if str(error) != self._said:
                self._said = str(error)
                log.error(error.what, where=error.where, why=error.why, next_step=error.next_step)
            return
        self._said = ""
        if standing.is_due:
            standing = await self._turn(standing)
        self._show(standing)

    async def _turn(self, due: KeyStanding) -> KeyStanding:
        """The audit log has it before it begins, and then how it went (R43)."""
        telemetry.OLD_KEYS.labels("yes").set(len(due.needed))
        about, reason = f"key {due.sealing}", "other keys were given"
        entry = AuditEntry(self.wall(), "hub", KEY_TURNED, object=about, reason=reason)
        await self.audit.write(entry)
        done = await self.keys.turn()
        reason = f"{done.count} entries sealed anew, {len(done.unreadable)} open with no key"
        await self.audit.write(replace(entry, at=self.wall(), outcome="done", reason=reason))
        return done

    def _show(self, standing: KeyStanding) -> None:
        telemetry.OLD_KEYS.labels("yes").set(len(standing.needed))
        telemetry.OLD_KEYS.labels("no").set(len(standing.free))
        telemetry.UNREADABLE_ENTRIES.set(len(standing.unreadable))
        if self._shown is not None and replace(self._shown, count=0) == replace(standing, count=0):
            return
        self._shown = standing
        if standing.count or standing.free:
            log.info(
                "entries of the store lie under one key",
                key=standing.sealing,
                sealed_anew=standing.count,
                needed_no_more=", ".join(standing.free),
                next_step="take it out of the key file, and keep the first key of all elsewhere"
                if standing.free
                else "",
            )
        if standing.unreadable:
            what = f"{len(standing.unreadable)} entries of the store open with no key"
            where = ", ".join(standing.unreadable[:3])
            self.refused(Refusal(Boundary.HUB, KeyMissing.__name__, what, object=where))
            log.error(what, where=where, next_step=UNREADABLE)
