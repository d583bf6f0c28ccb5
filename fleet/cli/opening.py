"""A render worker loads while both sides of a plan are read and the rest of the program is imported.

Imported here is what it takes to ask git and to start that worker, and nothing of what judges.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from fleet.cli.checkout import keeping_renderer
from fleet.cli.kept import Kept, open_kept
from fleet.render.service import Renderer
from fleet.render.tools import charts_allowed
from fleet.source.local import LocalRepo, Side, open_local
from fleet.store.vault import MemoryVault
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a plan. is_ancestor: the head contains the base, as a working tree that is merged into it does."""

    before: Side
    after: Side
    is_ancestor: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A repository to compare two commits of, with what builds and keeps.

    names: what is read of the base is kept under these. sides: being read.
    """

    sides: asyncio.Task[Sides]
    renderer: Renderer
    vault: MemoryVault
    kept: Kept
    names: tuple[str, ...]

    async def expect(self, head: str) -> bool:
        """Whether this head was never compared with the base; if so, something will most likely be built."""
        is_new = not await self.kept.is_noted(*self._pair(head))
        if is_new and head != self.names[1]:
            await self.renderer.expect_builds()
        return is_new

    async def note(self, head: str) -> None:
        """Keep that this head was compared with the base."""
        await self.kept.note(*self._pair(head))

    def _pair(self, head: str) -> tuple[str, ...]:
        return "plan", *self.names[1:], head


@asynccontextmanager
async def opened(root: Path, base: str, head: str, *, needs_values: bool) -> AsyncGenerator[Opened]:
    """Open a checkout to compare two commits; base "": origin's main; head "": the working tree merged into base.

    Raises SourceError, UsageInvalid, RendererMissing; so does awaiting the sides.
    """
    repo = open_local(root, os.environ)
    try:
        base = base or await repo.default_base()
        first, last = repo.revision(base), repo.revision(head) if head else ""
        kept = open_kept(os.environ)
        names = "base", first, repo.prefix, str(charts_allowed(os.environ))
        async with keeping_renderer(kept, needs_values=needs_values) as (renderer, vault):
            sides = asyncio.create_task(_sides(repo, base, head), name="sides")
            found = Opened(sides, renderer, vault, kept, names)
            if last:
                await found.expect(last)
            await asyncio.sleep(0)  # until git is asked for both
            try:
                yield found
            finally:
                sides.cancel()
                await asyncio.gather(sides, return_exceptions=True)
    finally:
        await repo.close()


async def _sides(repo: LocalRepo, base: str, head: str) -> Sides:
    before = await repo.commit(base)
    if not head:
        return Sides(before, await repo.merged_working_tree(before), is_ancestor=True)
    after = await repo.commit(head, before)
    return Sides(before, after, await repo.is_ancestor(before, after))
