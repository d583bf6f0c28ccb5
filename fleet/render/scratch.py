"""Where builds lie while they run: in memory where the system has a place for that, 0700, and never for long.

The files of a build may hold Secrets, which so never reach a disk; and writing them there takes a third of the time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only for directories made by mkdtemp
_FREE_BYTES = 512 * 1024 * 1024


def make_scratch(chosen: Path | None) -> Path:
    """The directory for this process's builds: `chosen`, made private, or a new one of its own."""
    if chosen is None:
        return Path(tempfile.mkdtemp(dir=_parent(), prefix=f"{_prefix()}{os.getpid()}-"))
    chosen.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = chosen.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise PermissionError(f"{chosen} is no directory of this user")
    chosen.chmod(0o700)
    return chosen


def sweep(chosen: Path | None) -> None:
    """Remove what builds of processes that are gone have left: a killed one could not."""
    if chosen is not None:
        for left in chosen.glob("build-*"):
            shutil.rmtree(left, ignore_errors=True)
        return
    for parent in {_IN_MEMORY, Path(tempfile.gettempdir())}:
        for left in parent.glob(f"{_prefix()}*"):
            pid = left.name.removeprefix(_prefix()).partition("-")[0]
            if pid.isdigit() and not _runs(int(pid)):
                with contextlib.suppress(OSError):
                    if left.lstat().st_uid == os.getuid():
                        shutil.rmtree(left, ignore_errors=True)


def _prefix() -> str:
    return f"fleet-render-{os.getuid()}-"


def _parent() -> str | None:
    try:
        free = os.statvfs(_IN_MEMORY)
    except OSError:
        return None
    roomy = free.f_bavail * free.f_frsize >= _FREE_BYTES
    return str(_IN_MEMORY) if roomy and os.access(_IN_MEMORY, os.W_OK | os.X_OK) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
