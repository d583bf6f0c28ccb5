"""`fleet rollout revert COMMIT --overlay OVERLAY`: Git as the clusters of an overlay hold it again after a rollback.

A rollout is one overlay's way, a commit may concern many: what goes back is what the overlay is built from, and nothing
else of the commit. The hub sees only the commits that it fetched, so the patch leads to the commit whose results the
clusters hold, whatever lies between. It is merged into the checkout's HEAD; nothing is asked of a hub.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from fleet.cli.loop import run_quietly
from fleet.cli.output import say
from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import OverlayName, short
from fleet.errors import MergeConflict, NotKnown, RefMissing, UsageInvalid
from fleet.inventory.load import load_fleet
from fleet.ports.source import Snapshot
from fleet.render.closure import read_closure
from fleet.render.reader import Reader
from fleet.render.tree import CommitTree
from fleet.source.branches import BranchWriter
from fleet.source.local import LocalRepo, Side, open_local
from fleet.values import dataclass

COMMAND = "fleet rollout revert"
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. to: the commit to go back to, "" for the one before; branch: "" prints a patch instead."""

    commit: str
    overlay: str
    to: str = ""
    onto: str = "HEAD"
    branch: str = ""


@dataclass(frozen=True, slots=True)
class _Scope:
    """What goes back, and what a person must know besides."""

    paths: tuple[str, ...]  # that differ, and that the overlay is built from
    also: tuple[str, ...]  # other overlays that are built from them
    beside: tuple[str, ...]  # changed files that say what clusters are, which an overlay's results may rest on


def revert(root: Path, wish: Wish, patch: BinaryIO, notes: TextIO) -> int:
    """Write the patch, or make the branch and say what is in it; 0 also where Git is so already."""
    return run_quietly(_revert(root, wish, patch, notes))


async def _revert(root: Path, wish: Wish, patch: BinaryIO, notes: TextIO) -> int:
    repo, writer = open_local(root, os.environ), BranchWriter(root, os.environ, COMMAND)
    try:
        if wish.branch:
            await writer.check_name(wish.branch)
        of, onto = await repo.commit(wish.commit), await repo.commit(wish.onto)
        to = await _before(repo, wish, of)
        if not await repo.is_ancestor(of, onto):
            raise UsageInvalid(
                f"{wish.onto} does not contain {_name(of)}: there is nothing to revert",
                next_step=f"git pull, or {COMMAND} ... --onto origin/main",
            )
        scope = _scope(wish.overlay, of.snapshot, to.snapshot)
        after = await _merged(repo, wish, (of, to, onto), scope)
        changed = {path: after.snapshot.tree.get(path) for path in _differing(onto.snapshot, after.snapshot)}
        if not changed:
            why = "what changed there is in none of its files" if not scope.paths else "they are so already"
            say(f"{wish.overlay} is built from nothing that differs from {_name(to)} at {wish.onto}: {why}", notes)
            _say_beside(scope, notes)
            return 0
        message = _message(wish.overlay, of, to, tuple(changed))
        if not wish.branch:
            patch.write(f"{message}\n".encode() + await repo.patch(onto, after))
            patch.flush()
            _say_beside(scope, notes)
            return 0
        files = {
            path: (entry.mode, after.snapshot.read(path)) if entry is not None else None
            for path, entry in changed.items()
        }
        made = await writer.write(wish.branch, onto.snapshot.revision, files, message)
        say(f"{wish.overlay}: back to {_name(to)}, commit {short(made)} on the new branch {wish.branch}", notes)
        for path in changed:
            say(f"  {path}", notes)
        _say_beside(scope, notes)
        say("Next", notes)
        say(f"  fleet plan --base {onto.words or short(onto.snapshot.revision)} --head {wish.branch}", notes)
        say(f"  git push origin {wish.branch}", notes)
    finally:
        await writer.close()
        await repo.close()
    return 0


async def _before(repo: LocalRepo, wish: Wish, of: Side) -> Side:
    """The commit to go back to; raises RefMissing, UsageInvalid."""
    try:
        to = await repo.commit(wish.to or f"{of.snapshot.revision}^")
    except RefMissing as error:
        if wish.to:
            raise
        raise UsageInvalid(
            f"{_name(of)} has no commit before it here", why=error.why, next_step=f"{COMMAND} ... --to COMMIT"
        ) from error
    if not await repo.is_ancestor(to, of):
        raise UsageInvalid(f"{_name(to)} does not come before {_name(of)}", next_step="name an earlier commit")
    return to


