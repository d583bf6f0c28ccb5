"""The pages in docs/moving are walked on real clusters that the other tools have filled, from first line to last."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docs.walk import ROOT, commands_of, give_contexts, run_line, walk
from inventory.building import write
from reconcile.makers import LAST_APPLIED, Makers
from testbed import binaries
from testbed.controlplane import ControlPlane
from testbed.fixtures import missing, require
from testbed.rest import path_of

from docs.moving import (
    CHART,
    Documents,
    argocd_objects,
    argocd_repo,
    built,
    define,
    edit,
    finish_deletions,
    flux_objects,
    flux_repo,
    kubectl_repo,
    make_old,
    until_collected,
)

PAGES = ROOT / "docs" / "moving"
OWNER = "fleet.internal/owner"
SECONDS = 90.0


@pytest.fixture
def plane(own_api_server: Callable[..., ControlPlane]) -> ControlPlane:
    if shutil.which("kubectl") is None:
        missing("kubectl")
    require("kube-controller-manager", "kube-scheduler", "kwok")
    return own_api_server(controllers=True)


@pytest.fixture
def home(own_environment: dict[str, str], plane: ControlPlane) -> Path:
    """A person's home, with contexts for the cluster and for where Argo CD runs."""
    found = Path(own_environment["HOME"])
    give_contexts(found, plane.kubeconfig(), "eu-1", "argocd")
    return found


def commit_all(shell: subprocess.Popen[str], files: dict[str, str]) -> None:
    """The team's repo, as it was before anybody thought of fleet."""
    folders = " ".join(sorted({path.partition("/")[0] for path in files}))
    run_line(shell, f"git init -q -b main . && git add {folders} && git commit -qm 'Five years'")


def from_section(title: str, page: Path) -> int:
    """The number of the first command of a section."""
    before = page.read_text(encoding="utf-8").partition(f"\n## {title}\n")[0]
    return before.count("\n$ ")


def settled(plane: ControlPlane, documents: Documents) -> None:
    """Wait until every Deployment has its pods; their times are the controllers' own."""
    for document in documents:
        if document["kind"] == "Deployment":
            wanted = document["spec"]["replicas"]
            plane.client().wait(
                path_of(document),
                lambda seen, n=wanted: seen.get("status", {}).get("readyReplicas") == n,
                seconds=SECONDS,
            )


def pods(plane: ControlPlane) -> set[str]:
    """UIDs of all pods: a restart would bring others."""
    return {pod["metadata"]["uid"] for pod in plane.client().get("/api/v1/pods")["items"]}


def marked(plane: ControlPlane, documents: Documents) -> list[str]:
    """Which of them carry our mark."""
    client = plane.client()
    found: list[str] = []
    for document in documents:
        metadata = client.get(path_of(document))["metadata"]
        if OWNER in metadata.get("annotations", {}):
            found.append(f"{document['kind']} {metadata['name']}")
    return sorted(found)


def until(found: Callable[[], Any], shown: Callable[[], Any]) -> None:
    end = time.monotonic() + SECONDS
    while not found():
        assert time.monotonic() < end, shown()
        time.sleep(0.2)


def told(shell: subprocess.Popen[str]) -> str:
    """What a failing test should tell."""
    return run_line(shell, "fleet status || true; fleet get units; fleet history --limit 20")


def wait_in_vain(shell: subprocess.Popen[str], line: str) -> None:
    """The reader's wait for what only a person can decide, then a look at it.

    All that comes by itself has come, so a second shows what the page's half minute does.
    """
    assert "fleet wait --commit HEAD --timeout 30s || fleet describe unit " in line
    said = run_line(shell, line.replace("--timeout 30s", "--timeout 1s"))
    assert line.rpartition(" ")[2] in said
    assert "OutOfSync" in said, said


def former(live: dict[str, Any]) -> set[str]:
    """Managers other than fleet and parts of the cluster that own fields of an object."""
    names = {entry["manager"] for entry in live["metadata"]["managedFields"] if not entry.get("subresource")}
    return {name for name in names if not name.startswith(("fleet", "kube-", "kwok"))}


