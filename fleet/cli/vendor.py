"""`fleet vendor base|chart` copies what a build may not fetch into the repo; `--check` says what moved since."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import yaml

from fleet.cli.output import say
from fleet.core.documents import Document, documents_at, text_at
from fleet.core.vendoring import (
    LOCK_FILE,
    BaseRef,
    Copy,
    copies_in,
    digest_of_archive,
    digest_of_files,
    lock_of,
    parse_base,
    with_copy,
)
from fleet.errors import ChartInvalid, FleetError, NotKnown, UsageInvalid
from fleet.ports.source import LINK_MODE

_HEAD = "# Written by fleet vendor: what was copied into this repo, from where. Checked by fleet vendor --check.\n"


def vendor_base(root: Path, text: str, to: str, out: TextIO) -> int:
    """Copy a remote base, and all that a build of it reads, into the repo."""
    from fleet.render.closure import read_closure
    from fleet.render.reader import Reader
    from fleet.render.tree import CommitTree
    from fleet.source.remote import RemoteCommit

    base = parse_base(text)
    target = _inside(root, to or f"vendor/{base.url.rstrip('/').rpartition('/')[2].removesuffix('.git')}")
    _check_replaceable(root, target, base)
    with tempfile.TemporaryDirectory(prefix="fleet-vendor-") as folder:
        commit = RemoteCommit(base.url, base.ref, Path(folder))
        closure = read_closure(CommitTree(commit), Reader(), base.directory)
        if closure.error is not None:
            raise closure.error
        names = [*closure.files, *closure.links]
        files = {name: (commit.tree[name].mode == LINK_MODE, commit.read(name)) for name in names}
    _write_tree(root / target, files)
    copy = Copy(
        "base",
        target,
        base.url,
        digest_of_files(files),
        ref=base.ref,
        commit=commit.revision,
        directory=base.directory,
    )
    _keep(root, copy)
    place = f"{target}/{base.directory}".rstrip("/")
    say(f"{len(files)} files of {base.url} {base.ref} ({commit.revision[:7]}) in {target}", out)
    say(f"Next: name {place} instead of {text}, then: fleet validate", out)
    return 0


def vendor_chart(root: Path, name: str, version: str, repository: str, to: str, file: Path | None, out: TextIO) -> int:
    """Put a chart's archive into the repo, from its repository or from a file."""
    from fleet.source.charthost import archive_of, releases_of

    if file is not None:
        content, source = file.read_bytes(), f"file:{file.name}"
    else:
        release = next((one for one in releases_of(repository, name) if one.version == version), None)
        if release is None:
            raise NotKnown(
                f"{repository} has no chart {name} {version}", next_step=f"helm search repo {name} --versions"
            )
        content, source = archive_of(release), repository
        if release.digest and digest_of_archive(content) != f"sha256:{release.digest.removeprefix('sha256:')}":
            raise ChartInvalid(
                f"the archive of {name} {version} is not the one that its index names",
                where=release.url,
                why="its digest differs",
                next_step="ask those who run the repository; nothing was written",
            )
    _check_chart(content, name, version, source)
    folder = _inside(root, to or "charts")
    target = f"{folder}/{name}-{version}.tgz".removeprefix("./")
    path = root / target
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in _copies(root):
        if old.kind == "chart" and old.name == name and old.path.rpartition("/")[0] == folder and old.path != target:
            (root / old.path).unlink(missing_ok=True)
    path.write_bytes(content)
    _keep(root, Copy("chart", target, source, digest_of_archive(content), name=name, version=version))
    say(f"{name} {version} ({len(content) / 1024:.0f} KiB) in {target}", out)
    say("Next: fleet plan shows what it changes; the hub builds it where FLEET_ALLOW_CHARTS is set", out)
    return 0


def check(root: Path, out: TextIO, *, offline: bool) -> int:
    """Compare copies with the lock and with where they came from; 1 if anything differs."""
    copies = _copies(root)
    differs = False
    for copy in copies:
        shown = f"{copy.name} {copy.version}" if copy.kind == "chart" else f"{copy.url} {copy.ref}"
        found = _digest(root, copy)
        if found != copy.digest:
            differs = True
            say(f"CHANGED  {copy.path}: {'not what was copied' if found else 'gone'} ({shown})", out)
            say(f"         next: git restore {copy.path}, or remove it and vendor it again", out)
            continue
        moved = "" if offline else _moved(copy)
        differs |= bool(moved)
        say(f"{'MOVED  ' if moved else 'same   '}  {copy.path}: {moved or shown}", out)
    if not copies:
        say(f"nothing is vendored: there is no {LOCK_FILE}", out)
    return 1 if differs else 0


