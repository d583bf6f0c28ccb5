"""Which overlay goes to which cluster, with which path, components and values.

Pure: it knows the repo's directories only through a function that says what one of them holds. Names beat selectors;
within one rank all matching targets must agree on path and values, and their components add up.
"""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum

from fleet.core.documents import Json, canonical
from fleet.core.fleet import Cluster
from fleet.core.ids import ClusterName
from fleet.core.problems import Origin
from fleet.core.selection import Target, Variable
from fleet.values import dataclass, field

RESERVED_CLUSTER_NAMES = ("base", "components")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_KNOWN_PLACEHOLDERS = ("cluster", "environment", "location")


class Holding(Enum):
    """What a directory of the commit holds."""

    NOTHING = "nothing"
    KUSTOMIZATION = "kustomization"
    COMPONENT = "component"
    LINK = "link"  # or a submodule: what lies behind it is not known


class ClusterIndex:
    """Clusters by what targets ask for, so that a selection costs as much as it finds."""

    def __init__(self, clusters: Mapping[ClusterName, Cluster]) -> None:
        self.clusters = clusters
        by_environment: defaultdict[str, list[Cluster]] = defaultdict(list)
        by_label: defaultdict[tuple[str, str], list[Cluster]] = defaultdict(list)
        for cluster in clusters.values():
            by_environment[cluster.environment].append(cluster)
            for label in cluster.labels.items():
                by_label[label].append(cluster)
        self.by_environment: Mapping[str, Sequence[Cluster]] = by_environment
        self.by_label: Mapping[tuple[str, str], Sequence[Cluster]] = by_label

    def candidates(self, target: Target) -> Iterable[Cluster]:
        """A superset of what the target matches, as small as one criterion makes it."""
        if target.names:
            return [self.clusters[name] for name in dict.fromkeys(target.names) if name in self.clusters]
        if target.match_labels:
            return min((self.by_label.get(label, ()) for label in target.match_labels.items()), key=len)
        if target.environments:
            stages = dict.fromkeys(target.environments)
            return [cluster for stage in stages for cluster in self.by_environment.get(stage, ())]
        return self.clusters.values() if target.all else ()

    def label_values(self, key: str) -> list[str]:
        """The values that some cluster has for a label, sorted."""
        return sorted({value for (name, value), found in self.by_label.items() if name == key and found})

    def label_keys(self) -> list[str]:
        """The labels that some cluster has, sorted."""
        return sorted({name for (name, _), found in self.by_label.items() if found})


def has_criterion(target: Target) -> bool:
    """A target must say whom it means; an exception alone is no criterion."""
    return target.all or bool(target.names or target.environments or target.match_labels)


def matches(target: Target, cluster: Cluster) -> bool:
    """All criteria that are given must hold."""
    if not has_criterion(target) or cluster.name in target.excluded:
        return False
    if target.names and cluster.name not in target.names:
        return False
    if target.environments and cluster.environment not in target.environments:
        return False
    return all(cluster.labels.get(key) == value for key, value in target.match_labels.items())


def selected(targets: Sequence[Target], index: ClusterIndex) -> dict[ClusterName, tuple[Target, ...]]:
    """The clusters that at least one target matches, each with all its targets in their order in the file."""
    found: defaultdict[ClusterName, list[Target]] = defaultdict(list)
    for target in targets:
        for cluster in index.candidates(target):
            if matches(target, cluster):
                found[cluster.name].append(target)
    return {name: tuple(which) for name, which in found.items()}


