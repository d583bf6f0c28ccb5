"""What would go with an object if it were deleted: lines for the person who decides on a hold (R10). Pure.

Counts come from complete lists alone; what could not be read is said to be unknown, never left out (R5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType

from fleet.core.documents import Document, documents_at, items_at, mapping_at, number_at, text_at
from fleet.core.guard import Approved
from fleet.core.ids import ObjectRef
from fleet.core.inside import texts_of
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.record import installation_hash, we_applied
from fleet.values import dataclass

DATA_LOST = "THE DATA IS LOST"
NOT_KNOWN = "not known, "  # how a line begins that says what could not be read
_SHOWN = 2  # foreign objects by name; the rest is counted
_SHOWN_KINDS = 4
_UNITS = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGTP]i)\Z")
_CLAIM = "PersistentVolumeClaim"
_NOTHING: Mapping[str, tuple[str, str]] = MappingProxyType({})
_SHORT = {_CLAIM: "PVC", "PersistentVolume": "PV"}
# Every namespace has these by itself.
_SELF_MADE = frozenset({("", "ConfigMap", "kube-root-ca.crt"), ("", "ServiceAccount", "default")})


@dataclass(frozen=True, slots=True)
class Inside:
    """What was found of one kind. unread: why the list is not known; then `items` says nothing."""

    kind: str
    items: tuple[Document, ...] = ()  # metadata is enough
    unread: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """A volume claim and, where it could be read, its volume."""

    document: Document
    volume: Document | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """What would go with one object: lines for people, and the same as an approval is bound to it (core/inside.py)."""

    lines: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Thing:
    """One object that would go, which no other one that is listed too takes along."""

    ref: ObjectRef
    ours: bool
    bound: str  # as an approval is bound to it

    def __str__(self) -> str:
        return f"{_SHORT.get(self.ref.kind, self.ref.kind)} {self.ref.name}"


def namespace_loss(
    inside: Sequence[Inside],
    claims: Sequence[Claim],
    *,
    installation: str,
    own: Collection[ObjectRef] = (),
    agreed: Collection[Approved] = (),
    before: Mapping[str, tuple[str, str]] = _NOTHING,
) -> Loss:
    """For a Namespace: how many objects are in it, how many of them are not ours, and which data is lost.

    own: what has its own line in the list, or is on its way out. What goes with an owner that is listed too is not
    counted, nor what each namespace has by itself. A claim counts with its UID and with what becomes of its data.
    agreed: what a person let go in this namespace, there or not: what it owned goes by the same word.
    before: as `owners_of` an earlier reading.
    """
    found = [_thing(part, item, installation) for part, item in _by_themselves(inside, agreed, before)]
    foreign = sorted(str(thing) for thing in found if not thing.ours and thing.ref.kind != _CLAIM)
    count = sum(not thing.ours for thing in found)
    lines = [_summary(len(found), "object", count)] if found or not _unread(inside) else []
    lines += [claim_line(claim, named=True) for claim in sorted(claims, key=lambda c: _name(c.document))]
    if foreign:
        lines.append(_first(foreign))
    return Loss((*lines, *_unlisted(found, own), *_unread(inside)), _bound(inside, found, claims, own))


def definition_loss(
    inside: Inside, *, installation: str, own: Collection[ObjectRef] = (), recorded: Collection[ObjectRef] = ()
) -> Loss:
    """For a CustomResourceDefinition: all its custom resources go with it, whoever owns them.

    Those that have an owner are one thing: they come and go by themselves, as a CiliumEndpoint does with its Pod.
    recorded: what units of this cluster own by their records.
    """
    found = [_thing(inside, item, installation, recorded) for item in inside.items]
    bound = _bound([inside], found, (), own)
    if inside.unread:
        return Loss(_unread([inside]), bound)
    if not found:
        return Loss((f"no {inside.kind} exists",), bound)
    places = {thing.ref.namespace for thing in found} - {""}
    where = f" in {len(places)} namespace{'s' if len(places) > 1 else ''}" if places else ""
    line = _summary(len(found), f"{inside.kind} object", sum(not thing.ours for thing in found), where)
    return Loss((line, *_unlisted(found, own)), bound)


def _bound(
    parts: Sequence[Inside], found: Iterable[_Thing], claims: Iterable[Claim], own: Collection[ObjectRef]
) -> tuple[str, ...]:
    """All that would go, as an approval is bound to it; kinds that could not be read count as unknown (R5)."""
    things = [f"? {part.group}/{part.kind}" for part in parts if part.unread]
    things += [thing.bound for thing in found if thing.ref not in own]
    return texts_of([*things, *_data_of_all(claims)])


def owners_of(parts: Sequence[Inside], before: Mapping[str, tuple[str, str]]) -> Mapping[str, tuple[str, str]]:
    """UIDs with their kinds of what a namespace holds, and of what it held before while it owns something still."""
    still = frozenset[str]().union(*(_owners(item) for part in parts for item in part.items))
    return {
        **{uid: before[uid] for uid in still & before.keys()},
        **{_uid(item): (part.group, part.kind) for part in parts for item in part.items},
    }


def _by_themselves(
    parts: Sequence[Inside], agreed: Collection[Approved] = (), before: Mapping[str, tuple[str, str]] = _NOTHING
) -> list[tuple[Inside, Document]]:
    """What a namespace holds without what goes with its owners, where all of these are listed too and not in a circle.

    An owner that is not listed, as one outside the namespace, takes nothing along: it may well stay. One that a person
    let go, or that was listed before, and that is not there any more is as good as listed: its own go as well, a little
    later. Nor does that count which is on its way out already.
    """
    standing = {_uid(item) for part in parts for item in part.items}
    gone = [each for each in agreed if each.uid not in standing]
    services = {each.ref.name for each in gone if (each.ref.group, each.ref.kind) == ("", "Service")}
    made = {("", "Endpoints", name) for name in {*_selecting_services(parts), *services}} | _SELF_MADE
    found = [
        (part, item)
        for part in parts
        for item in part.items
        if (part.group, part.kind, _name(item)) not in made and not _is_slice_of(part, item, services)
    ]
    uids, owners = [_uid(item) for _, item in found], [_owners(item) for _, item in found]
    taken = {each.uid for each in gone}
    if not any(part.unread for part in parts):  # else it may well be there (R5)
        kinds = {(part.group, part.kind) for part in parts}  # of one that is served no more nobody knows
        taken |= {uid for uid, kind in before.items() if kind in kinds} - standing
    listed = taken.union(uids)
    owned = {number for number, those in enumerate(owners) if those and those <= listed}
    taken |= {uid for number, uid in enumerate(uids) if number not in owned}
    left = set(owned)
    while more := {number for number in left if owners[number] <= taken}:
        taken |= {uids[number] for number in more}
        left -= more
    alone = [pair for number, pair in enumerate(found) if number not in owned or number in left]
    return [(part, item) for part, item in alone if not text_at(item, "metadata", "deletionTimestamp")]


def _is_slice_of(part: Inside, item: Document, services: Collection[str]) -> bool:
    """Whether a controller made it for one of these: the owner may be Endpoints, which are gone as well."""
    if (part.group, part.kind) != ("discovery.k8s.io", "EndpointSlice") or not _owners(item):
        return False
    return text_at(item, "metadata", "labels", "kubernetes.io/service-name") in services


def _selecting_services(parts: Sequence[Inside]) -> Iterator[str]:
    """Services whose Endpoints a controller writes; those of others are written by hand, and by nobody again."""
    for part in parts:
        if (part.group, part.kind) == ("", "Service"):
            yield from (_name(item) for item in part.items if mapping_at(item, "spec", "selector"))


def _owners(item: Document) -> frozenset[str]:
    return frozenset(text_at(owner, "uid") for owner in documents_at(item, "metadata", "ownerReferences"))


def _thing(part: Inside, item: Document, installation: str, recorded: Collection[ObjectRef] | None = None) -> _Thing:
    """recorded: as in `definition_loss`; None where each counts by its name."""
    ref = ObjectRef(part.group, part.kind, text_at(item, "metadata", "namespace"), _name(item))
    ours, name = _ours(item, installation), f"{ref.namespace}/{ref.name}"
    if recorded is not None and _owners(item):
        # It comes and goes with what owns it; what this repo wants does not, whoever owns it by now. The label says
        # nothing by itself: controllers copy labels to what they make.
        ours = ref in recorded or (ours and we_applied(item))
        name = name if ours else "that others own"
    return _Thing(ref, ours, f"{ref.group}/{ref.kind} {name}")


def _unlisted(found: Iterable[_Thing], own: Collection[ObjectRef]) -> tuple[str, ...]:
    """Ours that no other line of the list names: Git may well want them still."""
    names = sorted(str(thing) for thing in found if thing.ours and thing.ref not in own)
    return (f"from this repo, not in this list: {_first(names)}",) if names else ()


def _first(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f", {more} more" if more > 0 else "")


def _data_of(claim: Claim) -> Iterator[str]:
    volume = text_at(claim.document, "spec", "volumeName")
    if volume:
        yield f"data of {_uid(claim.document)} in {volume}: {_fate(claim.volume)}"


def _data_of_all(claims: Iterable[Claim]) -> Iterator[str]:
    return (thing for claim in claims for thing in _data_of(claim))


def claim_loss(claim: Claim) -> Loss:
    """Of a PersistentVolumeClaim by itself."""
    return Loss((claim_line(claim),), texts_of(_data_of(claim)))


def claim_line(claim: Claim, *, named: bool = False) -> str:
    """A PersistentVolumeClaim in one line: size, and what becomes of the data."""
    document, volume = claim.document, claim.volume
    name = f"PVC {_name(document)} " if named else ""
    size = text_at(document, "status", "capacity", "storage") or text_at(
        document, "spec", "resources", "requests", "storage"
    )
    if not text_at(document, "spec", "volumeName"):
        return f"{name}{_size(size)} (bound to no volume: holds no data)"
    return f"{name}{_size(size)} ({_fate(volume)})"


def volume_line(volume: Document) -> str:
    """A PersistentVolume in one line: size, who uses it, and what becomes of the data."""
    size = _size(text_at(volume, "spec", "capacity", "storage"))
    space, name = text_at(volume, "spec", "claimRef", "namespace"), text_at(volume, "spec", "claimRef", "name")
    bound = f", bound to {space}/{name}" if name else ""
    return f"{size}{bound} ({_fate(volume)})"


def takes_claims(stateful_set: Document) -> bool:
    """Whether the claims of its templates go with a StatefulSet."""
    policy = text_at(stateful_set, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted")
    return policy == "Delete" and bool(items_at(stateful_set, "spec", "volumeClaimTemplates"))


def claims_taken(stateful_set: Document, claims: Iterable[Document]) -> list[Document]:
    """Those of the claims of its namespace that go with it: by its name for them, or because it owns them."""
    templates = documents_at(stateful_set, "spec", "volumeClaimTemplates")
    prefixes = tuple(f"{_name(template)}-{_name(stateful_set)}-" for template in templates)
    return [claim for claim in claims if _uid(stateful_set) in _owners(claim) or _is_numbered(_name(claim), prefixes)]


def _is_numbered(name: str, prefixes: Iterable[str]) -> bool:
    return any(name.startswith(prefix) and name[len(prefix) :].isdecimal() for prefix in prefixes)


def stateful_set_loss(document: Document, claims: Sequence[Claim] = (), *, unread: str = "") -> Loss:
    """For a StatefulSet: its pods, and its claims where they go as well. unread: why these are not known."""
    replicas = number_at(document, "spec", "replicas", default=1)
    lines = [f"{replicas} pod{'s' if replicas != 1 else ''}"] if replicas else []
    if takes_claims(document) and not unread:
        lines += [claim_line(claim, named=True) for claim in sorted(claims, key=lambda c: _name(c.document))]
        return Loss((*lines, *([] if claims else ["no PVC of it exists"])), texts_of(_data_of_all(claims)))
    for template in documents_at(document, "spec", "volumeClaimTemplates"):
        size = _size(text_at(template, "spec", "resources", "requests", "storage"))
        what = f"PVC {_name(template)}-{_name(document)}-N {size} of each pod"
        lines.append(f"{what} (whenDeleted: Delete: {DATA_LOST})" if unread else f"{what} stays")
    if unread:
        lines.append(f"{NOT_KNOWN}{unread}: {_CLAIM}")
    return Loss(tuple(lines), texts_of([f"? /{_CLAIM}"] if unread else []))


def _fate(volume: Document | None) -> str:
    policy = text_at(volume, "spec", "persistentVolumeReclaimPolicy") if volume is not None else ""
    match policy:
        case "Delete":
            return f"reclaim policy Delete: {DATA_LOST}"
        case "Retain":
            return "reclaim policy Retain: the volume stays"
        case "":
            return "reclaim policy not known: take it that the data is lost"
        case _:
            return f"reclaim policy {policy}: {DATA_LOST}"


def _summary(count: int, what: str, foreign: int, where: str = "") -> str:
    words = f"{count or 'no'} {what}{'' if count == 1 else 's'}{where}"
    return f"{words}, {foreign} of them not from this repo" if foreign else words


def _unread(inside: Sequence[Inside]) -> tuple[str, ...]:
    """Kinds that could not be read, by reason: there may be more than was counted."""
    reasons: Mapping[str, list[str]] = {part.unread: [] for part in inside if part.unread}
    for part in inside:
        if part.unread:
            reasons[part.unread].append(part.kind)
    return tuple(f"{NOT_KNOWN}{reason}: {_some(sorted(kinds))}" for reason, kinds in sorted(reasons.items()))


def _some(kinds: Sequence[str]) -> str:
    more = len(kinds) - _SHOWN_KINDS
    return ", ".join(kinds[:_SHOWN_KINDS]) + (f" and {more} more kinds" if more > 0 else "")


def _ours(item: Document, installation: str) -> bool:
    return text_at(item, "metadata", "labels", INSTALLATION_LABEL) == installation_hash(installation)


def _name(document: Document) -> str:
    return text_at(document, "metadata", "name")


def _uid(document: Document) -> str:
    return text_at(document, "metadata", "uid")


def _size(quantity: str) -> str:
    """A quantity as people read it: `50Gi` is 50 GiB."""
    found = _UNITS.match(quantity)
    return f"{found['number']} {found['unit']}B" if found else quantity or "of unknown size"


def kinds_inside(followed: Collection[tuple[str, str]], served: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Namespaced kinds to count in a Namespace: all that are served but those that tell nothing about a loss.

    However many there are: one that is not asked for could hold what a person would not let go (R5).
    """
    return sorted(kind for kind in served if kind in followed or (kind not in _NOISE and kind[0] not in _MEASURED))


def unknown_inside(groups: Collection[str]) -> list[Inside]:
    """What may be in a Namespace of groups that did not answer."""
    return [
        Inside(f"kinds of {group}", unread="they do not answer", group=group) for group in sorted({*groups} - _MEASURED)
    ]


# Made by the hour: they tell nothing about a loss. What is made for other objects is known by its owner.
_NOISE = frozenset({("", "Event"), ("events.k8s.io", "Event"), ("coordination.k8s.io", "Lease")})
# Groups that keep nothing, and often do not answer.
_MEASURED = frozenset({"metrics.k8s.io", "custom.metrics.k8s.io", "external.metrics.k8s.io"})
