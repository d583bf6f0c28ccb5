"""What differs between two commits' results of one unit: objects, fields, images, pods that restart.

Bundles hold normal forms, so that comments, key order and formatting make no difference here. A generated ConfigMap or
Secret whose name follows its content is one object under a new name, not one deleted and one created.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType

from fleet.core.documents import Document, Json, mapping_at
from fleet.core.field_diff import FieldDrift, diff_documents, differences_of
from fleet.core.fieldset import Path, show
from fleet.core.ids import Digest, ObjectRef, UnitName
from fleet.core.ignore import ignored_in, rules_for
from fleet.core.objects import Bundle, BundleObject, HookPhase, PruneRule
from fleet.core.planning.fixed import fixed_changes
from fleet.core.planning.pods import ImageChange, Restart, image_changes, images_of, restart_of
from fleet.core.renames import renames_of
from fleet.core.sync_policy import IgnoreRule
from fleet.values import dataclass


class Sign(StrEnum):
    """What happens to an object."""

    CREATE = "+"
    CHANGE = "~"
    DELETE = "-"


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """One object that is not the same afterwards. Fields: `desired` is before, `live` is after."""

    sign: Sign
    ref: ObjectRef  # as it is called afterwards; for DELETE before
    api_version: str
    fields: tuple[FieldDrift, ...] = ()
    before: Digest = Digest("")  # of the body; "" where it is not there
    after: Digest = Digest("")
    renamed_from: ObjectRef | None = None  # a generated name that followed its content
    users: tuple[ObjectRef, ...] = ()  # objects of the unit that follow the new name
    images: tuple[ImageChange, ...] = ()
    restart: Restart | None = None
    prune: PruneRule = PruneRule.ALLOWED  # for DELETE and CHANGE: what it says of its deletion, under its old name
    moved_to: str = ""  # for DELETE: the overlay that takes it over on this cluster
    is_shared: bool = False  # and had it before the change too, so that no CREATE there says that it comes
    moved_from: str = ""  # for CREATE: the overlay that gives it up there; what differs is against its object
    comes_as: ObjectRef | None = None  # for DELETE: the name under which the same content is created
    fixed: tuple[str, ...] = ()  # fields that differ and that its kind never changes in place
    is_remade: bool = False  # for these it is deleted and made anew, as it asks for (R15)
    left: str = ""  # why the hub leaves it as it is, by the object's own word; "" where it does not
    ignored: tuple[str, ...] = ()  # of these fields: what its overlay's rules leave as it is there
    is_several: bool = False  # its pods have more than one container
    hook: HookPhase | None = None  # it is a hook's object: where the change drops it, it stays (V1)


_NOT_RECONCILED = "left as it is: fleet.internal/reconcile: disabled on it"
_ONLY_IF_ABSENT = "left as it is where it is there already: fleet.internal/reconcile: ifAbsent on it"


class How(StrEnum):
    """What happens to a unit."""

    APPEARS = "appears"
    CHANGES = "changes"
    VANISHES = "vanishes"  # it is let go of: its objects stay
    SAME = "same"  # its input differs and its result does not: no effective change
    UNKNOWN = "unknown"  # afterwards it cannot be said what it holds: it stays as it is


@dataclass(frozen=True, slots=True)
class SideProblem:
    """Why one side of a unit cannot be said. reason: the error's class name."""

    reason: str
    message: str
    where: str = ""
    next_step: str = ""


@dataclass(frozen=True, slots=True)
class SideResult:
    """One unit at one commit: where it is built, and what came of it."""

    path: str
    result: Bundle | SideProblem
    inputs: Digest = Digest("")  # of the Git ids of all files of its build: stands for its Secrets on any machine


