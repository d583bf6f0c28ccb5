"""A bare Git repository made by tests: commits with fixed authors and dates, so that equal content has equal ids.

Commits go through `git fast-import`, one process each, without a work tree.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_EPOCH = 1_700_000_000
_MINUTE = 60
_SERVED = """[uploadpack]
\tallowFilter = true
\tallowAnySHA1InWant = true
\tallowReachableSHA1InWant = true
[gc]
\tauto = 0
"""
AUTHOR = "Mara Example <mara@example.org>"


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link as content of a path."""

    target: str


@dataclass(frozen=True, slots=True)
class Executable:
    """A file with the executable bit as content of a path."""

    text: str


@dataclass(frozen=True, slots=True)
class Submodule:
    """A commit of another repository as content of a path."""

    revision: str = "1" * 40


Content = str | bytes | Link | Executable | Submodule | None


def isolated_environment(home: Path) -> dict[str, str]:
    """An environment in which git reads no configuration of the machine or the person, and asks nobody."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C",
    }


@dataclass(slots=True)
class GitRepo:
    """A bare repository at `path`; `branch` is where commits go unless said otherwise."""

    path: Path
    branch: str = "main"
    _commits: int = field(default=0, repr=False)

    @classmethod
    def create(cls, path: Path, *, branch: str = "main") -> GitRepo:
        """Make an empty repository that a server may offer with filters and single commits."""
        path.mkdir(parents=True)
        repo = cls(path, branch)
        repo.git("init", "--bare", "--quiet", "--template=", f"--initial-branch={branch}", ".")
        with (path / "config").open("a") as config:
            config.write(_SERVED)
        return repo

    @property
    def file_url(self) -> str:
        return f"file://{self.path}"

    def commit(
        self, files: Mapping[str, Content], message: str = "change", *, branch: str | None = None, author: str = AUTHOR
    ) -> str:
        """Commit on top of a branch (the first commit makes it); None deletes a path. Returns the revision."""
        name = branch or self.branch
        return self._import(name, files, message, author, self.head(name))

    def rewrite(self, files: Mapping[str, Content], message: str = "rewritten", *, onto: str | None = None) -> str:
        """Make the branch a commit on `onto` (a root commit without one), whatever was there: a forced push."""
        return self._import(self.branch, files, message, AUTHOR, onto)

    def commit_folder(self, folder: Path, message: str = "import") -> str:
        """Commit the files below a folder, beside what the branch has."""
        files: dict[str, Content] = {}
        for path in sorted(folder.rglob("*")):
            name = str(path.relative_to(folder))
            if path.is_symlink():
                files[name] = Link(str(path.readlink()))
            elif path.is_file() and ".git" not in path.relative_to(folder).parts:
                files[name] = path.read_bytes()
        return self.commit(files, message)

    def make_branch(self, name: str, revision: str | None = None) -> None:
        self.git("update-ref", f"refs/heads/{name}", revision or self.head(self.branch) or "")

    def delete_branch(self, name: str | None = None) -> None:
        self.git("update-ref", "-d", f"refs/heads/{name or self.branch}")

    def reset(self, revision: str, *, branch: str | None = None) -> None:
        """Move a branch to a revision, backwards too."""
        self.git("update-ref", f"refs/heads/{branch or self.branch}", revision)

    def head(self, branch: str | None = None) -> str | None:
        """The revision of a branch, None when there is none."""
        done = self._run("rev-parse", "--quiet", "--verify", f"refs/heads/{branch or self.branch}^{{commit}}")
        return done.stdout.decode().strip() or None

    def read(self, path: str, revision: str | None = None) -> bytes:
        return self._run("cat-file", "blob", f"{revision or self.branch}:{path}", check=True).stdout

    def git(self, *arguments: str) -> str:
        """Run git in the repository; its output."""
        return self._run(*arguments, check=True).stdout.decode()

    def _import(self, branch: str, files: Mapping[str, Content], message: str, author: str, parent: str | None) -> str:
        self._commits += 1
        when = f"{_EPOCH + self._commits * _MINUTE} +0000"
        ref = f"refs/heads/{branch}"
        stream = bytearray()
        if parent is None:
            # Without this line a branch that exists would become the parent.
            stream += f"reset {ref}\n\n".encode()
        stream += f"commit {ref}\nmark :1\nauthor {author} {when}\ncommitter {author} {when}\n".encode()
        stream += _data(message.encode())
        if parent is not None:
            stream += f"from {parent}\n".encode()
        for path, content in files.items():
            stream += _change(path, content)
        stream += b"\nget-mark :1\n"
        done = self._run("fast-import", "--quiet", "--force", stdin=bytes(stream), check=True)
        return done.stdout.decode().strip()

    def _run(
        self, *arguments: str, stdin: bytes | None = None, check: bool = False
    ) -> subprocess.CompletedProcess[bytes]:
        environment = isolated_environment(self.path)
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, input=stdin, capture_output=True, timeout=120
        )
        if check and done.returncode:
            raise RuntimeError(f"git {' '.join(arguments)}: {done.stderr.decode()}")
        return done


def _change(path: str, content: Content) -> bytes:
    name = '"' + path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if content is None:
        return f"D {name}\n".encode()
    if isinstance(content, Submodule):
        return f"M 160000 {content.revision} {name}\n".encode()
    mode, data = {
        Link: lambda link: ("120000", link.target.encode(errors="surrogateescape")),
        Executable: lambda file: ("100755", file.text.encode()),
        str: lambda text: ("100644", text.encode()),
        bytes: lambda raw: ("100644", raw),
    }[type(content)](content)
    return f"M {mode} inline {name}\n".encode() + _data(data)


def _data(raw: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(raw), raw)
