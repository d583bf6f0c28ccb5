"""Units with the same change, told once: the text of a plan grows with kinds of change, not with clusters.

Units of one overlay are alike when the same happens to the same objects; where only values differ from cluster to
cluster (a host name, a region), they are alike in more than a few different ways. Overlays are alike when the same
fields of the same kinds change by the same values, as by a shared component; new objects may have more than a few
different contents, as each is in a namespace of its own. What differs within a group is told as
differing, and never by its first unit alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from fleet.core.documents import canonical
from fleet.core.field_diff import FieldDrift
from fleet.core.ids import ObjectRef, OverlayName, UnitName
from fleet.core.planning.change import How, ObjectChange, SideProblem, Sign, UnitChange
from fleet.values import dataclass, field

_Values = tuple[str, bytes, bytes]  # path, before, after
_End = tuple[str, str, bool, bool, str, str, tuple[str, ...]]
_General = tuple[str, str, str, tuple[str, ...], _End, tuple[_Values, ...]]

VARIANTS_SHOWN = 3  # so many different values of one change are shown apart
OVERLAYS_SHOWN = 2  # so many overlays with one change are shown apart

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class ShownField:
    """One field that changes. variants: how many different changes of it the group's units have; 1: all the same."""

    field: FieldDrift  # of the first unit
    variants: int = 1


@dataclass(frozen=True, slots=True)
class ShownObject:
    """One object as it changes on the units of a group.

    others: what it is called on other overlays' units; contents: so many different contents a new object has; images:
    so many different changes each container's image has, by its name; pods: numbers of pods that restart, None: one on
    each node; is_shared: its units are of several overlays.
    """

    change: ObjectChange  # of the first unit
    fields: tuple[ShownField, ...] = ()
    others: tuple[ObjectRef, ...] = ()
    contents: int = 1
    images: Mapping[str, int] = field(default_factory=dict[str, int])
    pods: frozenset[int | None] = frozenset()
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class ChangeGroup:
    """Units to which the same happens. letter: "A", "B", …; based_on: the group of which this has all, and more."""

    how: How
    units: tuple[UnitName, ...]
    objects: tuple[ShownObject, ...] = ()  # with based_on: only what that group has not
    letter: str = ""
    based_on: str = ""
    path: tuple[str, str] = ("", "")  # before and after, where it changes; else the same twice
    unknown_before: bool = False
    problem: SideProblem | None = None
    owned: int = 0  # objects that its units had before
    kept: int = 0  # those that stay where its units vanish

    @property
    def overlays(self) -> tuple[OverlayName, ...]:
        """Names of its overlays, sorted."""
        return tuple(sorted({name.overlay for name in self.units}))


_Whole = tuple[ChangeGroup, frozenset[Hashable]]  # one that is told whole, with what happens to its first unit


def groups_of(units: Iterable[UnitChange], *, folded: bool = True) -> tuple[ChangeGroup, ...]:
    """Groups of all units that are not the same afterwards, the largest first, unknown ones before all others.

    folded: also those together whose values or names differ.
    """
    shown = [unit for unit in units if unit.how is not How.SAME]
    buckets = [bucket for same in _by(shown, _frame).values() for bucket in _buckets_of(same, folded=folded)]
    if folded:
        buckets = _joined_overlays(buckets)
    order = {How.UNKNOWN: 0, How.VANISHES: 2}
    buckets.sort(key=lambda bucket: (order.get(bucket[0].how, 1), -len(bucket), bucket[0].name))
    groups: list[ChangeGroup] = []
    wholes: dict[tuple[OverlayName, ...], list[_Whole]] = {}  # by their overlays
    for index, bucket in enumerate(buckets):
        group = _group(bucket, _letter(index))
        earlier, happens = wholes.setdefault(group.overlays, []), tuple(map(_exact_item, bucket[0].objects))
        based = _based(group, happens, earlier)
        if not based.based_on:
            earlier.append((group, frozenset(happens)))
        groups.append(based)
    return tuple(groups)


