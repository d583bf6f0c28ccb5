"""The feed of one cluster's worker in this process: the newest Desired, and the bundles and Secret values it names."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping

from fleet.core.ids import Digest
from fleet.core.objects import Bundle
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.rollout import Desired
from fleet.errors import StateDamaged
from fleet.ports.render import Vault


class Slot:
    """The newest Desired of one cluster, and those who wait for it."""

    def __init__(self) -> None:
        self.desired: Desired | None = None
        self.changed = asyncio.Event()

    def put(self, desired: Desired) -> None:
        """Replace the Desired and wake who waits."""
        self.desired = desired
        self.changed.set()
        self.changed = asyncio.Event()


class BoardFeed:
    """ports.worker.Feed for one cluster."""

    def __init__(self, slot: Slot, bundle_of: Callable[[Digest], Awaitable[Bundle]], vault: Vault) -> None:
        self._slot, self._bundle_of, self._vault = slot, bundle_of, vault

    async def next(self, after: int) -> Desired:
        """Wait for a Desired with a higher sequence; give the newest."""
        while True:
            changed, desired = self._slot.changed, self._slot.desired
            if desired is not None and desired.sequence > after:
                return desired
            await changed.wait()

    async def bundle(self, digest: Digest) -> Bundle:
        """From the render cache; raises StateDamaged."""
        return EMPTY_BUNDLE if digest == EMPTY_BUNDLE.digest else await self._bundle_of(digest)

    async def secrets(self, sealed: Collection[str]) -> Mapping[str, bytes]:
        """From the encrypted store; raises StateDamaged if one is missing."""
        values = await self._vault.get(sealed)
        if missing := len(set(sealed) - set(values)):
            raise StateDamaged(
                f"{missing} Secret values are not in the encrypted store",
                why="what has them is in use no more, or the store was cleared",
                next_step="restart the hub: it renders again what Git says now",
            )
        return values