@dataclass(frozen=True, slots=True)
class UnitChange:
    """One unit that is not the same afterwards, or cannot be told."""

    name: UnitName
    how: How
    objects: tuple[ObjectChange, ...] = ()
    path_before: str = ""
    path_after: str = ""
    owned: int = 0  # objects before, hooks aside
    kept: frozenset[ObjectRef] = frozenset()  # of a unit that vanishes: what it held and nobody takes over
    unknown_before: bool = False  # what it held before cannot be said: all its objects are shown as created
    problem: SideProblem | None = None
    inputs: tuple[Digest, Digest] = (Digest(""), Digest(""))  # as in SideResult, before and after
    hooks: tuple[tuple[HookPhase, ObjectRef], ...] = ()  # that run with it: all of the new result, changed or not
    ignore: tuple[IgnoreRule, ...] = ()  # that are in force for it afterwards

    @property
    def drops_unlisted(self) -> bool:
        """Whether it may drop objects that nobody can list: a hub deletes them, it has the last good result (R5)."""
        return self.unknown_before and self.how is How.CHANGES

    @property
    def has_new_result(self) -> bool:
        """Whether the hub has something else to release for it, or may have: not where only its path is another."""
        is_other = bool(self.objects) or self.unknown_before
        return self.how is How.APPEARS or (self.how is How.CHANGES and is_other)

    def of_sign(self, sign: Sign) -> list[ObjectChange]:
        """Its objects with one sign; a rename is a change."""
        return [change for change in self.objects if change.sign is sign]


def change_of_unit(
    name: UnitName, before: SideResult | None, after: SideResult | None, ignore: tuple[IgnoreRule, ...] = ()
) -> UnitChange:
    """Compare one unit's two sides; None: it is not there. At least one is. ignore: of its overlay, afterwards."""
    path_before, path_after = before.path if before else "", after.path if after else ""
    inputs = (before.inputs if before else Digest(""), after.inputs if after else Digest(""))
    was = before.result if before else None
    owned = sum(item.options.hook is None for item in was.objects) if isinstance(was, Bundle) else 0
    change = UnitChange(
        name,
        How.CHANGES,
        path_before=path_before,
        path_after=path_after,
        owned=owned,
        unknown_before=isinstance(was, SideProblem),
        inputs=inputs,
        ignore=ignore,
    )
    if after is None:
        held = was.objects if isinstance(was, Bundle) else ()
        return replace(change, how=How.VANISHES, kept=frozenset(item.ref for item in held if not item.options.hook))
    if isinstance(after.result, SideProblem):
        return replace(change, how=How.UNKNOWN, problem=after.result)
    objects = changes_of(was.objects if isinstance(was, Bundle) else (), after.result.objects, ignore)
    if objects:  # hooks run once for each result
        hooks = ((item.options.hook, item.ref) for item in after.result.objects if item.options.hook is not None)
        change = replace(change, hooks=tuple(sorted(hooks)))
    if before is None:
        return replace(change, how=How.APPEARS, objects=objects)
    is_same = not objects and path_before == path_after and isinstance(was, Bundle)
    return replace(change, how=How.SAME if is_same else How.CHANGES, objects=objects)


def changes_of(
    before: Sequence[BundleObject], after: Sequence[BundleObject], ignore: Sequence[IgnoreRule] = ()
) -> tuple[ObjectChange, ...]:
    """Objects that differ between two results, sorted by reference."""
    was, now = {item.ref: item for item in before}, {item.ref: item for item in after}
    lost = {ref: item for ref, item in was.items() if ref not in now}
    gained = {ref: item for ref, item in now.items() if ref not in was}
    found: list[ObjectChange] = []
    for old, new in _renames(lost, gained):
        del lost[old.ref], gained[new.ref]
        found.append(_changed(old, new))  # which is created whole under its new name
    both = [(was[ref], item) for ref, item in now.items() if ref in was]
    found += [_changed(old, new, ignore) for old, new in both if old.digest != new.digest]
    found += [_created(item) for item in gained.values()]
    other_names = renames_of(before, after)
    found += [
        ObjectChange(
            Sign.DELETE,
            ref,
            item.api_version,
            before=item.digest,
            prune=item.options.prune,
            comes_as=new if (new := other_names.get(ref)) in gained else None,
            hook=item.options.hook,
        )
        for ref, item in lost.items()
    ]
    return tuple(sorted(_with_users(found), key=lambda change: change.ref))