def _frame(unit: UnitChange) -> Hashable:
    """What must be equal before objects are looked at. A path names its cluster or not; that it changes counts."""
    moved = unit.path_before != unit.path_after and unit.how is How.CHANGES
    path = (unit.path_before, unit.path_after) if moved else ()
    problem = (unit.problem.reason, unit.problem.where or unit.problem.message) if unit.problem else ()
    return unit.name.overlay, unit.how, path, problem, unit.unknown_before


def _buckets_of(units: Sequence[UnitChange], *, folded: bool) -> list[list[UnitChange]]:
    """Units of one frame: alike in every value, or in all but the values."""
    found: list[list[UnitChange]] = []
    for alike in _by(units, _shape).values():
        variants = _by(alike, _exact)
        found += [alike] if folded and len(variants) > VARIANTS_SHOWN else variants.values()
    return found


def _joined_overlays(buckets: list[list[UnitChange]]) -> list[list[UnitChange]]:
    """Buckets of several overlays to which the same happens, put together; too many contents of new objects are one."""
    found: list[list[UnitChange]] = []
    for alike in _by(buckets, lambda bucket: frozenset(map(_general, bucket))).values():
        variants = _by(alike, lambda bucket: frozenset(map(_contents, bucket)))
        for same in [alike] if len(variants) > VARIANTS_SHOWN else variants.values():
            if len({bucket[0].name.overlay for bucket in same}) > OVERLAYS_SHOWN:
                found.append(sorted((unit for bucket in same for unit in bucket), key=lambda unit: unit.name))
            else:
                found += same
    return found


def _by(items: Iterable[_Item], key_of: Callable[[_Item], Hashable]) -> Mapping[Hashable, list[_Item]]:
    """Items by what is equal about them, in their order."""
    found: dict[Hashable, list[_Item]] = {}
    for item in items:
        found.setdefault(key_of(item), []).append(item)
    return found


def _exact(unit: UnitChange) -> Hashable:
    return tuple(map(_exact_item, unit.objects))


def _exact_item(change: ObjectChange) -> Hashable:
    fields = tuple(map(_exact_field, change.fields))
    return _place(change), fields, _content(change), _end(change), change.comes_as


def _content(change: ObjectChange) -> str:
    """A new object has no fields that differ: its content tells one from another."""
    return change.after if change.sign is Sign.CREATE else ""


def _end(change: ObjectChange) -> _End:
    """What becomes of an object: it goes by its own word, moves, stays as a hook's, is left alone, or cannot change."""
    prune = change.prune.value if change.sign is Sign.DELETE or change.is_remade else ""
    where = change.moved_to or change.moved_from
    return prune, where, change.is_shared, change.comes_as is not None, change.hook or "", change.left, change.fixed


def _exact_field(drift: FieldDrift) -> _Values:
    return drift.path, canonical(drift.desired), canonical(drift.live)


def _shape(unit: UnitChange) -> Hashable:
    return tuple(
        (_place(change), tuple(drift.path for drift in change.fields), _end(change)) for change in unit.objects
    )


def _place(change: ObjectChange) -> Hashable:
    """What object it is."""
    return change.sign, plain_ref(change), change.renamed_from is not None


def _general(unit: UnitChange) -> Hashable:
    """What happens, whichever objects it happens to."""
    if unit.how is How.VANISHES:
        return unit.how, unit.unknown_before
    if unit.how is not How.CHANGES or not unit.objects or unit.path_before != unit.path_after:
        return unit.name.overlay, unit.how, _exact(unit), unit.problem, unit.path_after
    return unit.unknown_before, tuple(sorted(map(_general_item, unit.objects)))


def _general_item(change: ObjectChange) -> _General:
    """What happens to one object; in their order what has the same fields of one kind comes together."""
    paths = tuple(drift.path for drift in change.fields)
    values = tuple(map(_exact_field, change.fields))
    return change.sign.value, change.ref.group, change.ref.kind, paths, _end(change), values


