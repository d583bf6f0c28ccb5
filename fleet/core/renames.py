"""What a result drops and says again under another name: a rename with the same content is no deletion (R9).

Two bodies are the same if nothing but their own name differs, and names in them that are those of other objects which
were renamed too. An object of a custom kind stands for more than its text, and a precious one is always asked for. One
whose name is all it has is the same only if what names it says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleet.core.documents import Document, Json, digest_of, mapping_at, text_at
from fleet.core.fieldset import entries_of, holds
from fleet.core.guard import is_precious
from fleet.core.ids import Digest, ObjectRef
from fleet.core.objects import FIELD_MANAGER, BundleObject, PruneRule
from fleet.core.scopes import is_built_in
from fleet.values import dataclass

_MASK = "\0"  # no name holds it
_BARE = {"apiVersion", "kind", "metadata"}
_ROUNDS = 10  # an object that names one that names one, and so on; what lies deeper is a deletion
Place = tuple[str, str, str]  # group, kind, namespace
Names = set[tuple[str, str]]  # old and new


@dataclass(frozen=True, slots=True)
class _Side:
    """One object that only one of both results says."""

    ref: ObjectRef
    body: Document  # without its name

    @property
    def place(self) -> Place:
        return self.ref.group, self.ref.kind, self.ref.namespace


def renames_of(before: Iterable[BundleObject], after: Iterable[BundleObject]) -> Mapping[ObjectRef, ObjectRef]:
    """Old to new reference of each object of a unit that changed its name alone; kind and namespace stay.

    One to one: where fewer of equal objects come than went, none of them is a rename, because nobody can say which
    ones stayed. What is not here is a deletion.
    """
    was, now = {item.ref: item for item in before}, {item.ref: item for item in after}
    lost = [_side(item) for ref, item in sorted(was.items()) if ref not in now and _may_change_name(item)]
    gained = [_side(item) for ref, item in sorted(now.items()) if ref not in was and _may_change_name(item)]
    found: dict[ObjectRef, ObjectRef] = {}
    names: Names = set()
    for olds, news in _alike(lost, gained):
        if len(olds) <= len(news):
            found |= {old.ref: new.ref for old, new in zip(olds, news, strict=False)}
        if len(olds) == len(news) == 1:
            names.add((olds[0].ref.name, news[0].ref.name))
    for _ in range(_ROUNDS if names else 0):  # what names those comes next
        taken = set(found.values())
        more = _followers(
            [side for side in lost if side.ref not in found], [side for side in gained if side.ref not in taken], names
        )
        found |= {old.ref: new.ref for old, new in more}
        new_names = {(old.ref.name, new.ref.name) for old, new in more}
        if new_names <= names:
            break
        names |= new_names
    bare = {side.ref for side in lost if side.body.keys() <= _BARE}
    if bare & found.keys():
        said: Names = set()
        for ref, item in was.items():
            other = found.get(ref, ref)
            if ref not in bare and other in now and not _is_data(ref):
                _collect(item.document(), now[other].document(), said)
        found = {old: new for old, new in found.items() if old not in bare or (old.name, new.name) in said}
    return found


def holds_more(live: Document) -> bool:
    """Whether a ConfigMap or Secret holds entries that are not ours, and so not there under its new name."""
    if text_at(live, "apiVersion") != "v1" or text_at(live, "kind") not in ("ConfigMap", "Secret"):
        return False
    ours = [each.fields for each in entries_of(live) if each.manager == FIELD_MANAGER and each.operation == "Apply"]
    return any(
        not any(holds(fields, (f"f:{part}", f"f:{key}")) for fields in ours)
        for part in ("data", "binaryData")
        for key in mapping_at(live, part)
    )


def _may_change_name(item: BundleObject) -> bool:
    asked = item.options
    is_plain = asked.hook is None and asked.reconcile and not asked.only_if_absent
    is_its_text = is_built_in(item.ref.group, item.ref.kind) and not is_precious(item.ref)
    return is_plain and is_its_text and asked.prune is PruneRule.ALLOWED


def _side(item: BundleObject) -> _Side:
    body = item.document()
    metadata = {key: value for key, value in mapping_at(body, "metadata").items() if key != "name"}
    return _Side(item.ref, {**body, "metadata": metadata})


def _alike(
    lost: Sequence[_Side], gained: Sequence[_Side], classes: Mapping[str, str] | None = None
) -> list[tuple[list[_Side], list[_Side]]]:
    """Groups of both sides at one place that are equal, texts of one class counting as one."""
    groups: dict[tuple[Place, Digest], tuple[list[_Side], list[_Side]]] = {}
    for index, sides in enumerate((lost, gained)):
        for side in sides:
            key = side.place, digest_of(_classed(side.body, classes) if classes else side.body)
            groups.setdefault(key, ([], []))[index].append(side)
    return [(olds, news) for olds, news in groups.values() if olds and news]


def _followers(lost: Sequence[_Side], gained: Sequence[_Side], names: Names) -> list[tuple[_Side, _Side]]:
    """Pairs that differ by these names alone, where each is the only one for the other.

    Grouped by what they are but for the names, so that the time grows with the objects and not with their square.
    """
    alike = _alike(_readers(lost), _readers(gained), _classes_of(names))
    alone = [(olds[0], news[0]) for olds, news in alike if len(olds) == len(news) == 1]
    return [(old, new) for old, new in alone if _is_same(old.body, new.body, names)]


def _readers(sides: Iterable[_Side]) -> list[_Side]:
    return [side for side in sides if not _is_data(side.ref)]


def _is_data(ref: ObjectRef) -> bool:
    """Whether a name that stands in it is a value like any other."""
    return not ref.group and ref.kind in ("ConfigMap", "Secret")


def _classes_of(names: Names) -> Mapping[str, str]:
    """Each name to one text for all names that it is tied to, over any number of pairs."""
    classes: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    for pair in sorted(names):
        one, other = (classes.setdefault(name, f"{_MASK}{name}") for name in pair)
        for name in pair:
            members.setdefault(classes[name], [name])
        if one != other:
            small, large = sorted((one, other), key=lambda each: len(members[each]))
            for name in members[small]:
                classes[name] = large
            members[large] += members.pop(small)
    return classes


def _collect(before: Json, after: Json, into: Names) -> None:
    """The texts that differ at the same place."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                _collect(value, after[key], into)
    elif isinstance(before, list) and isinstance(after, list):
        for one, other in zip(before, after, strict=False):
            _collect(one, other, into)
    elif isinstance(before, str) and isinstance(after, str) and before != after:
        into.add((before, after))


def _is_same(old: Json, new: Json, names: Names) -> bool:
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_is_same(value, new[key], names) for key, value in old.items())
    if isinstance(old, list) and isinstance(new, list):
        return len(old) == len(new) and all(_is_same(one, other, names) for one, other in zip(old, new, strict=True))
    if isinstance(old, str) and isinstance(new, str):
        return old == new or (old, new) in names
    return type(old) is type(new) and old == new


def _classed(value: Json, classes: Mapping[str, str]) -> Json:
    match value:
        case dict():
            return {key: _classed(below, classes) for key, below in value.items()}
        case list():
            return [_classed(below, classes) for below in value]
        case str():
            return classes.get(value, value)
        case _:
            return value
