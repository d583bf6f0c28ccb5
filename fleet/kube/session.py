"""The ticket in force, the line that serves it, and its headers; renewed in time, and once after a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from fleet.errors import CredentialFailed
from fleet.kube.access import Access, Ticket
from fleet.kube.addresses import AddressRule
from fleet.kube.exchange import Headers, Request
from fleet.kube.limits import KubeLimits
from fleet.kube.wire import Line

_RENEWAL_PAUSE_SECONDS = 10.0  # 401 again so soon after a renewal is the server's last word (R20)


class Session:
    """Keeps a cluster's connections in step with its credential. prove: asks over a line which cluster is there."""

    def __init__(
        self,
        cluster: str,
        access: Access,
        rule: AddressRule,
        prove: Callable[[Line], Awaitable[None]],
        limits: KubeLimits,
    ) -> None:
        self._cluster, self._access, self._rule = cluster, access, rule
        self._prove, self._limits = prove, limits
        self._clock = asyncio.get_running_loop().time
        self._turn = asyncio.Lock()
        self._renewed_at = float("-inf")
        self._ticket: Ticket | None = None
        self._line: Line | None = None
        self._closing: dict[asyncio.Task[None], Line] = {}

    @property
    def place(self) -> str:
        """Host and port of the API server, for messages."""
        return self._line.endpoint.place if self._line else self._cluster

    async def ticket(self) -> Ticket:
        """The ticket in force; a new one where it has lapsed. Cheap when it has not."""
        ticket = self._ticket
        if ticket is not None and ticket.until > self._clock():
            return ticket
        async with self._turn:
            if self._ticket is None or self._ticket.until <= self._clock():
                await self._use(await self._access.ticket())
            assert self._ticket is not None
            return self._ticket

    async def renewed(self, refused: Ticket) -> bool:
        """Whether there is another credential than the refused one. Asked for at most every 10 s."""
        async with self._turn:
            if self._ticket is not refused:
                return True  # somebody else renewed it meanwhile
            if self._clock() - self._renewed_at < _RENEWAL_PAUSE_SECONDS:
                return False
            self._renewed_at = self._clock()
            ticket = await self._access.ticket(refused)
            await self._use(ticket)
            return (ticket.endpoint, ticket.authorization, ticket.certificate) != (
                refused.endpoint,
                refused.authorization,
                refused.certificate,
            )

    def for_request(self, request: Request) -> tuple[Line, Mapping[str, str]]:
        """Line and headers for a request; only after `ticket`."""
        if self._line is None:
            raise RuntimeError("no ticket yet")
        return self._line, self._line.headers.of(request)

    def forget(self) -> None:
        """All certificates need a proof again, those of old lines too."""
        for line in (self._line, *self._closing.values()):
            if line is not None:
                line.proof.forget()

    async def close(self) -> None:
        """End all connections; calls in flight fail."""
        for task in tuple(self._closing):
            task.cancel()
        await asyncio.gather(*self._closing, return_exceptions=True)
        if self._line is not None:
            await self._line.close()

    async def _use(self, ticket: Ticket) -> None:
        if not ticket.authorization and not ticket.certificate:
            raise CredentialFailed(
                "there is no credential for this cluster",
                where=self._cluster,
                why="it is empty",
                next_step="make a new credential",
            )
        headers = Headers(ticket)
        if self._line is None or not self._line.serves(ticket):
            old = self._line
            self._line = Line(ticket, headers, self._rule, self._prove, self._limits, self._cluster)
            if old is not None:
                closing = asyncio.create_task(self._close_later(old), name=f"close old line of {self._cluster}")
                self._closing[closing] = old
                closing.add_done_callback(self._closing.pop)
        self._line.headers, self._ticket = headers, ticket

    async def _close_later(self, line: Line) -> None:
        # Calls in flight may end; a watch that is still open then comes again on the new line.
        try:
            await asyncio.sleep(self._limits.call_seconds)
        finally:
            await line.close()
