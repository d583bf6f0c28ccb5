"""A hub in a process of its own, of which the kernel tells every call that a test asks for (strace)."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from testbed import binaries

SECONDS = 90.0
PROGRAM = (sys.executable, "-c", "from fleet.cli.start import main; main()")


class NotReached(AssertionError):
    """Something that had to happen first did not."""


def surroundings() -> dict[str, str]:
    """What every process of a run is given of this one's environment."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", "FLEET_KUSTOMIZE": str(binaries.find("kustomize"))}


class TracedHub:
    """Folders of one run, and the hub in it. `trace` holds a line for each call, beginning with the thread's id."""

    def __init__(self, root: Path) -> None:
        self.root, self.data, self.tmp = root, root / "data", root / "tmp"
        self.credentials, self.trace, self.log = root / "credentials", root / "trace.txt", root / "hub.log"
        self.url = self.admin = ""
        self.hub_pid = 0
        self._hub: asyncio.subprocess.Process | None = None
        self._log: BinaryIO | None = None

    def make_folders(self) -> None:
        for folder in (self.data, self.tmp, self.credentials):
            folder.mkdir(mode=0o700)

    async def start(self, environment: Mapping[str, str], calls: str) -> None:
        """Start it and wait until it answers."""
        self._log = self.log.open("wb")
        traced = ("strace", "-f", "-v", "-s", "1000000", "-e", f"trace={calls}", "--seccomp-bpf", "-o", str(self.trace))
        self._hub = await asyncio.create_subprocess_exec(
            *traced, *PROGRAM, "hub", env=environment, stdout=self._log, stderr=self._log, start_new_session=True
        )
        try:
            files = (self.data / "admin.token", self.data / "url")
            await self.until(lambda: all(path.is_file() and path.read_text() for path in files), "a hub")
            self.hub_pid = int((self.data / "lock").read_text())
            self.admin, self.url = (path.read_text().strip() for path in files)
        except BaseException:
            await self.end()
            raise

    async def end(self) -> None:
        if self._hub is not None and self._hub.returncode is None:
            os.killpg(self._hub.pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(20):
                    await self._hub.wait()
            except TimeoutError:
                os.killpg(self._hub.pid, signal.SIGKILL)
                await self._hub.wait()
        if self._log is not None:
            self._log.close()

    async def until(self, holds: Any, what: str) -> Any:
        """The first true value of `holds`, which may be a coroutine function."""
        end = asyncio.get_running_loop().time() + SECONDS
        while True:
            found = holds()
            found = await found if asyncio.iscoroutine(found) else found
            if found:
                return found
            if asyncio.get_running_loop().time() > end:
                raise NotReached(f"{what} within {SECONDS} s\n{self.log.read_bytes()[-3000:].decode(errors='replace')}")
            await asyncio.sleep(0.1)
