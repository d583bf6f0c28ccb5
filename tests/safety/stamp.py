"""What a result says of its run: at which commit, when it ended, how long it took, on which machine."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def commit() -> str:
    """Where the code stands now; `-dirty` behind it where a file differs."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "no commit"


def machine() -> str:
    return f"{os.cpu_count()} CPUs, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


@dataclass(frozen=True, slots=True)
class Stamp:
    """Made before the first run: what runs is the code of then, whatever is committed meanwhile."""

    commit: str = field(default_factory=commit)
    machine: str = field(default_factory=machine)

    def of(self, began: float, **more: Any) -> dict[str, Any]:
        """Of a run that ends now. began: by time.perf_counter()."""
        at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        seconds = round(time.perf_counter() - began, 1)
        return {"commit": self.commit, "at": at, "seconds": seconds, "machine": self.machine, **more}