@pytest.mark.timeout(400)
def test_moving_from_argo_cd_goes_as_its_page_says(
    shell: subprocess.Popen[str], plane: ControlPlane, home: Path, tmp_path: Path
) -> None:
    page, files, client = PAGES / "argocd.md", argocd_repo(), plane.client()
    write(tmp_path, files)
    commit_all(shell, files)
    kinds = [("argoproj.io", "v1alpha1", kind) for kind in ("Application", "ApplicationSet")]
    define(plane, *kinds)
    client.make_namespace("argocd")
    applied = argocd_objects()
    for document in applied.values():
        client.apply(document)
    owner = client.get(path_of(applied["argocd/tools.yaml"]))["metadata"]
    for name in ("mail", "wiki"):
        made = {**applied["argocd/web.yaml"], "metadata": {**applied["argocd/web.yaml"]["metadata"], "name": name}}
        reference = {
            "apiVersion": "argoproj.io/v1alpha1",
            "kind": "ApplicationSet",
            "name": "tools",
            "uid": owner["uid"],
        }
        made["metadata"]["ownerReferences"] = [reference]
        client.apply(made)
    objects = [d for path in ("apps/web/overlays/prod", "tools/mail", "tools/wiki") for d in built(tmp_path, path)]
    Makers(plane, "web", tmp_path).argocd(objects)
    edit(plane, "web", level="debug")
    settled(plane, objects)
    make_old(plane, objects)
    running = pods(plane)

    lines = commands_of(page)
    halfway, rest = from_section("Take over the rest", page), from_section("Going back", page)
    last = from_section("When it stays", page)
    said = walk(shell, lines[: halfway - 1], home)
    explained = said["fleet init --explain"]
    assert "redis runs chart redis, which cannot be taken over" in explained
    assert "root runs argocd, which cannot be taken over" in explained
    compared = said["fleet diff eu-1 --context eu-1 || test $? = 1"]
    assert "data.level  live debug  repo info" in compared
    assert "owned by argocd-controller (4), kubectl-edit (1): sync.adopt ifNoDiff takes the 3 equal" in compared, (
        compared
    )
    assert "identity proven with the new token" in said["fleet cluster grant eu-1 --context eu-1 --yes"]
    web = next(d for d in objects if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "web")
    until(lambda: len(marked(plane, objects)) == 11, lambda: told(shell))
    wait_in_vain(shell, lines[halfway - 1])
    assert len(marked(plane, objects)) == 11
    assert client.get(path_of(web))["data"] == {"level": "debug"}
    front = client.get("/api/v1/namespaces/web/services/web")
    assert front["metadata"]["annotations"]["fleet.internal/prune"] == "disabled"
    assert "syncPolicy" in (seen := client.get(path_of(applied["argocd/web.yaml"]))["spec"])
    assert "automated" not in seen["syncPolicy"]

    said = walk(shell, lines[halfway:rest], home)
    assert "took over 1 object, fields moved from argocd-controller (1), kubectl-edit (1)" in said["fleet history"]
    assert len(marked(plane, objects)) == 12
    assert client.get(path_of(web))["data"] == {"level": "info"}
    for document in objects:
        live = client.get(path_of(document))
        assert former(live) == set(), path_of(document)
        assert "argocd.argoproj.io/tracking-id" not in live["metadata"]["annotations"]
    walk(shell, lines[rest:last], home)
    assert "automated" not in client.get(path_of(applied["argocd/web.yaml"]))["spec"]["syncPolicy"]
    until_collected(plane, *kinds)
    walk(shell, lines[last:], home)
    left = client.get("/apis/argoproj.io/v1alpha1/namespaces/argocd/applications")["items"]
    assert [item["metadata"]["name"] for item in left] == ["redis"]
    assert len(marked(plane, objects)) == 12
    assert pods(plane) == running


