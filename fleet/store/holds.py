"""Holds in the database: one per overlay and commit; what was approved may be rejected yet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, select

from fleet.core.ids import Digest, Revision
from fleet.ports.state import HoldRow
from fleet.store.audit import deletions_for
from fleet.store.database import Database
from fleet.store.encode import decode_requests, encode_requests
from fleet.store.hold_rules import closed_hold, decided_hold, gone_by, hold_unknown, overrules, renewed_hold
from fleet.store.tables import COUNTERS, HOLDS


class SqlHolds:
    """The holds of `fleet.ports.state.State`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(self, row: HoldRow) -> HoldRow:
        """Open or renew."""

        def put(connection: Connection) -> HoldRow:
            query = select(HOLDS).where(HOLDS.c.overlay == row.overlay, HOLDS.c.revision == row.commit)
            if (known := connection.execute(query).one_or_none()) is not None:
                renewed = renewed_hold(_hold(known), row)
                _update(connection, renewed)
                return renewed
            number = next_number(connection, "hold")
            opened = replace(row, id=row.id or f"h-{number}")
            connection.execute(HOLDS.insert().values(number=number, **_values(opened)))
            return opened

        return await self._database.write(put)

    async def decide(
        self, hold: str, *, list_digest: Digest, decision: str, actor: str, reason: str, at: float
    ) -> HoldRow:
        """Approve or reject, once; a rejection overrules an approval, for what is not deleted yet."""

        def decide(connection: Connection) -> HoldRow:
            known = _one(connection, hold)
            begun = deletions_for(connection, known.overlay, known.commit) if overrules(known, decision) else ()
            decided = decided_hold(
                known,
                list_digest=list_digest,
                decision=decision,
                actor=actor,
                reason=reason,
                at=at,
                gone=gone_by(begun),
            )
            _update(connection, decided)
            return decided

        return await self._database.write(decide)

    async def close(self, hold: str, at: float) -> None:
        """Its list is empty."""
        await self._database.write(lambda connection: _update(connection, closed_hold(_one(connection, hold), at)))

    async def all(self, decisions: Collection[str] | None) -> tuple[HoldRow, ...]:
        """Newest first."""
        query = select(HOLDS).order_by(HOLDS.c.number.desc())
        if decisions is not None:
            query = query.where(HOLDS.c.decision.in_(sorted(decisions)))
        return await self._database.read(lambda connection: tuple(map(_hold, connection.execute(query))))

    async def one(self, hold: str) -> HoldRow | None:
        """By id."""
        return await self._database.read(lambda connection: _found(connection, hold))


def next_number(connection: Connection, name: str, count: int = 1) -> int:
    """Reserve `count` rising numbers (from 1) of this name; the first of them."""
    found = connection.execute(select(COUNTERS.c.number).where(COUNTERS.c.name == name)).scalar()
    if found is None:
        connection.execute(COUNTERS.insert().values(name=name, number=count))
        return 1
    connection.execute(COUNTERS.update().where(COUNTERS.c.name == name).values(number=found + count))
    return found + 1


def _found(connection: Connection, hold: str) -> HoldRow | None:
    found = connection.execute(select(HOLDS).where(HOLDS.c.id == hold)).one_or_none()
    return None if found is None else _hold(found)


def _one(connection: Connection, hold: str) -> HoldRow:
    found = _found(connection, hold)
    if found is None:
        raise hold_unknown(hold)
    return found


def _update(connection: Connection, hold: HoldRow) -> None:
    connection.execute(HOLDS.update().where(HOLDS.c.id == hold.id).values(**_values(hold)))


def _values(hold: HoldRow) -> dict[str, Any]:
    return {
        "id": hold.id,
        "overlay": hold.overlay,
        "revision": hold.commit,
        "created_at": hold.created_at,
        "list_digest": hold.list_digest,
        "requests": encode_requests(hold.requests),
        "expires_at": hold.expires_at,
        "decision": hold.decision,
        "decided_by": hold.decided_by,
        "decided_at": hold.decided_at,
        "reason": hold.reason,
        "rejected_at": hold.rejected_at,
        "rejected": encode_requests(hold.rejected) if hold.rejected else None,
    }


def _hold(row: Any) -> HoldRow:
    return HoldRow(
        id=row.id,
        overlay=row.overlay,
        commit=Revision(row.revision),
        created_at=row.created_at,
        list_digest=Digest(row.list_digest),
        requests=decode_requests(row.requests),
        expires_at=row.expires_at,
        decision=row.decision,
        decided_by=row.decided_by,
        decided_at=row.decided_at,
        reason=row.reason,
        rejected_at=row.rejected_at,
        rejected=decode_requests(row.rejected) if row.rejected else (),
    )
