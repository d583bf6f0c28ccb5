"""`fleet init` on a repo that has kustomizations: read how it is laid out, write fleet.yaml, move nothing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TextIO, cast

from fleet.cli.output import clean
from fleet.cli.problems import counted
from fleet.core.documents import Document, Json, canonical, text_at
from fleet.core.hints import ARGO_GROUP, FLUX_GROUP, Doubt, Manifest, read_hints
from fleet.core.ids import is_dns_label
from fleet.core.layouts import Kustomized, Proposal, ProposedCluster, ProposedOverlay, Target, propose
from fleet.core.symlinks import EscapesCommit, What
from fleet.errors import DocumentInvalid, UsageInvalid
from fleet.inventory.schema import API_VERSION
from fleet.inventory.worktree import WorkingTree
from fleet.inventory.yamlfile import YamlRefused, read_documents
from fleet.ports.source import LINK_MODE
from fleet.render.closure import read_closure
from fleet.render.mentions import FILE_NAMES, Role
from fleet.render.reader import Reader
from fleet.render.tree import CommitTree

_MARKS = (FLUX_GROUP.encode(), ARGO_GROUP.encode(), b"source.extensions.fluxcd.io", API_VERSION.encode())
_PLAIN = re.compile(r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z][A-Za-z0-9_./-]*\Z", re.IGNORECASE)
_HEAD = """\
# Written by fleet init from what lies in this repo: no other file was touched. Change it as you like.
apiVersion: fleet.internal/v1
kind: Fleet
metadata: {{name: {name}}} # the installation's id: it is on every object that the hub writes
spec:
"""


def has_kustomizations(tree: WorkingTree) -> bool:
    """Whether there is anything to recognise."""
    return any(path.rpartition("/")[2] in FILE_NAMES for path in tree.tree)


def recognise(tree: WorkingTree) -> tuple[Proposal, int, int]:
    """The proposal for a checkout, how many kustomizations were read, and how many of them are Components."""
    found = list(_kustomizations(tree))
    manifests, known, unread = _manifests(tree)
    hints = read_hints(manifests, {one.directory for one in found if not one.is_component})
    proposal = propose(found, hints, known)
    doubts = tuple(sorted({*proposal.doubts, *unread}, key=lambda doubt: (doubt.where, doubt.what)))
    whole = Proposal(
        proposal.environments, proposal.overlays, proposal.globs, proposal.alone, proposal.clusters, doubts
    )
    return whole, len(found), sum(one.is_component for one in found)


def write_recognised(tree: WorkingTree, out: TextIO, *, name: str, explain: bool) -> int:
    """Write fleet.yaml and a file for each cluster that the repo tells of; with `explain` also what is in doubt.

    Raises UsageInvalid, nothing written, where a file of ours is there or nothing was understood. With a fleet.yaml
    there, `explain` alone looks and writes nothing.
    """
    proposal, read, components = recognise(tree)
    root = tree.root
    overlays = len(proposal.overlays) + len(proposal.alone)
    files = {"fleet.yaml": fleet_text(proposal, name)}
    files |= {f"clusters/{cluster.name}.yaml": cluster_text(cluster) for cluster in proposal.clusters}
    there = [path for path in files if (root / path).exists() or (root / path).is_symlink()]
    _tell_read(proposal, read, components, out)
    if explain and "fleet.yaml" in there:
        _explain(proposal.doubts, out)
        out.write("fleet.yaml is there already; nothing was written\n")
        return 0
    if there:
        raise UsageInvalid(
            f"{there[0]} is there already; nothing was written",
            where=str(root),
            next_step="fleet validate; what init would say now: fleet init --explain",
        )
    if not overlays:
        _explain(proposal.doubts, out)
        raise UsageInvalid(
            "nothing here was understood; nothing was written",
            where=str(root),
            why=f"{read} kustomizations were read, and none of them can be deployed by itself",
            next_step="write a fleet.yaml by hand (docs/reference/fleet-repo.md), or begin in an empty directory",
        )
    for path, text in files.items():
        full = root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        with full.open("x", encoding="utf-8") as file:
            file.write(text)
    _tell_written(proposal, overlays, out)
    if explain:
        _explain(proposal.doubts, out)
    return 0


def _tell_read(proposal: Proposal, read: int, components: int, out: TextIO) -> None:
    named = len({path for one in proposal.overlays for path in one.directories})
    rest = read - named - len(proposal.alone) - components
    out.write(
        f"Read {counted(read, 'kustomization')}: {named} in {counted(len(proposal.overlays), 'named overlay')}, "
        f"{len(proposal.alone)} by themselves; {counted(components, 'component')}; {rest} bases or in doubt.\n"
    )


def _tell_written(proposal: Proposal, overlays: int, out: TextIO) -> None:
    doubts = f"Not understood, or left out: {len(proposal.doubts)} (fleet init --explain)" if proposal.doubts else ""
    files = counted(len(proposal.clusters), "file")
    told = f" and {files} below clusters/ (mode observe)" if proposal.clusters else ""
    clusters = "" if proposal.clusters else "No cluster yet. "
    out.write(f"Wrote fleet.yaml ({counted(overlays, 'overlay')}){told}. {clusters}{doubts}".rstrip() + "\n")
    stage = f" --environment {proposal.environments[-1]}" if proposal.environments else ""
    out.write("Next: fleet validate, then  " + f"fleet cluster add NAME --context CONTEXT{stage}\n")


def _explain(doubts: Sequence[Doubt], out: TextIO) -> None:
    for doubt in doubts:
        out.write(clean(doubt.where) + "\n")
        for text in filter(None, (doubt.what, f"why   {doubt.why}", doubt.next_step and f"next  {doubt.next_step}")):
            lines = textwrap.wrap(clean(text), 106, subsequent_indent="      ", break_on_hyphens=False)
            out.writelines(f"  {line}\n" for line in lines)


def fleet_text(proposal: Proposal, name: str) -> str:
    """fleet.yaml for a proposal."""
    lines = [_HEAD.format(name=name)]
    if proposal.environments:
        stages = ", ".join(map(_flow, proposal.environments))
        lines.append(f"  environments: [{stages}] # in the order of promotion\n")
    lines.append("  overlays:\n")
    lines += [f"    - {_flow(_overlay(one))}\n" for one in proposal.overlays]
    if proposal.globs:
        lines.append("    # Each directory is an overlay; it runs where a Cluster names it.\n")
        lines += [f'    - {{dirs: {_flow(glob)}, paths: ["."]}}\n' for glob in proposal.globs]
    return "".join(lines)


def _overlay(one: ProposedOverlay) -> Document:
    found: Document = {"name": one.name, "path": one.path}
    if one.targets:
        found["clusters"] = [_target(target) for target in one.targets]
    if one.depends_on:
        found["dependsOn"] = list(one.depends_on)
    return found


def _target(target: Target) -> Document:
    found: Document = {}
    if target.environments:
        found["environments"] = list(target.environments)
    if target.names:
        found["names"] = list(target.names)
    if target.labels:
        found["matchLabels"] = dict(target.labels)
    if target.path:
        found["path"] = target.path
    return found


def cluster_text(cluster: ProposedCluster) -> str:
    """A cluster file: what the repo tells, and nothing is written to it before somebody says so."""
    labels = f", labels: {{region: {_flow(cluster.region)}}}" if cluster.region else ""
    stage = f"  environment: {_flow(cluster.environment)}\n" if cluster.environment else ""
    return (
        "apiVersion: fleet.internal/v1\nkind: Cluster\n"
        f"metadata: {{name: {_flow(cluster.name)}{labels}}}\nspec:\n{stage}"
        "  mode: observe # render, compare, report; write nothing. When you trust it: manage\n"
    )


def _flow(value: Json) -> str:
    """YAML in one line; text is quoted where it could be read as something else."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.match(value):
        return value
    return canonical(value).decode()


