"""The audit log in the database: appended in one transaction with the chain's head, read by page or whole."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select

from fleet.core.audit import (
    DELETED,
    KEY_TURNED,
    START,
    AuditEntry,
    Head,
    Link,
    goes_to,
    heads_in,
    hold_text,
    next_head,
    refs_by_unit,
)
from fleet.core.ids import ObjectRef, OverlayName, Revision, UnitName
from fleet.core.status import HoldRequest
from fleet.errors import StateDamaged, StateError
from fleet.store.crypto import DATABASE_FILE
from fleet.store.database import Database
from fleet.store.encode import decode_requests
from fleet.store.hold_rules import Listed, about_of, listed_in, withhold
from fleet.store.puts import Puts
from fleet.store.tables import AUDIT, HOLDS, RELEASED, VALUES
from fleet.store.trouble import state_error_of

_HEAD = "audit-head"
_DECIDED = {"hold-approved": "approved", "hold-rejected": "rejected"}  # to the decision that the hold's row holds then
_MADE = "gate-job"  # earlier versions ended it with the UID of what was made
# Written before and after.
_BEGUN = (
    # by workers
    "delete", "adopt", "force", "renew-credential", _MADE, "gate-job-delete", KEY_TURNED, *_DECIDED,
    # by people
    "suspend", "resume", "accept-identity", "recover", "approve-override", "plan-approved", "plan-bound", "plan-void",
    "create-token", "revoke-token", "put-credential", "remove-credential",
)  # fmt: skip
_LOOK_BACK = 2_000  # of these before the end of the log: what a killed hub had begun is among its newest
_ROLLBACK = "rollback"  # so too, for all units of an overlay before any of them goes back: however many these are
_KNOWN_LISTS = 8
_KNOWN_APPROVERS = 10_000
_COLUMNS = {"commit": "revision"}  # of AuditEntry's fields that are called otherwise in the table


class SqlAudit:
    """`fleet.ports.worker.Audit` in the database."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database, self._key = database, key
        self._listed: dict[tuple[str, str], frozenset[Listed]] = {}  # by hold and digest of its list
        self._approvers: dict[Listed, str] = {}  # of deletions that were begun, the last of them

    async def open(self, *, where: str, begin: Callable[[Connection], None] | None) -> None:
        """Prove the end of the log, and end what a killed hub had begun.

        begin: given for a log that may be from before there was a chain: it is sealed once, and `begin` says so for
        good. Raises StateDamaged where the log is not whole at its end.
        """

        def start(connection: Connection) -> None:
            _open(connection, self._key, where, may_be_old=begin is not None)
            if begin is not None:
                begin(connection)
            _end_begun(connection, self._key, time.time())

        await self._database.write(start)

    async def write(self, entry: AuditEntry) -> Head:
        """Append one entry; durable when this returns the new head."""

        def append(connection: Connection) -> Head:
            link = _next(self._key, _head(connection) or START, self._approved(connection, entry))
            _insert(connection, link)
            return link.head

        return await self._database.write(append)

    async def entries(self, *, after: int, limit: int) -> tuple[Link, ...]:
        """A page, oldest first."""
        query = select(AUDIT).where(AUDIT.c.id > after).order_by(AUDIT.c.id).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(map(_link, rows))

    async def deleted(
        self, overlay: OverlayName, commits: Collection[Revision]
    ) -> Mapping[UnitName, frozenset[ObjectRef]]:
        """What workers deleted of an overlay on behalf of these commits."""
        query = select(AUDIT.c.unit, AUDIT.c.object).where(
            AUDIT.c.action == "delete",
            AUDIT.c.outcome.in_(DELETED),
            AUDIT.c.revision.in_(commits),
            AUDIT.c.unit.startswith(f"{overlay}@", autoescape=True),
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return refs_by_unit((row.unit, row.object) for row in rows)

    def _approved(self, connection: Connection, entry: AuditEntry) -> AuditEntry:
        """The entry with the name of who approved this deletion, kept from its beginning until its end.

        Raises Withdrawn where it begins what a person rejected: in one transaction with that word, or after it (R9).
        """
        if entry.approver or not entry.uid:
            return entry
        about = about_of(entry)
        if entry.outcome:
            return replace(entry, approver=self._approvers.get(about, ""))
        approved = HOLDS.c.decision == "approved"
        rejected = and_(HOLDS.c.decision == "rejected", HOLDS.c.revision == entry.commit)
        query = select(HOLDS).where(HOLDS.c.overlay == entry.unit.partition("@")[0], or_(approved, rejected))
        holds = [(hold, self._list_of(hold)) for hold in connection.execute(query).all()]
        for hold, listed in holds:
            if hold.decision == "rejected":
                withhold(entry, hold.id, hold.decided_by, hold.revision, listed)
        # Kept past the first last word: that it is gone may be seen beside the answer, when the hold is closed already.
        self._approvers.pop(about, None)
        for hold, listed in holds:
            if hold.decision == "approved" and about in listed:
                if len(self._approvers) >= _KNOWN_APPROVERS:
                    del self._approvers[next(iter(self._approvers))]
                self._approvers[about] = hold.decided_by
                return replace(entry, approver=hold.decided_by)
        return entry

    def _list_of(self, hold: Any) -> frozenset[Listed]:
        key = (hold.id, hold.list_digest)
        if key not in self._listed:
            if len(self._listed) >= _KNOWN_LISTS:
                self._listed.clear()
            requests: tuple[HoldRequest, ...] = decode_requests(hold.requests)
            self._listed[key] = listed_in(requests)
        return self._listed[key]


def deletions_for(connection: Connection, overlay: str, commit: str) -> list[AuditEntry]:
    """What workers began or ended to delete of an overlay for a commit, oldest first."""
    query = select(AUDIT).where(
        AUDIT.c.action == "delete", AUDIT.c.revision == commit, AUDIT.c.unit.startswith(f"{overlay}@", autoescape=True)
    )
    return [_link(row).entry for row in connection.execute(query.order_by(AUDIT.c.id)).mappings().all()]


def read_log(directory: Path) -> tuple[Iterator[Link], Head | None]:
    """The log of a data directory, also while a hub runs on it, and the head that is stored beside it. Blocking.

    Raises StateError where there is no database, or it cannot be read.
    """
    path = directory / DATABASE_FILE
    if not path.is_file():
        raise StateError("there is no state here", where=str(path), next_step="name the hub's folder with --data-dir")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("BEGIN")
            head = connection.execute("SELECT text FROM value WHERE name = ?", (_HEAD,)).fetchone()
            rows = connection.execute("SELECT * FROM audit ORDER BY id").fetchall()
    except sqlite3.Error as error:
        raise state_error_of(error, str(path)) or StateError(
            "the audit log cannot be read", where=str(path), why=str(error), next_step="is it a newer or older fleet's?"
        ) from error
    return (_link(dict(row)) for row in rows), _parsed(head["text"]) if head is not None else None


def _open(connection: Connection, key: bytes, where: str, *, may_be_old: bool) -> None:
    head = _head(connection)
    newest = select(AUDIT).order_by(AUDIT.c.id.desc()).limit(1)
    row = connection.execute(newest).mappings().one_or_none()
    last = _link(row).head if row is not None else START
    sealed = select(AUDIT.c.id).where(AUDIT.c.seal != "").limit(1)
    if may_be_old and head is None and not connection.execute(sealed).all():
        _seal_all(connection, key)
    elif (head or START) != last:
        raise StateDamaged(
            "the audit log does not end where it was left",
            where=where,
            why=f"the chain's head is {_said(head)}, the last entry is {_said(last)}",
            next_step="fleet audit verify shows what is missing; restore the data directory from a backup",
        )


def _seal_all(connection: Connection, key: bytes) -> None:
    """Chain up what an earlier version wrote."""
    head = START
    for row in connection.execute(select(AUDIT).order_by(AUDIT.c.id)).mappings().all():
        old = _link(row)
        link = _next(key, head, old.entry)
        values = {"id": link.number, "seal": link.seal}
        connection.execute(AUDIT.update().where(AUDIT.c.id == old.number).values(values))
        head = link.head
    if head != START:
        _keep_head(connection, head)


def _end_begun(connection: Connection, key: bytes, now: float) -> None:
    """Each of these has a last word (V5): what became of what a killed hub had begun is not known.

    What became of a decision is: it stands in the hold's row, or it was not made. So it is with a rollback: what a
    unit shall hold stands in its row.
    """
    newest = select(AUDIT).where(AUDIT.c.action.in_(_BEGUN)).order_by(AUDIT.c.id.desc()).limit(_LOOK_BACK)
    begun: dict[tuple[str, str, Listed], AuditEntry] = {}
    for row in reversed(connection.execute(newest).mappings().all()):
        entry = _link(row).entry
        about = (entry.action, entry.cluster, about_of(replace(entry, uid="") if entry.action == _MADE else entry))
        if entry.outcome:
            begun.pop(about, None)
        else:
            begun[about] = entry
    for entry in (*begun.values(), *_open_rollbacks(connection)):
        outcome = "unknown: HubEnded"
        if entry.action in _DECIDED or entry.action == _ROLLBACK:
            is_made = _is_decided(connection, entry) if entry.action in _DECIDED else _is_back(connection, entry)
            outcome = "done" if is_made else "failed: HubEnded"
        ended = replace(entry, at=now, actor="hub", outcome=outcome, uid_after=entry.uid)
        _insert(connection, _next(key, _head(connection) or START, ended))


def _open_rollbacks(connection: Connection) -> list[AuditEntry]:
    """Those whose newest entry is their beginning, in the order of the log."""
    newest = select(func.max(AUDIT.c.id)).where(AUDIT.c.action == _ROLLBACK).group_by(AUDIT.c.unit, AUDIT.c.object)
    query = select(AUDIT).where(AUDIT.c.id.in_(newest), AUDIT.c.outcome == "").order_by(AUDIT.c.id)
    return [_link(row).entry for row in connection.execute(query).mappings().all()]


def _is_decided(connection: Connection, begun: AuditEntry) -> bool:
    """Whether the decision that this entry begins was made: by this person, at its moment."""
    query = select(HOLDS.c.id).where(
        HOLDS.c.decision == _DECIDED[begun.action],
        HOLDS.c.decided_by == begun.actor,
        HOLDS.c.decided_at == begun.at,
    )
    # Of which list was proven then; a rejection of what was approved leaves the hold with the rest of it.
    return any(begun.object.startswith(hold_text(row.id, "")) for row in connection.execute(query))


def _is_back(connection: Connection, begun: AuditEntry) -> bool:
    """Whether the unit was told to hold what this entry says."""
    unit = UnitName.parse(begun.unit)
    query = select(RELEASED.c.bundle).where(RELEASED.c.cluster == unit.cluster, RELEASED.c.overlay == unit.overlay)
    bundle = connection.execute(query).scalar()
    return bundle is not None and goes_to(begun.object, bundle)


def _said(head: Head | None) -> str:
    return f"entry {head.number}" if head else "missing"


def _next(key: bytes, head: Head, entry: AuditEntry) -> Link:
    new = next_head(key, head, entry)
    return Link(new.number, entry, new.seal)


def _insert(connection: Connection, link: Link) -> None:
    values = {_COLUMNS.get(name, name): value for name, value in asdict(link.entry).items()}
    connection.execute(AUDIT.insert().values(id=link.number, seal=link.seal, **values))
    _keep_head(connection, link.head)


def _keep_head(connection: Connection, head: Head) -> None:
    puts = Puts()
    puts.put(VALUES, {"name": _HEAD, "text": str(head)})
    puts.write(connection)


def _head(connection: Connection) -> Head | None:
    text = connection.execute(select(VALUES.c.text).where(VALUES.c.name == _HEAD)).scalar()
    return None if text is None else _parsed(text)


def _parsed(text: str) -> Head:
    """A stored head; one that does not read back is one that matches nothing."""
    found = heads_in(text)
    return found[0] if len(found) == 1 else Head(-1, "")


def _link(row: Any) -> Link:
    fields = {name: row[_COLUMNS.get(name, name)] for name in AuditEntry.__dataclass_fields__}
    return Link(row["id"], AuditEntry(**fields), row["seal"])
