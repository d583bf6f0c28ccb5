"""What was copied into the repo from elsewhere: how a base is named, what the lock says, and how both compare. Pure.

The lock (`vendor.lock.yaml` at the root) names each copy with its source, the exact version and a digest of what lies
in the repo, so that a review sees what changed and a check sees who changed it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qs, urlsplit

from fleet.core.documents import Document, documents_at, text_at
from fleet.errors import UsageInvalid
from fleet.values import dataclass

LOCK_FILE = "vendor.lock.yaml"
_REPO_STEPS = 2  # owner and repository, where the URL does not say where the repository ends


@dataclass(frozen=True, slots=True)
class BaseRef:
    """A remote base as kustomize writes it: a repository, a directory in it, a tag, branch or commit."""

    url: str
    directory: str
    ref: str


@dataclass(frozen=True, slots=True)
class Copy:
    """One line of the lock. A base: url, ref, commit, directory; a chart: name, version, url of its repository."""

    kind: str  # "base" or "chart"
    path: str  # in this repo: a directory, or an archive
    url: str
    digest: str
    ref: str = ""
    commit: str = ""
    directory: str = ""
    name: str = ""
    version: str = ""


def parse_base(text: str) -> BaseRef:
    """Read a remote base as it stands in a kustomization; raises UsageInvalid."""
    place, _, query = text.removeprefix("git::").partition("?")
    given = parse_qs(query)
    ref = (given.get("ref") or given.get("version") or [""])[0]
    if not ref or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/+-]*", ref) or ".." in ref:
        raise UsageInvalid(
            f"{text} names no version", why="without one nobody can say what was copied", next_step="add ?ref=TAG"
        )
    if "://" not in place and "@" not in place and not place.startswith("/"):
        place = f"https://{place}"
    scheme, mark, rest = place.rpartition("://")
    repository, cut, directory = rest.partition("//")
    if not cut and ".git" in rest:
        start, _, end = rest.partition(".git")
        repository, directory = f"{start}.git", end.lstrip("/")
    elif not cut and scheme in ("https", "http"):
        steps = urlsplit(place).path.strip("/").split("/")
        directory = "/".join(steps[_REPO_STEPS:])
        repository = rest.removesuffix(f"/{directory}") if directory else rest
    directory = directory.strip("/")
    if any(step in ("", ".", "..") for step in directory.split("/")) and directory:
        raise UsageInvalid(f"{text} names no directory inside its repository", next_step="write URL//DIRECTORY?ref=TAG")
    return BaseRef(scheme + mark + repository, directory, ref)


def digest_of_files(files: Mapping[str, tuple[bool, bytes]]) -> str:
    """A digest over paths, whether each is a link, and contents."""
    digest = hashlib.sha256()
    for path, (is_link, content) in sorted(files.items()):
        row = f"{'l' if is_link else 'f'} {path}\0".encode(errors="surrogateescape")
        digest.update(row + hashlib.sha256(content).digest())
    return f"sha256:{digest.hexdigest()}"


def digest_of_archive(content: bytes) -> str:
    """As chart repositories write it in their index, with the algorithm before it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def copies_in(lock: Document) -> tuple[Copy, ...]:
    """The lines of a lock; raises UsageInvalid where one is none."""
    found: list[Copy] = []
    for row in documents_at(lock, "copies"):
        copy = Copy(**{name: text_at(row, name) for name in Copy.__slots__})
        if copy.kind not in ("base", "chart") or not all((copy.path, copy.url, copy.digest)):
            raise UsageInvalid(f"{LOCK_FILE} has a line that is none", next_step="bring it back from Git")
        found.append(copy)
    return tuple(found)


def lock_of(copies: Iterable[Copy]) -> Document:
    """The whole lock, sorted, without what is empty."""
    rows = [
        {name: value for name in Copy.__slots__ if (value := getattr(copy, name))}
        for copy in sorted(copies, key=lambda copy: copy.path)
    ]
    return {"copies": [*rows]}


def with_copy(copies: Iterable[Copy], new: Copy) -> tuple[Copy, ...]:
    """The copies with a new one in the place of those it takes over: the same path, or another version beside it."""
    folder = new.path.rpartition("/")[0]

    def replaced(old: Copy) -> bool:
        same_chart = old.kind == new.kind == "chart" and (old.name, old.path.rpartition("/")[0]) == (new.name, folder)
        return old.path == new.path or same_chart

    return (*(old for old in copies if not replaced(old)), new)
