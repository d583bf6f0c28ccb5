"""`fleet cluster grant` as a person runs it on a real control plane, and a hub that lives on what it gave."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from scenarios.real import World, config_map
from testbed.controlplane import ControlPlane
from testbed.workloads import deployment

from fleet.cli.app import run

Fleet = Callable[..., tuple[int, str]]
SETTINGS = (
    "apiVersion: v1\nkind: Secret\nmetadata: {{name: s, namespace: {place}}}\nstringData: {{password: hunter2}}\n"
)


@pytest.fixture
def plane(own_api_server: Callable[..., ControlPlane]) -> ControlPlane:
    return own_api_server(controllers=True)


@pytest.fixture
def place(plane: ControlPlane, namespace: str) -> str:
    return plane.client().make_namespace(namespace)


@pytest.fixture
def fleet(
    world: World,
    tmp_path: Path,
    plane: ControlPlane,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Fleet:
    """Runs a command in a fresh checkout of the world, as the control plane's administrator."""
    monkeypatch.setenv("KUBECONFIG", str(plane.write_kubeconfig(tmp_path / "person")))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run_it(*words: str, answer: str = "") -> tuple[int, str]:
        checkout = tmp_path / "checkout"
        shutil.rmtree(checkout, ignore_errors=True)
        subprocess.run(["git", "clone", "-q", str(world.repo.path), str(checkout)], check=True)
        monkeypatch.setattr(sys, "stdin", io.StringIO(answer))
        code = run([*words, "--root", str(checkout), "--context", plane.name])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return run_it


def entry(world: World, *overlays: str, **spec: Any) -> None:
    """A cluster without a credential yet."""
    document = {"kind": "Cluster", "metadata": {"name": "eu-1"}, "spec": {"overlays": list(overlays), **spec}}
    world.write({"clusters/eu-1.yaml": "apiVersion: fleet.internal/v1\n" + yaml.safe_dump(document)})


def roles(plane: ControlPlane) -> set[str]:
    """All roles and bindings of a grant, as kind and place."""
    found: set[str] = set()
    for plural in ("clusterroles", "clusterrolebindings", "roles", "rolebindings"):
        path = f"/apis/rbac.authorization.k8s.io/v1/{plural}?labelSelector=fleet.internal/grant%3Dfleet-hub"
        for item in plane.client().get(path)["items"]:
            found.add(f"{plural} {item['metadata'].get('namespace', '')} {item['metadata']['name']}")
    return found


@pytest.mark.timeout(240)
async def test_a_hub_lives_on_what_a_grant_gave_and_the_next_grant_follows_what_is_rendered(
    world: World, plane: ControlPlane, fleet: Fleet, place: str
) -> None:
    entry(world, "web")
    others = [config_map(f"other-{number}", place) for number in range(12)]  # so that few deletions are a small share
    objects = [*others, config_map("c", place), config_map("old", place), deployment("d", place)]
    world.overlay("web", [*objects, yaml.safe_load(SETTINGS.format(place=place))])
    first = world.commit()
    target = world.credentials / "eu-1.kubeconfig"
    grant = ("cluster", "grant", "eu-1", "--to", str(target))

    code, said = await asyncio.to_thread(fleet, *grant, answer="n\n")
    assert (code, "nothing was created" in said, roles(plane)) == (1, True, set())
    assert f"Will create on {plane.name}: namespace fleet-system, serviceaccount fleet-hub, a token," in said

    code, said = await asyncio.to_thread(fleet, *grant, answer="y\n")
    assert code == 0, said
    assert "identity proven with the new token, which ends" in said
    assert target.stat().st_mode & 0o777 == 0o600
    assert "hunter2" not in said
    token = json.loads(target.read_text())["users"][0]["user"]["token"]
    assert token not in said
    async with world.hub() as hub:
        await hub.until_done(first, seconds=60)
        plane.client().merge(f"/api/v1/namespaces/{place}/secrets/s", {"data": {"password": None}})
        await hub.until(lambda: hub.is_well("web@eu-1"), "healed")
        world.overlay("web", [*others, config_map("c", place, {"a": "2"}), deployment("d", place)])
        second = world.commit()
        hub.fetch()
        await hub.until_done(second, seconds=60)
        await hub.until(lambda: not plane.client().exists(f"/api/v1/namespaces/{place}/configmaps/old"), "pruned")

        # A new kind in Git is refused by name until it is granted; what is dropped is taken away.
        world.overlay("web", [*others, {"apiVersion": "v1", "kind": "Service", **service(place)}])
        third = world.commit()
        code, said = await asyncio.to_thread(fleet, "diff", "web@eu-1")
        assert code == 1
        assert f"services in {place}" in said
        assert "fleet cluster grant eu-1" in said
        hub.fetch()
        await hub.until(
            lambda: "cannot" in str(hub.unit("web@eu-1")) and "services" in str(hub.unit("web@eu-1")), "named"
        )
        code, said = await asyncio.to_thread(fleet, *grant, "--yes")
        assert code == 0, said
        assert json.loads(target.read_text())["users"][0]["user"]["token"] != token
        await hub.until_done(third, seconds=90)


def service(place: str) -> dict[str, Any]:
    return {"metadata": {"name": "d", "namespace": place}, "spec": {"selector": {"app": "d"}, "ports": [{"port": 80}]}}


