"""API tokens: 256 random bits with a prefix that leak scanners find; only their SHA-256 is kept (R38)."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from fleet.access.policy import Caller, Role
from fleet.core.ids import Digest
from fleet.errors import NotAuthenticated, RequestInvalid
from fleet.ports.state import State, TokenRow
from fleet.values import dataclass, field

PREFIX = "fleet_"
LONGEST_SECONDS = 366 * 86400
KEPT_SECONDS = 2.0  # a revocation elsewhere is in effect within 5 s


def digest_of_token(token: str) -> Digest:
    """What is stored and looked up; 256 random bits need no slow hash."""
    return Digest(hashlib.sha256(token.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class Tokens:
    """Makes and checks tokens against the state; a token that was read is believed for KEPT_SECONDS."""

    state: State
    wall: Callable[[], float]
    _read: dict[Digest, tuple[float, TokenRow]] = field(default_factory=dict[Digest, tuple[float, TokenRow]])

    async def create(self, name: str, role: Role, seconds: float) -> tuple[str, TokenRow]:
        """Make a token; the clear text is returned once and kept nowhere."""
        if not 0 < seconds <= LONGEST_SECONDS:
            raise RequestInvalid(
                "a token's life must be between a second and 366 days", next_step="give --expires, as 30d"
            )
        token, now = PREFIX + secrets.token_urlsafe(32), self.wall()
        row = TokenRow(
            id=secrets.token_hex(6),
            name=name,
            role=role,
            digest=digest_of_token(token),
            created_at=now,
            expires_at=now + seconds,
        )
        if not await self.state.add_token(row):
            raise RequestInvalid(
                f"there is a token {name} already", next_step=f"fleet token revoke {name}, or take another name"
            )
        return token, row

    async def caller_of(self, header: str) -> Caller:
        """The caller behind an Authorization header; one answer for all that is wrong with it (R38)."""
        scheme, _, token = header.partition(" ")
        row = None
        if scheme.lower() == "bearer" and token.startswith(PREFIX) and len(token) < 200:
            row = await self._row_of(digest_of_token(token.strip()))
        if row is None or not row.is_in_force(self.wall()):
            raise NotAuthenticated(
                "this request carries no token in force",
                why="the Authorization header is missing, or its token is unknown, expired or revoked",
                next_step="fleet token create NAME --role viewer, then set FLEET_TOKEN",
            )
        return Caller(row.name, Role(row.role), row.id)

    async def revoke(self, token: str) -> bool:
        """By id or name; False if there was none in force. Takes effect at once in this process."""
        self._read.clear()
        return await self.state.revoke_token(token, self.wall())

    async def _row_of(self, digest: Digest) -> TokenRow | None:
        now = time.monotonic()
        read_at, row = self._read.get(digest, (float("-inf"), None))
        if row is None or now - read_at > KEPT_SECONDS:
            row = await self.state.token(digest)
            self._read.pop(digest, None)
            if row is not None:  # only what exists is kept: strangers cannot fill this
                self._read[digest] = (now, row)
        return row
