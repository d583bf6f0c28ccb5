"""From a live document to the small row that is kept of it, and from that row to what is to be done. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from fleet.core.documents import Document, documents_at, mapping_at, text_at
from fleet.core.fingerprint import SyncState, judge_sync
from fleet.core.health import ObjectHealth, judge_health
from fleet.core.ids import Digest
from fleet.core.jobs import failed_and_left, has_failed
from fleet.core.objects import Mark
from fleet.core.record import FORM, MarkKind, MarkVerdict, Row, RowState, judge_mark
from fleet.core.status import Health, Kstatus
from fleet.core.sync_policy import HealthRule, IgnoreRule
from fleet.reconcile.memory import Live

_COMPARABLE = (SyncState.IN_SYNC, SyncState.DRIFTED)
_NO_DIGEST = Digest("")
_OURS = MarkVerdict(MarkKind.OURS)
_CURRENT = ObjectHealth(Kstatus.CURRENT, Health.HEALTHY)


def live_of(
    document: Document,
    mark: Mark,
    row: Row | None,
    rules: Sequence[IgnoreRule],
    health_rules: Sequence[HealthRule],
    *,
    key: bytes,
    at: float,
) -> Live:
    """The row for a live object of a unit. The document is kept while it differs from the record or is not Healthy."""
    metadata = mapping_at(document, "metadata")
    verdict = judge_mark(document, mark, known_uid=row.uid if row else "")
    fingerprint, comparable = _NO_DIGEST, False
    if row is not None and row.state is not RowState.INTENDED:
        sync = judge_sync(row, row.desired, document, rules=rules, key=key)
        fingerprint, comparable = sync.fingerprint, sync.state in _COMPARABLE
    health = judge_health(document, health_rules)
    is_quiet = (
        comparable
        and row is not None
        and fingerprint == row.fingerprint
        and verdict.kind is MarkKind.OURS
        and health == _CURRENT
    )
    return Live(
        uid=text_at(metadata, "uid"),
        resource_version=text_at(metadata, "resourceVersion"),
        fingerprint=fingerprint,
        comparable=comparable,
        mark=verdict,
        seen_by=mark.overlay,
        deleting=bool(text_at(metadata, "deletionTimestamp")),
        owned_by_object=bool(documents_at(metadata, "ownerReferences")),
        own_health=health,
        health=health,
        changed_at=at,
        document=None if is_quiet else document,
    )


def live_after(row: Row, answer: Document, health_rules: Sequence[HealthRule], *, at: float) -> Live:
    """The row for the object as our own apply left it: its fingerprint and mark are known, nothing is compared."""
    metadata = mapping_at(answer, "metadata")
    health = judge_health(answer, health_rules)
    return Live(
        uid=row.uid,
        resource_version=row.resource_version,
        fingerprint=row.fingerprint,
        comparable=True,
        mark=_OURS,
        seen_by=row.unit.overlay,
        deleting="deletionTimestamp" in metadata,
        owned_by_object="ownerReferences" in metadata,
        own_health=health,
        health=health,
        changed_at=at,
        document=None if health == _CURRENT else answer,
    )


def quiet_live(row: Row) -> Live:
    """The row of an object that was well when its kind's resume token was kept, without reading it."""
    return Live(
        uid=row.uid,
        resource_version=row.resource_version,
        fingerprint=row.fingerprint,
        comparable=True,
        mark=_OURS,
        seen_by=row.unit.overlay,
        deleting=False,
        owned_by_object=False,
        own_health=_CURRENT,
        health=_CURRENT,
        changed_at=row.since,
    )


def as_ended(row: Row, live: Live) -> Row:
    """The row of what is there: a Job that completed is done for its digest and may vanish (section 6.6). That one
    failed is on record too, as it may be gone by the next start (R5).

    A Job that failed never goes on: one that runs is another, or of an earlier time that was put back.
    """
    if not _is_applied_job(row):
        return row
    if live.own_health.health is Health.HEALTHY:
        return replace(row, state=RowState.DONE)
    failed = live.uid == row.uid and live.document is not None and has_failed(live.document)
    state = RowState.FAILED_THERE if failed else RowState.APPLIED
    return replace(row, state=state) if state is not row.state else row


def as_vanished(row: Row, *, at: float) -> Row:
    """The row of what is gone, and nobody saw it go: a Job may have ended, and counts as done for its digest (R22).

    Without a UID: nobody knows it. Where it was seen to go, the watch had told of its end before (`as_seen_to_go`).
    """
    return replace(row, state=RowState.DONE, uid="", since=at) if _is_applied_job(row) else row


def as_failed(row: Row, seen: Document | None, *, is_unseen: bool) -> Row:
    """The row of what is gone, by how it was seen last: a Job that failed stays so for its digest, and is not run again
    by itself for ever, each time as it removed itself (R22).

    Not where somebody was seen to delete it before its time: that asks to run it anew. seen: None where this session
    saw nothing of it, and the record alone tells how it ended.
    """
    if not _is_applied_job(row):
        return row
    if seen is None:
        failed = row.state is RowState.FAILED_THERE
    else:
        failed = has_failed(seen) if is_unseen else failed_and_left(seen)
    return replace(row, state=RowState.FAILED) if failed else row


def as_seen_to_go(row: Row) -> Row:
    """The row of what was seen to go: a Job had not ended, or not by itself, and is to be run anew, however much later
    that can be.

    With its UID, so that it counts as healed; what is only intended is never taken for ended by `as_vanished`.
    """
    return replace(row, state=RowState.INTENDED) if _is_applied_job(row) else row


def _is_applied_job(row: Row) -> bool:
    """Whether it is a Job that is there by the record, and has not completed."""
    return (row.ref.group, row.ref.kind) == ("batch", "Job") and row.state in (RowState.APPLIED, RowState.FAILED_THERE)


def sync_of(row: Row | None, desired: Digest, live: Live | None, verdicts: Collection[str]) -> SyncState:
    """What is to be done about an object, from rows alone (as `fingerprint.judge_sync` on documents).

    verdicts: memory keys `desired/fingerprint` that the arbiter found in sync.
    """
    if live is None:
        return SyncState.MISSING
    if row is None or not row.fingerprint or not row.desired or row.state is RowState.INTENDED:
        return SyncState.ASK_ARBITER
    if row.desired != desired and row.form == FORM:
        return SyncState.CHANGED
    if not live.comparable or row.form != FORM:
        return SyncState.IN_SYNC if f"{desired}/{live.fingerprint}" in verdicts else SyncState.ASK_ARBITER
    return SyncState.IN_SYNC if live.fingerprint == row.fingerprint else SyncState.DRIFTED
