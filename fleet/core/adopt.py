"""Taking over an object that exists and carries no mark: whether it may be done now, and whose fields move to us.

Fields move by one patch of `managedFields` that is bound to the state it was computed from. No value changes by it;
the apply after it writes our mark, and drops what the former tool set and Git does not say. So a field that Git drops
later disappears too, which it would not if the former tool went on owning it (design, section 6.4).

Who creates an object by other means than an apply owns the defaults that the server filled in as well. They move too:
left to the former tool they would keep alive what they belong to, such as a probe, when Git drops that; and our apply,
which does not say them, has the server fill them in again, which is no change.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence

import orjson

from fleet.core.conflicts import BEFORE_FIRST_APPLY
from fleet.core.documents import Document, Json, documents_at, mapping_at, text_at
from fleet.core.fieldset import (
    ABSENT,
    Absent,
    Path,
    entries_of,
    paths,
    show,
    split,
    step,
    touches,
    union,
    value_at,
)
from fleet.core.ids import UnitName
from fleet.core.ignore import ignored_in
from fleet.core.objects import FIELD_MANAGER, HANDOVER_MANAGER, PART_OF_LABEL
from fleet.core.options import PREFIX
from fleet.core.sync_policy import Adopt, IgnoreRule
from fleet.values import dataclass

# Tools whose fields move to us. What others hold stays theirs: they may well go on writing it.
_FORMER = frozenset(
    {
        "kubectl",  # server-side apply
        "helm",
        "argocd-controller",
        "argocd-application-controller",
        "kustomize-controller",
        "helm-controller",
        BEFORE_FIRST_APPLY,
    }
)
_KUBECTL = "kubectl-"  # client-side-apply, create, edit, patch, replace, set, label, annotate, last-applied …
_RESTART = "kubectl-rollout"  # a command to the cluster, no desired state: undoing it would restart pods
_SYSTEM = ("kube-", "kubelet", "cloud-controller-manager", "cluster-autoscaler")  # parts of the cluster itself

_NOTES, _LABELS = ("f:metadata", "f:annotations"), ("f:metadata", "f:labels")
# What the former tool keeps for itself. It moves and goes: without it Flux, and Argo CD where it tracks by annotation,
# neither count the object as theirs nor delete it with Kustomization or Application. Helm deletes by its release.
_BOOKKEEPING = frozenset(
    {
        (*_NOTES, "f:kubectl.kubernetes.io/last-applied-configuration"),
        (*_NOTES, "f:argocd.argoproj.io/tracking-id"),
        (*_NOTES, "f:argocd.argoproj.io/installation-id"),
        (*_NOTES, "f:meta.helm.sh/release-name"),
        (*_NOTES, "f:meta.helm.sh/release-namespace"),
        (*_NOTES, "f:kustomize.toolkit.fluxcd.io/checksum"),
        (*_LABELS, "f:kustomize.toolkit.fluxcd.io/name"),
        (*_LABELS, "f:kustomize.toolkit.fluxcd.io/namespace"),
        (*_LABELS, "f:helm.toolkit.fluxcd.io/name"),
        (*_LABELS, "f:helm.toolkit.fluxcd.io/namespace"),
    }
)
# What stays with the former tool unless Git says it, because taking it away would do more than Git asks for.
_STAYS: tuple[Path, ...] = (
    (*_LABELS, "f:app.kubernetes.io/managed-by"),  # dashboards select by it
    (*_LABELS, "f:app.kubernetes.io/instance"),  # as do monitors of Services; so `is_tracked_by_label` is to be told
    ("f:metadata", "f:finalizers"),  # never stripped (R15)
    ("f:spec", "f:replicas"),  # left out for an autoscaler, which has not scaled yet
    ("f:spec", "f:volumeName"),  # bound by the cluster,
    ("f:spec", "f:storageClassName"),  # chosen by it when the claim was made, and immutable since
    ("f:status",),
)
_INSTANCE, _TRACKING = "app.kubernetes.io/instance", "argocd.argoproj.io/tracking-id"
_RESTARTED_AT = "f:kubectl.kubernetes.io/restartedAt"  # in a pod template, whoever put it there


def is_former(manager: str) -> bool:
    """Whether the fields of this manager move to us when its object is taken over."""
    return manager in _FORMER or (manager.startswith(_KUBECTL) and manager != _RESTART)


# May it be done now


@dataclass(frozen=True, slots=True)
class Writer:
    """A field manager that wrote an object lately. seconds: how long ago."""

    manager: str
    seconds: float

    def __str__(self) -> str:
        ago = f"{self.seconds / 60:.0f}m" if self.seconds >= 60 else f"{self.seconds:.0f}s"
        return f"{self.manager} ({ago} ago)"


@dataclass(frozen=True, slots=True)
class Takeable:
    """May be taken over. active: who wrote it lately and is to be named before."""

    active: tuple[Writer, ...] = ()


@dataclass(frozen=True, slots=True)
class TooFresh:
    """Somebody wrote it lately: `ifNoDiff` waits so many seconds more."""

    active: tuple[Writer, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Untakeable:
    """Never taken over. owner: kind and name of the object that decides over it."""

    owner: str


def judge_adoption(
    live: Document, adopt: Adopt, *, now: float, quiet_seconds: float
) -> Takeable | TooFresh | Untakeable:
    """Judge an unmarked object (or its metadata alone) under `ifNoDiff` or `always`.

    now: by the cluster's clock; quiet_seconds: a writer within them counts as active. Only writes that change something
    leave a time behind, so that a tool which merely watches is not seen.
    """
    if owners := documents_at(live, "metadata", "ownerReferences"):
        return Untakeable(f"{text_at(owners[0], 'kind')} {text_at(owners[0], 'name')}")
    active = active_writers(live, now=now, quiet_seconds=quiet_seconds)
    if active and adopt is not Adopt.ALWAYS:
        return TooFresh(active, quiet_seconds - min(writer.seconds for writer in active))
    return Takeable(active)


def active_writers(live: Document, *, now: float, quiet_seconds: float) -> tuple[Writer, ...]:
    """Who wrote the object itself within the last `quiet_seconds`, the last one first. A clock a bit ahead is now."""
    found: dict[str, float] = {}
    for entry in entries_of(live):
        own = entry.manager in (FIELD_MANAGER, HANDOVER_MANAGER)
        ago = now - entry.since
        if own or entry.subresource or entry.manager.startswith(_SYSTEM) or not -quiet_seconds < ago < quiet_seconds:
            continue
        found[entry.manager] = max(0.0, min(ago, found.get(entry.manager, ago)))
    return tuple(Writer(name, ago) for name, ago in sorted(found.items(), key=lambda item: (item[1], item[0])))


def owners_of(live: Document) -> tuple[str, ...]:
    """The managers whose tools made or keep the object, for messages; parts of the cluster aside."""
    names = {entry.manager for entry in entries_of(live) if not entry.subresource}
    mine = (FIELD_MANAGER, HANDOVER_MANAGER)
    return tuple(sorted(name for name in names if name not in mine and not name.startswith(_SYSTEM)))


def is_tracked_by_label(live: Document, body: Document) -> bool:
    """Whether Argo CD goes on counting the object as its Application's, and deletes it with that, once it is ours.

    It tracks by a label (its default before 3.0) where it sets one and no annotation. The annotation goes when we take
    the object over; the label stays, unless Git says another value. live: metadata will do.
    """
    label = text_at(live, "metadata", "labels", _INSTANCE)
    if not label or text_at(live, "metadata", "annotations", _TRACKING):
        return False
    path = (*_LABELS, f"f:{_INSTANCE}")
    is_set = any(entry.manager.startswith("argocd-") and touches(entry.fields, path) for entry in entries_of(live))
    return is_set and text_at(body, "metadata", "labels", _INSTANCE) in ("", label)


def tracked_line(count: int) -> str:
    """What to do about objects that `is_tracked_by_label` names."""
    them = "it" if count == 1 else "them"
    return (
        f"Argo CD tracks {count} of these by the label {_INSTANCE}, which stays, and deletes {them} with its "
        "Application: delete that without cascade"
    )


# Whose fields move


@dataclass(frozen=True, slots=True)
class Move:
    """The new `managedFields`, whole, and what is told of it."""

    entries: tuple[Document, ...]  # ours first; together they own exactly what was owned before
    managers: tuple[str, ...]  # whose fields move
    fields: Document  # what is ours then: what we had, and what moved
    left: tuple[str, ...]  # whose fields are written at another API version, and stay with them


def plan_move(live: Document, body: Document, rules: Sequence[IgnoreRule] = ()) -> Move | None:
    """Move the fields of all former tools into our entry; None where no such tool owns any.

    live: the whole object, without rules its metadata will do; body: as it will be applied; rules: those that concern
    the object: what they ignore stays where it is. Entries of subresources and of other managers are kept as they are.
    An entry has one API version: fields written at another one than ours cannot be joined.
    """

    is_ignored = ignored_in(live, rules)

    def moves(path: Path) -> bool:
        stays = path[-1:] == (_RESTARTED_AT,) or any(path[: len(start)] == start for start in _STAYS)
        if not stays and not is_ignored(path):
            return True
        return value_at(body, path) is not ABSENT

    entries = documents_at(live, "metadata", "managedFields")
    own = next((entry for entry in entries if _is_own(entry)), None)
    former = [entry for entry in entries if not text_at(entry, "subresource") and is_former(text_at(entry, "manager"))]
    version = text_at(own, "apiVersion") if own else _version_of(former, text_at(body, "apiVersion"))
    fields: Document = mapping_at(own, "fieldsV1") if own else {}
    managers: set[str] = set()
    left: set[str] = set()
    rest: list[Document] = []
    for entry in entries:
        if entry is own:
            continue
        name = text_at(entry, "manager")
        if not any(entry is one for one in former):
            rest.append(entry)
            continue
        if text_at(entry, "apiVersion") != version:
            left.add(name)
            rest.append(entry)
            continue
        moved, kept = split(mapping_at(entry, "fieldsV1"), moves)
        if moved:
            fields = union(fields, moved)
            managers.add(name)
        if kept:
            rest.append({**entry, "fieldsV1": kept})
    if not managers:
        return None
    times = [text_at(entry, "time") for entry in (*former, own or {}) if text_at(entry, "time")]
    ours: Document = {"manager": FIELD_MANAGER, "operation": "Apply", "apiVersion": version}
    ours |= {"time": max(times)} if times else {}
    ours |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    return Move((ours, *rest), tuple(sorted(managers)), fields, tuple(sorted(left)))


def move_patch(live: Document, move: Move) -> bytes:
    """The JSON patch that carries out a move, on exactly this state of this incarnation."""
    operations: list[Document] = [*_same_state(live)]
    operations.append({"op": "replace", "path": "/metadata/managedFields", "value": list(move.entries)})
    return orjson.dumps(operations)


def _same_state(live: Document) -> tuple[Document, Document]:
    """A `test` that fails answers 422; a version that is replaced by another one answers 409, as any stale write."""
    uid, version = text_at(live, "metadata", "uid"), text_at(live, "metadata", "resourceVersion")
    return (
        {"op": "test", "path": "/metadata/uid", "value": uid},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
    )


def _is_own(entry: Document) -> bool:
    is_ours = text_at(entry, "manager") == FIELD_MANAGER and text_at(entry, "operation") == "Apply"
    return is_ours and not text_at(entry, "subresource")


def _version_of(former: Sequence[Document], wanted: str) -> str:
    """The API version of our new entry: the one we apply at, else that of the newest entry that moves."""
    found = {text_at(entry, "apiVersion") for entry in former}
    if wanted in found or not found:
        return wanted
    return text_at(max(former, key=lambda entry: text_at(entry, "time")), "apiVersion")


# What an adoption would change


def is_same_but_marked(before: Document, after: Document) -> bool:
    """Whether nothing of an object changed but its status and what tools keep for themselves, ours included."""
    return _bare(before) == _bare(after)


def _bare(document: Document) -> Document:
    metadata = {name: value for name, value in mapping_at(document, "metadata").items() if name not in _SERVER_KEPT}
    for part in ("labels", "annotations"):
        told = mapping_at(metadata, part)
        metadata[part] = {name: value for name, value in told.items() if not _is_kept_by_tools(name)}
    return {**{name: value for name, value in document.items() if name != "status"}, "metadata": metadata}


_SERVER_KEPT = frozenset({"managedFields", "resourceVersion", "generation", "selfLink"})
_KEPT_BY_TOOLS = frozenset({PART_OF_LABEL, *(path[-1][2:] for path in _BOOKKEEPING)})


def _is_kept_by_tools(name: str) -> bool:
    """Labels and annotations that say something to a tool alone; so also what `compat` makes of another tool's."""
    return name in _KEPT_BY_TOOLS or name.startswith(PREFIX)


