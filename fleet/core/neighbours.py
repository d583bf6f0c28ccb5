"""Whose parents lie on a cluster, and what follows (R4, R23): a parent of another installation is never overwritten,
and of several installations on one cluster only the one that was there first writes.

An installation is known by the name in its fleet.yaml; a hub that was restored, or lost its state, is still the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from fleet.core.documents import Document, text_at
from fleet.core.ids import ClusterName, UnitName
from fleet.core.objects import INSTALLATION_LABEL, OWNER_ANNOTATION, Mark
from fleet.core.parent import PARENT_LABEL, parse_parent
from fleet.core.record import PARENT_NAMESPACE, MarkKind, applyset_id, installation_hash, judge_mark, parent_name
from fleet.core.status import Report
from fleet.errors import OwnedByOther
from fleet.values import dataclass

_NAME_SHOWN = 120  # what another installation calls itself is its own text
_UNNAMED = "another installation"
_NOTHING = "nothing is written to"


class Whose(StrEnum):
    """Whose a parent object is, seen from one installation on one cluster."""

    NOBODYS = "nobodys"  # carries no mark at all: left alone, as any object of a stranger (R4)
    OURS = "ours"  # also where it was damaged: we restore what we wrote
    FOREIGN = "foreign"  # another installation's, of another cluster, or with a mark that nobody writes


_WHOSE = {
    MarkKind.OURS: Whose.OURS,
    MarkKind.LABEL_LOST: Whose.OURS,  # as every whole parent: it is the head of an apply set, and part of none
    MarkKind.ANNOTATION_LOST: Whose.OURS,
    MarkKind.COPIED: Whose.OURS,  # put back from a copy of the cluster, which forgets who applied it
    MarkKind.OTHER_UNIT: Whose.OURS,  # its name says which unit's it is
    MarkKind.UNMARKED: Whose.NOBODYS,
    MarkKind.OTHER_INSTALLATION: Whose.FOREIGN,
    MarkKind.FORGED: Whose.FOREIGN,
}


@dataclass(frozen=True, slots=True)
class ParentSeen:
    """One parent object as it was read last.

    uid and version: what a write over it carries, so that it hits this state alone. installation: as its mark says it,
    "" where it says none; label: of the installation, as it stands there; created: RFC 3339, by the API server;
    is_whole: ours, with every part of the mark as we write it, and a hub that lost its data can read it; said: what it
    reads there, as a digest.
    """

    name: str
    whose: Whose
    who: str = ""  # of a foreign one, for people
    uid: str = ""
    version: str = ""
    installation: str = ""
    label: str = ""
    created: str = ""
    is_whole: bool = False
    said: str = ""


def judge_parent(live: Document, installation: str, identity: str) -> ParentSeen:
    """Read a parent, or its metadata alone, and say whose it is. live: an object that carries a parent's name.

    Under our label it is ours whatever its annotation names: no installation writes another one's label, so that the
    annotation was changed by a tool or by hand. But for our name with another cluster's identity, which a copy of that
    cluster brings, with objects that are not this cluster's either (R4).
    """
    verdict = judge_mark(live, Mark(installation, identity, ""))
    owner = text_at(live, "metadata", "annotations", OWNER_ANNOTATION).split("/")
    label = text_at(live, "metadata", "labels", INSTALLATION_LABEL)
    is_changed = verdict.kind is MarkKind.FORGED and label == installation_hash(installation)
    whose, name = Whose.OURS if is_changed else _WHOSE[verdict.kind], text_at(live, "metadata", "name")
    read = parse_parent(live)
    found = (*owner[:2], parent_name("/".join(owner[2:])), label, text_at(live, "metadata", "labels", PARENT_LABEL))
    written = (installation, identity, name, installation_hash(installation), applyset_id(name, PARENT_NAMESPACE))
    return ParentSeen(
        name=name,
        whose=whose,
        who=_shown(verdict.who) or _UNNAMED,
        uid=text_at(live, "metadata", "uid"),
        version=text_at(live, "metadata", "resourceVersion"),
        installation=owner[0] if len(owner) == 3 and all(owner) else "",
        label=label,
        created=text_at(live, "metadata", "creationTimestamp"),
        is_whole=whose is Whose.OURS and found == written and read is not None,
        said=read.said if read is not None else "",
    )


def is_owed(before: Mapping[str, ParentSeen], now: Mapping[str, ParentSeen]) -> bool:
    """Whether a parent that was no other installation's is gone or was changed: its unit has to write it again."""
    return any(
        one.whose is not Whose.FOREIGN and (name not in now or not now[name].is_whole or now[name].said != one.said)
        for name, one in before.items()
    )


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another installation that has parents on the cluster.

    label: the value of its label, never that of this installation; "" where its parents have several. parents: their
    names; is_elder: it was there first, so that this installation writes nothing.
    """

    name: str
    label: str
    parents: tuple[str, ...]
    is_elder: bool


def judge_neighbour(seen: Iterable[ParentSeen], installation: str) -> Neighbour | None:
    """The other installation that was there first of all others; None where there is none.

    Each hub comes to the same order by itself: by the server's time of the oldest parent, then by the installation's
    hash. So of two installations one goes on and one stops. One whose time nobody can read counts as the elder. A
    parent that bears our name in any part of its mark shows nobody else: it concerns its own unit alone.
    """
    us = {installation, installation_hash(installation)}
    mine: list[str] = []
    others: dict[str, list[ParentSeen]] = {}
    for one in seen:
        name = one.installation or one.label
        if one.whose is Whose.OURS:
            mine.append(one.created)
        elif one.whose is Whose.FOREIGN and name and us.isdisjoint((one.installation, one.label)):
            others.setdefault(name, []).append(one)
    if not others:
        return None
    name = min(others, key=lambda name: _since(name, others[name]))
    theirs = others[name]
    known = [created for created in mine if created]
    is_elder = not known or _since(name, theirs) < (min(known), installation_hash(installation))
    labels = {one.label for one in theirs}
    return Neighbour(
        name=_shown(theirs[0].installation) or _UNNAMED,
        label=labels.pop() if len(labels) == 1 else "",
        parents=tuple(sorted(one.name for one in theirs)),
        is_elder=is_elder,
    )


def _since(name: str, parents: Iterable[ParentSeen]) -> tuple[str, str]:
    return min((one.created, one.label or installation_hash(name)) for one in parents)


def neighbour_error(cluster: ClusterName, neighbour: Neighbour) -> OwnedByOther:
    """What is said of a cluster on which another installation is; never raised: the connection goes on."""
    more = f" and {len(neighbour.parents) - 3} more" if len(neighbour.parents) > 3 else ""
    lies = f"{', '.join(neighbour.parents[:3])}{more} in {PARENT_NAMESPACE} are its parent objects"
    if neighbour.is_elder:
        what = f"{_NOTHING} {cluster}: {neighbour.name} was there first"
        why = f"{lies}, and one installation writes to a cluster"
    else:
        what = f"{neighbour.name} came to {cluster} as well"
        why = f"{lies}; this installation was there first and goes on"
    selector = f"{INSTALLATION_LABEL}={neighbour.label},{PARENT_LABEL}"
    left = f"-l {selector}" if neighbour.label else " ".join(neighbour.parents)
    return OwnedByOther(
        what,
        where=f"cluster {cluster}",
        why=why,
        next_step=f"take {cluster} out of one of the two fleets; if the hub of {neighbour.name} is gone for good: "
        f"kubectl -n {PARENT_NAMESPACE} delete configmap {left}",
    )


def is_left_alone(report: Report | None) -> bool:
    """Whether a cluster's report says that another installation was there first, so that nothing is written."""
    return report is not None and report.reason == OwnedByOther.__name__ and report.message.startswith(_NOTHING)


def parent_error(unit: UnitName, seen: ParentSeen) -> OwnedByOther:
    """What is said of a unit whose parent is another installation's; never raised."""
    name = parent_name(unit.overlay)
    return OwnedByOther(
        f"{unit} belongs to {seen.who}",
        where=f"cluster {unit.cluster}",
        why=f"its parent object {PARENT_NAMESPACE}/{name} carries that mark",
        next_step=f"take {unit.overlay} on {unit.cluster} out of one of the two fleets, or rename it; if that hub is "
        f"gone for good: kubectl -n {PARENT_NAMESPACE} delete configmap {name}",
    )


def _shown(text: str) -> str:
    return text if len(text) <= _NAME_SHOWN else f"{text[:_NAME_SHOWN]}…"