def _renames(
    lost: Mapping[ObjectRef, BundleObject], gained: Mapping[ObjectRef, BundleObject]
) -> Iterator[tuple[BundleObject, BundleObject]]:
    """Pairs of one generated object under its old and its new name."""
    new_names = {_generated(item): item for item in gained.values() if item.generated_from}
    for item in list(lost.values()):
        if item.generated_from and (new := new_names.pop(_generated(item), None)) is not None:
            yield item, new


def _generated(item: BundleObject) -> tuple[str, str, str]:
    return item.ref.kind, item.ref.namespace, item.generated_from


def _with_users(changes: list[ObjectChange]) -> list[ObjectChange]:
    """Renames with the objects that follow them: those with a field that went from the old name to the new one."""
    renames = {(change.renamed_from.name, change.ref.name) for change in changes if change.renamed_from}
    if not renames:
        return changes
    users: dict[tuple[str, str], list[ObjectRef]] = {}
    for change in changes:
        if change.renamed_from is None:
            for pair in renames & {pair for drift in change.fields for pair in _pairs(drift.desired, drift.live)}:
                users.setdefault(pair, []).append(change.ref)
    return [
        replace(change, users=tuple(sorted(users.get((change.renamed_from.name, change.ref.name), ()))))
        if change.renamed_from
        else change
        for change in changes
    ]


def _pairs(before: Json, after: Json) -> Iterator[tuple[str, str]]:
    """Pairs of texts that stand at one place of both values."""
    if isinstance(before, str) and isinstance(after, str):
        yield before, after
    elif isinstance(before, dict) and isinstance(after, dict):
        for name in before.keys() & after.keys():
            yield from _pairs(before[name], after[name])
    elif isinstance(before, list) and isinstance(after, list):
        for one, other in zip(before, after, strict=False):
            yield from _pairs(one, other)


def _created(item: BundleObject) -> ObjectChange:
    images = tuple(ImageChange(name, "", image) for name, image in sorted(images_of(item.document()).items()))
    return ObjectChange(
        Sign.CREATE,
        item.ref,
        item.api_version,
        after=item.digest,
        images=images,
        left="" if item.options.reconcile else _NOT_RECONCILED,
        hook=item.options.hook,
    )


def _changed(
    old: BundleObject, new: BundleObject, ignore: Sequence[IgnoreRule] = (), *, is_moved: bool = False
) -> ObjectChange:
    """is_moved: another overlay gives it up: then it is never deleted to be made anew (R16)."""
    before, after = old.document(), new.document()
    is_renamed = old.ref != new.ref
    if is_renamed:  # the name is told apart from what made it change
        metadata: Document = {**mapping_at(before, "metadata"), "name": new.ref.name}
        before["metadata"] = metadata
    fixed: tuple[str, ...] = ()
    if new.options.hook is None and not is_renamed:
        fixed = fixed_changes(before, after, is_replaced=new.options.replace and not is_moved)
    left = _NOT_RECONCILED if not new.options.reconcile else _ONLY_IF_ABSENT if new.options.only_if_absent else ""
    if left:
        fixed = ()
    is_remade = bool(fixed) and new.options.replace and new.options.prune is not PruneRule.DISABLED and not is_moved
    fails = bool(fixed) and not is_remade
    restart, ignored = restart_of(new.ref, before, after) if not (left or fails) else None, tuple[str, ...]()
    if rules := rules_for(new.ref, ignore):
        is_ignored = ignored_in(after, rules)
        paths = {path: is_ignored(path) for path, *_ in differences_of(before, after)}
        written = [path for path, is_kept in paths.items() if not is_kept]
        ignored = tuple(sorted(show(path) for path, is_kept in paths.items() if is_kept))
        fixed = tuple(path for path in fixed if _is_within(written, path.split(".")))
        restart = restart if _is_within(written, _POD_TEMPLATE) else None
    return ObjectChange(
        Sign.CHANGE,
        new.ref,
        new.api_version,
        fields=diff_documents(before, after),
        before=old.digest,
        after=new.digest,
        renamed_from=old.ref if is_renamed else None,
        images=tuple(image_changes(images_of(before), images_of(after))),
        restart=restart,
        left=left,
        ignored=ignored,
        prune=(old if is_renamed else new).options.prune,
        fixed=fixed,
        is_remade=is_remade,
        is_several=len({*images_of(before), *images_of(after)}) > 1,
        hook=new.options.hook if old.options.hook is not None else None,
    )