def _contents(unit: UnitChange) -> Sequence[tuple[_General, str]]:
    """What happens, with the contents of new objects."""
    return tuple(sorted((_general_item(change), _content(change)) for change in unit.objects))


def _group(bucket: Sequence[UnitChange], letter: str) -> ChangeGroup:
    lead = bucket[0]
    is_shared = any(unit.name.overlay != lead.name.overlay for unit in bucket)
    matched = zip(*(_matched(lead, unit) for unit in bucket), strict=True)
    return ChangeGroup(
        how=lead.how,
        units=tuple(sorted(unit.name for unit in bucket)),
        objects=tuple(replace(_shown(*pair), is_shared=is_shared) for pair in zip(lead.objects, matched, strict=True)),
        letter=letter,
        path=(lead.path_before, lead.path_after),
        unknown_before=lead.unknown_before,
        problem=lead.problem,
        owned=sum(unit.owned for unit in bucket),
        kept=sum(len(unit.kept) for unit in bucket),
    )


def _matched(lead: UnitChange, unit: UnitChange) -> Sequence[ObjectChange]:
    """A unit's objects, each at the place of the one of the first unit to which the same happens.

    Their names may put them into another order, also on another cluster of one overlay. New ones with other contents
    than those of the first unit are taken in the order of their names.
    """
    if _shape(unit) == _shape(lead):
        return unit.objects
    is_alike = _contents(unit) == _contents(lead)

    def order(change: ObjectChange) -> tuple[_General, str, str]:
        return _general_item(change), _content(change) if is_alike else "", change.ref.name

    mine = sorted(range(len(lead.objects)), key=lambda index: order(lead.objects[index]))
    found = dict(zip(mine, sorted(unit.objects, key=order), strict=True))
    return [found[index] for index in range(len(found))]


def _shown(change: ObjectChange, theirs: Sequence[ObjectChange]) -> ShownObject:
    """One object of the first unit, and how far those at its place on the others differ from it."""
    refs = {plain_ref(other) for other in theirs} - {plain_ref(change)}
    return ShownObject(
        change,
        tuple(
            ShownField(drift, len({_exact_field(other.fields[at]) for other in theirs}))
            for at, drift in enumerate(change.fields)
        ),
        others=tuple(sorted(refs)),
        contents=len({_content(other) for other in theirs}),
        images={image.container: len({_image(other, image.container) for other in theirs}) for image in change.images},
        pods=frozenset(other.restart.pods for other in theirs if other.restart is not None),
    )


def plain_ref(change: ObjectChange) -> ObjectRef:
    """A generated object by the name that a person gave it, without its hash."""
    ref = change.ref
    return ref if change.renamed_from is None else replace(ref, name=ref.name.rpartition("-")[0])


def _image(change: ObjectChange, container: str) -> tuple[str, str]:
    return next(((image.before, image.after) for image in change.images if image.container == container), ("", ""))


def _based(group: ChangeGroup, happens: Sequence[Hashable], earlier: Sequence[_Whole]) -> ChangeGroup:
    """The same told as "as A, and", if an earlier group of its overlays has a part of it and nothing else.

    happens: what happens to each of its objects.
    """
    mine = frozenset(happens)
    best: tuple[int, str, frozenset[Hashable]] = (0, "", frozenset())
    for other, theirs in earlier:
        if theirs < mine and (other.how, other.problem) == (group.how, None) and len(theirs) > best[0]:
            best = (len(theirs), other.letter, theirs)
    if not best[1]:
        return group
    rest = tuple(item for item, what in zip(group.objects, happens, strict=True) if what not in best[2])
    return replace(group, based_on=best[1], objects=rest)


def _letter(index: int) -> str:
    """A to Z, then AA and on."""
    letters = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
