"""The fleet repo's tracked branch in a bare mirror with full history; it moves forward only (R7).

Two refs: `seen` follows the branch as long as it goes forward; `in force` follows when the commit has passed every
check. So a commit that is refused can be withdrawn upstream without that being a rewrite of what is in force.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
import time
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from fleet.core.ids import Revision
from fleet.errors import FetchFailed, HistoryRewritten, RefMissing, SourceError
from fleet.ports.source import Fetched
from fleet.source.askpass import GitAuth, environment_of
from fleet.source.command import Done, GitCommand, GitLimits
from fleet.source.complaints import SHALLOW, error_of_fetch, last_words
from fleet.source.signatures import SignaturePolicy, verify_commit
from fleet.source.snapshot import GitSnapshot, ObjectReader, check_tree, parse_changes, parse_commit, parse_tree
from fleet.source.url import GitUrl, check_branch, check_revision, parse_url
from fleet.values import dataclass, field

_SEEN = "refs/fleet/seen"
_IN_FORCE = "refs/fleet/in-force"
_SNAPSHOTS_KEPT = 4
_TIDY_AFTER_CHANGES = 50
_LEFTOVERS = (
    "*.lock",
    "refs/**/*.lock",
    "objects/tmp_*",
    "objects/*/tmp_*",
    "objects/pack/.tmp-*",
    "objects/incoming-*",
    "objects/info/*.lock",
)
_PREFIX = re.compile("[0-9a-f]{4,40}")
_NAMED_AT_MOST = 100  # objects of one beginning that are looked at


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """One tracked branch, from the hub's own configuration (never from the repo)."""

    url: str
    branch: str = "main"
    auth: GitAuth = field(default_factory=GitAuth)
    signatures: SignaturePolicy = field(default_factory=SignaturePolicy)
    limits: GitLimits = field(default_factory=GitLimits)
    allow_http: bool = False
    allow_path: bool = False
    keep_days: float = 30.0  # so long an unused mirror of another URL or branch stays beside this one


