"""Reports, holds and unit memory as JSON bytes and back.

Writing is orjson on the frozen dataclasses themselves; reading is by hand, because it happens for every unit at the
start of a hub. A body that does not read back is `StateDamaged`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import orjson

from fleet.core.asked import Asked
from fleet.core.documents import Document, Json, parse_document
from fleet.core.field_diff import FieldDrift
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.status import (
    Blocker,
    Health,
    HoldRequest,
    ObjectStatus,
    PendingDeletion,
    Report,
    Standing,
    Sync,
    UnitReport,
)
from fleet.errors import StateDamaged
from fleet.ports.worker import UnitMemory

T = TypeVar("T")


def encode_cluster(report: Report) -> bytes:
    """The cluster's own part of a report: units, operations and events are kept elsewhere."""
    return orjson.dumps(replace(report, units=(), operations=(), events=()))


def decode_cluster(raw: bytes) -> Report:
    """The inverse of `encode_cluster`."""
    return _reading("cluster report", raw, _cluster)


def encode_unit(report: UnitReport) -> bytes:
    """A unit report, objects included."""
    return orjson.dumps(report)


def decode_unit(raw: bytes) -> UnitReport:
    """The inverse of `encode_unit`."""
    return _reading("unit report", raw, _unit_report)


def encode_requests(requests: tuple[HoldRequest, ...]) -> bytes:
    """The requests of one hold."""
    return orjson.dumps({"requests": requests})


def decode_requests(raw: bytes) -> tuple[HoldRequest, ...]:
    """The inverse of `encode_requests`."""
    return _reading("hold", raw, lambda value: tuple(map(_hold_request, _documents(value, "requests"))))


def encode_memory(memory: UnitMemory) -> bytes:
    """What a worker remembers of a unit."""
    return orjson.dumps(memory)


def decode_memory(raw: bytes) -> UnitMemory:
    """The inverse of `encode_memory`."""
    return _reading("unit memory", raw, _memory)


def _reading(what: str, raw: bytes, read: Callable[[Document], T]) -> T:
    try:
        return read(parse_document(raw))
    except (ValueError, KeyError) as error:
        raise StateDamaged(
            f"a stored {what} does not read back",
            why=type(error).__name__,
            next_step="restore the data directory from a backup",
        ) from error


# Plain lookups: the readers of `core.documents` walk paths, which a hub that starts with 100,000 objects would feel.


