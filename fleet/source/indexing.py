"""Entries of an index of our own, put there in one go: by path from the repository's top, wherever git runs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fleet.errors import UsageInvalid
from fleet.ports.source import TreeEntry
from fleet.source.command import GitCommand


async def put_entries(git: GitCommand, entries: Mapping[str, TreeEntry | None], *, seconds: float) -> None:
    """Replace, add, and for None remove these. The index is the one that `git` was given. Raises UsageInvalid."""
    lines = [
        f"{entry.mode} {entry.oid}\t{path}\0" if entry is not None else f"0 {'0' * 40}\t{path}\0"
        for path, entry in entries.items()
    ]
    process = git.start("update-index", "-z", "--index-info")
    try:
        async with asyncio.timeout(seconds):
            _, errors = await asyncio.to_thread(process.communicate, "".join(lines).encode("utf-8", "surrogateescape"))
    finally:
        if process.poll() is None:
            process.kill()
    if process.returncode != 0:
        raise UsageInvalid(
            "git update-index failed in this checkout",
            why=errors.decode("utf-8", "replace").strip()[-200:],
            next_step="check the repository with: git fsck",
        )
