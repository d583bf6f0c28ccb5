"""What a change sets otherwise without building anything anew: modes, suspensions, policies of sync and rollout.

The hub acts by these from the merge on, so that a reviewer sees them, and the plan's digest covers them: an approval
of deletions that was given while a cluster was only observed counts for nothing once the change manages it (R9), nor
once a commit before it does, whose settings are in no plan of the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, cast

from fleet.core.documents import Json, canonical
from fleet.core.fleet import Cluster, Fleet, Overlay
from fleet.core.ids import UnitName
from fleet.core.planning.phrases import some_of
from fleet.core.planning.renamed_clusters import renamed_clusters, under_new_names
from fleet.core.problems import Origin
from fleet.values import dataclass

# What builds something else is seen in its units, and who may what in them too: neither is told here.
_OF_FLEET = ("name", "environments", "budget", "suspend", "override_approvals", "gate_jobs")
_OF_CLUSTER = ("mode", "environment", "labels", "connection", "identity", "suspend")
_OF_OVERLAY = ("sync", "depends_on", "ignore", "health", "allow_empty", "suspend", "rollout")
# Whose steps they are and what a suspension lies in is said by where; values of variables are seen in what is built.
_NOT_SAID = frozenset({"own_steps", "scope", "variables"})


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting of the fleet, a cluster or an overlay that exists on both sides.

    scope: fleet, cluster or overlay; name: of the fleet as it was, the cluster or the overlay; path: as in the file;
    before, after: the values, without the lines that they stand in. A cluster that is renamed has its name as a setting
    under the old name, and all others under the new one.
    """

    scope: str
    name: str
    path: str
    before: Json
    after: Json

    @property
    def words(self) -> str:
        """`sync.prune: false -> true`; `rollout.steps changes` where a value is more than a word."""
        if any(isinstance(value, dict | list) for value in (self.before, self.after)):
            return f"{self.path} changes"
        return f"{self.path}: {_word(self.before)} -> {_word(self.after)}"


def settings_of(before: Fleet, after: Fleet) -> tuple[SettingChange, ...]:
    """All that is set otherwise, sorted. What either side cannot read is no change: its problem is told by itself."""
    found: list[SettingChange] = []
    if before.unknown.everything is None and after.unknown.everything is None:
        found += _between("fleet", before.name, before, after, _OF_FLEET)
    found += (SettingChange("cluster", old, "name", old, new) for old, new in renamed_clusters(before, after).items())
    entries = under_new_names(before, after).clusters
    for name in sorted(entries.keys() & after.clusters.keys()):
        found += _between("cluster", name, entries[name], after.clusters[name], _OF_CLUSTER)
    for name in sorted(before.overlays.keys() & after.overlays.keys()):
        found += _between("overlay", name, before.overlays[name], after.overlays[name], _OF_OVERLAY)
    return tuple(found)


def set_otherwise(changes: Iterable[SettingChange], units: Iterable[UnitName]) -> frozenset[UnitName]:
    """Those of these units that go by another setting: of their overlay, of their cluster, or of the whole fleet."""
    names: dict[str, set[str]] = {}
    for change in changes:
        names.setdefault(change.scope, set()).add(change.name)
    overlays, clusters = names.get("overlay", ()), names.get("cluster", ())
    return frozenset(unit for unit in units if "fleet" in names or unit.overlay in overlays or unit.cluster in clusters)


def is_rename(scope: Json, path: Json) -> bool:
    """Whether a change of this setting gives a cluster another name."""
    return (scope, path) == ("cluster", "name")


def setting_remarks(changes: Iterable[SettingChange]) -> Iterator[tuple[str, str]]:
    """One line for each setting that changes in the same way, with its heading word."""
    same: dict[tuple[str, str], list[str]] = {}
    renames: list[str] = []
    for change in changes:
        if is_rename(change.scope, change.path):
            renames.append(f"{change.before} -> {change.after}")
            continue
        same.setdefault((change.scope, change.words), []).append(change.name)
    if renames:
        whose = "its identity" if len(renames) == 1 else "their identities"
        yield "Renamed", f"{some_of(renames)}: by {whose} in Git the same as before; record, marks and objects stay"
    for (scope, words), names in same.items():
        where = "fleet.yaml" if scope == "fleet" else f"{scope if len(names) == 1 else scope + 's'} {some_of(names)}"
        yield "Settings", f"{where}: {words}"


def _between(
    scope: str, name: str, old: Fleet | Cluster | Overlay, new: Fleet | Cluster | Overlay, names: tuple[str, ...]
) -> Iterator[SettingChange]:
    if old is new:
        return
    for attribute in names:
        was, now = getattr(old, attribute), getattr(new, attribute)
        if was is now or was == now:
            continue
        was, now = _parts(_spelled(attribute), _plain(was)), _parts(_spelled(attribute), _plain(now))
        for path in sorted(was.keys() | now.keys()):
            if was.get(path) != now.get(path):
                yield SettingChange(scope, name, path, was.get(path), now.get(path))


def _plain(value: Any) -> Json:
    """A setting as JSON; the lines of the files are no part of it."""
    if is_dataclass(value) and not isinstance(value, type):
        parts = ((one.name, getattr(value, one.name)) for one in fields(value) if one.name not in _NOT_SAID)
        # A text that is not given is "" there; as a value of a label it is one.
        return {_spelled(name): _plain(part) for name, part in parts if part != "" and not isinstance(part, Origin)}
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, frozenset):
        return sorted((_plain(part) for part in value), key=canonical)  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]  # pyright: ignore[reportUnknownVariableType]
    return cast("Json", value)


def _parts(path: str, value: Json) -> dict[str, Json]:
    """Its words by path; lists stay whole, and a group of settings that is not given is none."""
    if isinstance(value, dict):
        return {name: part for key, inner in value.items() for name, part in _parts(f"{path}.{key}", inner).items()}
    return {} if value is None else {path: value}


def _spelled(name: str) -> str:
    first, *rest = name.removesuffix("_seconds").split("_")
    return first + "".join(word.capitalize() for word in rest)


def _word(value: Json) -> str:
    return "none" if value is None else value if isinstance(value, str) and value else canonical(value).decode()
