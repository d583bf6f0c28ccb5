"""Tokens of the API, by digest alone: kept, revoked, found (R38)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, select

from fleet.core.ids import Digest
from fleet.ports.state import TokenRow
from fleet.store.database import Database
from fleet.store.tables import TOKENS


class SqlTokens:
    """The tokens of `fleet.ports.state.State`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, row: TokenRow) -> bool:
        """Keep a token's digest; False where one of its name is in force."""
        alike = select(TOKENS).where(TOKENS.c.name == row.name)
        values = {
            "id": row.id,
            "name": row.name,
            "role": row.role,
            "digest": row.digest,
            "created_at": row.created_at,
            "expires_at": row.expires_at,
            "revoked_at": row.revoked_at,
        }

        def add(connection: Connection) -> bool:
            if any(_token(known).is_in_force(row.created_at) for known in connection.execute(alike)):
                return False
            connection.execute(TOKENS.insert().values(values))
            return True

        return await self._database.write(add)

    async def revoke(self, token: str, at: float) -> bool:
        """By id or name; False if no token in force is called so."""
        named = (TOKENS.c.id == token) | (TOKENS.c.name == token)
        change = TOKENS.update().where(named, TOKENS.c.revoked_at == 0.0).values(revoked_at=at)
        return await self._database.write(lambda connection: connection.execute(change).rowcount > 0)

    async def by_digest(self, digest: Digest) -> TokenRow | None:
        """By digest."""
        query = select(TOKENS).where(TOKENS.c.digest == digest)
        row = await self._database.read(lambda connection: connection.execute(query).one_or_none())
        return None if row is None else _token(row)

    async def all(self) -> tuple[TokenRow, ...]:
        """All tokens, oldest first."""
        query = select(TOKENS).order_by(TOKENS.c.created_at, TOKENS.c.id)
        return await self._database.read(lambda connection: tuple(map(_token, connection.execute(query))))


def _token(row: Any) -> TokenRow:
    return TokenRow(
        id=row.id,
        name=row.name,
        role=row.role,
        digest=Digest(row.digest),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
