"""A hub that comes to a cluster of another installation: what its people see, what is written down, what is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hubworld import HubWorld, cluster_file, config_map, make_world, overlay

from fleet import telemetry
from fleet.core.ids import ClusterName, Digest, Revision
from fleet.core.objects import Mark
from fleet.core.parent import parent_document, parent_of


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[HubWorld]:
    async with make_world(tmp_path, ("eu-1", "us-1")) as made:
        yield made


def counted() -> float:
    return telemetry.REFUSALS.labels("cluster", "R23", "OwnedByOther")._value.get()


@pytest.mark.parametrize("is_there", [True, False])
async def test_it_writes_nothing_there_says_so_and_all_others_go_on(world: HubWorld, is_there: bool) -> None:
    clusters = {f"clusters/{name}.yaml": cluster_file(name) for name in ("eu-1", "us-1")}
    world.commit({**clusters, **overlay("overlays/web", {"one": config_map("one", "1")})})
    if is_there:
        mark = Mark("acme", world.sim.cluster("eu-1").identity, "api")
        made = parent_of(mark, [], generation=1, bundle=Digest("b"), commit=Revision("c"))
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "fleet-system"}}
        world.sim.cluster("eu-1").create(namespace)
        world.sim.cluster("eu-1").create(parent_document(made))
    marks, before = world.marks(), counted()
    async with world.run():
        await world.until(lambda: (found := world.unit("web@us-1")) and found.commit == world.repo.head(), "us-1")
        if is_there:
            await world.until(lambda: (found := world.unit("web@eu-1")) and found.reason == "OwnedByOther", "refused")
            await world.until(lambda: world.opened.view.clusters[ClusterName("eu-1")].reason == "OwnedByOther", "said")
        else:
            await world.until_everywhere(world.repo.head())
        _, status = await world.call("GET", "/api/v1/status")
        lines = [line["what"] for line in status["needsPerson"]]
        said = "nothing is written to eu-1: acme was there first"
        assert [line.partition(": unit-api")[0] for line in lines] == ([said] if is_there else [])
        _, cluster = await world.call("GET", "/api/v1/clusters/eu-1")
        assert cluster["status"]["reachable"]
        assert cluster["status"]["identity"] == world.sim.cluster("eu-1").identity
        assert ("kubectl -n fleet-system delete configmap" in cluster["status"]["nextStep"]) is is_there
        _, audit = await world.call("GET", "/api/v1/audit")
        refused = [each for each in audit["items"] if each["action"] == "refuse"]
        assert any("OwnedByOther" in each["reason"] and each["cluster"] == "eu-1" for each in refused) is is_there
        assert (counted() > before) is is_there
    assert ("eu-1" in world.writes(marks, own_only=False)) is not is_there
