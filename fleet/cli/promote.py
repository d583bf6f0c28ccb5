"""`fleet promote OVERLAY --from ENV --to ENV`: what one environment proved, as one commit on a branch for the next one.

The branch starts at the commit that the hub proves it for, so that what is moved is what runs there. Nothing is pushed,
and nothing of the checkout changes but the new branch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO, TypeVar

from fleet.cli.act import Item
from fleet.cli.client import Client
from fleet.cli.loop import run_quietly
from fleet.cli.output import clean_line, say
from fleet.cli.promote_places import Builds, check_left_behind, check_own, images_of, images_written, others_left
from fleet.core.fleet import Fleet, Unit
from fleet.core.ids import OverlayName, short
from fleet.core.nearest import hint
from fleet.core.problems import Problem
from fleet.core.promotion import (
    Evidence,
    Move,
    Passed,
    doubts_of,
    evidence_lines,
    fields_left,
    files_left,
    left_of,
    message_of,
    moves_of,
    not_moved,
    path_of,
    standings_of,
)
from fleet.errors import HubUnreachable, NotKnown, PromotionRefused, RefMissing, UsageInvalid
from fleet.inventory.edit import Kustomization, read_kustomization
from fleet.inventory.files import KUSTOMIZATION_NAMES
from fleet.inventory.load import load_fleet
from fleet.ports.source import Snapshot
from fleet.render.tree import CommitTree
from fleet.source.branches import BranchWriter
from fleet.source.local import LocalRepo, Side, open_local
from fleet.values import dataclass

T = TypeVar("T")
_NAMED = 5  # of what keeps it from being proven


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. reason: why without evidence, "" where the hub shall give it; branch "": named by fleet."""

    overlay: str
    earlier: str
    later: str
    branch: str = ""
    reason: str = ""
    hub: str = ""

    @property
    def unproven(self) -> str:
        """The command that makes the branch without evidence."""
        command = f"fleet promote {self.overlay} --from {self.earlier} --to {self.later}"
        return f'{command} --without-evidence --reason "..."'


@dataclass(frozen=True, slots=True)
class _Stage:
    """One environment of the overlay: its clusters, and the kustomization that its images are in."""

    environment: str
    units: tuple[Unit, ...]
    path: str
    directory: str
    file: Kustomization


def promote(root: Path, wish: Wish, out: TextIO) -> int:
    """Make the branch and say what is in it; 0 also where there is nothing to promote."""
    return run_quietly(_promote(root, wish, out))


async def _promote(root: Path, wish: Wish, out: TextIO) -> int:
    client = None if wish.reason else _asked(wish, lambda: Client(wish.hub))
    revision = None if client is None else _asked(wish, lambda: client.get("/api/v1/revisions"))
    repo = open_local(root, os.environ)
    writer = BranchWriter(root, os.environ)
    try:
        base = await repo.commit(_commit_of(revision, wish) if revision is not None else "HEAD")
        commit = str(base.snapshot.revision)
        branch = wish.branch or f"promote/{wish.overlay}-{wish.later}-{short(commit)}"
        await writer.check_name(branch)
        fleet = load_fleet(base.snapshot).fleet
        earlier, later = _stages(base.snapshot, fleet, wish)
        tree = CommitTree(base.snapshot)
        builds = Builds(tree)
        before, after = (builds.of(stage.units, stage.path) for stage in (earlier, later))
        proven = images_of(tree, wish.earlier, earlier.file, before, after.always)
        images = images_of(tree, wish.later, later.file, after, before.always)
        check_left_behind(tree, wish.earlier, before, after.always)
        moves = moves_of(proven.entries, images.entries)
        check_own(fleet, builds, wish.overlay, images, moves)
        words = [*left_of(proven.entries, images.entries), *others_left(tree, after, before.always)]
        words += images_written(tree, before, after.always & before.always, after)
        left = not_moved([*words, *_left(base.snapshot, earlier, later)])
        if not moves:
            say(f"{wish.later} has the images of {wish.earlier} already, at {short(commit)}: nothing to promote", out)
            _say_all([left], out)
            return 0
        proof = [f"Without evidence of {wish.earlier}: {wish.reason}"]
        if client is not None:
            proof = evidence_lines(
                _proven(client, wish, base, [str(unit.name.cluster) for unit in earlier.units]), wish.earlier
            )
        proof = [clean_line(line) for line in proof]
        paths = earlier.file.path, later.file.path
        message = message_of(wish.overlay, (wish.earlier, wish.later), paths, moves, proof)
        modes = {path: entry.mode for path, entry in base.snapshot.tree.items()}
        files = {path: (modes[path], content) for path, content in images.edited(moves).items()}
        made = await writer.write(branch, commit, files, message)
        onto = await _onto(repo, base, revision)
    finally:
        await writer.close()
        await repo.close()
    _say_all(_lines(wish, moves, left, proof, branch, made, onto), out)
    return 0


