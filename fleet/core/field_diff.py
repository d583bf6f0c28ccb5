"""Which fields of two documents differ, for people: two rendered ones, or a live one and its dry-run.

Lists whose items have a common key are compared by it. Values of Secrets are never in a difference (R32).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from fleet.core.documents import Document, Json, canonical, is_deeper, mapping_at
from fleet.core.fieldset import (
    ABSENT,
    Absent,
    Entry,
    Path,
    show,
)
from fleet.core.objects import is_secret, ref_of
from fleet.values import dataclass

_SERVER_SET = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")


_LAST_APPLIED = "f:kubectl.kubernetes.io/last-applied-configuration"


_TOLD_BYTES = 8 << 10  # of one value in a report: a long script, not a dashboard
_TOLD_TOGETHER_BYTES = 64 << 10  # of all of one object
_TOLD_LEVELS = 50
_TOLD_PATH = 500  # characters; a label's key or an item's name has 253 at most
MOST_TOLD = 100  # fields of one object

_ITEM_KEYS = ("name", "containerPort", "port", "mountPath", "type", "key")


@dataclass(frozen=True, slots=True)
class FieldDrift:
    """One field that is not as desired. Values of Secrets are None and `masked` (R32)."""

    path: str  # as kubectl explains it: spec.template.spec.containers[name=web].image
    desired: Json
    live: Json
    manager: str = ""  # the field manager that holds it now
    since: float = 0.0  # of that manager's entry
    masked: bool = False


def drift_of(
    path: Path, wanted: Json | Absent, there: Json | Absent, holder: Entry | None, *, hidden: bool
) -> FieldDrift:
    """One difference, without the values where they are a Secret's; holder: whose entry on the live object has it."""
    masked = hidden and _is_secret_path(path)
    return FieldDrift(
        path=show(path),
        desired=None if masked or isinstance(wanted, Absent) else wanted,
        live=None if masked or isinstance(there, Absent) else there,
        manager=_name_of(holder),
        since=holder.since if holder else 0.0,
        masked=masked,
    )


def as_told(drifts: Sequence[FieldDrift]) -> tuple[FieldDrift, ...]:
    """The same of one object for a report: so many fields, and the others by their number; values that are too large,
    by themselves or together, by their size alone (R18).

    Reports are kept for all objects of all clusters, and whoever may change one object chooses what it holds.
    """
    told: list[FieldDrift] = []
    room = _TOLD_TOGETHER_BYTES
    for drift in drifts[:MOST_TOLD]:
        desired, room = _told(drift.desired, room)
        live, room = _told(drift.live, room)
        told.append(replace(drift, path=_short(drift.path), desired=desired, live=live))
    if (more := len(drifts) - MOST_TOLD) > 0:
        told.append(FieldDrift(f"({more} more field{'s' if more > 1 else ''})", None, None))
    return tuple(told)


def _told(value: Json, room: int) -> tuple[Json, int]:
    """A value as it is told, and the room that is left."""
    if is_deeper(value, _TOLD_LEVELS):
        return f"too large to show: more than {_TOLD_LEVELS} levels deep", room
    size = len(canonical(value))
    return (value, room - size) if size <= min(_TOLD_BYTES, room) else (f"too large to show: {size} bytes", room)


def _short(path: str) -> str:
    return path if len(path) <= _TOLD_PATH else f"{path[: _TOLD_PATH - 1]}…"


def _name_of(entry: Entry | None) -> str:
    if entry is None:
        return ""
    return f"{entry.manager} ({entry.subresource})" if entry.subresource else entry.manager


def _is_secret_path(path: Path) -> bool:
    return (
        path[0] in ("f:data", "f:stringData")
        or _LAST_APPLIED in path
        or path in (("f:metadata",), ("f:metadata", "f:annotations"))
    )


def dry_run_diff(live: Document, result: Document) -> tuple[FieldDrift, ...]:
    """What an apply would change, from its dry-run: `desired` is what would be, `live` what is."""
    return diff_documents(result, live)


def diff_documents(before: Document, after: Document) -> tuple[FieldDrift, ...]:
    """Field by field: `desired` from the first, `live` from the second document. Server-set metadata and status aside.

    For rendered or dry-run documents; between a manifest and a live object it is approximate, because defaults count
    as differences. Lists whose items have a common key are compared by it.
    """
    is_hidden = is_secret(ref_of(before)) or is_secret(ref_of(after))
    found = [
        drift_of(path, wanted, there, None, hidden=is_hidden) for path, wanted, there in differences_of(before, after)
    ]
    return tuple(sorted(found, key=lambda drift: drift.path))


def differences_of(before: Document, after: Document) -> Iterator[tuple[Path, Json | Absent, Json | Absent]]:
    """Each place where two documents differ, with both values; what a server sets aside."""
    return _differences(_compared(before), _compared(after), ())


def _compared(document: Document) -> Document:
    """The part of a document that is compared."""
    metadata: Document = {
        name: value for name, value in mapping_at(document, "metadata").items() if name not in _SERVER_SET
    }
    return {**{name: value for name, value in document.items() if name != "status"}, "metadata": metadata}


def _differences(
    before: Json | Absent, after: Json | Absent, at: Path
) -> Iterator[tuple[Path, Json | Absent, Json | Absent]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted({*before, *after}):
            yield from _differences(before.get(name, ABSENT), after.get(name, ABSENT), (*at, f"f:{name}"))
        return
    if isinstance(before, list) and isinstance(after, list):
        key = common_key(before, after)
        if key:
            yield from _item_differences(before, after, key, at)
            return
    if isinstance(before, Absent) or isinstance(after, Absent):
        if before is not after:
            yield at, before, after
    elif canonical(before) != canonical(after):
        yield at, before, after


def _item_differences(
    before: list[Json], after: list[Json], key: str, at: Path
) -> Iterator[tuple[Path, Json | Absent, Json | Absent]]:
    """Differences of lists whose items are told apart by one key; the mere order is a difference of the list."""
    mine, theirs = _by_key(before, key), _by_key(after, key)
    found = False
    for element in {**mine, **theirs}:
        for difference in _differences(mine.get(element, ABSENT), theirs.get(element, ABSENT), (*at, element)):
            found = True
            yield difference
    if not found and list(mine) != list(theirs):
        yield at, before, after


def _by_key(items: list[Json], key: str) -> dict[str, Json]:
    return {f"k:{canonical({key: item[key]}).decode()}": item for item in items if isinstance(item, dict)}


def common_key(before: list[Json], after: list[Json]) -> str:
    """A key that each item has and that tells the items of each list apart; "" if there is none."""
    return next((key for key in _ITEM_KEYS if before + after and _is_key(before, key) and _is_key(after, key)), "")


def _is_key(items: list[Json], key: str) -> bool:
    values = [item.get(key) for item in items if isinstance(item, dict)]
    return (
        len(values) == len(items)
        and all(isinstance(value, (str, int)) for value in values)
        and len(set(map(str, values))) == len(items)
    )
