"""What a plan says as a text, and the plan's digest: it is the one of this text (R9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from fleet.core.documents import (
    Json,
    canonical,
    digest_of_bytes,
    parse,
)
from fleet.core.ids import ClusterName, Digest, ObjectRef, UnitName
from fleet.core.objects import is_secret
from fleet.core.planning.change import How, ObjectChange, Sign, UnitChange
from fleet.core.planning.settings import SettingChange, is_rename
from fleet.values import dataclass

_SETTING = "setting"  # what such a line begins with, where that of a unit has its fate


def plan_text(units: Iterable[UnitChange], settings: Iterable[SettingChange] = ()) -> bytes:
    """What happens to each unit, one line of JSON each, and what is set otherwise: the same on any machine, before and
    after the merge.

    units: sorted by name. Commits are not in it. Bodies of Secrets are sealed by a machine's own key: the Git ids of
    the files of their builds and the values that enter them stand for them, so that the text may also differ where a
    Secret does not, and is never the same where one does.
    """
    lines: list[bytes] = []
    for unit in units:
        if unit.how is How.SAME:
            continue
        reason = unit.problem.reason if unit.problem else ""
        objects: list[Json] = [_object(change, unit) for change in unit.objects]
        line: list[Json] = [unit.how.value, str(unit.name), unit.path_before, unit.path_after, reason, objects]
        lines.append(canonical(line))
    told = (canonical([_SETTING, one.scope, one.name, one.path, one.before, one.after]) for one in settings)
    return b"\n".join([*lines, *told])


def digest_of_text(text: bytes) -> Digest:
    """The plan's digest."""
    return digest_of_bytes(text)


def _object(change: ObjectChange, unit: UnitChange) -> Json:
    if is_secret(change.ref):
        before = unit.inputs[0] if change.before else ""
        after = unit.inputs[1] if change.after else ""
    else:
        before, after = change.before, change.after
    if change.hook is not None:  # nothing of a hook is deleted by what drops or renames it
        sign = Sign.CHANGE if change.sign is Sign.DELETE else change.sign
        return [sign.value, change.ref.key, "", before, after]
    if change.moved_to:  # it is no deletion, and must not be taken for one that was approved
        return [change.sign.value, change.ref.key, "", before, after, change.moved_to]
    # What is made anew goes under its own name.
    was = change.renamed_from.key if change.renamed_from else change.ref.key if change.is_remade else ""
    return [change.sign.value, change.ref.key, was, before, after]


@dataclass(frozen=True, slots=True)
class Listed:
    """What a plan's text says, as far as an approval needs it.

    doomed: objects that go, by unit, generated names whose successor comes among them, and none that moves; leaving:
    units that are let go of; units: all that it says something of, on renamed clusters by both names; old_names: of
    these clusters, by the new one.
    """

    doomed: Mapping[UnitName, frozenset[ObjectRef]]
    leaving: frozenset[UnitName]
    units: frozenset[UnitName]
    old_names: Mapping[ClusterName, ClusterName]

    def as_it_was(self, unit: UnitName) -> UnitName:
        """What a unit is called until the merge."""
        return _as_it_was(unit, self.old_names)


def listed_of(text: bytes) -> Listed:
    """Read a plan's text; raises ValueError for what `plan_text` never writes."""
    doomed: dict[UnitName, frozenset[ObjectRef]] = {}
    leaving: set[UnitName] = set()
    units: set[UnitName] = set()
    old_names: dict[ClusterName, ClusterName] = {}
    for line in text.split(b"\n") if text else []:
        parts = parse(line)
        if isinstance(parts, list) and len(parts) == 6 and parts[0] == _SETTING:
            if is_rename(parts[1], parts[3]):
                old_names[ClusterName(str(parts[5]))] = ClusterName(str(parts[4]))
            continue
        if not isinstance(parts, list) or len(parts) != 6 or not isinstance(parts[5], list):
            raise ValueError("a line that says no unit")
        how, name = How(str(parts[0])), UnitName.parse(str(parts[1]))
        if name in units:
            raise ValueError(f"{name} twice")
        units.add(name)
        if how is How.VANISHES:
            leaving.add(name)
        gone: set[ObjectRef] = set()
        for entry in parts[5]:
            if not isinstance(entry, list) or len(entry) not in (5, 6):
                raise ValueError(f"an entry of {name} that says no object")
            sign, key, was = Sign(str(entry[0])), str(entry[1]), str(entry[2])
            if sign is Sign.DELETE and len(entry) == 5:  # with one word more it moves there
                gone.add(ObjectRef.from_key(key))
            elif was:
                gone.add(ObjectRef.from_key(was))
        if gone:
            doomed[name] = frozenset(gone)
    units |= {_as_it_was(name, old_names) for name in units}
    return Listed(doomed, frozenset(leaving), frozenset(units), old_names)


def _as_it_was(unit: UnitName, old_names: Mapping[ClusterName, ClusterName]) -> UnitName:
    return replace(unit, cluster=old_names.get(unit.cluster, unit.cluster))