class Mirror:
    """`fleet.ports.source.Source`. Below `directory` (the hub's own) each URL and branch has a mirror of its own."""

    def __init__(self, settings: MirrorSettings, directory: Path) -> None:
        """Check the settings; raises GitUrlRefused. Nothing runs before the first call."""
        self._settings = settings
        self._url = parse_url(settings.url, allow_http=settings.allow_http, allow_path=settings.allow_path)
        self._branch = check_branch(settings.branch)
        self._where = f"{_shown(self._url)} branch {self._branch}"
        name = hashlib.sha256(f"{self._url.text}\n{self._branch}".encode()).hexdigest()[:16]
        self._home, self._directory = directory, directory / f"{name}.git"
        self._opening, self._fetching = asyncio.Lock(), asyncio.Lock()
        self._opened: tuple[GitCommand, ObjectReader] | None = None
        self._current: GitSnapshot | None = None
        self._in_force = ""
        self._snapshots: OrderedDict[Revision, GitSnapshot] = OrderedDict()
        self._changes_since_tidy = 0
        self._tidying: asyncio.Task[None] | None = None

    @property
    def commands(self) -> Sequence[str]:
        """The git commands run so far, by first word."""
        return self._opened[0].ran if self._opened else ()

    async def fetch(self) -> Fetched:
        """Fetch, check, move forward. One git command when nothing is new, at most four otherwise."""
        async with self._fetching:
            git, objects = await self._open()
            await self._fetch_seen(git)
            found = await asyncio.to_thread(objects.find, _SEEN)
            if found is None or found.kind != "commit":
                raise RefMissing(
                    f"branch {self._branch} is no branch of commits",
                    where=self._where,
                    why="what it names is no commit",
                    next_step=f"push a commit to {self._branch}",
                )
            revision, before = Revision(found.oid), self._current
            info = parse_commit(revision, found.content)
            if before is not None and before.revision == revision:
                return Fetched(before, info, frozenset())
            seconds = self._settings.limits.read_seconds
            await verify_commit(git, revision, self._settings.signatures, seconds=seconds)
            if before is None:
                snapshot, changed = await self._whole(git, objects, revision), None
            else:
                snapshot, changed = await self._step(git, objects, before, revision)
            if revision != self._in_force:
                await self._expect(await git.run("update-ref", _IN_FORCE, revision, seconds=seconds))
            self._current, self._in_force = snapshot, revision
            self._keep(snapshot)
            self._changes_since_tidy += 1
            if self._changes_since_tidy >= _TIDY_AFTER_CHANGES and (self._tidying is None or self._tidying.done()):
                self._changes_since_tidy = 0
                self._tidying = asyncio.create_task(self._tidy(git), name="git-tidy")
            return Fetched(snapshot, info, changed)

    async def at(self, revision: Revision) -> GitSnapshot:
        """A commit that is in the mirror already; does not wait for a fetch."""
        check_revision(revision)
        if (kept := self._snapshots.get(revision)) is not None:
            return kept
        git, objects = await self._open()
        found = await asyncio.to_thread(objects.find, revision)
        if found is None or found.kind != "commit":
            raise RefMissing(
                f"commit {revision[:7]} is not in the mirror",
                where=self._where,
                why="it was never fetched, or the mirror is new",
                next_step=f"check that {self._branch} contains it",
            )
        snapshot = await self._whole(git, objects, revision)
        self._keep(snapshot)
        return snapshot

    async def in_force(self) -> Revision | None:
        """The commit that passed all checks last, also by an earlier process; None in a new mirror."""
        await self._open()
        return Revision(self._in_force) if self._in_force else None

    async def is_ancestor(self, older: Revision, newer: Revision) -> bool:
        """Whether `newer` contains `older`; raises RefMissing when the mirror lacks one of them."""
        check_revision(older)
        check_revision(newer)
        git, _ = await self._open()
        seconds = self._settings.limits.read_seconds
        done = await git.run("merge-base", "--is-ancestor", older, newer, seconds=seconds)
        if done.status in (0, 1):
            return done.status == 0
        raise self._not_comparable(older, newer)

    async def since(self, older: Revision, newer: Revision) -> frozenset[Revision]:
        """Commits from `older` up to `newer`, both included; raises RefMissing when the mirror lacks one of them."""
        if not await self.is_ancestor(older, newer):
            return frozenset()
        git, _ = await self._open()
        seconds = self._settings.limits.read_seconds
        done = await git.run("rev-list", "--ancestry-path", f"{older}..{newer}", seconds=seconds)
        if done.status != 0:
            raise self._not_comparable(older, newer)
        return frozenset({older, newer, *map(Revision, done.output.decode().split())})

    async def line(self, older: Revision, newer: Revision, *, most: int) -> tuple[Revision, ...]:
        """By first parents, the oldest first; raises RefMissing when the mirror lacks one of them."""
        check_revision(older)
        check_revision(newer)
        git, _ = await self._open()
        seconds, count = self._settings.limits.read_seconds, f"--max-count={most + 1}"
        done = await git.run("rev-list", "--first-parent", count, newer, seconds=seconds)
        if done.status != 0:
            raise self._not_comparable(older, newer)
        found = [Revision(commit) for commit in done.output.decode().split()]
        return tuple(reversed(found[: found.index(older)])) if older in found else ()

    def _not_comparable(self, older: Revision, newer: Revision) -> RefMissing:
        return RefMissing(
            f"commits {older[:7]} and {newer[:7]} cannot be compared",
            where=self._where,
            why="the mirror lacks one of them",
            next_step=f"check that {self._branch} contains both",
        )

    async def named(self, prefix: str) -> Revision | None:
        """The one commit known here whose id begins so; None for none or several. Names of refs mean nothing."""
        if not _PREFIX.fullmatch(prefix):
            return None
        git, objects = await self._open()
        done = await git.run("rev-parse", f"--disambiguate={prefix}", seconds=self._settings.limits.read_seconds)
        among = done.output.decode().split()[:_NAMED_AT_MOST] if done.status == 0 else []
        found = [await asyncio.to_thread(objects.find, oid) for oid in among]
        commits = [one.oid for one in found if one is not None and one.kind == "commit"]
        return Revision(commits[0]) if len(commits) == 1 else None

    async def close(self) -> None:
        """End child processes."""
        async with self._fetching, self._opening:
            if self._tidying is not None:
                self._tidying.cancel()
                await asyncio.gather(self._tidying, return_exceptions=True)
            if self._opened is not None:
                git, objects = self._opened
                await asyncio.to_thread(objects.close)
                git.close()
            self._opened = None

    async def _open(self) -> tuple[GitCommand, ObjectReader]:
        """The mirror, made if absent and cleaned of what a killed process left behind."""
        async with self._opening:
            if self._opened is not None:
                return self._opened
            settings = self._settings
            private = self._home / "home"
            await asyncio.to_thread(_make_directories, private, self._directory)
            environment = {**environment_of(self._url, settings.auth, private), **settings.signatures.environment()}
            configuration = [f"protocol.{self._url.protocol}.allow=always", *settings.signatures.configuration()]
            configuration.append(f"http.lowSpeedTime={settings.limits.idle_seconds}")
            if settings.auth.ca_file is not None:
                configuration.append(f"http.sslCAInfo={settings.auth.ca_file.absolute()}")
            git = GitCommand(self._directory, environment=environment, configuration=configuration)
            await asyncio.to_thread(remove_leftovers, self._directory)
            await asyncio.to_thread(_drop_unused, self._home, self._directory, settings.keep_days)
            command = ("init", "--bare", "--quiet", "--template=")
            await self._expect(await git.run(*command, seconds=settings.limits.read_seconds))
            objects = ObjectReader(git, settings.limits)
            found = await asyncio.to_thread(objects.find, _IN_FORCE)
            self._in_force = found.oid if found is not None else ""
            self._opened = git, objects
            return self._opened

    async def _fetch_seen(self, git: GitCommand) -> None:
        """Move `seen` to the branch's head; raises what git's complaint means."""
        try:
            await self._run_fetch(git)
        except HistoryRewritten:
            # Rewritten against what is in force, or only against a commit that was refused and is withdrawn now?
            back = ("update-ref", _SEEN, self._in_force) if self._in_force else ("update-ref", "-d", _SEEN)
            await self._expect(await git.run(*back, seconds=self._settings.limits.read_seconds))
            await self._run_fetch(git)

    async def _run_fetch(self, git: GitCommand) -> None:
        limits = self._settings.limits
        command = ("fetch", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules", "--no-auto-maintenance")
        refspec = f"refs/heads/{self._branch}:{_SEEN}"
        seconds = limits.fetch_seconds if self._in_force else limits.first_fetch_seconds
        try:
            done = await git.run(*command, "--", self._url.text, refspec, seconds=seconds)
        except BaseException:
            # It was ended, perhaps roughly: its locks and half packs must not be in the way of the next one.
            await asyncio.shield(asyncio.to_thread(remove_leftovers, self._directory))
            raise
        # A shallow source is only warned of: the ref would stay where it is, as if nothing were new.
        if done.status != 0 or SHALLOW in done.errors:
            raise error_of_fetch(done.errors, where=self._where, branch=self._branch, in_force=self._in_force)

    async def _expect(self, done: Done) -> bytes:
        """The output of a command that must not fail on a sound mirror."""
        if done.status == 0:
            return done.output
        raise FetchFailed(
            "the mirror of the fleet repo does not work",
            where=str(self._directory),
            why=last_words(done.errors.splitlines()),
            next_step=f"free space and check the disk; if it stays so, move {self._directory} away: it is fetched anew",
        )

    async def _step(
        self, git: GitCommand, objects: ObjectReader, before: GitSnapshot, revision: Revision
    ) -> tuple[GitSnapshot, frozenset[str]]:
        """The next snapshot, from the one before and what changed since."""
        limits = self._settings.limits
        command = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-commit-id", "--no-abbrev")
        raw = await self._expect(await git.run(*command, before.revision, revision, seconds=limits.read_seconds))

        def apply() -> tuple[GitSnapshot, frozenset[str]]:
            tree, changes = dict(before.tree), dict(parse_changes(raw))
            for path, entry in changes.items():
                if entry is None:
                    tree.pop(path, None)
                else:
                    tree[path] = entry
            check_tree(changes, len(tree), limits)
            return GitSnapshot(revision, tree, objects), frozenset(changes)

        return await asyncio.to_thread(apply)

    async def _whole(self, git: GitCommand, objects: ObjectReader, revision: Revision) -> GitSnapshot:
        """A snapshot from nothing but the commit."""
        limits = self._settings.limits
        command = ("ls-tree", "-r", "-z", "--full-tree")
        raw = await self._expect(await git.run(*command, revision, seconds=limits.read_seconds))

        def build() -> GitSnapshot:
            tree = parse_tree(raw)
            check_tree(tree, len(tree), limits)
            return GitSnapshot(revision, tree, objects)

        return await asyncio.to_thread(build)

    async def _tidy(self, git: GitCommand) -> None:
        """Join the small packs that fetches leave, beside the work, so that the mirror stays fast for years."""
        with suppress(SourceError):  # not being tidy is no reason to stop
            await git.run("repack", "-d", "-q", "--geometric=2", seconds=self._settings.limits.first_fetch_seconds)

    def _keep(self, snapshot: GitSnapshot) -> None:
        self._snapshots[snapshot.revision] = snapshot
        self._snapshots.move_to_end(snapshot.revision)
        while len(self._snapshots) > _SNAPSHOTS_KEPT:
            self._snapshots.popitem(last=False)


def remove_leftovers(directory: Path) -> None:
    """Remove locks, temporary packs and half objects: nobody else writes here, so they belong to a dead process."""
    for pattern in _LEFTOVERS:
        for path in directory.glob(pattern):
            with suppress(OSError):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _drop_unused(home: Path, used: Path, keep_days: float) -> None:
    """Remove mirrors that nobody opened for so long; each says by its own time when it was opened last."""
    with suppress(OSError):
        os.utime(used)
    oldest = time.time() - keep_days * 86_400
    for path in home.glob("*.git"):
        with suppress(OSError):
            if path != used and path.stat().st_mtime < oldest:
                shutil.rmtree(path)


def _make_directories(*directories: Path) -> None:
    try:
        for directory in directories:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise FetchFailed(
            "the mirror of the fleet repo cannot be made",
            where=str(directories[0].parent),
            why=error.strerror or type(error).__name__,
            next_step="make the data directory writable",
        ) from error


def _shown(url: GitUrl) -> str:
    """The place without its user name."""
    scheme, mark, rest = url.text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if mark else url.text