def _moved(copy: Copy) -> str:
    """What its source says now, "" where that is what was copied."""
    from fleet.source.charthost import releases_of
    from fleet.source.remote import commit_named

    try:
        if copy.kind == "base":
            with tempfile.TemporaryDirectory(prefix="fleet-vendor-") as folder:
                now = commit_named(copy.url, copy.ref, Path(folder))
            if now is None and copy.commit.startswith(copy.ref):
                return ""  # a commit cannot move
            if now is None:
                return f"{copy.ref} is gone from {copy.url}"
            return "" if now == copy.commit else f"{copy.ref} is {now[:7]} there now, copied was {copy.commit[:7]}"
        if copy.url.startswith("file:"):
            return ""
        releases = releases_of(copy.url, copy.name)
    except FleetError as error:
        return f"not checked: {error.brief}"
    same = next((one for one in releases if one.version == copy.version), None)
    if same is None:
        return f"{copy.name} {copy.version} is gone from {copy.url}"
    if same.digest and f"sha256:{same.digest.removeprefix('sha256:')}" != copy.digest:
        return f"{copy.name} {copy.version} is another archive there now"
    newest = releases[0].version
    return "" if newest == copy.version else f"{copy.name} {newest} is out, copied was {copy.version}"


def _check_chart(content: bytes, name: str, version: str, source: str) -> None:
    from fleet.render.charts import Room, read_archive
    from fleet.render.limits import RunLimits

    files = read_archive(content, source, Room.within(RunLimits()))
    try:
        about: Document = yaml.safe_load(files["Chart.yaml"]) or {}
    except yaml.YAMLError as error:
        raise ChartInvalid("Chart.yaml does not read", where=source, next_step="take another version") from error
    said = text_at(about, "name"), str(about.get("version", ""))
    if said != (name, version):
        raise ChartInvalid(
            f"this is not {name} {version}",
            where=source,
            why=f"its Chart.yaml says {said[0]} {said[1]}",
            next_step="give the name and version that it has",
        )
    inside = {path.split("/")[1] for path in files if path.startswith("charts/")}
    for needed in documents_at(about, "dependencies"):
        called = text_at(needed, "name")
        if not any(part == called or part.startswith(f"{called}-") for part in inside):
            raise ChartInvalid(
                f"{name} {version} lacks the chart {called} that it depends on",
                where=source,
                why="helm would fetch it from the network at each build",
                next_step="helm pull --untar, helm dependency build, helm package, then --file",
            )


def _digest(root: Path, copy: Copy) -> str:
    path = root / copy.path
    if copy.kind == "chart":
        return digest_of_archive(path.read_bytes()) if path.is_file() else ""
    if not path.is_dir():
        return ""
    files: dict[str, tuple[bool, bytes]] = {}
    for found in path.rglob("*"):
        if found.is_symlink():
            files[found.relative_to(path).as_posix()] = True, str(found.readlink()).encode(errors="surrogateescape")
        elif found.is_file():
            files[found.relative_to(path).as_posix()] = False, found.read_bytes()
    return digest_of_files(files)


def _write_tree(target: Path, files: Mapping[str, tuple[bool, bytes]]) -> None:
    """Replace a directory by these files, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".vendor-", dir=target.parent))
    try:
        for name, (is_link, content) in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if is_link:
                path.symlink_to(content.decode(errors="surrogateescape"))
            else:
                path.write_bytes(content)
        if target.exists():
            shutil.rmtree(target)
        fresh.chmod(0o755)
        fresh.replace(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _check_replaceable(root: Path, target: str, base: BaseRef) -> None:
    """What is there already goes only if it is, file by file, an earlier copy of the same base."""
    path = root / target
    copies = _copies(root)
    around = next((copy.path for copy in copies if copy.kind == "base" and target.startswith(f"{copy.path}/")), "")
    if around:
        why, next_step = f"{around} is a copy of its own, which it would change", "give --to another directory"
    elif not path.exists() or (path.is_dir() and not any(path.iterdir())):
        return
    else:
        copy = next((one for one in copies if one.kind == "base" and one.path == target), None)
        if copy is None:
            why, next_step = f"{LOCK_FILE} does not list it, so it is no copy", "give --to another directory"
        elif (copy.url, copy.directory) != (base.url, base.directory):
            source = f"{copy.url}//{copy.directory}".removesuffix("//")
            why, next_step = f"it is a copy of {source}", "give --to another directory"
        elif _digest(root, copy) != copy.digest:
            why, next_step = "it was changed since it was copied", f"git restore {target}, or remove it"
        else:
            return
    raise UsageInvalid(f"{target} is there and is not replaced", where=str(path), why=why, next_step=next_step)


def _inside(root: Path, to: str) -> str:
    """A directory of the repo that is not the repo itself, as a repo path."""
    path = (root / to).resolve()
    if not path.is_relative_to(root.resolve()) or path == root.resolve() or ".git" in path.parts:
        raise UsageInvalid(f"{to} is no directory inside this repo", next_step="give --to DIRECTORY")
    return path.relative_to(root.resolve()).as_posix()


def _copies(root: Path) -> tuple[Copy, ...]:
    path = root / LOCK_FILE
    if not path.exists():
        return ()
    try:
        return copies_in(yaml.safe_load(path.read_bytes()) or {})
    except (yaml.YAMLError, OSError) as error:
        raise UsageInvalid(f"{LOCK_FILE} does not read", next_step="bring it back from Git") from error


def _keep(root: Path, copy: Copy) -> None:
    lock = lock_of(with_copy(_copies(root), copy))
    (root / LOCK_FILE).write_text(_HEAD + yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