_POD_TEMPLATE = ("spec", "template")


def _is_within(paths: Iterable[Path], names: Sequence[str]) -> bool:
    """Whether one of these fields is at that place, below it, or around it."""
    place = tuple(f"f:{name}" for name in names)
    return any(path[: len(place)] == place[: len(path)] for path in paths)


def with_moves(
    changes: Iterable[UnitChange],
    held: Mapping[UnitName, Collection[ObjectRef]],
    bundles: Mapping[UnitName, tuple[Bundle | None, Bundle | None]] = MappingProxyType({}),
) -> tuple[UnitChange, ...]:
    """The same, with who takes an object over where another unit of its cluster drops it, or leaves with it (R16).

    held: what units hold afterwards; of a cluster where anything is dropped, all that could be built. bundles: before
    and after, of what differs: for what an object that moves changes by it, which no digest needs beside its content.
    """
    found = tuple(changes)
    beside: dict[str, list[tuple[str, Collection[ObjectRef]]]] = {}
    for name, refs in sorted(held.items()):
        beside.setdefault(name.cluster, []).append((name.overlay, refs))
    takers: dict[_Place, str] = {}
    givers: dict[_Place, tuple[str, BundleObject | None]] = {}
    for unit in found:
        takers |= {(unit.name.cluster, change.ref): unit.name.overlay for change in unit.of_sign(Sign.CREATE)}
        given = {*unit.kept, *(change.ref for change in unit.of_sign(Sign.DELETE) if change.hook is None)}
        objects = _by_ref(bundles.get(unit.name, (None, None))[0] if given else None)
        givers |= {(unit.name.cluster, ref): (unit.name.overlay, objects.get(ref)) for ref in given}
    return tuple(
        _moved(unit, takers, givers, beside.get(unit.name.cluster, ()), bundles.get(unit.name, (None, None))[1])
        for unit in found
    )


_Place = tuple[str, ObjectRef]  # a cluster's name, and an object there


def _moved(
    unit: UnitChange,
    takers: Mapping[_Place, str],
    givers: Mapping[_Place, tuple[str, BundleObject | None]],
    beside: Sequence[tuple[str, Collection[ObjectRef]]],
    after: Bundle | None,
) -> UnitChange:
    cluster = unit.name.cluster
    if unit.kept:
        return replace(unit, kept=frozenset(ref for ref in unit.kept if (cluster, ref) not in takers))
    is_taker = any((cluster, change.ref) in givers for change in unit.of_sign(Sign.CREATE))
    mine = _by_ref(after if is_taker else None)

    def of(change: ObjectChange) -> ObjectChange:
        place = cluster, change.ref
        if change.sign is Sign.DELETE and change.hook is None:
            if place in takers:
                return replace(change, moved_to=takers[place])
            if holder := next((overlay for overlay, refs in beside if change.ref in refs), ""):
                return replace(change, moved_to=holder, is_shared=True)
        if change.sign is Sign.CREATE and change.hook is None and place in givers:
            overlay, old = givers[place]
            return _taken_over(replace(change, moved_from=overlay), old, mine.get(change.ref), unit.ignore)
        return change

    objects = tuple(map(of, unit.objects))
    return unit if all(map(operator.is_, objects, unit.objects)) else replace(unit, objects=objects)


def _by_ref(bundle: Bundle | None) -> Mapping[ObjectRef, BundleObject]:
    return {item.ref: item for item in bundle.objects} if bundle is not None else {}


def _taken_over(
    change: ObjectChange, old: BundleObject | None, new: BundleObject | None, ignore: Sequence[IgnoreRule]
) -> ObjectChange:
    """What changes of an object by its move."""
    if old is None or new is None:
        return change
    if old.digest == new.digest:
        return replace(change, images=())
    found = _changed(old, new, ignore, is_moved=True)
    return replace(found, sign=change.sign, before=change.before, moved_from=change.moved_from)
