"""A commit in memory for tests of the inventory: real Git object ids, no Git."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from textwrap import dedent

from testbed.gitrepo import Link, Submodule

from fleet.core.ids import Revision
from fleet.inventory.load import Loaded, load_fleet
from fleet.ports.source import TreeEntry

Content = str | bytes | Link | Submodule
API = "apiVersion: fleet.internal/v1\n"
KUSTOMIZATION = "kind: Kustomization\nresources: []\n"
COMPONENT = "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"


class MemorySnapshot:
    """Implements ports.source.Snapshot over texts, links and submodules."""

    def __init__(self, files: Mapping[str, Content]) -> None:
        self.files: dict[str, bytes] = {}
        self.tree: dict[str, TreeEntry] = {}
        for path, content in files.items():
            if isinstance(content, Submodule):
                self.tree[path] = TreeEntry("160000", content.revision)
                continue
            text = content.target if isinstance(content, Link) else content
            self.files[path] = text if isinstance(text, bytes) else text.encode()
            self.tree[path] = TreeEntry("120000" if isinstance(content, Link) else "100644", _blob_id(self.files[path]))
        self.reads: list[str] = []

    @property
    def revision(self) -> Revision:
        text = repr(sorted((path, entry.mode, entry.oid) for path, entry in self.tree.items()))
        return Revision(hashlib.sha1(text.encode()).hexdigest())

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return self.files[path]

    def read_many(self, paths: Sequence[str]) -> Mapping[str, bytes]:
        return {path: self.read(path) for path in paths}


def _blob_id(raw: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(raw) + raw).hexdigest()


def fleet(spec: str = "{}", name: str = "acme") -> str:
    return f"{API}kind: Fleet\nmetadata: {{name: {name}}}\nspec:\n{_indent(spec)}"


def cluster(name: str, spec: str = "{environment: prod}", labels: str = "{}") -> str:
    return f"{API}kind: Cluster\nmetadata: {{name: {name}, labels: {labels}}}\nspec:\n{_indent(spec)}"


def overlay(spec: str = "{}", name: str = "") -> str:
    named = f"metadata: {{name: {name}}}\n" if name else ""
    return f"{API}kind: Overlay\n{named}spec:\n{_indent(spec)}"


def _indent(text: str) -> str:
    return "".join(f"  {line}\n" for line in dedent(text).strip("\n").split("\n"))


def load(files: Mapping[str, Content], previous: Loaded | None = None) -> Loaded:
    return load_fleet(MemorySnapshot(files), previous)


def small_repo() -> dict[str, str]:
    """Two clusters, one overlay on both, with a directory for prod alone."""
    return {
        "clusters/dev-1.yaml": cluster("dev-1", "{environment: dev}"),
        "clusters/eu-1.yaml": cluster("eu-1", "{environment: prod}"),
        "overlays/web/overlay.yaml": overlay("clusters: [{all: true}]"),
        "overlays/web/kustomization.yaml": KUSTOMIZATION,
        "overlays/web/prod/kustomization.yaml": KUSTOMIZATION,
    }


def units_of(loaded: Loaded) -> dict[str, str]:
    """Path by unit."""
    return {str(name): unit.path for name, unit in loaded.fleet.units.items()}


def said(loaded: Loaded) -> list[str]:
    """All problems in one line each."""
    return [f"{p.severity.value} {p.reason} {p.origin}: {p.what}" for p in loaded.fleet.problems]