def _text(value: Document, key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _number(value: Document, key: str) -> float:
    found = value.get(key)
    return float(found) if isinstance(found, int | float) else 0.0


def _count(value: Document, key: str) -> int:
    found = value.get(key)
    return found if isinstance(found, int) else 0


def _items(value: Document, key: str) -> list[Json]:
    found = value.get(key)
    return found if isinstance(found, list) else []


def _documents(value: Document, key: str) -> list[Document]:
    return [item for item in _items(value, key) if isinstance(item, dict)]


def _document(value: Document, key: str) -> Document:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _texts(value: Document, key: str) -> tuple[str, ...]:
    return tuple(item for item in _items(value, key) if isinstance(item, str))


def _digest(value: Document, key: str) -> Digest | None:
    found = value.get(key)
    return Digest(found) if isinstance(found, str) else None


def _revision(value: Document, key: str) -> Revision | None:
    found = value.get(key)
    return Revision(found) if isinstance(found, str) else None


def _ref(value: Document) -> ObjectRef:
    return ObjectRef(_text(value, "group"), _text(value, "kind"), _text(value, "namespace"), _text(value, "name"))


def _unit(value: Document) -> UnitName:
    return UnitName(OverlayName(_text(value, "overlay")), ClusterName(_text(value, "cluster")))


def _cluster(value: Document) -> Report:
    identity = value.get("identity")
    return Report(
        cluster=ClusterName(_text(value, "cluster")),
        epoch=_count(value, "epoch"),
        sequence=_count(value, "sequence"),
        at=_number(value, "at"),
        began_at=_number(value, "began_at"),
        known_at=_number(value, "known_at"),
        desired_sequence=_count(value, "desired_sequence"),
        identity=Identity(identity) if isinstance(identity, str) else None,
        reachable=value.get("reachable") is True,
        version=_text(value, "version"),
        reason=_text(value, "reason"),
        message=_text(value, "message"),
        next_step=_text(value, "next_step"),
        full=value.get("full") is True,
    )


def _unit_report(value: Document) -> UnitReport:
    return UnitReport(
        unit=_unit(_document(value, "unit")),
        commit=Revision(_text(value, "commit")),
        bundle=_digest(value, "bundle"),
        sync=Sync(_text(value, "sync")),
        health=Health(_text(value, "health")),
        observed_at=_number(value, "observed_at"),
        reason=_text(value, "reason"),
        message=_text(value, "message"),
        next_step=_text(value, "next_step"),
        observed_commit=_revision(value, "observed_commit"),
        applied_at=_number(value, "applied_at"),
        changed=_count(value, "changed"),
        objects=tuple(map(_object_status, _documents(value, "objects"))),
        blocked_by=tuple(map(_blocker, _documents(value, "blocked_by"))),
        holds=tuple(map(_hold_request, _documents(value, "holds"))),
        detached=value.get("detached") is True,
        warnings=_texts(value, "warnings"),
        quarantined=tuple(map(Digest, _texts(value, "quarantined"))),
        unjudged=_revision(value, "unjudged"),
    )


def _object_status(value: Document) -> ObjectStatus:
    return ObjectStatus(
        ref=_ref(_document(value, "ref")),
        sync=Sync(_text(value, "sync")),
        health=Health(_text(value, "health")),
        message=_text(value, "message"),
        reason=_text(value, "reason"),
        changed_at=_number(value, "changed_at"),
        drift=tuple(map(_drift, _documents(value, "drift"))),
        uid=_text(value, "uid"),
    )


def _drift(value: Document) -> FieldDrift:
    return FieldDrift(
        path=_text(value, "path"),
        desired=value.get("desired"),
        live=value.get("live"),
        manager=_text(value, "manager"),
        since=_number(value, "since"),
        masked=value.get("masked") is True,
    )


def _blocker(value: Document) -> Blocker:
    return Blocker(
        state=Standing(_text(value, "state")),
        scope=_text(value, "scope"),
        reason=_text(value, "reason"),
        since=_number(value, "since"),
        until=_text(value, "until"),
        next=_text(value, "next"),
    )


def _hold_request(value: Document) -> HoldRequest:
    return HoldRequest(
        unit=_unit(_document(value, "unit")),
        commit=Revision(_text(value, "commit")),
        reason=_text(value, "reason"),
        message=_text(value, "message"),
        deletions=tuple(map(_deletion, _documents(value, "deletions"))),
        left=value.get("left") is True,
    )


def _deletion(value: Document) -> PendingDeletion:
    return PendingDeletion(
        ref=_ref(_document(value, "ref")),
        uid=_text(value, "uid"),
        content=_digest(value, "content"),
        created_at=_number(value, "created_at"),
        goes_with=_texts(value, "goes_with"),
        inside=_texts(value, "inside"),
    )


def _memory(value: Document) -> UnitMemory:
    return UnitMemory(
        unit=_unit(_document(value, "unit")),
        bundle=_digest(value, "bundle"),
        commit=Revision(_text(value, "commit")),
        parent_generation=_count(value, "parent_generation"),
        parent_digest=Digest(_text(value, "parent_digest")),
        audit_head=_text(value, "audit_head"),
        quarantined=tuple(map(Digest, _texts(value, "quarantined"))),
        done_hooks=_texts(value, "done_hooks"),
        confirmed=value.get("confirmed") is not False,
        settled=value.get("settled", value.get("confirmed")) is not False,  # what was written before said none
        form=_count(value, "form") or 1,  # what was written before said none
        told=tuple(map(_ref, _documents(value, "told"))),
        asked=tuple(Asked(_ref(_document(each, "ref")), _text(each, "reason")) for each in _documents(value, "asked")),
    )
