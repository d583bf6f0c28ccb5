"""What destroys or takes over is written to the audit log first, and does not happen where that cannot be written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from rig import config_map
from simulated import SHOP, SimHub

from fleet.core.audit import AuditEntry, Head
from fleet.core.fleet import Connection
from fleet.core.sync_policy import Adopt, SyncPolicy, Validate
from fleet.errors import StateNotWritable
from fleet.reconcile.limits import WorkerLimits
from fleet.sim import Simulation

WORTH_MORE = {"force", "delete", "adopt"}
ADOPTS = SyncPolicy(validate=Validate.SCHEMA, adopt=Adopt.ALWAYS)


class FullHub(SimHub):
    """A hub whose disk has no room for an entry of these actions, while `full`."""

    full: bool = False
    tried: asyncio.Event

    async def write(self, entry: AuditEntry) -> Head:
        if self.full and entry.action in WORTH_MORE:
            self.tried.set()
            raise StateNotWritable("the audit log cannot be written", why="the disk is full", next_step="free space")
        return await super().write(entry)


@pytest.fixture
async def hub() -> AsyncIterator[FullHub]:
    async with Simulation(["one"], seed=1, ready_seconds=0.02) as simulation:
        made = FullHub(simulation)  # type: ignore[arg-type]
        made.tried = asyncio.Event()
        made.limits = WorkerLimits(reconnect_first_seconds=0.1, retry_first_seconds=0.1)
        yield made


def data_of(hub: SimHub) -> object:
    """None where it is gone."""
    found = hub.cluster.get("", "ConfigMap", SHOP, "x")
    return found["data"] if found is not None else None


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("action", ["delete", "force", "adopt"])
async def test_nothing_goes_or_is_taken_over_before_it_is_written_down(hub: FullHub, action: str, full: bool) -> None:
    kept = [config_map("a", SHOP), config_map("b", SHOP)]
    if action == "adopt":
        hub.cluster.create({**config_map("x", SHOP), "data": {"a": "theirs"}}, manager="helm")
    first = kept if action == "adopt" else [*kept, config_map("x", SHOP)]
    unit = hub.want("web", first, sync=ADOPTS)
    async with hub.worker():
        await hub.until_well(unit)
        hub.full = full
        match action:
            case "delete":
                hub.want("web", kept, commit="b", sync=ADOPTS)
            case "force":
                hub.cluster.drift("", "ConfigMap", SHOP, "x", {"data": {"a": "theirs"}})
            case _:
                hub.want("web", [*kept, config_map("x", SHOP)], commit="b", sync=ADOPTS)
        if full:
            async with asyncio.timeout(20):
                await hub.tried.wait()
            assert data_of(hub) == {"a": "1" if action == "delete" else "theirs"}
            hub.full = False
        await hub.until(lambda: [e.outcome for e in hub.audited if e.action == action][-1:] == ["done"], "done")
    assert data_of(hub) == (None if action == "delete" else {"a": "1"})
    assert next(e.outcome for e in hub.audited if e.action == action) == ""


@pytest.mark.parametrize("fails", [True, False])
async def test_a_worker_ends_though_the_log_fails_as_it_is_ended(hub: FullHub, fails: bool) -> None:
    """It was connected again, and went on."""

    async def write(entry: AuditEntry) -> Head:
        if entry.action != "delete":
            return await SimHub.write(hub, entry)
        try:
            hub.tried.set()
            await asyncio.Event().wait()
        finally:
            if fails:
                raise StateNotWritable("the audit log cannot be written")
        raise AssertionError

    hub.write = write
    unit = hub.want("web", [config_map("a", SHOP), config_map("x", SHOP)])
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(hub.worker())
        await hub.until_well(unit)
        hub.want("web", [config_map("a", SHOP)], commit="b")
        async with asyncio.timeout(20):
            await hub.tried.wait()
        async with asyncio.timeout(10):
            await stack.aclose()
    assert data_of(hub) == {"a": "1"}


@pytest.mark.parametrize("fails", [True, False])
async def test_a_worker_connects_elsewhere_though_the_log_fails_as_its_session_ends(hub: FullHub, fails: bool) -> None:
    async def write(entry: AuditEntry) -> Head:
        if entry.action != "delete" or hub.tried.is_set():
            return await SimHub.write(hub, entry)
        hub.tried.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if fails:
                raise StateNotWritable("the audit log cannot be written") from None
            raise
        raise AssertionError

    hub.write = write
    unit = hub.want("web", [config_map("a", SHOP), config_map("x", SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        hub.want("web", [config_map("a", SHOP)], commit="b")
        async with asyncio.timeout(20):
            await hub.tried.wait()
        hub.send_desired(connection=Connection(credential="another"))
        await hub.until(lambda: data_of(hub) is None, "goes on by the new connection")
