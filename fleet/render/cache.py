"""Rendered results on disk by digest: each entry sealed with a keyed hash, written atomically, verified on reading.

An entry that is damaged, cut off, moved to another name or sealed under another key is a miss and nothing else (R5).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import hmac
import os
import random
import re
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from fleet.core.ids import Digest
from fleet.errors import StateNotWritable

_SEAL_BYTES = 32
_NAME = re.compile(r"[0-9a-f]{64}\Z")
_SWEEP_SHARE = 0.8  # a sweep goes below the cap, so that not every write sweeps
_NEWEST_SHARE = 0.1  # beside what is in use, however much that is: what was just made is not in use yet
_PAUSE_SHARE = 0.1  # at least so much comes before the next sweep
DEFAULT_CAP_BYTES = 2 * 1024 * 1024 * 1024


class DiskCache:
    """The RenderCache of one folder. Several processes may share it: entries are whole or not there."""

    def __init__(self, root: Path, key: bytes, *, cap_bytes: int = DEFAULT_CAP_BYTES, count_every: int = 1) -> None:
        """count_every: in about so many writes is the folder counted first; above 1 for short-lived commands."""
        self._root = root
        self._key = hmac.digest(key, b"render cache", hashlib.sha256)
        self._cap_bytes, self._count_every = cap_bytes, count_every
        self._size_bytes: int | None = None  # None: not counted yet
        self._sweep_above_bytes = float(cap_bytes)
        self._in_use: Callable[[], Collection[Digest]] = tuple

    async def get(self, key: Digest) -> bytes | None:
        """Return what was put, or None."""
        return await asyncio.to_thread(self._read, key)

    async def put(self, key: Digest, value: bytes) -> None:
        """Keep a value; raises StateNotWritable."""
        if not await asyncio.to_thread(self._write, key, value):
            return
        try:
            in_use = frozenset(self._in_use())  # here, as other threads may not look at what tasks change
        except Exception as bug:  # it must fail no build, and what may go is not known (R5)
            told = {"message": "rendered results are not swept", "exception": bug}
            asyncio.get_running_loop().call_exception_handler(told)
            return
        await asyncio.to_thread(self._sweep, in_use)

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """See fleet.ports.render.RenderCache."""
        self._in_use = in_use

    def _path(self, key: Digest) -> Path:
        if not _NAME.match(key):
            raise ValueError(f"{key!r} is no digest")
        return self._root / key[:2] / key

    def _seal(self, key: Digest, value: bytes) -> bytes:
        return hmac.digest(self._key, key.encode() + value, hashlib.sha256)

    def _read(self, key: Digest) -> bytes | None:
        if not _NAME.match(key):
            return (
                None  # nothing was put under it: a cluster's parent object may say anything to a hub that lost its data
            )
        path = self._path(key)
        try:
            entry = path.read_bytes()
        except OSError:
            return None
        seal, value = entry[:_SEAL_BYTES], entry[_SEAL_BYTES:]
        if not hmac.compare_digest(seal, self._seal(key, value)):
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # the sweep takes what was used longest ago
        return value

    def _write(self, key: Digest, value: bytes) -> bool:
        """Whether a sweep is due by now."""
        path = self._path(key)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(self._seal(key, value))
                    file.write(value)
                Path(name).replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    Path(name).unlink()
                raise
        except OSError as error:
            raise StateNotWritable(
                "a rendered result cannot be kept",
                where=str(self._root),
                why=errno.errorcode.get(error.errno or 0, "input/output error"),
                next_step="make room, or point the data directory elsewhere",
            ) from error
        return self._count(len(value) + _SEAL_BYTES)

    def _count(self, added: int) -> bool:
        if self._size_bytes is None:
            if random.randrange(self._count_every):
                return False
            self._size_bytes = sum(size for _, size, _ in self._entries())
        else:
            self._size_bytes += added
        return self._size_bytes > self._sweep_above_bytes

    def _entries(self) -> list[tuple[float, int, str]]:
        found: list[tuple[float, int, str]] = []
        for folder in _scanned(self._root):
            for entry in _scanned(folder.path):
                with contextlib.suppress(OSError):
                    stat = entry.stat(follow_symlinks=False)
                    found.append((stat.st_mtime, stat.st_size, entry.path))
        return sorted(found)

    def _sweep(self, in_use: Collection[str] = ()) -> None:
        """Drop what was used longest ago, and nothing that is in use: that may be more than the limit by itself."""
        entries = self._entries()
        spared = sum(length for _, length, path in entries if Path(path).name in in_use)
        size = sum(length for _, length, _ in entries)
        goal = max(self._cap_bytes * _SWEEP_SHARE, spared + self._cap_bytes * _NEWEST_SHARE)
        for _, length, path in entries:
            if size <= goal:
                break
            if Path(path).name in in_use:
                continue
            with contextlib.suppress(OSError):
                Path(path).unlink()
                size -= length
        self._size_bytes = size
        self._sweep_above_bytes = max(self._cap_bytes, size + self._cap_bytes * _PAUSE_SHARE)


def _scanned(folder: Path | str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing where it is none. Half the time of paths, for thousands of entries."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


class MemoryCache:
    """A RenderCache for one process's life: commands on a checkout, tests."""

    def __init__(self) -> None:
        self._entries: dict[Digest, bytes] = {}

    async def get(self, key: Digest) -> bytes | None:
        """Return what was put, or None."""
        return self._entries.get(key)

    async def put(self, key: Digest, value: bytes) -> None:
        """Keep a value."""
        self._entries[key] = value

    def spare(self, in_use: Callable[[], Collection[Digest]]) -> None:
        """Nothing is ever dropped."""
