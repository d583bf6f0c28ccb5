"""A token in a file that somebody renews: read again every minute, and at once when it was refused."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from fleet.errors import CredentialFailed
from fleet.kube.access import Ticket
from fleet.values import dataclass

REREAD_SECONDS = 60.0
_MOST_BYTES = 64 << 10


@dataclass(frozen=True, slots=True)
class TokenFileAccess:
    """The endpoint of `ticket` with the token that the file holds now."""

    fixed: Ticket
    path: Path
    reread_seconds: float = REREAD_SECONDS

    async def ticket(self, refused: Ticket | None = None) -> Ticket:
        """A ticket with the file's token; raises CredentialFailed, never one without."""
        token = await asyncio.to_thread(read_token, self.path)
        until = asyncio.get_running_loop().time() + self.reread_seconds
        return replace(self.fixed, authorization=f"Bearer {token}", until=until)


def read_token(path: Path) -> str:
    """The token in a file; raises CredentialFailed when there is none."""
    try:
        with path.open("rb") as file:
            token = file.read(_MOST_BYTES).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror or "" if isinstance(error, OSError) else "it holds bytes that no token has"
        raise CredentialFailed(
            "the token file cannot be read", where=str(path), why=why, next_step="see who renews this file"
        ) from None
    if not token or not token.isprintable():
        raise CredentialFailed(
            "the token file holds no token", where=str(path), why="it is empty", next_step="see who renews this file"
        )
    return token
