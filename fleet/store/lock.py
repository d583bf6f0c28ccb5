"""One process per data directory: an flock that the kernel lets go when the process ends, however it ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fleet.errors import StateInUse, StateNotWritable

LOCK_FILE = "lock"


class DirectoryLock:
    """Holds a data directory from construction until `release`. Raises StateInUse naming the other process."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK_FILE
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateNotWritable(
                "the data directory cannot be used",
                where=str(directory),
                why=error.strerror or type(error).__name__,
                next_step="make it writable, or name another with --data-dir",
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._handle, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._handle)
            raise StateInUse(
                "the data directory is in use",
                where=str(directory),
                why=f"process {holder} holds it",
                next_step=f"stop process {holder}, or name another directory with --data-dir",
            ) from error
        try:
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            # A full disk: the lock holds all the same, only its holder's number is not told.
            pass

    def release(self) -> None:
        """Let go; may be called again."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
