"""A commit made of a directory or of texts, in memory: what the render tests read as a Snapshot."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fleet.core.ids import Digest, Revision
from fleet.core.objects import Bundle
from fleet.ports.render import RenderRequest
from fleet.ports.source import TreeEntry
from fleet.render.service import Renderer
from fleet.render.tools import Tool


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class MemorySnapshot:
    """Implements fleet.ports.source.Snapshot; `reads` lists what was asked for."""

    def __init__(self, files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> None:
        self._contents = {
            **files,
            **{path: target.encode(errors="surrogateescape") for path, target in (links or {}).items()},
        }
        self.tree = {path: TreeEntry("100644", git_oid(content)) for path, content in files.items()}
        for path, target in (links or {}).items():
            self.tree[path] = TreeEntry("120000", git_oid(target.encode(errors="surrogateescape")))
        summary = "".join(f"{path} {entry.mode} {entry.oid}\n" for path, entry in sorted(self.tree.items()))
        self.revision = Revision(hashlib.sha1(summary.encode()).hexdigest())
        self.reads: list[str] = []

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return self._contents[path]

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        return {path: self.read(path) for path in paths}


def commit(texts: Mapping[str, str], links: Mapping[str, str] | None = None) -> MemorySnapshot:
    return MemorySnapshot({path: text.encode() for path, text in texts.items()}, links)


def commit_of(directory: Path, below: str = "") -> MemorySnapshot:
    """All files of a directory on disk."""
    files: dict[str, bytes] = {}
    links: dict[str, str] = {}
    for place, names, found in os.walk(directory / below):
        names[:] = [name for name in names if name != ".git"]
        for name in [*found, *(name for name in names if (Path(place) / name).is_symlink())]:
            path = Path(place) / name
            shown = path.relative_to(directory).as_posix()
            if path.is_symlink():
                links[shown] = os.readlink(path)
            else:
                files[shown] = path.read_bytes()
    return MemorySnapshot(files, links)


class MemoryVault:
    """Implements fleet.ports.render.Vault; a sweep lets go at once what nothing in use has."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.uses: dict[Digest, frozenset[str]] = {}

    async def put(self, result: Digest, values: Mapping[str, bytes]) -> None:
        self.values.update(values)
        self.uses[result] = frozenset(values)

    async def get(self, names) -> Mapping[str, bytes]:
        return {name: self.values[name] for name in names if name in self.values}

    async def use(self, result: Digest, names) -> bool:
        if self.values.keys() >= set(names):
            self.uses[result] = frozenset(names)
            return True
        return False

    async def unknown(self, results) -> Sequence[Digest]:
        return [result for result in results if result not in self.uses]

    async def sweep(self, in_use) -> int:
        self.uses = {result: names for result, names in self.uses.items() if result in in_use}
        gone = self.values.keys() - frozenset[str]().union(*self.uses.values())
        for name in gone:
            del self.values[name]
        return len(gone)


KEY = b"installation key of the tests..."


class World:
    """A renderer with its last snapshot, for tests that change a file and ask again."""

    def __init__(self, renderer: Renderer) -> None:
        self.renderer = renderer

    async def render(self, texts: Mapping[str, str], path: str = "app", **asked: Any) -> Bundle:
        links = asked.pop("links", None)
        return await self.renderer.render(commit(texts, links), RenderRequest(path, **asked))

    async def builds_for(self, texts: Mapping[str, str], path: str = "app", **asked: Any) -> int:
        """How many runs of kustomize this needed."""
        before = self.renderer.stats.builds
        await self.render(texts, path, **asked)
        return self.renderer.stats.builds - before


def config_map(name: str = "settings", namespace: str = "shop", **data: str) -> str:
    lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in data.items())
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\n  namespace: {namespace}\n" + (
        f"data:\n{lines}" if data else ""
    )


def bodies(bundle: Bundle) -> dict[str, Any]:
    """Documents by `Kind/name`."""
    return {f"{made.ref.kind}/{made.ref.name}": json.loads(made.body) for made in bundle.objects}


SMALL = {"app/kustomization.yaml": "resources: [settings.yaml]\n", "app/settings.yaml": config_map(size="small")}
SETTINGS = '"$2/settings.yaml"'  # its one file, in the directory that the tool is given


def script_tool(tmp_path: Path, body: str) -> Tool:
    """A shell script in the place of kustomize."""
    script = tmp_path / "kustomize"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return Tool(str(script), ("build",), "kustomize v5.9.9", "v5.9.9", Digest("1" * 64))
