"""Reports, holds and unit memory as JSON bytes and back.

Writing is orjson on the frozen dataclasses themselves; reading is by hand, because it happens for every unit at the
start of a hub. A body that does not read back is `StateDamaged`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import orjson

from fleet.core.documents import Document, at, documents_at, items_at, mapping_at, number_at, parse, parse_document
from fleet.core.documents import text_at as text
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.status import (
    Blocker,
    FieldDrift,
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
    return _reading("hold", raw, lambda value: tuple(map(_hold_request, documents_at(value, "requests"))))


def encode_memory(memory: UnitMemory) -> bytes:
    """What a worker remembers of a unit."""
    return orjson.dumps(memory)


def decode_memory(raw: bytes) -> UnitMemory:
    """The inverse of `encode_memory`."""
    return _reading("unit memory", raw, _memory)


def strings(raw: bytes) -> tuple[str, ...]:
    """A JSON list of texts."""
    value = parse(raw)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def _reading(what: str, raw: bytes, read: Callable[[Document], T]) -> T:
    try:
        return read(parse_document(raw))
    except (ValueError, KeyError) as error:
        raise StateDamaged(
            f"a stored {what} does not read back",
            why=type(error).__name__,
            next_step="restore the data directory from a backup",
        ) from error


def _number(value: Document, key: str) -> float:
    found = at(value, key)
    return float(found) if isinstance(found, int | float) else 0.0


def _texts(value: Document, key: str) -> tuple[str, ...]:
    return tuple(item for item in items_at(value, key) if isinstance(item, str))


def _digest(value: Document, key: str) -> Digest | None:
    found = at(value, key)
    return Digest(found) if isinstance(found, str) else None


def _revision(value: Document, key: str) -> Revision | None:
    found = at(value, key)
    return Revision(found) if isinstance(found, str) else None


def _ref(value: Document) -> ObjectRef:
    return ObjectRef(text(value, "group"), text(value, "kind"), text(value, "namespace"), text(value, "name"))


def _unit(value: Document) -> UnitName:
    return UnitName(OverlayName(text(value, "overlay")), ClusterName(text(value, "cluster")))


def _cluster(value: Document) -> Report:
    identity = at(value, "identity")
    return Report(
        cluster=ClusterName(text(value, "cluster")),
        epoch=number_at(value, "epoch"),
        sequence=number_at(value, "sequence"),
        at=_number(value, "at"),
        desired_sequence=number_at(value, "desired_sequence"),
        identity=Identity(identity) if isinstance(identity, str) else None,
        reachable=at(value, "reachable") is True,
        version=text(value, "version"),
        reason=text(value, "reason"),
        message=text(value, "message"),
        next_step=text(value, "next_step"),
        full=at(value, "full") is True,
    )


def _unit_report(value: Document) -> UnitReport:
    return UnitReport(
        unit=_unit(mapping_at(value, "unit")),
        commit=Revision(text(value, "commit")),
        bundle=_digest(value, "bundle"),
        sync=Sync(text(value, "sync")),
        health=Health(text(value, "health")),
        observed_at=_number(value, "observed_at"),
        reason=text(value, "reason"),
        message=text(value, "message"),
        next_step=text(value, "next_step"),
        observed_commit=_revision(value, "observed_commit"),
        applied_at=_number(value, "applied_at"),
        changed=number_at(value, "changed"),
        objects=tuple(map(_object_status, documents_at(value, "objects"))),
        blocked_by=tuple(map(_blocker, documents_at(value, "blocked_by"))),
        holds=tuple(map(_hold_request, documents_at(value, "holds"))),
        detached=at(value, "detached") is True,
        warnings=_texts(value, "warnings"),
    )


def _object_status(value: Document) -> ObjectStatus:
    return ObjectStatus(
        ref=_ref(mapping_at(value, "ref")),
        sync=Sync(text(value, "sync")),
        health=Health(text(value, "health")),
        message=text(value, "message"),
        reason=text(value, "reason"),
        changed_at=_number(value, "changed_at"),
        drift=tuple(map(_drift, documents_at(value, "drift"))),
        uid=text(value, "uid"),
    )


def _drift(value: Document) -> FieldDrift:
    return FieldDrift(
        path=text(value, "path"),
        desired=at(value, "desired"),
        live=at(value, "live"),
        manager=text(value, "manager"),
        since=_number(value, "since"),
        masked=at(value, "masked") is True,
    )


def _blocker(value: Document) -> Blocker:
    return Blocker(
        state=Standing(text(value, "state")),
        scope=text(value, "scope"),
        reason=text(value, "reason"),
        since=_number(value, "since"),
        until=text(value, "until"),
        next=text(value, "next"),
    )


def _hold_request(value: Document) -> HoldRequest:
    return HoldRequest(
        unit=_unit(mapping_at(value, "unit")),
        commit=Revision(text(value, "commit")),
        reason=text(value, "reason"),
        message=text(value, "message"),
        deletions=tuple(map(_deletion, documents_at(value, "deletions"))),
    )


def _deletion(value: Document) -> PendingDeletion:
    return PendingDeletion(
        ref=_ref(mapping_at(value, "ref")),
        uid=text(value, "uid"),
        content=_digest(value, "content"),
        created_at=_number(value, "created_at"),
        goes_with=_texts(value, "goes_with"),
    )


def _memory(value: Document) -> UnitMemory:
    return UnitMemory(
        unit=_unit(mapping_at(value, "unit")),
        bundle=_digest(value, "bundle"),
        commit=Revision(text(value, "commit")),
        parent_generation=number_at(value, "parent_generation"),
        parent_digest=Digest(text(value, "parent_digest")),
        done_hooks=_texts(value, "done_hooks"),
        confirmed=at(value, "confirmed") is not False,
    )
