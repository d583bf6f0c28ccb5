"""Whole repos on real API servers: the example of this checkout, and three layouts as teams have them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from fixtures.layouts import charts, monorepo, percluster
from scenarios.real import RunningHub, World, lined_up
from testbed.controlplane import ControlPlane

from fleet.core.status import EventKind, Health, Sync

ROOT = Path(__file__).resolve().parents[2]
QUIET_SECONDS = 4.0


def example() -> dict[str, str]:
    """The files of the example fleet."""
    folders = ("clusters", "overlays", "components")
    paths = [ROOT / "fleet.yaml", *(path for folder in folders for path in (ROOT / folder).rglob("*"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths if path.is_file()}


def with_one_cluster(files: Mapping[str, str], cluster: str) -> dict[str, str]:
    """The same repo with this entry alone."""
    kept: dict[str, str] = {}
    for path, text in files.items():
        if not path.startswith(("clusters/", "inventory/")):
            kept[path] = text
            continue
        for document in yaml.safe_load_all(text):
            if document and document["metadata"]["name"] == cluster:
                kept[path] = yaml.safe_dump(document)
    return kept


async def asked_at_rest(hub: RunningHub, plane: ControlPlane) -> list[str]:
    """Requests but watches while nothing changes. The cluster's own controllers may need a while to come to rest.

    A `list pods` may stand in the first window: a Deployment that a controller touches is InProgress for a moment, and
    why is asked once. (It also came for what was well already, until the health watch looked again before it asks.)
    """
    asked: list[str] = []
    for _ in range(4):
        drifted = len(await hub.events(EventKind.DRIFTED))
        mark = plane.ledger_mark()
        await asyncio.sleep(QUIET_SECONDS)  # the claim itself: for so long nothing is asked
        assert len(await hub.events(EventKind.DRIFTED)) == drifted == 0
        asked = lined_up(plane.ledger(mark, user_agent="fleet"))
        if not asked:
            break
    return asked


@pytest.mark.timeout(240)
@pytest.mark.parametrize("cluster", ["eu-1", "onprem-11"])
async def test_the_example_is_healthy_on_a_real_cluster_and_costs_nothing_at_rest(
    world: World, own_api_server: Callable[..., ControlPlane], cluster: str, record_property: Any
) -> None:
    plane = own_api_server(controllers=True)
    world.write(with_one_cluster(example(), cluster))
    world.give(cluster, plane)
    revision = world.commit()
    async with world.hub() as hub:
        seconds = await hub.until_done(revision, seconds=120)
        objects = sum(len(unit.objects) for unit in hub.view.units.values())
        record_property("example", f"{cluster}: {len(hub.view.units)} units, {objects} objects in {seconds:.1f} s")
        assert len(hub.view.units) >= 9
        assert {unit.health for unit in hub.view.units.values()} == {Health.HEALTHY}
        assert not [problem for problem in hub.view.fleet.problems if problem.severity == "error"]
        assert await asked_at_rest(hub, plane) == []


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("layout", "cluster", "controllers"),
    [(monorepo, "prod-1", True), (percluster, "ams-1", False), (charts, "live-1", False)],
    ids=["monorepo", "percluster", "charts"],
)
async def test_a_layout_is_accepted_whole_by_a_real_server_without_false_drift(
    world: World,
    own_api_server: Callable[..., ControlPlane],
    layout: ModuleType,
    cluster: str,
    controllers: bool,
    record_property: Any,
) -> None:
    plane = own_api_server(controllers=controllers)
    world.write(with_one_cluster(layout.files(), cluster))
    world.give(cluster, plane)
    revision = world.commit()
    async with world.hub() as hub:
        hub.fetch()

        def is_applied() -> bool:
            shown = hub.view.fleet.units if hub.view.fleet and hub.view.head.commit == revision else ()
            return bool(shown) and all(hub.summary(str(name)).sync is Sync.SYNCED for name in shown)

        await hub.until(is_applied, "everything applied", seconds=120)
        objects = sum(len(unit.objects) for unit in hub.view.units.values())
        record_property("layout", f"{layout.__name__}: {len(hub.view.units)} units, {objects} objects")
        assert not await hub.events(EventKind.DRIFTED)
        if controllers:  # its applications wait until what they depend on is Healthy
            await hub.until(lambda: hub.progress(revision).done, "Healthy")
            assert await asked_at_rest(hub, plane) == []
        else:  # no Deployment becomes Ready, and why is looked for: by reads alone
            assert {line.split()[0] for line in await asked_at_rest(hub, plane)} <= {"get", "list"}
