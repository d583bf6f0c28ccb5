"""`fleet preflight`: what a version of Kubernetes does not serve, at the line where it is written."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from cli.planrepo import BASE, files
from fixtures.layouts.documents import KUSTOMIZATION
from inventory.building import write

from fleet.cli.preflight import preflight
from fleet.errors import UsageInvalid

OLD = (
    "# an old one\napiVersion: {api}\nkind: PodDisruptionBudget\nmetadata:\n  name: web\nspec: {{maxUnavailable: 1}}\n"
)


@pytest.fixture(autouse=True)
def _kustomize(real_kustomize: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_KUSTOMIZE", real_kustomize)


def with_budget(root: Path, api: str, **more: str) -> Path:
    found = files() | {f"{BASE}/budget.yaml": OLD.format(api=api), **more}
    path = f"{BASE}/kustomization.yaml"
    found[path] = found[path].replace("cache.yaml]", "cache.yaml, budget.yaml]")
    return write(root, found)


def ask(root: Path, kube: str, output: str = "table") -> tuple[int, str]:
    out = io.StringIO()
    return preflight(root, kube, out, output=output), out.getvalue()


def test_an_object_that_breaks_is_told_once_with_its_line_and_its_clusters(tmp_path: Path) -> None:
    root = with_budget(tmp_path, "policy/v1beta1")
    code, text = ask(root, "1.36")
    assert code == 1
    what = "policy/v1beta1 PodDisruptionBudget is not served from 1.25 on: use policy/v1"
    assert (
        text
        == f"""\
error[KindNotServed] PodDisruptionBudget shop/web: {what}
  --> {BASE}/budget.yaml:2
   |
 1 | # an old one
 2 | apiVersion: policy/v1beta1
   |
  effect  web for 7 clusters (dev-1, dev-2, prod-1, 4 more)

