"""What would go with an object if it were deleted: lines for the person who decides on a hold (R10). Pure.

Counts come from complete lists alone; what could not be read is said to be unknown, never left out (R5).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from fleet.core.documents import Document, documents_at, number_at, text_at
from fleet.core.ids import ObjectRef
from fleet.core.inside import texts_of
from fleet.core.objects import INSTALLATION_LABEL
from fleet.core.record import installation_hash
from fleet.values import dataclass

DATA_LOST = "THE DATA IS LOST"
NOT_KNOWN = "not known, "  # how a line begins that says what could not be read
_SHOWN = 2  # foreign objects by name; the rest is counted
_SHOWN_KINDS = 4
_UNITS = re.compile(r"(?P<number>\d+(?:\.\d+)?)(?P<unit>[KMGTP]i)\Z")
_SHORT = {"PersistentVolumeClaim": "PVC", "PersistentVolume": "PV"}
# Every namespace has these by itself.
_SELF_MADE = frozenset({("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")})


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


def namespace_losses(inside: Sequence[Inside], claims: Sequence[Claim], *, installation: str) -> tuple[str, ...]:
    """Lines for a Namespace: how many objects are in it, how many of them are not ours, and which data is lost.

    Objects that another object owns go with their owner and are not counted, nor what each namespace has by itself.
    """
    found = [(part.kind, item) for part in inside for item in part.items if _counts(part.kind, item)]
    foreign = sorted((kind, text_at(item, "metadata", "name")) for kind, item in found if not _ours(item, installation))
    lines = [_summary(len(found), "object", len(foreign))] if found or not _unread(inside) else []
    lines += [claim_line(claim, named=True) for claim in sorted(claims, key=lambda c: _name(c.document))]
    named = [f"{_SHORT.get(kind, kind)} {name}" for kind, name in foreign if kind != "PersistentVolumeClaim"]
    if named:
        more = len(named) - _SHOWN
        lines.append(", ".join(named[:_SHOWN]) + (f", {more} more" if more > 0 else ""))
    return (*lines, *_unread(inside))


def definition_losses(inside: Inside, *, installation: str) -> tuple[str, ...]:
    """Lines for a CustomResourceDefinition: all its custom resources go with it."""
    if inside.unread:
        return _unread([inside])
    foreign = sum(not _ours(item, installation) for item in inside.items)
    if not inside.items:
        return (f"no {inside.kind} exists",)
    places = {text_at(item, "metadata", "namespace") for item in inside.items} - {""}
    where = f" in {len(places)} namespace{'s' if len(places) > 1 else ''}" if places else ""
    return (_summary(len(inside.items), f"{inside.kind} object", foreign, where),)


@dataclass(frozen=True, slots=True)
class Loss:
    """What would go with one object: lines for people, and the same as an approval is bound to it (core/inside.py)."""

    lines: tuple[str, ...] = ()
    inside: tuple[str, ...] = ()


def inside_of(
    parts: Sequence[Inside], claims: Sequence[Claim] = (), *, own: Collection[ObjectRef] = ()
) -> tuple[str, ...]:
    """All that would go, as an approval is bound to it. own: the unit's, which have their own lines in the list.

    A claim counts with its UID and with what becomes of its data; kinds that could not be read count as unknown (R5).
    """
    things = [f"? {part.group}/{part.kind}" for part in parts if part.unread]
    for part in parts:
        for item in part.items:
            space, name = text_at(item, "metadata", "namespace"), _name(item)
            if _counts(part.kind, item) and ObjectRef(part.group, part.kind, space, name) not in own:
                things.append(f"{part.group}/{part.kind} {space}/{name}")
    return texts_of([*things, *(thing for claim in claims for thing in _data_of(claim))])


def _data_of(claim: Claim) -> Iterator[str]:
    volume, uid = claim.document, text_at(claim.document, "metadata", "uid")
    if text_at(volume, "spec", "volumeName"):
        yield f"data of {uid} in {text_at(volume, 'spec', 'volumeName')}: {_fate(claim.volume)}"


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


def stateful_set_losses(document: Document) -> tuple[str, ...]:
    """Lines for a StatefulSet: its pods, and whether the claims of its templates go as well."""
    replicas = number_at(document, "spec", "replicas", default=1)
    lines = [f"{replicas} pod{'s' if replicas != 1 else ''}"] if replicas else []
    goes = text_at(document, "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted") == "Delete"
    for template in documents_at(document, "spec", "volumeClaimTemplates"):
        size = _size(text_at(template, "spec", "resources", "requests", "storage"))
        what = f"PVC {_name(template)}-{_name(document)}-N {size} of each pod"
        lines.append(f"{what} (whenDeleted: Delete: {DATA_LOST})" if goes else f"{what} stays")
    return tuple(lines)


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


def _counts(kind: str, item: Document) -> bool:
    return not documents_at(item, "metadata", "ownerReferences") and (kind, _name(item)) not in _SELF_MADE


def _ours(item: Document, installation: str) -> bool:
    return text_at(item, "metadata", "labels", INSTALLATION_LABEL) == installation_hash(installation)


def _name(document: Document) -> str:
    return text_at(document, "metadata", "name")


def _size(quantity: str) -> str:
    """A quantity as people read it: `50Gi` is 50 GiB."""
    found = _UNITS.match(quantity)
    return f"{found['number']} {found['unit']}B" if found else quantity or "of unknown size"


def kinds_inside(followed: Collection[tuple[str, str]], served: Collection[tuple[str, str]]) -> list[tuple[str, str]]:
    """Namespaced kinds to count in a Namespace: all that are served but those that tell nothing about a loss.

    However many there are: one that is not asked for could hold what a person would not let go (R5).
    """
    return sorted(kind for kind in served if kind in followed or kind not in _NOISE)


# Made by controllers for other objects, or by the hour: they tell nothing about a loss.
_NOISE = frozenset(
    {
        ("", "Event"),
        ("events.k8s.io", "Event"),
        ("", "Endpoints"),
        ("discovery.k8s.io", "EndpointSlice"),
        ("apps", "ReplicaSet"),
        ("apps", "ControllerRevision"),
        ("coordination.k8s.io", "Lease"),
        ("metrics.k8s.io", "PodMetrics"),
    }
)