async def _merged(repo: LocalRepo, wish: Wish, sides: tuple[Side, Side, Side], scope: _Scope) -> Side:
    of, to, onto = sides
    try:
        return await repo.reverted(of, to, onto, scope.paths)
    except MergeConflict as error:
        raise MergeConflict(
            f"{wish.overlay} cannot be put back to {_name(to)} at {wish.onto}",
            where=error.where,
            why=f"it was changed there again since {_name(of)}",
            next_step=f"edit it by hand, or make a branch at the commit itself: {COMMAND} ... --onto {_name(of)}",
        ) from error


def _scope(overlay: str, of: Snapshot, to: Snapshot) -> _Scope:
    """What of the difference belongs to the overlay; raises NotKnown."""
    differing = set(_differing(to, of))
    mine: set[str] = set()
    fleets = [(snapshot, load_fleet(snapshot).fleet) for snapshot in (of, to)]
    if not any(OverlayName(overlay) in fleet.overlays for _, fleet in fleets):
        raise NotKnown(f"there is no overlay {overlay} at {short(of.revision)}", next_step="fleet get overlays")
    clusters: set[str] = set()
    for snapshot, fleet in fleets:
        units = [unit for unit in fleet.units.values() if unit.name.overlay == overlay]
        clusters |= {unit.cluster.origin.path for unit in units}
        if (found := fleet.overlays.get(OverlayName(overlay))) is not None:
            mine.add(found.origin.path)
        mine |= _built_from(snapshot, units, differing)
    paths = tuple(sorted(mine & differing))
    beside = tuple(sorted(differing & (clusters | {"fleet.yaml"}) - set(paths)))
    return _Scope(paths, _others(overlay, of, fleets[0][1], paths), beside)


def _built_from(snapshot: Snapshot, units: list[Unit], differing: set[str]) -> set[str]:
    """Of a build that cannot be read to its end, what was read so far, and its own directory."""
    tree, reader, found = CommitTree(snapshot), Reader(), set[str]()
    for path, components in sorted({(unit.path, unit.components) for unit in units}):
        closure = read_closure(tree, reader, path, components, charts=True)
        if closure.widened:
            return set(differing)
        found |= {*closure.files, *closure.links, *closure.read, *closure.charts}
        if closure.error is not None:
            found |= {name for name in snapshot.tree if name.startswith(f"{path}/")}
    return found


def _others(overlay: str, of: Snapshot, fleet: Fleet, paths: tuple[str, ...]) -> tuple[str, ...]:
    """Other overlays that are built from these files too: they go back with them."""
    own = posixpath.dirname(fleet.overlays[OverlayName(overlay)].origin.path) if overlay in fleet.overlays else ""
    shared = {path for path in paths if not path.startswith(f"{own}/")}
    if not shared:
        return ()
    units: dict[str, list[Unit]] = {}
    for unit in fleet.units.values():
        if unit.name.overlay != overlay:
            units.setdefault(unit.name.overlay, []).append(unit)
    return tuple(name for name, some in sorted(units.items()) if _built_from(of, some, shared) & shared)


def _differing(before: Snapshot, after: Snapshot) -> Iterator[str]:
    for path in sorted({*before.tree, *after.tree}):
        if before.tree.get(path) != after.tree.get(path):
            yield path


def _message(overlay: str, of: Side, to: Side, paths: tuple[str, ...]) -> str:
    said = f' "{of.info.subject}" ({of.info.author})' if of.info is not None else ""
    files = "file" if len(paths) == 1 else "files"
    return (
        f"Put {overlay} back to {_name(to)}\n\n"
        f"Takes back {of.snapshot.revision}{said}\nfor {overlay} alone: what it is built from is as it was at\n"
        f"{to.snapshot.revision}, {len(paths)} {files}.\n"
    )


def _say_beside(scope: _Scope, notes: TextIO) -> None:
    for names, words in (
        (scope.also, "also built from these files, and goes back with them"),
        (scope.beside, "not in it, though results may rest on it"),
    ):
        if names:
            more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            say(f"{words}: {', '.join(names[:_NAMED])}{more}", notes)


def _name(side: Side) -> str:
    return short(side.snapshot.revision)
