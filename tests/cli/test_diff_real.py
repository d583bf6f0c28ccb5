"""`fleet diff` as a person runs it, against a real API server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from testbed import binaries
from testbed.controlplane import ControlPlane

from fleet.cli.diff import EXIT_DIFFERENT, EXIT_SAME, LISTED_FROM, diff

Config = dict[str, object]


def config_map(name: str, namespace: str, value: str = "1", **metadata: object) -> Config:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, **metadata},
        "data": {"a": value},
    }


@pytest.fixture
def shop(api_server: ControlPlane, namespace: str) -> str:
    return api_server.client().make_namespace(namespace)


@pytest.fixture
def run(
    tmp_path: Path, api_server: ControlPlane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[list[Config]], tuple[int, str]]:
    """Runs the command on a checkout that holds these objects; returns its exit code and what it printed."""
    monkeypatch.setenv("FLEET_KUSTOMIZE", str(binaries.find("kustomize")))
    monkeypatch.setenv("KUBECONFIG", str(api_server.write_kubeconfig(tmp_path / "kubeconfig")))
    head = "apiVersion: fleet.internal/v1\n"
    overlay = tmp_path / "repo" / "overlays" / "web"
    overlay.mkdir(parents=True)
    (tmp_path / "repo" / "clusters").mkdir()
    (overlay / "kustomization.yaml").write_text("resources: [objects.yaml]\n")
    (overlay / "overlay.yaml").write_text(
        f"{head}kind: Overlay\nmetadata: {{name: web}}\nspec: {{clusters: [{{all: true}}]}}\n"
    )
    (tmp_path / "repo" / "clusters" / "eu-1.yaml").write_text(
        f"{head}kind: Cluster\nmetadata: {{name: eu-1}}\nspec: {{environment: prod}}\n"
    )

    def run(objects: list[Config]) -> tuple[int, str]:
        (overlay / "objects.yaml").write_text("---\n".join(json.dumps(one) + "\n" for one in objects))
        code = diff(tmp_path / "repo", "web@eu-1", context=api_server.name, output="table")
        return code, capsys.readouterr().out

    return run


def test_an_object_that_equals_git_is_equal_before_anybody_marked_it(
    run: Callable[..., tuple[int, str]], api_server: ControlPlane, shop: str
) -> None:
    wanted = config_map("plain", shop)
    api_server.client().apply(wanted, manager="kubectl")
    code, said = run([wanted])
    assert code == EXIT_SAME
    assert said.startswith("web@eu-1: 0 different, 1 equal\n")
    assert "1 not ours, owned by kubectl (1): sync.adopt ifNoDiff takes the 1 equal\n" in said


def test_what_argo_cd_would_delete_with_its_application_is_said_before_it_is_taken_over(
    run: Callable[..., tuple[int, str]], api_server: ControlPlane, shop: str
) -> None:
    labels = {"app.kubernetes.io/instance": "web"}
    api_server.client().apply(config_map("tracked", shop, labels=labels), manager="argocd-controller")
    api_server.client().apply(config_map("plain", shop, labels=labels), manager="helm")
    code, said = run([config_map("tracked", shop), config_map("plain", shop)])
    assert code == EXIT_SAME
    assert "\nArgo CD tracks 1 of these by the label app.kubernetes.io/instance, which stays, and deletes it" in said


def test_a_note_of_the_user_that_differs_is_shown(
    run: Callable[..., tuple[int, str]], api_server: ControlPlane, shop: str
) -> None:
    api_server.client().apply(config_map("plain", shop), manager="kubectl")
    wanted = config_map("plain", shop, annotations={"fleet.internal/prune": "disabled"})
    code, said = run([wanted])
    assert code == EXIT_DIFFERENT
    assert "fleet.internal/prune" in said


def test_many_objects_of_a_kind_are_read_by_one_list_and_judged_alike(
    run: Callable[..., tuple[int, str]], api_server: ControlPlane, shop: str
) -> None:
    wanted = [config_map(f"c{number}", shop) for number in range(LISTED_FROM + 1)]
    for one in wanted[:-1]:
        api_server.client().apply(one, manager="kubectl")
    api_server.client().merge(f"/api/v1/namespaces/{shop}/configmaps/c3", {"data": {"a": "2"}})
    mark = api_server.ledger_mark()
    code, said = run(wanted)
    asked = [r for r in api_server.ledger(mark, user_agent="fleet") if r.namespace == shop]
    assert code == EXIT_DIFFERENT
    assert "~ ConfigMap" in said
    assert "c3" in said
    assert f"+ ConfigMap {shop}/c{LISTED_FROM}" in said
    assert "2 different" in said
    assert f"ifNoDiff takes the {LISTED_FROM - 1} equal, always also ConfigMap {shop}/c3\n" in said
    assert [r.verb for r in asked if not r.dry_run] == ["list"]
    assert not [r for r in asked if r.is_write]


def test_who_may_not_list_is_answered_all_the_same(
    run: Callable[..., tuple[int, str]],
    api_server: ControlPlane,
    shop: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api_server.grant(
        "limited", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "patch"]}, namespace=shop
    )
    api_server.grant("limited", {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]})
    monkeypatch.setenv("KUBECONFIG", str(api_server.write_kubeconfig(tmp_path / "limited", "limited")))
    wanted = [config_map(f"c{number}", shop) for number in range(LISTED_FROM + 1)]
    for one in wanted:
        api_server.client().apply(one, manager="kubectl")
    code, said = run(wanted)
    assert code == EXIT_SAME
    assert said.startswith(f"web@eu-1: 0 different, {len(wanted)} equal\n")
