"""V8: children, tasks, descriptors and memory of this process return to what they were before a run."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, field

import psutil

DESCRIPTORS = 12  # that libraries open once
GROWTH_BYTES = 256 << 20  # of modules, and of what the allocator keeps of a run
_LOOKS, _LOOK_SECONDS = 200, 0.1


@dataclass(frozen=True, slots=True)
class Level:
    """Taken where it is made; `resident` in bytes."""

    descriptors: int = field(default_factory=lambda: psutil.Process().num_fds())
    children: int = field(default_factory=lambda: len(psutil.Process().children(recursive=True)))
    tasks: int = field(default_factory=lambda: len(asyncio.all_tasks()))
    resident: int = field(default_factory=lambda: psutil.Process().memory_info().rss)

    def above(self, before: Level) -> list[str]:
        """What there is more of than before, as violations."""
        found = [
            ("descriptors", before.descriptors + DESCRIPTORS, self.descriptors),
            ("children", before.children, self.children),
            ("tasks", before.tasks, self.tasks),
            ("MiB of memory", (before.resident + GROWTH_BYTES) >> 20, self.resident >> 20),
        ]
        return [f"V8 {now} {what} are left, at most {most} were to be" for what, most, now in found if now > most]


async def left_over(before: Level) -> list[str]:
    """What a run that is over leaves for good; what ends within moments is waited for."""
    found: list[str] = []
    for _ in range(_LOOKS):
        gc.collect()
        found = Level().above(before)
        if not found:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return found
