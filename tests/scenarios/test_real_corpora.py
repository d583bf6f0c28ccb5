"""Fleet repos that others wrote, run by the whole hub on a real API server that knows none of their operators."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scenarios.real import RunningHub, World, config_map, namespace_of
from testbed.controlplane import ControlPlane

from fleet.core.results import RenderProblem
from fleet.core.status import Health, Sync

FLUX = "flux2-kustomize-helm-example"
CATALOG = "gitops-catalog"
FLUX_ROOTS = ("apps/production", "infrastructure/controllers", "infrastructure/configs")
EVERY = 40  # of the catalog's overlays
# What stops a unit here: kinds of operators that are not installed, and what is wrong with a root by itself.
OF_THE_CLUSTER = {"", "KindNotServed", "NotFound"}
OF_THE_ROOT = {"NamespaceMissing", "RemoteBaseRefused", "ResourceMissing", "ObjectInvalid"}


@pytest.fixture
def corpora() -> Path:
    place = os.environ.get("FLEET_TEST_CORPORA")
    if not place:
        pytest.skip("FLEET_TEST_CORPORA is not set")
    return Path(place)


def roots_of(corpora: Path) -> dict[str, str]:
    """Overlay name to directory."""
    found = {f"flux-{root.replace('/', '-')}": f"{FLUX}/{root}" for root in FLUX_ROOTS}
    overlays = sorted((corpora / CATALOG).glob("*/**/overlays/*/kustomization.yaml"))
    chosen = [str(path.parent.relative_to(corpora)) for path in overlays[::EVERY]]
    return found | {f"catalog-{number}": root for number, root in enumerate(chosen)}


@pytest.mark.timeout(240)
async def test_roots_of_others_are_rendered_and_what_the_cluster_does_not_serve_is_named(
    world: World, own_api_server: Callable[..., ControlPlane], corpora: Path, namespace: str, record_property: Any
) -> None:
    plane = own_api_server()
    roots = roots_of(corpora)
    everywhere = [{"all": True}]
    layout: list[dict[str, Any]] = [
        {"name": name, "path": path, "clusters": everywhere} for name, path in roots.items()
    ]
    world.describe(clusters="inventory", overlays=[*layout, {"name": "web", "path": "web", "clusters": everywhere}])
    world.write({"inventory/bare.yaml": "apiVersion: fleet.internal/v1\nkind: Cluster\nmetadata: {name: bare}\n"})
    world.overlay("web", [namespace_of(namespace), config_map("c", namespace)])
    world.move("overlays/web", "web")
    world.give("bare", plane)
    world.repo.commit_folder(corpora)
    world.commit()
    async with world.hub() as hub:
        hub.fetch()
        await hub.until(lambda: is_judged(hub, len(roots) + 1), "every root judged", seconds=120)
        assert hub.is_well("web@bare")
        reasons = Counter(hub.reason(str(name)) for name in hub.view.units if name.overlay != "web")
        record_property("corpora", f"{len(roots)} roots: {dict(reasons)}")
        assert set(reasons) <= OF_THE_CLUSTER | OF_THE_ROOT, hub.shown()
        assert reasons["KindNotServed"]
        for report in hub.view.units.values():
            for one in report.objects:
                if one.reason == "KindNotServed":
                    assert one.ref.kind in one.message
                elif not one.reason:
                    # Waiting for nothing but its own namespace, or applied beside those that are not served.
                    assert one.sync is Sync.SYNCED, (report.unit, one)
        refused = [str(name) for name, result in hub.view.results.items() if isinstance(result, RenderProblem)]
        assert len(refused) < len(roots) / 4
        assert {hub.summary(name).health for name in refused} <= {Health.UNKNOWN}


def is_judged(hub: RunningHub, units: int) -> bool:
    """Every unit was rendered, and reported with what is in force; or refused by name."""
    if hub.view.fleet is None or hub.view.rendering or len(hub.view.fleet.units) != units:
        return False
    for name in hub.view.fleet.units:
        if isinstance(hub.view.results.get(name), RenderProblem):
            continue
        report = hub.view.units.get(name)
        if report is None or report.observed_commit is None or not (report.reason or report.sync is Sync.SYNCED):
            return False
    return True