def _commit_of(revision: Item, wish: Wish) -> str:
    commit = str(revision.get("commit") or "")
    if not commit:
        raise PromotionRefused(
            f"{wish.earlier} does not prove {wish.overlay}", why="the hub has no commit yet", next_step="fleet status"
        )
    return commit


def _asked(wish: Wish, ask: Callable[[], T]) -> T:
    """What the hub says; without it there is no evidence."""
    try:
        return ask()
    except HubUnreachable as error:
        raise PromotionRefused(
            f"there is no evidence that {wish.earlier} proves {wish.overlay}: {error.what}",
            why=error.why,
            next_step=f"{error.next_step}; or {wish.unproven}",
        ) from error


def _stages(snapshot: Snapshot, fleet: Fleet, wish: Wish) -> tuple[_Stage, _Stage]:
    """Both environments; raises NotKnown, UsageInvalid, PromotionRefused."""
    if wish.overlay not in fleet.overlays:
        _refuse_unknown(fleet, wish)
        close = hint(wish.overlay, fleet.overlays, otherwise="fleet validate lists what cannot be read")
        raise NotKnown(f"there is no overlay {wish.overlay} at {short(snapshot.revision)}", next_step=close)
    known = [stage.name for stage in fleet.environments]
    every = [*known, *sorted({one.environment for one in fleet.clusters.values()} - {*known, ""})]
    for name in (wish.earlier, wish.later):
        if name not in every:
            close = hint(name, every, otherwise=f"one of {', '.join(every)}")
            raise NotKnown(f"there is no environment {name} at {short(snapshot.revision)}", next_step=close)
    _refuse_unknown(fleet, wish)
    if wish.earlier == wish.later:
        raise UsageInvalid(f"{wish.earlier} is both where it comes from and where it goes", next_step="name two")
    if wish.earlier in known and wish.later in known and known.index(wish.earlier) > known.index(wish.later):
        raise UsageInvalid(
            f"{wish.earlier} comes after {wish.later}",
            where="environments in fleet.yaml",
            next_step=f"fleet promote {wish.overlay} --from {wish.later} --to {wish.earlier}",
        )
    units = [unit for unit in fleet.units.values() if unit.name.overlay == wish.overlay]
    paths = [_path(units, wish, name) for name in (wish.earlier, wish.later)]
    if paths[0] == paths[1]:
        raise UsageInvalid(
            f"{wish.earlier} and {wish.later} build {wish.overlay} from one path",
            where=paths[0],
            why="a commit changes both at once, and the steps of its rollout keep them apart",
            next_step="fleet get rollouts",
        )
    first, second = (
        _stage(snapshot, units, name, path) for name, path in zip((wish.earlier, wish.later), paths, strict=True)
    )
    return first, second


def _refuse_unknown(fleet: Fleet, wish: Wish) -> None:
    """What a problem hides is not taken for absent."""
    unknown, found = fleet.unknown, list[Problem]()
    if unknown.everything is not None:
        found.append(unknown.everything)
    if (hidden := unknown.overlays.get(OverlayName(wish.overlay))) is not None:
        found.append(hidden)
    found += [problem for name, problem in sorted(unknown.units.items()) if name.overlay == wish.overlay]
    found += [*(problem for _, problem in sorted(unknown.clusters.items())), *unknown.unnamed]
    if found:
        raise PromotionRefused(
            f"what {wish.overlay} is on all clusters cannot be told: {found[0].what}",
            where=str(found[0].origin),
            why=found[0].why,
            next_step=found[0].next_step or "fleet validate",
        )


def _path(units: Sequence[Unit], wish: Wish, environment: str) -> str:
    mine = [unit for unit in units if unit.cluster.environment == environment]
    if not mine:
        raise NotKnown(
            f"{wish.overlay} runs on no cluster of {environment}",
            next_step=f"fleet promote {wish.overlay} from and to one of "
            + (", ".join(sorted({unit.cluster.environment for unit in units})) or "the environments that it runs in"),
        )
    if (path := path_of(mine, environment)) is None:
        paths = sorted({unit.path for unit in mine})
        raise UsageInvalid(
            f"{environment} builds {wish.overlay} from {len(paths)} paths, none of them its own",
            where=", ".join(paths[:5]),
            why="what is promoted goes from one path to one path",
            next_step="write the new image there by hand, and see fleet plan",
        )
    return path


