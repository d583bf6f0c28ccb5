"""Which fields differ, for people: desired against live, a dry-run against live, or one document against another.

Whether an object is in sync is never decided here (see fingerprint.py); this names the fields once it is known that
it is not. Values of Secrets are never in a difference (R32).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

from fleet.core.documents import Document, Json, canonical, mapping_at, parse_document
from fleet.core.fieldset import (
    ABSENT,
    Absent,
    Entry,
    Path,
    entries_of,
    holds,
    paths,
    show,
    touches,
    value_at,
)
from fleet.core.fingerprint import OwnEntry, as_recorded
from fleet.core.fleet import IgnoreRule
from fleet.core.ignore import is_ignored
from fleet.core.objects import FIELD_MANAGER, is_secret, ref_of
from fleet.core.status import FieldDrift

_SERVER_SET = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_LAST_APPLIED = "f:kubectl.kubernetes.io/last-applied-configuration"
_ITEM_KEYS = ("name", "containerPort", "port", "mountPath", "type", "key")


def diff_fields(
    desired: Document,
    live: Document,
    entry: OwnEntry | None,
    ignore: Sequence[IgnoreRule] = (),
    *,
    last_fields: bytes = b"",
) -> tuple[FieldDrift, ...]:
    """Fields of ours that are not as desired, with who holds them now and since when; sorted by path.

    desired: the body with marks; entry: our entry on the live object; last_fields: `Row.fields`. With it the answer is
    exact: who changes or removes a field of ours takes it out of our set. Nothing found for an object that is known to
    have drifted means that no manager did it (an API server's upgrade may): `dry_run_diff` tells. Without it values
    are compared leniently. ignore: rules that concern the object.
    """
    if entry is None and not last_fields:
        return tuple(drift for drift in diff_documents(desired, live) if drift.desired is not None or drift.masked)
    owned: frozenset[Path] = frozenset(paths(as_recorded(entry.fields, last_fields))) if entry else frozenset()
    if last_fields:
        before = frozenset(paths(parse_document(last_fields)))
        suspects = before.symmetric_difference(owned)
        nodes = frozenset(path[:depth] for path in before for depth in range(1, len(path)))
    else:
        suspects = owned
        nodes = frozenset(path[:depth] for path in owned for depth in range(1, len(path)))
    others = [item for item in entries_of(live) if item.manager != FIELD_MANAGER or item.operation != "Apply"]
    is_hidden = is_secret(ref_of(live))
    found: dict[Path, FieldDrift] = {}
    for path in sorted(suspects, key=len):
        if any(path[:depth] in found for depth in range(1, len(path))) or is_ignored(path, live, ignore):
            continue
        wanted, there = value_at(desired, path), value_at(live, path)
        if isinstance(wanted, Absent):
            if path in owned and last_fields:
                found[path] = _drift(path, wanted, there, _ours(live), hidden=is_hidden)
            continue
        is_lost = bool(last_fields) and path not in owned  # then only equality will do: somebody did change it
        if wanted != there if is_lost and path not in nodes else not _is_as_wanted(wanted, there, path in nodes):
            found[path] = _drift(path, wanted, there, _holder_of(path, others), hidden=is_hidden)
    return tuple(sorted(found.values(), key=lambda drift: drift.path))


def _ours(live: Document) -> Entry | None:
    return next((item for item in entries_of(live) if item.manager == FIELD_MANAGER), None)


def _is_as_wanted(wanted: Json, there: Json | Absent, partial: bool) -> bool:
    """Whether a live value fulfils what is wanted. partial: only its existence is ours."""
    if isinstance(there, Absent):
        return False
    if partial or (wanted == {} and isinstance(there, dict)):
        return True
    return is_same_value(wanted, there)


def is_same_value(wanted: Json, there: Json) -> bool:
    """Equal, or equal after what API servers do to values: quantities and numbers respelled, defaults filled in.

    Lenient by design: it only decides what is worth showing.
    """
    if isinstance(wanted, bool) or isinstance(there, bool):
        return wanted is there
    if wanted == there:
        return True
    if isinstance(wanted, dict) and isinstance(there, dict):
        return all(name in there and is_same_value(value, there[name]) for name, value in wanted.items())
    if isinstance(wanted, list) and isinstance(there, list):
        return len(wanted) == len(there) and all(map(is_same_value, wanted, there))
    if wanted is None or isinstance(wanted, (dict, list)) or isinstance(there, (dict, list)):
        return False
    mine, other = quantity_of(wanted), quantity_of(there)
    return mine is not None and mine == other


_SUFFIX = {
    "": Decimal(1), "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"),
    "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "T": Decimal(10**12), "P": Decimal(10**15),
    "E": Decimal(10**18), "Ki": Decimal(2**10), "Mi": Decimal(2**20), "Gi": Decimal(2**30), "Ti": Decimal(2**40),
    "Pi": Decimal(2**50), "Ei": Decimal(2**60),
}  # fmt: skip
_QUANTITY = re.compile(r"([+-]?[0-9.]+(?:[eE][+-]?[0-9]{1,3})?)(n|u|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|)\Z")


def quantity_of(value: Json) -> Decimal | None:
    """The number that a Kubernetes quantity means (`1000m` is 1); None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    match = _QUANTITY.match(str(value))
    if not match:
        return None
    try:
        return Decimal(match[1]) * _SUFFIX[match[2]]
    except InvalidOperation:
        return None


def _holder_of(path: Path, others: Sequence[Entry]) -> Entry | None:
    """The newest entry that holds the field; for one that was removed nobody does."""
    holders = [entry for entry in others if holds(entry.fields, path) or touches(entry.fields, path)]
    return max(holders, key=lambda entry: entry.time, default=None)


def _drift(
    path: Path, wanted: Json | Absent, there: Json | Absent, holder: Entry | None, *, hidden: bool
) -> FieldDrift:
    masked = hidden and _is_secret_path(path)
    return FieldDrift(
        path=show(path),
        desired=None if masked or isinstance(wanted, Absent) else wanted,
        live=None if masked or isinstance(there, Absent) else there,
        manager=_name_of(holder),
        since=holder.since if holder else 0.0,
        masked=masked,
    )


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
        _drift(path, wanted, there, None, hidden=is_hidden)
        for path, wanted, there in _differences(_compared(before), _compared(after), ())
    ]
    return tuple(sorted(found, key=lambda drift: drift.path))


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
