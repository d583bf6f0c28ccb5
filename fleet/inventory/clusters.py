"""All Cluster files of a commit, and what they come to together: one entry per name and identity (R2)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping

from fleet.core.fleet import Cluster, Environment, OverlayUse
from fleet.core.ids import ClusterName, Identity, OverlayName
from fleet.core.nearest import nearest
from fleet.core.problems import Problem, Severity
from fleet.core.targets import RESERVED_CLUSTER_NAMES
from fleet.inventory.content import contents
from fleet.inventory.convert import FleetSettings
from fleet.inventory.files import is_cluster_file
from fleet.inventory.read import ClusterFileResult, read_cluster_file
from fleet.ports.source import Snapshot, TreeEntry
from fleet.values import dataclass, field

_EFFECT = "it stays as it was; nothing is deleted, all other clusters go on"


@dataclass(slots=True)
class ClusterShelf:
    """The files below clusters/ by path, each read once per content, and what each defined when it was last good."""

    files: dict[str, tuple[TreeEntry, ClusterFileResult]] = field(
        default_factory=dict[str, "tuple[TreeEntry, ClusterFileResult]"]
    )
    names: dict[str, frozenset[ClusterName]] = field(default_factory=dict[str, "frozenset[ClusterName]"])
    skipped: int = 0

    def carried(self, snapshot: Snapshot, directory: str, changed: Collection[str] | None) -> ClusterShelf:
        """The shelf of another commit; changed None: look at all of the tree."""
        if changed is not None and not any(is_cluster_file(path, directory) for path in changed):
            return self
        wanted = [path for path in (snapshot.tree if changed is None else changed) if is_cluster_file(path, directory)]
        files = {} if changed is None else dict(self.files)
        names = {} if changed is None else dict(self.names)
        present = [path for path in wanted if path in snapshot.tree]
        for path in wanted:
            files.pop(path, None)
            names.pop(path, None)
        unread: list[str] = []
        for path in present:
            known = self.files.get(path)
            if known is not None and known[0] == snapshot.tree[path]:
                files[path] = known
            else:
                unread.append(path)
        for path, content in contents(snapshot, unread):
            files[path] = (snapshot.tree[path], read_cluster_file(path, content))
        for path in present:
            result = files[path][1]
            before = self.names.get(path)
            if result.nameless is None:
                names[path] = result.names
            elif before is not None:
                names[path] = before | result.names
        return ClusterShelf(files, names, sum(result.skipped for _, result in files.values()))

    def same_as(self, other: ClusterShelf) -> bool:
        """Whether both hold the very same results."""
        return self is other or self.files == other.files


@dataclass(frozen=True, slots=True)
class JoinedClusters:
    """The clusters that can be used, those that cannot, and why."""

    clusters: Mapping[ClusterName, Cluster]
    unknown: Mapping[ClusterName, Problem]
    unnamed: tuple[Problem, ...]
    problems: tuple[Problem, ...]
    identities: Mapping[Identity, ClusterName]  # that entries say which cannot be used

    def uses_of(self, names: Collection[ClusterName]) -> list[OverlayUse]:
        """The overlays that these clusters name."""
        return [use for name in names if name in self.clusters for use in self.clusters[name].overlays]

    def naming_problems(
        self, overlays: Mapping[OverlayName, object], unknown: Mapping[OverlayName, object]
    ) -> dict[ClusterName, Problem]:
        """Clusters that name an overlay which is not in this commit: the units meant are not known."""
        incomplete: dict[ClusterName, Problem] = {}
        for cluster in self.clusters.values():
            for use in cluster.overlays:
                if use.name in overlays or use.name in unknown or cluster.name in incomplete:
                    continue
                close = nearest(use.name, [str(name) for name in overlays])
                incomplete[cluster.name] = Problem(
                    Severity.ERROR,
                    "FieldInvalid",
                    f"Cluster {cluster.name} names overlay {use.name}, which does not exist",
                    use.origin,
                    why="no overlay directory and no entry of fleet.yaml has this name",
                    effect=f"what runs on {cluster.name} and is not named any more is kept; nothing is deleted",
                    next_step=f"did you mean {close}?" if close else "correct the name, or take it out",
                )
        return incomplete


def moved_clusters(before: JoinedClusters, after: JoinedClusters) -> set[ClusterName] | None:
    """Clusters whose own units alone must be resolved anew; None where what targets ask for changed."""
    if before is after:
        return set()
    if before.clusters.keys() != after.clusters.keys() or before.unknown.keys() != after.unknown.keys():
        return None
    if bool(before.unnamed) != bool(after.unnamed):
        return None
    moved = {name for name, cluster in after.clusters.items() if cluster != before.clusters[name]}
    for name in moved:
        old, new = before.clusters[name], after.clusters[name]
        if (old.environment, old.location, old.labels) != (new.environment, new.location, new.labels):
            return None
    return moved


def join_clusters(shelf: ClusterShelf, settings: FleetSettings) -> JoinedClusters:
    """Join all files. Duplicate names or identities stop all that carry them, and nobody else."""
    by_name: defaultdict[ClusterName, list[Cluster]] = defaultdict(list)
    problems: list[Problem] = []
    unknown: dict[ClusterName, Problem] = {}
    unnamed: list[Problem] = []
    for path in sorted(shelf.files):
        result = shelf.files[path][1]
        problems.extend(result.problems)
        for cluster in result.clusters:
            by_name[cluster.name].append(cluster)
    for path in sorted(shelf.files):
        result = shelf.files[path][1]
        unknown.update(result.unknown)
        if result.nameless is None:
            continue
        if path not in shelf.names:
            unnamed.append(result.nameless)
        for name in shelf.names.get(path, frozenset()) - result.names:
            if name not in by_name:
                unknown[name] = result.nameless
    misnamed = {**_duplicate_names(by_name), **_refused_names(by_name, settings.environments)}
    # Whoever got a wrong name had another one before, and that one is not gone.
    unnamed.extend(dict.fromkeys(misnamed.values()))
    refused = {**misnamed, **_duplicate_identities(by_name), **_unknown_environments(by_name, settings)}
    problems.extend(dict.fromkeys(refused.values()))
    unknown.update(refused)
    clusters = {name: found[0] for name, found in sorted(by_name.items()) if name not in unknown}
    identities = {one.identity: name for name in refused for one in by_name[name] if one.identity is not None}
    return JoinedClusters(clusters, unknown, tuple(unnamed), tuple(problems), identities)


def _duplicate_names(by_name: Mapping[ClusterName, list[Cluster]]) -> dict[ClusterName, Problem]:
    return {
        name: Problem(
            Severity.ERROR,
            "DuplicateName",
            f"Cluster {name} is defined {len(found)} times",
            found[1].origin,
            also=(found[0].origin, *(other.origin for other in found[2:])),
            why="names are unique in a fleet",
            effect=f"{name} stays as it was; nothing is deleted, all other clusters go on",
            next_step="rename or remove one of them",
        )
        for name, found in by_name.items()
        if len(found) > 1
    }


def _duplicate_identities(by_name: Mapping[ClusterName, list[Cluster]]) -> dict[ClusterName, Problem]:
    by_identity: defaultdict[str, list[Cluster]] = defaultdict(list)
    for found in by_name.values():
        if found[0].identity is not None:
            by_identity[found[0].identity].append(found[0])
    refused: dict[ClusterName, Problem] = {}
    for identity, found in by_identity.items():
        if len(found) < 2:
            continue
        names = " and ".join(str(cluster.name) for cluster in found)
        problem = Problem(
            Severity.ERROR,
            "DuplicateName",
            f"{names} have one identity, {identity}",
            found[1].origin,
            also=(found[0].origin, *(other.origin for other in found[2:])),
            why="an identity is the UID of one cluster's kube-system namespace",
            effect="none of them is written to; nothing is deleted, all other clusters go on",
            next_step="correct the identity, or remove one of them",
        )
        refused.update({cluster.name: problem for cluster in found})
    return refused


def _refused_names(
    by_name: Mapping[ClusterName, list[Cluster]], environments: tuple[Environment, ...]
) -> dict[ClusterName, Problem]:
    stages = {stage.name for stage in environments}
    stages |= {cluster.environment for found in by_name.values() for cluster in found}
    return {
        name: Problem(
            Severity.ERROR,
            "NameInvalid",
            f"a cluster may not be called {name}",
            found[0].origin,
            why="it is the name of an environment" if name in stages else "it is the usual name of a shared directory",
            effect=_EFFECT,
            next_step="give it another name",
        )
        for name, found in by_name.items()
        if name in stages or name in RESERVED_CLUSTER_NAMES
    }


def _unknown_environments(
    by_name: Mapping[ClusterName, list[Cluster]], settings: FleetSettings
) -> dict[ClusterName, Problem]:
    if not settings.declared_environments:
        return {}
    stages = [stage.name for stage in settings.environments]
    refused: dict[ClusterName, Problem] = {}
    for name, found in by_name.items():
        wanted = found[0].environment
        if not wanted or wanted in stages:
            continue
        close = nearest(wanted, stages)
        refused[name] = Problem(
            Severity.ERROR,
            "FieldInvalid",
            f"Cluster {name} is in environment {wanted}, which fleet.yaml does not have",
            found[0].origin,
            also=(settings.origin,),
            why=f"there are {', '.join(stages)}",
            effect=_EFFECT,
            next_step=f"did you mean {close}?" if close else "add it to environments in fleet.yaml",
        )
    return refused