def _stage(snapshot: Snapshot, units: Sequence[Unit], environment: str, directory: str) -> _Stage:
    prefix = f"{directory}/" if directory not in ("", ".") else ""
    path = next((prefix + name for name in KUSTOMIZATION_NAMES if prefix + name in snapshot.tree), "")
    if not path or not snapshot.tree[path].mode.startswith("100"):
        raise PromotionRefused(
            f"{directory} has no kustomization of its own",
            where=path or directory,
            why="it is a link to another file" if path else "no file of that name is there",
            next_step="give the environment a kustomization that says its images",
        )
    mine = tuple(unit for unit in units if unit.cluster.environment == environment)
    return _Stage(environment, mine, directory, prefix, read_kustomization(snapshot.read(path), path))


def _left(snapshot: Snapshot, earlier: _Stage, later: _Stage) -> Iterator[str]:
    yield from fields_left(earlier.file.fields, later.file.fields)
    sides = [
        {
            path.removeprefix(stage.directory): entry.oid
            for path, entry in snapshot.tree.items()
            if path.startswith(stage.directory) and path != stage.file.path
        }
        for stage in (earlier, later)
        if stage.directory
    ]
    if len(sides) == 2:
        yield from files_left(*sides)
    for unit in later.units:
        if f"{unit.path}/" != later.directory:
            yield f"{unit.name.cluster} ({unit.path})"


def _proven(client: Client, wish: Wish, base: Side, clusters: Sequence[str]) -> Evidence:
    """What the hub says of the environment before; raises PromotionRefused where that is no proof."""
    query = {"overlay": wish.overlay, "environment": wish.earlier, "limit": "500"}
    units = _asked(wish, lambda: client.pages("/api/v1/units", query))["items"]
    rollouts = _asked(wish, lambda: client.get("/api/v1/rollouts", {"limit": "500"}))["items"]
    info, commit = base.info, str(base.snapshot.revision)
    evidence = Evidence(
        commit,
        f'"{info.subject}" ({info.author})' if info is not None else "",
        datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        standings_of(units, clusters, commit),
        next((_passed(one, wish.overlay) for one in rollouts if wish.overlay in one["overlays"]), None),
    )
    doubts = list(doubts_of(evidence, wish.overlay))
    if doubts:
        more = f"; and {len(doubts) - _NAMED} more" if len(doubts) > _NAMED else ""
        raise PromotionRefused(
            f"{wish.earlier} does not prove {wish.overlay} at {short(commit)}",
            why="; ".join(doubt.what for doubt in doubts[:_NAMED]) + more,
            next_step=f"{doubts[0].next_step}; or {wish.unproven}",
        )
    return evidence


def _passed(rollout: Item, overlay: str) -> Passed:
    gates = tuple(
        f"{one['gate']} of step {one['step']} {one['state']}: {one.get('reading') or 'nothing read'}"
        + (f" at {one['readAt']}" if one.get("readAt") else "")
        for one in rollout.get("readings", [])
        if one["overlay"] == overlay
    )
    approvals = tuple(f"step {one['step']} by {', '.join(one['by'])}" for one in rollout.get("approvals", []))
    return Passed(rollout["commit"], rollout["state"], rollout.get("why") or "", gates, approvals)


async def _onto(repo: LocalRepo, base: Side, revision: Item | None) -> str:
    """What to plan the branch against: the tracked branch where this checkout has it, else the commit."""
    branch = str(revision.get("branch") or "") if revision is not None else base.words
    try:
        await repo.commit(branch)
    except RefMissing:
        return short(base.snapshot.revision)
    return branch


def _lines(
    wish: Wish, moves: Sequence[Move], left: str, proof: Sequence[str], branch: str, made: str, onto: str
) -> Iterator[str]:
    yield f"{wish.overlay}: {wish.earlier} -> {wish.later}, commit {short(made)} on the new branch {branch}"
    yield from (f"  {move.name}  {move.words}" for move in moves)
    yield left
    yield from proof
    yield "Next"
    yield f"  git push origin {branch}"
    yield f"  fleet plan --base {onto} --head {branch}"


def _say_all(lines: Sequence[str] | Iterator[str], out: TextIO) -> None:
    for line in lines:
        if line:
            say(line, out)


def reason_of(*, without_evidence: bool, reason: str) -> str:
    """Why it goes without evidence, "" where it does not; raises UsageInvalid where one comes without the other."""
    if without_evidence and not reason.strip():
        raise UsageInvalid("without evidence it needs a reason", next_step='add --reason "..."')
    if reason and not without_evidence:
        raise UsageInvalid("a reason is for --without-evidence alone", next_step="leave --reason out, or add it")
    return reason.strip()
