"""Which fields differ, for people: desired against live, a dry-run against live, or one document against another.

Whether an object is in sync is never decided here (see fingerprint.py); this names the fields once it is known that
it is not. Values of Secrets are never in a difference (R32).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation

from fleet.core.documents import Document, Json, parse_document
from fleet.core.field_diff import FieldDrift, differences_of, drift_of
from fleet.core.fieldset import (
    Absent,
    Entry,
    Path,
    entries_of,
    paths,
    value_at,
)
from fleet.core.fingerprint import OwnEntry, as_recorded
from fleet.core.ignore import as_ignored, ignored_in
from fleet.core.objects import FIELD_MANAGER, is_secret, ref_of
from fleet.core.owners import Owners
from fleet.core.sync_policy import IgnoreRule


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
    exact: who changes or removes a field of ours takes it out of our set. Where our set is as it was, or is not known,
    values are compared leniently. Nothing found for an object that is known to have drifted means that no manager did
    it (an API server's upgrade may): `dry_run_diff` tells. ignore: rules that concern the object.
    """
    is_ignored, desired = ignored_in(live, ignore), as_ignored(desired, live, ignore)
    if entry is None and not last_fields:
        is_hidden = is_secret(ref_of(desired)) or is_secret(ref_of(live))
        told = [
            drift_of(path, wanted, there, None, hidden=is_hidden)
            for path, wanted, there in differences_of(desired, live)
            if not is_ignored(path)
        ]
        return tuple(sorted((one for one in told if one.desired is not None or one.masked), key=lambda one: one.path))
    owned: frozenset[Path] = frozenset(paths(as_recorded(entry.fields, last_fields))) if entry else frozenset()
    if last_fields:
        before = frozenset(paths(parse_document(last_fields)))
        suspects = before.symmetric_difference(owned) or owned  # nobody took one: the cluster's store was put back
        nodes = frozenset(path[:depth] for path in before for depth in range(1, len(path)))
    else:
        suspects = owned
        nodes = frozenset(path[:depth] for path in owned for depth in range(1, len(path)))
    others = _others(live)
    is_hidden = is_secret(ref_of(live))
    found: dict[Path, FieldDrift] = {}
    for path in sorted(suspects, key=len):
        if any(path[:depth] in found for depth in range(1, len(path))) or is_ignored(path):
            continue
        wanted, there = value_at(desired, path), value_at(live, path)
        if isinstance(wanted, Absent):
            if path in owned and last_fields:
                found[path] = drift_of(path, wanted, there, _ours(live), hidden=is_hidden)
            continue
        if path in owned and _is_completed(wanted, there):
            continue
        is_lost = bool(last_fields) and path not in owned  # then only equality will do: somebody did change it
        if wanted != there if is_lost and path not in nodes else not _is_as_wanted(wanted, there, path in nodes):
            found[path] = drift_of(path, wanted, there, others.newest(path), hidden=is_hidden)
    return tuple(sorted(found.values(), key=lambda drift: drift.path))


def held_otherwise(desired: Document, live: Document) -> tuple[FieldDrift, ...]:
    """Fields that a document says and the live object has otherwise, each with who holds it now; sorted by path.

    Without what was recorded, so that values are compared leniently.
    """
    others = _others(live)
    is_hidden = is_secret(ref_of(live))
    found = [
        drift_of(path, wanted, there, others.newest(path), hidden=is_hidden)
        for path, wanted, there in differences_of(desired, live)
        if not isinstance(wanted, Absent) and not _is_as_wanted(wanted, there, partial=False)
    ]
    return tuple(sorted(found, key=lambda drift: drift.path))


def _others(live: Document) -> Owners:
    return Owners(item for item in entries_of(live) if item.manager != FIELD_MANAGER or item.operation != "Apply")


def _ours(live: Document) -> Entry | None:
    return next((item for item in entries_of(live) if item.manager == FIELD_MANAGER), None)


def _is_as_wanted(wanted: Json, there: Json | Absent, partial: bool) -> bool:
    """Whether a live value fulfils what is wanted. partial: only its existence is ours."""
    if isinstance(there, Absent):
        return False
    if partial or (wanted == {} and isinstance(there, dict)):
        return True
    return is_same_value(wanted, there)


def _is_completed(wanted: Json, there: Json | Absent) -> bool:
    """Whether a value that is ours still is what servers make of it: they leave out what is empty, and add to lists."""
    if isinstance(there, Absent):
        return not wanted
    if isinstance(wanted, list) and isinstance(there, list):
        return all(any(is_same_value(item, other) for other in there) for item in wanted)
    return False


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