def extras_of(move: Move, applied: Document, whole: Document) -> tuple[Path, ...]:
    """What an apply after the move would take away: moved, in no apply of ours, and nobody else's. The topmost paths.

    applied: the field set of our apply, as a dry-run told it; whole: the object after it. Bookkeeping does not count.
    """
    others = [mapping_at(entry, "fieldsV1") for entry in move.entries if not _is_own(entry)]
    found: list[Path] = []
    for path in paths(move.fields):
        if path in _BOOKKEEPING or any(path[: len(start)] == start for start in found):
            continue
        if any(touches(fields, path) for fields in (applied, *others)):
            continue  # it stays, or something below it does
        if value_at(whole, path) is not ABSENT:
            found.append(path)
    return tuple(found)


def removal_patch(live: Document, whole: Document, extras: Sequence[Path]) -> bytes:
    """A JSON patch, to be tried out on this state, that makes the object as after our apply and without its extras."""
    left = copy.deepcopy(whole)
    for path in extras:
        _take_out(left, path)
    operations: list[Document] = [*_same_state(live)]
    parts = [(name,) for name in whole if name not in ("apiVersion", "kind", "metadata", "status")]
    for part in (*parts, ("metadata", "labels"), ("metadata", "annotations")):
        value = _value(left, part)
        if not isinstance(value, Absent):
            # `add` sets a field of an object whether it is there or not.
            operations.append({"op": "add", "path": "/" + "/".join(part), "value": value})
        elif not isinstance(_value(whole, part), Absent):
            operations.append({"op": "remove", "path": "/" + "/".join(part)})
    return orjson.dumps(operations)


