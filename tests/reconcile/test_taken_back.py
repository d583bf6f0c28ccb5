"""A person rejects what was approved while a worker carries it out: the store lets no such deletion begin (R9)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.audit import AuditEntry, Head
from fleet.errors import Withdrawn
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation


class RejectedHub(SimHub):
    """A hub in whose store these objects were rejected, and whose worker is not told yet."""

    rejected: frozenset[str] = frozenset()
    tried: asyncio.Event

    async def write(self, entry: AuditEntry) -> Head:
        if entry.action == "delete" and not entry.outcome and entry.object.endswith(tuple(self.rejected)):
            self.tried.set()
            raise Withdrawn("it is not deleted", why="jo rejected hold h-1", next_step="fleet describe hold h-1")
        return await super().write(entry)


@pytest.fixture
async def hub() -> AsyncIterator[RejectedHub]:
    async with Simulation(["one"], seed=1, ready_seconds=0.02) as simulation:
        made = RejectedHub(simulation)  # type: ignore[arg-type]
        made.tried = asyncio.Event()
        made.limits = WorkerLimits(reconnect_first_seconds=0.1, retry_first_seconds=0.1)
        yield made


async def test_what_was_rejected_meanwhile_stays_without_trouble_and_the_rest_goes(hub: RejectedHub) -> None:
    kept = [config_map(name, SHOP) for name in "abcdefgh"]
    unit = hub.want("web", [*kept, config_map("x", SHOP), config_map("y", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.rejected = frozenset({"/x"})
        hub.want("web", kept, commit="b")
        async with asyncio.timeout(20):
            await hub.tried.wait()
        await hub.until(lambda: hub.cluster.get("", "ConfigMap", SHOP, "y") is None, "y goes")
        assert hub.cluster.get("", "ConfigMap", SHOP, "x") is not None
        assert not any(entry.object.endswith("/x") for entry in hub.audited if entry.action == "delete")
        hub.want("web", kept, commit="b", permits=())  # it is told
        await hub.until(lambda: hub.units[unit].holds or hub.units[unit].observed_commit == "b" * 40, "told")
        assert hub.units[unit].reason in ("", "PruneHeld"), "the worker met no trouble"
        assert hub.cluster.get("", "ConfigMap", SHOP, "x") is not None
        hub.rejected = frozenset()
        hub.want("web", kept, commit="d")
        await hub.until(lambda: hub.cluster.get("", "ConfigMap", SHOP, "x") is None, "a later commit's word")