@dataclass(frozen=True, slots=True)
class Choice:
    """What the matching targets say together. `path` is "" where the overlay's templates decide."""

    origin: Origin  # of the target that decides: of the highest rank, the first
    path: str = ""
    components: tuple[str, ...] = ()
    variables: Mapping[str, Variable] = field(default_factory=dict[str, Variable])


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two targets of one rank that say different things about one cluster."""

    subject: str  # "path", "variable replicas"
    first: Origin
    second: Origin


def choice_of(targets: Sequence[Target]) -> Choice | Contradiction:
    """Join the targets that match one cluster; at least one. Those with names rank above those without."""
    ranks = ([t for t in targets if not t.names], [t for t in targets if t.names])
    path, path_origin = "", (ranks[1] or ranks[0])[0].origin
    components: dict[str, None] = {}
    variables: dict[str, Variable] = {}
    for rank in ranks:  # the higher rank last: it wins
        paths = [t for t in rank if t.path]
        for other in paths[1:]:
            if other.path != paths[0].path:
                return Contradiction("path", paths[0].origin, other.origin)
        if paths:
            path, path_origin = paths[0].path, paths[0].origin
        values: dict[str, Variable] = {}
        for target in rank:
            components.update(dict.fromkeys(target.components))
            for name, variable in target.variables.items():
                known = values.setdefault(name, variable)
                if not same_value(known.value, variable.value):
                    return Contradiction(f"variable {name}", known.origin, variable.origin)
        variables.update(values)
    return Choice(path_origin, path, tuple(components), variables)


def same_value(one: Json, other: Json) -> bool:
    """Equal and of the same type all the way down: true is not 1, and 1 is not 1.0."""
    return canonical(one) == canonical(other)


@dataclass(frozen=True, slots=True)
class Expansion:
    """A path template for one cluster: the path, and in words what chose it. No path: `missing` says why."""

    path: str | None
    rule: str = ""
    missing: str = ""


def placeholders(template: str) -> list[str]:
    """The names between braces, in order."""
    return _PLACEHOLDER.findall(template)


def is_known_placeholder(name: str) -> bool:
    """cluster, environment, location, or label.KEY."""
    return name in _KNOWN_PLACEHOLDERS or (name.startswith("label.") and len(name) > len("label."))


def expand(template: str, cluster: Cluster, *, keep: str = "") -> Expansion:
    """Put a cluster's values into a template; a value that the cluster lacks makes the template not apply to it.

    keep: a placeholder that is left as it is.
    """
    rules: list[str] = []
    missing: list[str] = []
    values = {"cluster": str(cluster.name), "environment": cluster.environment, "location": cluster.location}

    def value_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == keep:
            return match.group(0)
        if name.startswith("label."):
            value = cluster.labels.get(name.removeprefix("label."), "")
        else:
            value = values.get(name, "")
        if value:
            rules.append(f"{name}: {value}")
        else:
            missing.append(name.replace("label.", "label "))
        return value

    path = _PLACEHOLDER.sub(value_of, template)
    if missing:
        return Expansion(None, missing=f"{cluster.name} has no {' and no '.join(missing)}")
    return Expansion(path, ", ".join(rules) or f"path: {template}")


def join(directory: str, path: str) -> str | None:
    """A path below a directory, both repo paths; None where it leaves the commit. The root is "."."""
    if path.startswith("/") or "\x00" in path or "\\" in path:
        return None
    if directory and "." not in path and "//" not in path and not path.endswith("/"):
        return f"{directory}/{path}"  # the usual case, which need not be taken apart
    joined = posixpath.normpath(posixpath.join(directory or ".", path))
    return None if joined == ".." or joined.startswith("../") else joined


@dataclass(frozen=True, slots=True)
class Found:
    """The path of a unit and what chose it."""

    path: str
    rule: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """No path: what was tried, in order, and why some did not apply. Equal for clusters that lack the same thing."""

    tried: tuple[str, ...]  # `{cluster}` is left as it is written
    reasons: tuple[str, ...] = ()
    escapes: str = ""  # a path that leaves the commit


def find_path(
    *, directory: str, templates: Sequence[str], literal: str, cluster: Cluster, holds: Callable[[str], Holding]
) -> Found | NotFound:
    """The directory a unit is built from: the literal path alone, else the first template that holds a kustomization.

    A literal path has no fallback, and neither has a link: what it leads to was meant. A Component is never the path of
    a unit.
    """
    if literal:
        path = join(directory, literal)
        if path is None:
            return NotFound((), escapes=literal)
        if holds(path) is Holding.KUSTOMIZATION:
            return Found(path, f"path: {literal}")
        return NotFound((path,), _reason_of(path, holds(path)))
    tried: list[str] = []
    reasons: list[str] = []
    for template in templates:
        expansion = expand(template, cluster)
        if expansion.path is None:
            reasons.append(expansion.missing)
            continue
        path = join(directory, expansion.path)
        if path is None:
            return NotFound((), escapes=expansion.path)
        holding = holds(path)
        if holding is Holding.KUSTOMIZATION:
            return Found(path, expansion.rule)
        tried.append(template)
        reasons.extend(_reason_of(path, holding))
        if holding is Holding.LINK:
            break
    alike = [expand(template, cluster, keep="cluster").path or template for template in tried]
    return NotFound(tuple(join(directory, path) or path for path in alike), tuple(dict.fromkeys(reasons)))


def _reason_of(path: str, holding: Holding) -> tuple[str, ...]:
    if holding is Holding.LINK:
        return (f"{path} is, or lies behind, a symbolic link or a submodule, which is not followed",)
    return (f"{path} is a Component, which cannot stand alone",) if holding is Holding.COMPONENT else ()
