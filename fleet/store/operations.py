"""Requested actions: kept before they start, ended exactly once (V5, R42)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from fleet.ports.state import OperationRow
from fleet.store.database import Database
from fleet.store.operation_rules import repeated_operation
from fleet.store.tables import OPERATIONS

ENDED_KEPT = 10_000


class SqlOperations:
    """The operations of `fleet.ports.state.State`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: OperationRow) -> OperationRow:
        """Keep a new one; a known id, or a known key of the same actor, gives the earlier one."""

        def add(connection: Connection) -> OperationRow:
            same = OPERATIONS.c.id == row.id
            if row.idempotency_key:
                by_key = (OPERATIONS.c.actor == row.actor) & (OPERATIONS.c.idempotency_key == row.idempotency_key)
                same = same | by_key
            earlier = connection.execute(select(OPERATIONS).where(same).order_by(OPERATIONS.c.number)).first()
            if earlier is not None:
                return repeated_operation(_operation(earlier), row)
            inserted = connection.execute(OPERATIONS.insert().values(**_values(row))).inserted_primary_key
            _forget_oldest(connection, inserted[0] if inserted else 0)
            return row

        return await self._database.write(add)

    async def end(self, operation: str, outcome: str, message: str, at: float) -> bool:
        """End it; False if it had ended already or is not known."""
        change = (
            OPERATIONS.update()
            .where(OPERATIONS.c.id == operation, OPERATIONS.c.outcome == "")
            .values(outcome=outcome, message=message, ended_at=at)
        )
        return await self._database.write(lambda connection: connection.execute(change).rowcount == 1)

    async def all(self, *, open_only: bool, limit: int, before: str) -> tuple[OperationRow, ...]:
        """Newest first; older than `before` where one is named."""
        query = select(OPERATIONS).order_by(OPERATIONS.c.number.desc()).limit(limit)
        if before:
            number = select(OPERATIONS.c.number).where(OPERATIONS.c.id == before).scalar_subquery()
            query = query.where(OPERATIONS.c.number < number)
        if open_only:
            query = query.where(OPERATIONS.c.outcome == "")
        return await self._database.read(lambda connection: tuple(map(_operation, connection.execute(query))))

    async def one(self, operation: str) -> OperationRow | None:
        """By id."""
        query = select(OPERATIONS).where(OPERATIONS.c.id == operation)

        def find(connection: Connection) -> OperationRow | None:
            found = connection.execute(query).one_or_none()
            return None if found is None else _operation(found)

        return await self._database.read(find)


def _forget_oldest(connection: Connection, newest: int) -> None:
    """Drop ended operations far behind the newest; the audit log keeps what they did."""
    if newest % 100 == 0:
        old = (OPERATIONS.c.number <= newest - ENDED_KEPT) & (OPERATIONS.c.outcome != "")
        connection.execute(OPERATIONS.delete().where(old))


def _values(row: OperationRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind,
        "target": row.target,
        "actor": row.actor,
        "requested_at": row.requested_at,
        "reason": row.reason,
        "outcome": row.outcome,
        "message": row.message,
        "ended_at": row.ended_at,
        "idempotency_key": row.idempotency_key,
        "override": row.override,
    }


def _operation(row: Any) -> OperationRow:
    return OperationRow(
        id=row.id,
        kind=row.kind,
        target=row.target,
        actor=row.actor,
        requested_at=row.requested_at,
        reason=row.reason,
        outcome=row.outcome,
        message=row.message,
        ended_at=row.ended_at,
        idempotency_key=row.idempotency_key,
        override=bool(row.override),
    )
