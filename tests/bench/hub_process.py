"""`fleet hub` as configured by the environment, with two counters: each git command and each build is a line in a file.

The file is named by FLEET_BENCH_COUNTS. Without it nothing differs from `fleet hub`.
"""

from __future__ import annotations

import os
from pathlib import Path

from fleet.cli.hub import hub
from fleet.render.workers import WorkerPool
from fleet.source.command import GitCommand


def count_into(path: Path) -> None:
    """Note what is started, at the two places where the hub starts programs."""

    def note(words: str) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(words + "\n")

    run, start, render = GitCommand.run, GitCommand.start, WorkerPool.run

    async def counted_run(self, *arguments, **options):  # type: ignore[no-untyped-def]
        note(f"git {arguments[0]}")
        return await run(self, *arguments, **options)

    def counted_start(self, *arguments):  # type: ignore[no-untyped-def]
        note(f"git {arguments[0]}")
        return start(self, *arguments)

    async def counted_render(self, *arguments, **options):  # type: ignore[no-untyped-def]
        note("render")
        return await render(self, *arguments, **options)

    GitCommand.run, GitCommand.start, WorkerPool.run = counted_run, counted_start, counted_render


if __name__ == "__main__":
    if counts := os.environ.get("FLEET_BENCH_COUNTS", ""):
        count_into(Path(counts))
    raise SystemExit(hub({}))