def test_review_prints_what_would_be_created_and_creates_nothing(
    world: World, plane: ControlPlane, fleet: Fleet, place: str
) -> None:
    entry(world, "web")
    world.overlay("web", [config_map("c", place)])
    world.commit()
    mark = plane.ledger_mark()
    code, said = fleet("cluster", "grant", "eu-1", "-o", "yaml")
    assert code == 0
    kinds = [document["kind"] for document in yaml.safe_load_all(said)]
    assert kinds[:4] == ["Namespace", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"]
    assert not [request for request in plane.ledger(mark, user_agent="fleet") if request.is_write]
    for document in yaml.safe_load_all(said):
        plane.client().apply(document)
    assert f"roles {place} fleet-hub" in roles(plane)


def test_read_only_and_cluster_admin_replace_one_another(
    world: World, plane: ControlPlane, fleet: Fleet, place: str, tmp_path: Path
) -> None:
    entry(world, "web", mode="observe")
    world.overlay("web", [config_map("c", place)])
    world.commit()
    target = tmp_path / "token"
    assert fleet("cluster", "grant", "eu-1", "--to", str(target), "--yes", "--cluster-admin")[0] == 0
    assert roles(plane) == {"clusterrolebindings  fleet-hub-admin"}
    code, said = fleet("cluster", "grant", "eu-1", "--to", str(target), "--yes", "--read-only")
    assert code == 0
    assert "take away ClusterRoleBinding fleet-hub-admin" in said
    assert not [line for line in said.splitlines() if len(line) > 110 and not line.startswith("Wrote ")]
    assert "clusterrolebindings  fleet-hub-admin" not in roles(plane)
    rules = plane.client().get(f"/apis/rbac.authorization.k8s.io/v1/namespaces/{place}/roles/fleet-hub")["rules"]
    assert rules == [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]


def test_a_revoked_grant_leaves_every_object_and_no_access(
    world: World, plane: ControlPlane, fleet: Fleet, place: str, tmp_path: Path
) -> None:
    entry(world, "web")
    world.overlay("web", [config_map("c", place)])
    world.commit()
    target = tmp_path / "token"
    assert fleet("cluster", "grant", "eu-1", "--to", str(target), "--yes")[0] == 0
    plane.client().apply(config_map("c", place), manager="fleet")
    code, said = fleet("cluster", "grant", "eu-1", "--revoke", answer="n\n")
    assert (code, "nothing was deleted" in said, bool(roles(plane))) == (1, True, True)
    code, said = fleet("cluster", "grant", "eu-1", "--revoke", "--yes")
    assert (code, roles(plane)) == (0, set())
    assert "ServiceAccount fleet-system/fleet-hub" in said
    assert plane.client().exists(f"/api/v1/namespaces/{place}/configmaps/c")
    assert not plane.client().exists("/api/v1/namespaces/fleet-system/serviceaccounts/fleet-hub")
    assert fleet("cluster", "grant", "eu-1", "--revoke")[1].startswith("no grant of ours is on eu-1")


def test_a_grant_that_is_refused_halfway_says_what_stands_and_is_repeated(
    world: World, plane: ControlPlane, fleet: Fleet, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry(world, "web")
    world.overlay("web", [config_map("c", place)])
    world.commit()
    verbs = ["get", "list", "create", "patch"]
    plane.grant(
        "limited", {"apiGroups": [""], "resources": ["namespaces", "serviceaccounts", "configmaps"], "verbs": verbs}
    )
    plane.grant("limited", {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]})
    monkeypatch.setenv("KUBECONFIG", str(plane.write_kubeconfig(tmp_path / "limited", "limited")))
    target = tmp_path / "token"
    code, said = fleet("cluster", "grant", "eu-1", "--to", str(target), "--yes")
    assert code == 1
    assert "error[Forbidden] the grant ended at ClusterRole fleet-hub" in said
    assert "created before it: Namespace fleet-system, ServiceAccount fleet-system/fleet-hub" in said
    assert not target.exists()
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "person"))
    assert fleet("cluster", "grant", "eu-1", "--to", str(target), "--yes")[0] == 0


def test_rights_for_a_namespace_that_is_not_there_are_named_and_narrowed_once_it_is(
    world: World, plane: ControlPlane, fleet: Fleet, place: str, tmp_path: Path
) -> None:
    later = f"{place}-later"
    entry(world, "web")
    world.overlay("web", [config_map("c", place), yaml.safe_load(SETTINGS.format(place=later))])
    world.commit()
    grant = ("cluster", "grant", "eu-1", "--to", str(tmp_path / "token"))
    code, said = fleet(*grant, answer="n\n")
    assert (code, "nothing was created" in said) == (1, True)
    assert f"not there yet: {later}" in said
    assert said.index("read every Secret of this cluster") < said.index("[y/N]")
    assert fleet(*grant, "--yes")[0] == 0
    assert "on the whole cluster" not in fleet("diff", "web@eu-1")[1]
    plane.client().make_namespace(later)
    said = fleet("diff", "web@eu-1")[1]
    assert f"the hub holds rights on the whole cluster that are for {later} alone, there by now" in said
    assert "Next: fleet cluster grant eu-1" in said
    assert fleet(*grant, "--yes")[0] == 0
    assert "on the whole cluster" not in fleet("diff", "web@eu-1")[1]
    rules = plane.client().get("/apis/rbac.authorization.k8s.io/v1/clusterroles/fleet-hub")["rules"]
    assert {name for rule in rules for name in rule["resources"]} == {"namespaces"}


def test_nothing_is_asked_of_a_cluster_where_the_wish_makes_no_sense(world: World, fleet: Fleet) -> None:
    world.overlay("web", [config_map("c", "x")])
    world.commit()
    assert fleet("cluster", "grant", "eu-1", "--yes")[0] == 3
    code, said = fleet("cluster", "grant", "eu-1", "--read-only", "--cluster-admin")
    assert (code, "exclude each other" in said) == (2, True)
