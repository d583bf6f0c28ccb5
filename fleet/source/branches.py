"""One commit on a new branch of a person's own repository; work tree, index, HEAD and other refs stay as they are."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from fleet.errors import UsageInvalid
from fleet.ports.source import PLAIN_MODES, TreeEntry
from fleet.source.command import Done, GitCommand, GitLimits
from fleet.source.indexing import put_entries
from fleet.source.local import prefix_of, repository_of

_IDENT = re.compile(r"(?P<name>.*) <(?P<email>.*)> [0-9]+ [-+][0-9]{4}\Z")
_WHO = ("GIT_AUTHOR_", "GIT_COMMITTER_")


class BranchWriter:
    """Writes into the repository around a directory, as the person whose environment it is.

    command: what it is done for, for hints and the branch's reflog.
    """

    def __init__(self, root: Path, environment: Mapping[str, str], command: str = "fleet promote") -> None:
        self._command_line = command
        found = repository_of(root.resolve())
        if found is None:
            raise UsageInvalid(f"{root} is in no git repository", next_step="run this in a clone of the fleet repo")
        top, directory = found
        self._prefix = f"{prefix}/" if (prefix := prefix_of(root)) else ""
        self._directory, self._environment = directory, dict(environment)
        self._scratch = Path(tempfile.mkdtemp(prefix="fleet-branch-"))
        self._git = self._command({"GIT_INDEX_FILE": str(self._scratch / "index"), "GIT_WORK_TREE": str(top)})
        self._limits = GitLimits()

    async def close(self) -> None:
        """Remove what was made beside the repository."""
        self._git.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def check_name(self, branch: str) -> None:
        """Raises UsageInvalid for what is no name of a new branch."""
        ref = f"refs/heads/{branch}"
        if branch.startswith("-") or (await self._ask(self._git, "check-ref-format", ref)).status != 0:
            raise UsageInvalid(f"{branch} is no name of a branch", next_step=f"{self._command_line} ... --branch NAME")
        if (await self._ask(self._git, "show-ref", "--verify", "--quiet", ref)).status == 0:
            raise UsageInvalid(
                f"branch {branch} is here already",
                why="it may hold what an earlier command made, which is not overwritten",
                next_step=f"git branch -D {branch}, or {self._command_line} ... --branch NAME",
            )

    async def write(self, branch: str, parent: str, files: Mapping[str, tuple[str, bytes] | None], message: str) -> str:
        """Make the branch: one commit on `parent` in which these files are replaced; None: it is gone.

        files: mode and content by path in the fleet repo. Returns the commit's id. Raises UsageInvalid.
        """
        for path, content in files.items():
            if content is not None and content[0] not in PLAIN_MODES:
                raise UsageInvalid(f"{path} is no plain file", next_step="name the file itself, not a link to it")
        who = await self._identities()
        file, text = self._scratch / "content", self._scratch / "message"
        text.write_text(message, encoding="utf-8")
        await self._must(self._git, "read-tree", parent)
        entries: dict[str, TreeEntry | None] = {}
        for path, found in files.items():
            entries[self._prefix + path] = None
            if found is not None:
                file.write_bytes(found[1])
                blob = await self._must(self._git, "hash-object", "-w", "--no-filters", "--", str(file))
                entries[self._prefix + path] = TreeEntry(found[0], blob)
        await put_entries(self._git, entries, seconds=self._limits.read_seconds)
        tree = await self._must(self._git, "write-tree")
        named = self._command(who)
        try:
            commit = await self._must(named, "commit-tree", tree, "-p", parent, "-F", str(text))
            # Only where no such branch came meanwhile.
            await self._must(
                named, "update-ref", "-m", self._command_line, f"refs/heads/{branch}", commit, "0" * len(commit)
            )
        finally:
            named.close()
        return commit

    async def _identities(self) -> dict[str, str]:
        """The person as author and committer, by what their own Git would say."""
        given = {name: value for name, value in self._environment.items() if name.startswith(_WHO)}
        asking = self._command({**given, "GIT_CONFIG_GLOBAL": self._own_configuration()}, ("user.useConfigOnly=true",))
        found: dict[str, str] = {}
        try:
            for who in ("AUTHOR", "COMMITTER"):
                said = await self._ask(asking, "var", f"GIT_{who}_IDENT")
                match = _IDENT.match(_text(said))
                if said.status != 0 or match is None:
                    raise UsageInvalid(
                        "git does not know who makes this commit",
                        why=said.errors.strip().rpartition("\n")[2][-200:],
                        next_step="git config user.name NAME; git config user.email ADDRESS",
                    )
                found |= {f"GIT_{who}_NAME": match["name"], f"GIT_{who}_EMAIL": match["email"]}
        finally:
            asking.close()
        return found

    def _own_configuration(self) -> str:
        """The person's own configuration, where git looks for it."""
        if named := self._environment.get("GIT_CONFIG_GLOBAL", ""):
            return named
        home = Path(self._environment.get("HOME", "") or "/nonexistent")
        beside = Path(self._environment.get("XDG_CONFIG_HOME", "") or home / ".config") / "git" / "config"
        own = home / ".gitconfig"
        return str(own if own.is_file() else beside)

    def _command(self, environment: Mapping[str, str], configuration: tuple[str, ...] = ()) -> GitCommand:
        home = {"HOME": self._environment["HOME"]} if "HOME" in self._environment else {}
        return GitCommand(self._directory, environment={**home, **environment}, configuration=configuration)

    async def _ask(self, git: GitCommand, *arguments: str) -> Done:
        return await git.run(*arguments, seconds=self._limits.read_seconds)

    async def _must(self, git: GitCommand, *arguments: str) -> str:
        done = await self._ask(git, *arguments)
        if done.status != 0:
            raise UsageInvalid(
                f"git {arguments[0]} failed in this checkout",
                why=done.errors.strip()[-200:],
                next_step="check the repository with: git fsck",
            )
        return _text(done)


def _text(done: Done) -> str:
    return done.output.decode("utf-8", "replace").strip()