@pytest.mark.timeout(400)
def test_moving_from_flux_goes_as_its_page_says(
    shell: subprocess.Popen[str], plane: ControlPlane, home: Path, tmp_path: Path
) -> None:
    page, files, client = PAGES / "flux.md", flux_repo(), plane.client()
    write(tmp_path, files)
    commit_all(shell, files)
    define(plane, ("kustomize.toolkit.fluxcd.io", "v1", "Kustomization"))
    client.make_namespace("flux-system")
    for document in flux_objects().values():
        client.apply(document)
    objects = [*built(tmp_path, "infra/dns"), *built(tmp_path, "apps/web", {"level": "info"})]
    Makers(plane, "web", tmp_path).flux_kustomize(objects)
    edit(plane, "dns", zone="debug.example")
    settled(plane, objects)
    make_old(plane, objects)
    running = pods(plane)

    lines = commands_of(page)
    halfway, rest = from_section("Take over the rest", page), from_section("Going back", page)
    last = from_section("When it stays", page)
    said = walk(shell, lines[: halfway - 1], home)
    assert "apps changes what apps/web builds: postBuild" in said["fleet init --explain"]
    compared = said["fleet diff eu-1 --context eu-1 || test $? = 1"]
    assert "data.zone  live debug.example  repo acme.example" in compared
    until(lambda: len(marked(plane, objects)) == 3, lambda: told(shell))
    wait_in_vain(shell, lines[halfway - 1])
    assert len(marked(plane, objects)) == 3
    kustomizations = "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations"
    assert all(item["spec"]["suspend"] for item in client.get(kustomizations)["items"])

    said = walk(shell, lines[halfway:rest], home)
    assert len(marked(plane, objects)) == 8
    for document in objects:
        live = client.get(path_of(document))
        assert former(live) == set(), path_of(document)
        assert not [name for name in live["metadata"]["labels"] if "toolkit.fluxcd.io" in name]
    zone = next(d for d in objects if d["kind"] == "ConfigMap" and d["metadata"]["name"] == "dns")
    assert client.get(path_of(zone))["data"] == {"zone": "acme.example"}
    walk(shell, lines[rest:last], home)
    assert all(item["spec"]["suspend"] for item in client.get(kustomizations)["items"])
    with finish_deletions(plane, kustomizations) as pruned:
        walk(shell, lines[last:], home)
    assert pruned == []
    assert client.get(kustomizations)["items"] == []
    assert len(marked(plane, objects)) == 8
    assert pods(plane) == running


def chart_archive(folder: Path) -> None:
    with tarfile.open(folder / "metrics-1.0.0.tgz", "w:gz") as archive:
        for name, text in CHART.items():
            entry = tarfile.TarInfo(f"metrics/{name}")
            entry.size = len(raw := text.encode())
            archive.addfile(entry, io.BytesIO(raw))


@pytest.mark.timeout(400)
def test_moving_from_kubectl_and_helm_goes_as_its_page_says(
    shell: subprocess.Popen[str], plane: ControlPlane, home: Path, tmp_path: Path
) -> None:
    require("helm")
    page, files, client = PAGES / "kubectl-and-helm.md", kubectl_repo(), plane.client()
    write(tmp_path, files)
    chart_archive(tmp_path)
    commit_all(shell, files)
    run_line(shell, f"export PATH={binaries.find('helm').parent}:$PATH")
    run_line(shell, "kubectl apply -k apps/web/overlays/prod")
    run_line(shell, "helm install metrics metrics-1.0.0.tgz -n metrics --create-namespace --set replicas=2")
    release = [{"metadata": {"name": "metrics", "namespace": "metrics"}, **what} for what in (
        {"apiVersion": "v1", "kind": "ConfigMap"},
        {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 2}},
    )]  # fmt: skip
    objects = [*built(tmp_path, "apps/web/overlays/prod"), *release]
    edit(plane, "web", level="debug")
    settled(plane, objects)
    make_old(plane, objects)
    running = pods(plane)

    lines = commands_of(page)
    halfway, rest = from_section("Take over the rest", page), from_section("Going back", page)
    last, leave = from_section("When it stays", page), from_section("Leaving fleet", page)
    said = walk(shell, lines[: halfway - 1], home)
    compared = said["fleet diff eu-1 --context eu-1 || test $? = 1"]
    assert (
        "metrics@eu-1: 0 different, 2 equal\n2 not ours, owned by helm (2): sync.adopt ifNoDiff takes the 2" in compared
    )
    assert "data.level  live debug  repo info" in compared
    until(lambda: len(marked(plane, objects)) == 5, lambda: told(shell))
    wait_in_vain(shell, lines[halfway - 1])
    assert len(marked(plane, objects)) == 5

    walk(shell, lines[halfway:rest], home)
    assert len(marked(plane, objects)) == 6
    for document in objects:
        live = client.get(path_of(document))
        assert LAST_APPLIED not in live["metadata"]["annotations"]
        assert "meta.helm.sh/release-name" not in live["metadata"]["annotations"]
    walk(shell, lines[rest:last], home)
    assert run_line(shell, "helm list -n metrics -q").split() == ["metrics"]
    walk(shell, lines[last:leave], home)
    assert run_line(shell, "helm list -n metrics -q").split() == []
    assert len(marked(plane, objects)) == 6
    before = {path_of(document): client.get(path_of(document))["metadata"]["uid"] for document in objects}
    walk(shell, lines[leave:], home)
    assert marked(plane, objects) == []
    assert {path: client.get(path)["metadata"]["uid"] for path in before} == before
    assert pods(plane) == running
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles?labelSelector=fleet.internal/grant%3Dfleet-hub"
    assert client.get(roles)["items"] == []