Kubernetes 1.36: 1 object not served, 0 deprecated in 14 units
"""
    )


def test_what_is_only_deprecated_breaks_nothing_and_what_is_served_is_not_told(tmp_path: Path) -> None:
    code, text = ask(with_budget(tmp_path / "old", "policy/v1beta1"), "1.24")
    assert (code, text.partition("[")[0]) == (0, "warning")
    code, text = ask(with_budget(tmp_path / "new", "policy/v1"), "1.36")
    assert (code, text) == (0, "Kubernetes 1.36: 0 objects not served, 0 deprecated in 14 units\n")


def test_a_line_that_cannot_be_told_is_not_guessed(tmp_path: Path) -> None:
    inside = "apiVersion: v1\nkind: List\nitems:\n  - {apiVersion: policy/v1beta1, kind: PodDisruptionBudget,\n"
    inside += "     metadata: {name: web}, spec: {maxUnavailable: 1}}\n"
    root = with_budget(tmp_path, "policy/v1beta1", **{f"{BASE}/budget.yaml": inside})
    found = json.loads(ask(root, "1.36", "json")[1])["problems"]
    assert {(problem["path"], problem["line"]) for problem in found} == {
        ("overlays/web/dev", 0),
        ("overlays/web/prod", 0),
    }


@pytest.mark.parametrize("is_list", [True, False])
def test_no_object_is_told_at_the_line_of_another_whose_name_is_a_part_of_its_own(
    tmp_path: Path, is_list: bool
) -> None:
    """web-admin comes from a List, which says no line; web has a document. The twin: web alone, below a suffix."""
    inside = "apiVersion: v1\nkind: List\nitems:\n  - {apiVersion: policy/v1beta1, kind: PodDisruptionBudget,\n"
    inside += "     metadata: {name: web-admin}, spec: {maxUnavailable: 1}}\n"
    more = {f"{BASE}/more.yaml": inside}
    root = with_budget(tmp_path, "policy/v1beta1", **(more if is_list else {}))
    path = root / BASE / "kustomization.yaml"
    path.write_text(path.read_text() + ("" if is_list else "nameSuffix: -admin\n"))
    if is_list:
        path.write_text(path.read_text().replace("resources: [", "resources: [more.yaml, "))
    found = json.loads(ask(root, "1.36", "json")[1])["problems"]
    told = {(problem["path"], problem["line"]) for problem in found if "web-admin" in problem["what"]}
    assert told == ({("overlays/web/dev", 0), ("overlays/web/prod", 0)} if is_list else {(f"{BASE}/budget.yaml", 2)})


@pytest.mark.parametrize("prefix", ["x-", ""])
def test_each_object_has_its_line_though_the_name_of_one_is_a_part_of_another_s(tmp_path: Path, prefix: str) -> None:
    admin = OLD.format(api="policy/v1beta1").replace("name: web", "name: web-admin")
    root = with_budget(tmp_path, "policy/v1beta1", **{f"{BASE}/more.yaml": admin})
    path = root / BASE / "kustomization.yaml"
    text = path.read_text().replace("resources: [", "resources: [more.yaml, ")
    path.write_text(text + (f"namePrefix: {prefix}\n" if prefix else ""))
    found = json.loads(ask(root, "1.36", "json")[1])["problems"]
    assert {(problem["what"].partition(":")[0], problem["path"], problem["line"]) for problem in found} == {
        (f"PodDisruptionBudget shop/{prefix}web", f"{BASE}/budget.yaml", 2),
        (f"PodDisruptionBudget shop/{prefix}web-admin", f"{BASE}/more.yaml", 2),
    }


def test_an_object_whose_line_is_not_known_is_counted_once(tmp_path: Path) -> None:
    inside = "apiVersion: v1\nkind: List\nitems:\n  - {apiVersion: policy/v1beta1, kind: PodDisruptionBudget,\n"
    inside += "     metadata: {name: web}, spec: {maxUnavailable: 1}}\n"
    _, text = ask(with_budget(tmp_path, "policy/v1beta1", **{f"{BASE}/budget.yaml": inside}), "1.36")
    assert text.count("error[") == 2, "told for each directory that is built"
    assert "1 object not served" in text


def test_the_line_is_found_below_a_prefix_and_beside_a_patch(tmp_path: Path) -> None:
    patched = KUSTOMIZATION + "namePrefix: a-\nresources: [../base]\npatches: [{path: patch.yaml}]\n"
    root = with_budget(
        tmp_path,
        "policy/v1beta1",
        **{
            "overlays/web/dev/kustomization.yaml": patched,
            "overlays/web/dev/patch.yaml": OLD.format(api="policy/v1beta1"),
        },
    )
    found = json.loads(ask(root, "1.36", "json")[1])["problems"]
    assert {(problem["path"], problem["line"]) for problem in found} == {(f"{BASE}/budget.yaml", 2)}


def test_a_unit_that_cannot_be_built_is_counted_and_is_no_clean_bill(tmp_path: Path) -> None:
    root = write(tmp_path, files() | {"overlays/dns/dns.yaml": "]"})
    code, text = ask(root, "1.36")
    assert code == 1
    assert "7 units not looked at: fleet validate tells why" in text


@pytest.mark.parametrize("path", ["overlays/dns/overlay.yaml", "clusters/dev-1.yaml"])
def test_a_file_that_cannot_be_read_is_told_and_is_no_clean_bill(tmp_path: Path, path: str) -> None:
    code, text = ask(write(tmp_path, files() | {path: "spec: ["}), "1.36")
    assert code == 1
    assert f"--> {path}" in text
    assert ", and not what 1 problem above hides" in text


def test_sarif_and_versions_that_are_none(tmp_path: Path) -> None:
    root = with_budget(tmp_path, "policy/v1beta1")
    (result,) = json.loads(ask(root, "v1.30.2", "sarif")[1])["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["region"]["startLine"] == 2
    for kube, output in (("latest", "table"), ("1.36", "wide")):
        with pytest.raises(UsageInvalid):
            ask(root, kube, output)
