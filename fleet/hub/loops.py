"""The hub's own loops go on whatever one of them meets: logged, shown by /readyz, tried again with backoff.

A loop that meets a full disk, or a bug, must not take the workers of all clusters with it (R18, R24).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import structlog

from fleet import telemetry
from fleet.cancelling import end_if_asked, in_own_task
from fleet.core.retry import Backoff, next_wait
from fleet.errors import FleetError, StateError, StateNotWritable
from fleet.values import dataclass, field

log = structlog.get_logger("hub")
BACKOFF = Backoff(1.0, 30.0)
STEADY_SECONDS = 60.0  # a loop that ran so long is well again
PROBE_SECONDS, SOON_SECONDS = 10.0, 1.0  # the second after a failure: nothing is written to clusters meanwhile


@dataclass(frozen=True, slots=True)
class Service:
    """One loop of the hub: runs until cancelled, and may be started again after an error."""

    name: str
    run: Callable[[], Awaitable[None]]


@dataclass(slots=True)
class Troubles:
    """Which loops are in trouble now, in words; read by /readyz."""

    words: dict[str, str] = field(default_factory=dict[str, str])

    def why(self) -> str:
        """ "" when all loops run."""
        return "; ".join(f"{name}: {text}" for name, text in sorted(self.words.items()))

    def put(self, name: str, error: Exception) -> None:
        """A loop met this."""
        text = f"{error.what}: {error.why}" if isinstance(error, FleetError) else type(error).__name__
        self.words[name] = text
        if isinstance(error, StateError):
            telemetry.STATE_WRITABLE.set(0)

    def note(self, name: str, error: Exception | None) -> None:
        """`put`, or `clear` where there is no error."""
        if error is not None:
            self.put(name, error)
        else:
            self.clear(name)

    def clear(self, name: str) -> None:
        """A loop is well again."""
        self.words.pop(name, None)


async def keep_running(
    service: Service, troubles: Troubles, *, pause: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> None:
    """Run a loop again and again; never raises but when cancelled. pause: how to wait, in seconds."""
    wait = 0.0
    loop = asyncio.get_running_loop()
    while True:
        steady = loop.call_later(STEADY_SECONDS, troubles.clear, service.name)
        began = loop.time()
        try:
            await in_own_task(service.run)
            return
        except FleetError as error:
            troubles.put(service.name, error)
            log.error("loop stopped", loop=service.name, reason=error.reason, what=error.what, why=error.why)
        except Exception as error:  # the edge of a loop: a bug in it must not end the other loops (R18)
            troubles.put(service.name, error)
            log.exception("loop failed", loop=service.name)
        finally:
            steady.cancel()
        end_if_asked()
        if loop.time() - began > STEADY_SECONDS:
            wait = 0.0
        wait = next_wait(wait, random.random(), BACKOFF)
        await pause(wait)


async def watch_state(probe: Callable[[], Awaitable[None]], troubles: Troubles) -> None:
    """Write into the hub's own state now and then, so that /readyz and the gauge say whether it can be written.

    While it cannot be, the fences let no write to a cluster pass (R24).
    """
    while True:
        pause = PROBE_SECONDS
        try:
            await probe()
        except StateError as error:
            pause = SOON_SECONDS
            if "state" not in troubles.words:
                level = log.error if isinstance(error, StateNotWritable) else log.warning
                level("state", reason=error.reason, what=error.what, why=error.why)
            troubles.put("state", error)
        else:
            troubles.clear("state")
            telemetry.STATE_WRITABLE.set(1)
        await asyncio.sleep(pause)
