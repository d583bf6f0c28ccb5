"""The example in docs/examples/hub-itself: Helm installs the hub, which then takes itself over and upgrades itself."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from scenarios.real import World
from testbed import binaries
from testbed.controlplane import ControlPlane
from testbed.fixtures import require

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "hub-itself"
VALUES = EXAMPLE / "overlays" / "fleet" / "values.yaml"
UNIT = "fleet@management"


def helm(tmp_path: Path, *arguments: str) -> str:
    require("helm")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [str(binaries.find("helm")), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_manifests_of_the_example_are_what_helm_renders_from_its_values(tmp_path: Path) -> None:
    chart = str(ROOT / "charts" / "fleet")
    rendered = helm(tmp_path, "template", "fleet", chart, "-n", "fleet-system", "-f", str(VALUES))
    assert rendered == (EXAMPLE / "overlays" / "fleet" / "hub.yaml").read_text()


def make_what_a_person_makes(cluster: ControlPlane) -> None:
    hands = cluster.client()
    if not hands.exists("/api/v1/namespaces/fleet-system"):
        hands.make_namespace("fleet-system")
    for name, content in (("fleet-key", {"key": "ab" * 32}), ("fleet-git", {"token": "t"})):
        metadata = {"name": name, "namespace": "fleet-system"}
        hands.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": content})
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": "fleet-system", "name": "data-fleet-0"}
    volume = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": "of-the-hub-itself"},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteOnce"],
            "hostPath": {"path": "/nowhere"},
            "claimRef": claim,
        },
    }
    hands.create(volume)


def write_example(world: World, cluster: ControlPlane) -> None:
    """The example as it is, but reached by the token of the hub's own service account instead of from inside."""
    for path in EXAMPLE.rglob("*.yaml"):
        world.write({str(path.relative_to(EXAMPLE)): path.read_text()})
    entry: dict[str, Any] = yaml.safe_load((EXAMPLE / "clusters" / "management.yaml").read_text())
    entry["spec"]["connection"] = {"credential": "management"}
    world.write({"clusters/management.yaml": yaml.safe_dump(entry)})
    account = cluster.service_account_kubeconfig("fleet-system", "fleet")
    (world.credentials / "management.kubeconfig").write_text(yaml.safe_dump(account))


@pytest.mark.timeout(240)
async def test_the_hub_takes_its_own_objects_over_with_its_own_rights_and_upgrades_itself(
    world: World, real_cluster: ControlPlane, tmp_path: Path
) -> None:
    hands = real_cluster.client()
    make_what_a_person_makes(real_cluster)
    kubeconfig = real_cluster.write_kubeconfig(tmp_path / "kubeconfig")
    common = ("--kubeconfig", str(kubeconfig), "--namespace", "fleet-system")
    chart = str(ROOT / "charts" / "fleet")
    helm(tmp_path, "install", "fleet", chart, *common, "-f", str(VALUES), "--wait", "--timeout", "90s")
    stateful_set = "/apis/apps/v1/namespaces/fleet-system/statefulsets/fleet"
    pod = "/api/v1/namespaces/fleet-system/pods/fleet-0"
    before, first_pod = hands.get(stateful_set), hands.get(pod)
    write_example(world, real_cluster)
    first = world.commit("the hub itself")
    try:
        async with world.hub() as hub:
            await hub.until(lambda: hub.is_well(UNIT), "taken over", seconds=60)
            assert hub.progress(first).done
            assert hands.get(stateful_set)["metadata"]["generation"] == before["metadata"]["generation"]
            assert hands.get(pod)["metadata"]["uid"] == first_pod["metadata"]["uid"]
            manifest = (EXAMPLE / "overlays" / "fleet" / "hub.yaml").read_text()
            changed = manifest.replace("terminationGracePeriodSeconds: 15", "terminationGracePeriodSeconds: 20")
            assert changed != manifest
            world.write({"overlays/fleet/hub.yaml": changed})
            second = world.commit("more time to end")
            hub.fetch()
            await hub.until(lambda: hub.progress(second).done and hub.is_well(UNIT), "upgraded", seconds=90)
            now = hands.get(pod)
            assert now["metadata"]["uid"] != first_pod["metadata"]["uid"]
            assert now["spec"]["terminationGracePeriodSeconds"] == 20
    finally:
        helm(tmp_path, "uninstall", "fleet", *common)