def extras_left(whole: Document, tried: Document, extras: Sequence[Path]) -> tuple[Path, ...]:
    """Which extras the server does not fill in again: neither its defaults, nor what webhooks add."""
    return tuple(path for path in extras if value_at(tried, path) != value_at(whole, path))


def _take_out(document: Document, path: Path) -> None:
    parent = value_at(document, path[:-1])
    value = step(parent, path[-1])
    if isinstance(parent, dict):
        parent.pop(path[-1][2:], None)
    elif isinstance(parent, list) and not isinstance(value, Absent):
        parent.remove(value)


def _value(document: Document, place: tuple[str, ...]) -> Json | Absent:
    here: Json | Absent = document
    for name in place:
        here = here.get(name, ABSENT) if isinstance(here, dict) else ABSENT
    return here


# What is told


def shown_paths(found: Sequence[Path], *, most: int = 3) -> str:
    """Fields as people read them."""
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return ", ".join(show(path) for path in found[:most]) + more


def counted(groups: Iterable[Sequence[str]]) -> str:
    """`argocd-controller (9), kubectl-edit (1)`: how many objects each manager owns, the most first."""
    counts = Counter(name for names in groups for name in (names or ("nobody named",)))
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{name} ({count})" for name, count in ordered)


_WORDS = {
    "ObjectForeign": "not as in Git",
    "WriterActive": "written minutes ago",
    "OwnedByOther": "belonging to another object",
}


def foreign_line(unit: UnitName, groups: Sequence[tuple[str, Sequence[str]]], adopt: Adopt) -> tuple[str, str, str]:
    """Reason, message and next step of a unit some of whose objects are not ours.

    groups: for each such object the reason why it is left alone (an error's class name), and its owners.
    """
    reasons = Counter(reason for reason, _ in groups)
    order = sorted(reasons, key=lambda reason: (-reasons[reason], reason))
    count, owners = len(groups), counted(managers for _, managers in groups)
    exist = "1 object exists and is not ours" if count == 1 else f"{count} objects exist and are not ours"
    if adopt is Adopt.NEVER:
        step = f"fleet diff {unit}; sync.adopt: ifNoDiff takes those that are equal, always takes all"
        return order[0], f"{exist}, owned by {owners}", step
    parts = ", ".join(f"{reasons[reason]} {_WORDS.get(reason, f'met {reason}')}" for reason in order)
    step = f"fleet diff {unit}"
    if adopt is Adopt.IF_NO_DIFF and "OwnedByOther" not in order[:1]:
        step += "; sync.adopt: always takes these too"
    return order[0], f"{exist}: {parts}; owned by {owners}", step
