"""What the commands on a checkout share: the local repo's revisions, its fleet, and a renderer of this machine."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.errors import FleetError, NotKnown, PathMissing, UsageInvalid
from fleet.values import dataclass

if TYPE_CHECKING:
    from fleet.cli.kept import Kept
    from fleet.core.fleet import Fleet, Unit
    from fleet.core.objects import Bundle
    from fleet.inventory.worktree import WorkingTree
    from fleet.render.service import Renderer
    from fleet.store.vault import MemoryVault

_REVISION = re.compile(r"[0-9a-f]{7,40}\Z")


def revision_of(root: Path, name: str) -> str:
    """A commit id for what a person wrote: an id as it is, else what git calls by that name in this checkout."""
    if _REVISION.match(name):
        return name
    if name.startswith("-"):
        raise UsageInvalid(f"{name} is no commit", next_step="give a commit id, HEAD or a branch")
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageInvalid(
            f"git cannot be asked for {name}",
            why=type(error).__name__,
            next_step="see whether git runs here (git --version), or give a commit id",
        ) from error
    if found.returncode != 0:
        raise UsageInvalid(
            f"{name} names no commit here", where=str(root.resolve()), next_step="give a commit id, HEAD or a branch"
        )
    return found.stdout.strip()


@dataclass(slots=True)
class Checkout:
    """A fleet repo as it lies in a directory, read by the same code as the hub's."""

    tree: WorkingTree
    fleet: Fleet

    def units_of(self, target: str) -> list[Unit]:
        """The unit `overlay@cluster`, or all units of a cluster; raises the problem that keeps it from being known."""
        units = [unit for name, unit in self.fleet.units.items() if target in (str(name), name.cluster)]
        if units:
            return units
        for problem in self.fleet.problems:
            if target.partition("@")[0] in problem.what or target.partition("@")[2] in problem.what:
                raise PathMissing(
                    f"{target} is not known here: {problem.what}",
                    where=str(problem.origin),
                    why=problem.why,
                    next_step=problem.next_step or "fleet validate",
                )
        raise NotKnown(
            f"there is no unit or cluster {target} in this checkout",
            where=str(self.tree.root),
            next_step="write OVERLAY@CLUSTER or CLUSTER; fleet validate lists problems",
        )


def open_checkout(root: Path) -> Checkout:
    """Read the fleet repo in a directory; problems are in `fleet.problems`."""
    from fleet.inventory.load import load_fleet
    from fleet.inventory.worktree import WorkingTree

    tree = WorkingTree(root)
    return Checkout(tree, load_fleet(tree).fleet)


@asynccontextmanager
async def local_renderer() -> AsyncGenerator[tuple[Renderer, MemoryVault]]:
    """A renderer that keeps nothing: its seals are of a key that lives as long as the command."""
    from fleet.render.cache import MemoryCache
    from fleet.render.service import open_renderer
    from fleet.store.vault import MemoryVault

    vault, key = MemoryVault(), secrets.token_bytes(32)
    renderer = await open_renderer(MemoryCache(), vault, key, environment=dict(os.environ), sample_share=0.0)
    try:
        yield renderer, vault
    finally:
        await renderer.close()


@asynccontextmanager
async def keeping_renderer(kept: Kept, *, needs_values: bool = False) -> AsyncGenerator[tuple[Renderer, MemoryVault]]:
    """A renderer that knows what earlier commands built.

    Values of Secrets are not kept. needs_values: the vault shall have them, so that what holds any is built anew. No
    samples of builds: chance has no part in what a command says; hubs take them.
    """
    from fleet.render.service import open_renderer
    from fleet.store.vault import MemoryVault

    vault = MemoryVault()
    renderer = await open_renderer(
        kept.results,
        vault,
        kept.key,
        environment=dict(os.environ),
        needs_values=needs_values,
        sample_share=0.0,
        remember_tool=True,
    )
    try:
        yield renderer, vault
    finally:
        await renderer.close()


async def render_all(checkout: Checkout, units: list[Unit], renderer: Renderer) -> list[Bundle | FleetError]:
    """Bundles in the order of the units; a failure stands in its unit's place."""
    from fleet.ports.render import request_of

    async def one(unit: Unit) -> Bundle | FleetError:
        try:
            return await renderer.render(checkout.tree, request_of(unit))
        except FleetError as error:
            return error

    return list(await asyncio.gather(*(one(unit) for unit in units)))
