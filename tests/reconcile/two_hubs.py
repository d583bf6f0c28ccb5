"""Two hubs on one simulated cluster, and what each left there; the fixtures are in `conftest.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rig import Hub, config_map
from simulated import SHOP, SimHub

from fleet.core.ids import Digest, Revision, UnitName
from fleet.core.objects import OWNER_ANNOTATION, Mark
from fleet.core.parent import parent_document, parent_of, parse_parent
from fleet.core.record import PARENT_NAMESPACE
from fleet.reconcile.limits import WorkerLimits

SOON = WorkerLimits(parents_seconds=0.2, neighbour_seconds=0.2, retry_first_seconds=0.1)
WAITS_SECONDS = 1.0  # for so long nothing is to happen


def parent_on(hub: SimHub, overlay: str = "web") -> Any:
    return hub.cluster.get("", "ConfigMap", PARENT_NAMESPACE, f"unit-{overlay}")


def owner_of(document: Any) -> str:
    return document["metadata"]["annotations"][OWNER_ANNOTATION].partition("/")[0]


def bundle_said(parent: Any) -> Digest:
    """What it says was applied in full; "" where nothing was until now."""
    found = parse_parent(parent or {})
    return found.bundle if found is not None else Digest("")


def writes_since(hub: SimHub, sequence: int) -> list[str]:
    return [f"{entry.verb} {entry.resource} {entry.name}" for entry in hub.cluster.ledger.writes(sequence)]


async def seen_there(found: Callable[[], Any]) -> Any:
    """What comes to be on the cluster without any report that says so."""
    async with asyncio.timeout(10 * WAITS_SECONDS):
        while not (value := found()):
            await asyncio.sleep(0.02)
    return value


def put_parent(hub: SimHub, installation: str, overlay: str) -> None:
    """As a hub of that installation writes it."""
    mark = Mark(installation, hub.cluster.identity, overlay)
    made = parent_of(mark, [], generation=1, bundle=Digest("b"), commit=Revision("c"))
    hub.cluster.create(parent_document(made))


def refused(hub: Hub, unit: UnitName) -> Any:
    found = hub.units.get(unit)
    return found if found is not None and found.reason == "OwnedByOther" else None


def finding(hub: Hub) -> str:
    last = hub.reports[-1] if hub.reports else None
    return last.message if last is not None and last.reachable and last.reason == "OwnedByOther" else ""


async def settled(hub: SimHub, overlay: str = "web", name: str = "a") -> UnitName:
    """A hub that was there, and its unit with one object."""
    unit = hub.want(overlay, [config_map(name, SHOP)])
    async with hub.worker():
        await hub.until_well(unit)
        await hub.until(lambda: bundle_said(parent_on(hub, overlay)), "its parent, as of what was applied")
    return unit
