"""What is written and matches nothing: targets, names, directories. Warnings with what exists, changing nothing."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from fleet.core.fleet import Overlay
from fleet.core.nearest import nearest
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.targets import ClusterIndex, Holding, join
from fleet.inventory.surroundings import Surroundings

MOST_WARNINGS = 20  # of one overlay: a long list of wrong names is one mistake


def _warning(what: str, origin: Origin, *, why: str = "", label: str = "", next_step: str = "") -> Problem:
    return Problem(
        Severity.WARNING,
        "TargetInvalid",
        what,
        origin,
        why=why,
        label=label,
        next_step=next_step,
    )


def runs_nowhere(overlay: Overlay) -> Problem:
    """An overlay that no cluster gets."""
    return _warning(
        f"{overlay.name} runs on no cluster",
        overlay.origin,
        why="it has no clusters:, and no Cluster names it",
        next_step=f"add clusters: to overlay.yaml, or overlays: [{overlay.name}] to a Cluster",
    )


def target_warnings(overlay: Overlay, around: Surroundings) -> list[Problem]:
    """Targets and names that match nothing, with what exists."""
    found: list[Problem] = []
    for target in overlay.targets or ():
        if len(found) >= MOST_WARNINGS:
            break
        missing = [name for name in (*target.names, *target.excluded) if name not in around.index.clusters]
        if missing:
            known = [str(name) for name in around.index.clusters]
            told = missing[:MOST_WARNINGS]
            found.extend(_no_such(overlay, "cluster", name, known, target.origin) for name in told)
        unknown_stages = [stage for stage in target.environments if stage not in around.environment_names]
        found.extend(
            _no_such(overlay, "environment", stage, sorted(around.environment_names), target.origin)
            for stage in unknown_stages
        )
        if target.names or unknown_stages or not target.match_labels:
            continue
        for key, value in target.match_labels.items():
            if (key, value) not in around.index.by_label:
                found.append(_no_label(overlay, key, value, around.index, target.origin))
    return found


def _no_such(overlay: Overlay, kind: str, name: str, known: Sequence[str], origin: Origin) -> Problem:
    close = nearest(name, known)
    exists = f"there are {', '.join(known)}" if known and len(known) <= 12 else ""
    return _warning(
        f"{overlay.name}: no {kind} {name}",
        origin,
        why="" if close else exists,
        next_step=f"did you mean {close}?" if close else "",
    )


def _no_label(overlay: Overlay, key: str, value: str, index: ClusterIndex, origin: Origin) -> Problem:
    values = index.label_values(key)
    if values:
        why = f"values of {key} are {', '.join(values[:12])}"
        close = nearest(value, values)
    else:
        keys = index.label_keys()
        why = f"no cluster has a label {key}" + (f"; labels are {', '.join(keys[:12])}" if keys else "")
        close = nearest(key, keys)
    return _warning(
        f"{overlay.name}: a target matches no cluster ({key}: {value})",
        origin,
        why=why,
        next_step=f"did you mean {close}?" if close else "",
    )


def sibling_warnings(
    overlay: Overlay, around: Surroundings, kustomizations: frozenset[str] | set[str], used: set[str]
) -> list[Problem]:
    """Directories where clusters or environments have theirs, with a name that is neither: a slip of the pen."""
    strange = [directory for directory in kustomizations if directory.rpartition("/")[2] not in around.known_names]
    if not strange:
        return []
    parents = {
        posixpath.normpath(posixpath.join(overlay.directory, posixpath.dirname(template)))
        for template in overlay.paths
        if posixpath.basename(template) in ("{cluster}", "{environment}") and "{" not in posixpath.dirname(template)
    }
    found: list[Problem] = []
    for directory in sorted(strange):
        name = posixpath.basename(directory)
        if posixpath.dirname(directory) not in parents or directory in used:
            continue
        if around.holdings.of(directory) is not Holding.KUSTOMIZATION:
            continue
        if any(around.holdings.mentions(other, name) for other in kustomizations if other != directory):
            continue
        if any(target.path and join(overlay.directory, target.path) == directory for target in overlay.targets or ()):
            continue
        close = nearest(name, around.known_names)
        found.append(
            _warning(
                f"{directory} is used by no cluster",
                Origin(directory),
                why=f"{name} is no cluster and no environment",
                next_step=f"did you mean {close}?" if close else "rename it, or name it as path in a target",
            )
        )
    return found
