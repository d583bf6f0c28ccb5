"""Has values of Secrets removed that nothing in use has: rotated ones go, and no commit fills the disk (R24, R32)."""

from __future__ import annotations

import asyncio

import structlog

from fleet.ports.render import Renderer
from fleet.values import dataclass

SWEEP_SECONDS = 900.0

log = structlog.get_logger("values")


@dataclass(slots=True)
class ValueSweeps:
    """One loop."""

    renderer: Renderer
    every_seconds: float = SWEEP_SECONDS

    async def run(self) -> None:
        """Until cancelled. The first comes after a pause: what a hub holds is known by then."""
        while True:
            await asyncio.sleep(self.every_seconds)
            await self.sweep()

    async def sweep(self) -> None:
        """Once; raises StateError, and what is left goes at the next."""
        if count := await self.renderer.sweep_values():
            log.info("values of Secrets that nothing in use has were removed", count=count)
