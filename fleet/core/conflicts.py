"""Whose fields an apply would take away: computed from `managedFields`, or read from the server's 409.

The server refuses an apply that changes the value of a field which another manager holds (KEP-555). It is forced only
where we had every such field before, once, with the UID and resourceVersion of the event that showed it (R17).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.core.documents import Document, Json, documents_at, parse_document, text_at
from fleet.core.field_diff import differences_of
from fleet.core.fieldset import ABSENT, Absent, Path, entries_of, holds, is_item, leaves, show, step, value_at
from fleet.core.objects import FIELD_MANAGER
from fleet.values import dataclass

BEFORE_FIRST_APPLY = "before-first-apply"  # the server's name for whoever wrote before ownership was tracked


@dataclass(frozen=True, slots=True, order=True)
class Contested:
    """One field that another manager holds with another value. path as kubectl shows it."""

    path: str
    manager: str


@dataclass(frozen=True, slots=True)
class NoConflict:
    """An apply without force goes through."""


@dataclass(frozen=True, slots=True)
class ForceOnce:
    """All contested fields were ours: one forced apply with these preconditions in the body's metadata."""

    uid: str
    resource_version: str
    fields: tuple[Contested, ...]


@dataclass(frozen=True, slots=True)
class Conflicting:
    """Fields that were never ours. An unforced apply writes nothing and lets the server name them for sure."""

    fields: tuple[Contested, ...]


def judge_conflict(live: Document, body: Document, last_fields: bytes) -> NoConflict | ForceOnce | Conflicting:
    """Foresee the answer to an apply of `body` over `live`.

    body: as it will be sent, ignored fields stripped; last_fields: `Row.fields`, b"" where nothing was applied yet.
    Values are compared as written: a quantity spelled in another way counts as contested, as it does for the server.
    """
    found = list(_contested(live, body))
    if not found:
        return NoConflict()
    before = parse_document(last_fields) if last_fields else {}
    foreign = tuple(sorted({contested for path, contested in found if not holds(before, path)}))
    if foreign:
        return Conflicting(foreign)
    ours = tuple(sorted({contested for _, contested in found}))
    return ForceOnce(text_at(live, "metadata", "uid"), text_at(live, "metadata", "resourceVersion"), ours)


def _contested(live: Document, body: Document) -> Iterator[tuple[Path, Contested]]:
    entries = entries_of(live)
    if not entries:  # somebody cleared them: the server takes all that is there for one manager's
        for path, wanted, there in differences_of(body, live):
            if not isinstance(wanted, Absent) and not isinstance(there, Absent):
                yield path, Contested(show(path), BEFORE_FIRST_APPLY)
    for entry in entries:
        if entry.manager == FIELD_MANAGER and entry.operation == "Apply":
            continue
        for path in leaves(entry.fields):
            at, wanted = _wanted_at(body, path)
            if wanted is not ABSENT and wanted != value_at(live, at):
                yield at, Contested(show(at), entry.manager)


def _wanted_at(body: Document, path: Path) -> tuple[Path, Json | Absent]:
    """What a body says of a path, or, where it has no map or list of items there to go into, of what is instead."""
    here: Json | Absent = body
    for depth, element in enumerate(path):
        if here is ABSENT:
            break
        if not isinstance(here, list if is_item(element) else dict):
            return path[:depth], here
        here = step(here, element)
    return path, here


@dataclass(frozen=True, slots=True)
class Stale:
    """A precondition failed: the object changed (resourceVersion), or is another or no incarnation (UID). Read it."""

    message: str


_CONFLICT_WITH = re.compile(r'conflict with "(?P<manager>.*?)"(?: with subresource "(?P<sub>[^"]*)")?(?: using .*)?\Z')


def classify_conflict(status: Document) -> Conflicting | Stale:
    """Read the Status document of a 409."""
    fields: list[Contested] = []
    for cause in documents_at(status, "details", "causes"):
        if text_at(cause, "reason") != "FieldManagerConflict":
            continue
        match = _CONFLICT_WITH.match(text_at(cause, "message"))
        manager = match["manager"] if match else text_at(cause, "message")
        fields.append(Contested(_plain(text_at(cause, "field")), manager))
    if fields:
        return Conflicting(tuple(sorted(set(fields))))
    return Stale(text_at(status, "message"))


def _plain(field: str) -> str:
    """`.spec.containers[name="web"].image` as `spec.containers[name=web].image`."""
    return re.sub(r'="([^"]*)"', r"=\1", field.removeprefix("."))
