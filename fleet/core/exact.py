"""Whether an apply would change nothing, told from the live object alone: it saves the dry-run that would say so.

Exact in one direction: True is what the server would answer (webhooks aside), False means that it must be asked.
"""

from __future__ import annotations

from fleet.core.documents import Document, Json, canonical
from fleet.core.fieldset import VOID, Absent, step
from fleet.core.fingerprint import own_entry

_IDENTIFYING = ("apiVersion", "kind")
_NAMES = ("name", "namespace")


def is_applied_already(body: Document, live: Document) -> bool:
    """Whether our set on the live object is exactly the fields of this body, and each has its value (KEP-555).

    body: as it would be sent, marks and namespace in; live: as read, with its managedFields. Values are compared as
    they are spelled: one that the server spells otherwise (a quantity) must be asked about.
    """
    entry = own_entry(live)
    if entry is None or entry.api_version != body.get("apiVersion"):
        return False
    metadata = body.get("metadata")
    if not isinstance(metadata, dict):
        return False
    ours: Document = {name: value for name, value in body.items() if name not in _IDENTIFYING}
    ours["metadata"] = {name: value for name, value in metadata.items() if name not in _NAMES}
    return _is_held(entry.fields, ours, live)


def _is_held(fields: Document, ours: Json, live: Json | Absent) -> bool:
    """Whether `fields` are all of `ours`, and live has the same below each."""
    below = {element: node for element, node in fields.items() if element != "."}
    if VOID in below:
        return False
    if not below:
        return not isinstance(live, Absent) and canonical(ours) == canonical(live)
    if isinstance(ours, dict):
        if not isinstance(live, dict) or {f"f:{name}" for name in ours} != below.keys():
            return False
    elif not (isinstance(ours, list) and isinstance(live, list) and _are_in_order(ours, list(below), live)):
        return False
    for element, node in below.items():
        mine, theirs = step(ours, element), step(live, element)
        if isinstance(mine, Absent) or isinstance(theirs, Absent) or not isinstance(node, dict):
            return False
        if not (element.startswith("v:") or _is_held(node, mine, theirs)):
            return False
    return True


def _are_in_order(ours: list[Json], elements: list[str], live: list[Json]) -> bool:
    """Whether these elements are all of ours, and live has them in the order of ours: an apply puts them into it."""
    found = {element: step(live, element) for element in elements}
    mine = [step(ours, element) for element in elements]
    if len(ours) != len(elements) or any(isinstance(item, Absent) for item in (*mine, *found.values())):
        return False
    by_place = sorted(zip(map(ours.index, mine), found.values(), strict=True), key=lambda pair: pair[0])  # type: ignore[arg-type]
    places = [live.index(item) for _, item in by_place]  # type: ignore[arg-type]
    return places == sorted(set(places))