def _kustomizations(tree: WorkingTree) -> Iterator[Kustomized]:
    commit, reader = CommitTree(tree), Reader()
    for path in sorted(tree.tree):
        directory, _, name = path.rpartition("/")
        if name not in FILE_NAMES:
            continue
        shown = directory or "."
        try:
            read = reader.kustomization(commit, path)
        except DocumentInvalid as error:
            yield Kustomized(shown, trouble=f"{error.what}: {error.why}".rstrip(": "), where=path)
            continue
        uses: list[str] = []
        for mention in read.mentions:
            if mention.role in (Role.RESOURCE, Role.COMPONENT):
                try:
                    place = commit.resolve(directory, mention.text)
                except EscapesCommit:
                    continue
                if place.what in (What.FILE, What.DIRECTORY):
                    uses.append(place.path or ".")
        error = None if read.kind == "Component" else read_closure(commit, reader, directory).error
        trouble = f"{error.what}: {error.why}".rstrip(": ") if error else ""
        yield Kustomized(shown, read.kind == "Component", tuple(uses), trouble, error.where if error else "")


def _manifests(tree: WorkingTree) -> tuple[list[Manifest], set[str], list[Doubt]]:
    """Objects of Flux and Argo CD, names of clusters that are described already, and files that cannot be read."""
    found: list[Manifest] = []
    known: set[str] = set()
    doubts: list[Doubt] = []
    for path, entry in tree.tree.items():
        if not path.endswith((".yaml", ".yml")) or entry.mode == LINK_MODE:
            continue
        raw = tree.read(path)
        if not any(mark in raw for mark in _MARKS):
            continue
        try:
            for document in read_documents(raw):
                if isinstance(document.value, dict):
                    one = Manifest(path, document.spot.line, cast("Document", document.value))
                    found.append(one)
                    name = text_at(one.document, "metadata", "name")
                    if one.kind == ("fleet.internal", "Cluster") and is_dns_label(name):
                        known.add(name)
        except YamlRefused as error:
            if b"CustomResourceDefinition" not in raw:
                doubts.append(Doubt(f"{path}:{error.line}", f"{path} is not read for hints", error.what))
    return found, known, doubts
