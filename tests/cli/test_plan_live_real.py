"""`fleet plan --live` as a person runs it, against a real API server: each finding, its twin, and nothing written."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from cli.planrepo import git
from inventory.building import write
from testbed import binaries
from testbed.controlplane import ControlPlane

from fleet.cli.blame import Asked, blame
from fleet.cli.checkout import local_renderer, open_checkout, render_all
from fleet.cli.plan import plan
from fleet.core.ids import Revision
from fleet.core.objects import Bundle, Mark
from fleet.core.parent import parent_document, parent_of
from fleet.core.record import PARENT_NAMESPACE, mark_body, parent_name
from fleet.core.rights import ACCOUNT, GRANT_LABEL

_PARENT = f"/api/v1/namespaces/{PARENT_NAMESPACE}/configmaps/{parent_name('web')}"
BLAME_SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "schemas" / "blame.json").read_text())
HEAD = "apiVersion: fleet.internal/v1\n"
Found = dict[str, set[str]]


def deployment(name: str, namespace: str, image: str = "reg.example/web:1") -> dict[str, Any]:
    labels = {"app": name}
    container = {"name": "web", "image": image, "resources": {"requests": {"cpu": "500m"}}}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    body = {"replicas": 2, "selector": {"matchLabels": labels}, "template": pod}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": body}


def config_map(name: str, namespace: str, value: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": value}}


class Site:
    """A checkout of two commits, and one cluster that holds the first as the hub would have applied it."""

    def __init__(self, root: Path, plane: ControlPlane, namespace: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.root, self.plane, self.namespace, self.capsys = root, plane, namespace, capsys
        self.hands = plane.client()
        self.hands.make_namespace(namespace)
        entry = f"{HEAD}kind: Cluster\nmetadata: {{name: {plane.name}}}\nspec: {{environment: prod}}\n"
        self.clusters = {f"clusters/{plane.name}.yaml": entry}
        git(root.parent, "init", "-q", "-b", "main", str(root))

    @property
    def mark(self) -> Mark:
        uid = self.hands.get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        return Mark("default", uid, "web")

    def commit(self, objects: list[dict[str, Any]], prune: str = "true") -> str:
        text = "---\n".join(json.dumps(one) + "\n" for one in objects)
        spec = f"{{clusters: [{{all: true}}], sync: {{prune: {prune}}}}}"
        overlay = f"{HEAD}kind: Overlay\nmetadata: {{name: web}}\nspec: {spec}\n"
        files = {
            "overlays/web/kustomization.yaml": "resources: [objects.yaml]\n",
            "overlays/web/overlay.yaml": overlay,
            "overlays/web/objects.yaml": text,
        }
        write(self.root, {**self.clusters, **files})
        git(self.root, "add", "-A")
        git(self.root, "commit", "-q", "--allow-empty", "-m", "state")
        return git(self.root, "rev-parse", "HEAD")

    def apply(self, objects: list[dict[str, Any]]) -> None:
        for one in objects:
            self.hands.apply(mark_body(one, self.mark), manager="fleet")

    def deliver(self, objects: list[dict[str, Any]]) -> None:
        """As the hub leaves it: the objects, and the unit's parent with the digest of its result."""
        revision = self.revision = self.commit(objects)
        bundle = asyncio.run(self._rendered())
        refs = [item.ref for item in bundle.objects]
        parent = parent_of(self.mark, refs, generation=1, bundle=bundle.digest, commit=Revision(revision))
        self.apply(objects)
        self.hands.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PARENT_NAMESPACE}})
        self.hands.apply(parent_document(parent), manager="fleet")

    async def _rendered(self) -> Bundle:
        checkout = open_checkout(self.root)
        async with local_renderer() as (renderer, _):
            (found,) = await render_all(checkout, list(checkout.fleet.units.values()), renderer)
        assert isinstance(found, Bundle)
        return found

    def forget(self) -> None:
        if self.hands.exists(_PARENT):
            self.hands.delete(_PARENT)

    def plan(self, before: list[dict[str, Any]], after: list[dict[str, Any]], *, seconds: float = 30) -> dict[str, Any]:
        return self.planned(self.commit(before), self.commit(after), seconds=seconds)

    def planned(self, base: str, head: str, *, seconds: float = 30) -> dict[str, Any]:
        plan(self.root, base=base, head=head, kube="", output="json", live_seconds=seconds)
        return json.loads(self.capsys.readouterr().out)["live"]

    def dangers(self, before: list[dict[str, Any]], after: list[dict[str, Any]]) -> Found:
        """What is told, by danger; whether the base is held is a claim of its own below."""
        found: Found = {}
        for one in self.plan(before, after)["findings"]:
            if one["danger"] != "base-missing":
                found.setdefault(one["danger"], set()).add((one["object"] or {}).get("name", ""))
        return found


@pytest.fixture
def site(
    tmp_path: Path,
    api_server: ControlPlane,
    namespace: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Site]:
    monkeypatch.setenv("FLEET_KUSTOMIZE", str(binaries.find("kustomize")))
    monkeypatch.setenv("KUBECONFIG", str(api_server.write_kubeconfig(tmp_path / "kubeconfig")))
    made = Site(tmp_path / "repo", api_server, namespace, capsys)
    yield made
    made.forget()


def test_a_field_that_cannot_be_changed_will_fail_and_one_that_can_will_not(site: Site) -> None:
    before = [deployment("web", site.namespace), deployment("api", site.namespace)]
    site.apply(before)
    other = deployment("web", site.namespace)
    other["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    other["spec"]["template"]["metadata"]["labels"] = {"app": "other"}
    after = [other, deployment("api", site.namespace, "reg.example/web:2")]
    assert site.dangers(before, after) == {"immutable": {"web"}}


def test_a_kind_that_is_not_served_and_one_that_the_change_brings(site: Site) -> None:
    widget = {"apiVersion": "acme.example/v1", "kind": "Widget", "metadata": {"name": "w", "namespace": site.namespace}}
    names = {"kind": "Widget", "plural": "widgets"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.acme.example"},
        "spec": {"group": "acme.example", "scope": "Namespaced", "names": names, "versions": versions},
    }
    one = config_map("one", site.namespace, "1")
    assert site.dangers([one], [one, widget]) == {"kind-missing": {"w"}}
    assert "kind-missing" not in site.dangers([one], [one, widget, definition])


def test_objects_of_others_are_named_and_ours_and_new_ones_are_not(site: Site) -> None:
    site.hands.apply(config_map("theirs", site.namespace, "1"), manager="helm")
    site.apply([config_map("ours", site.namespace, "1")])
    one = config_map("ours", site.namespace, "1")
    after = [config_map(name, site.namespace, "2") for name in ("theirs", "ours", "new")]
    found = site.dangers([one], after)
    assert found["other-owner"] == {"theirs"}
    assert found["other-writer"] == {"theirs"}
    assert found.keys() == {"other-owner", "other-writer"}


def test_drift_that_would_be_overwritten_and_drift_that_would_not(site: Site) -> None:
    before = [config_map("a", site.namespace, "1"), config_map("b", site.namespace, "1")]
    site.deliver(before)
    for name, value in (("a", "by hand"), ("b", "2")):
        site.hands.merge(f"/api/v1/namespaces/{site.namespace}/configmaps/{name}", {"data": {"a": value}})
    after = [config_map("a", site.namespace, "2"), config_map("b", site.namespace, "2")]
    found = site.dangers(before, after)
    assert found["drift"] == {"a"}


def test_a_cluster_that_holds_another_result_is_said_not_to_hold_the_base(site: Site) -> None:
    before = [config_map("a", site.namespace, "1")]
    found = site.plan(before, [config_map("a", site.namespace, "2")])["findings"]
    assert [one["danger"] for one in found] == ["base-missing"]
    assert "nothing of it by fleet" in found[0]["message"]
    site.deliver(before)
    assert not site.plan(before, [config_map("a", site.namespace, "2")])["findings"]
    other = [config_map("a", site.namespace, "3")]
    assert [one["danger"] for one in site.plan(other, before)["findings"]] == ["base-missing"]


def test_what_was_kept_is_told_once_nothing_keeps_it_any_more(site: Site) -> None:
    """No object of the unit changes: its cluster is asked because of the setting."""
    kept = [config_map("a", site.namespace, "1")]
    site.deliver([*kept, config_map("old", site.namespace, "1")])
    site.hands.merge(f"/api/v1/namespaces/{site.namespace}/configmaps/a", {"data": {"a": "by hand"}})
    base = site.commit(kept, prune="false")
    settings = site.planned(base, site.commit(kept, prune="true"))
    found = {(one["danger"], (one["object"] or {}).get("name", "")) for one in settings["findings"]}
    assert found == {("base-missing", ""), ("deleted", "old"), ("other-writer", "a")}
    assert [look["name"] for look in settings["clusters"]] == [site.plane.name]
    nothing = site.planned(base, site.commit(kept, prune="false"))
    assert (nothing["clusters"], nothing["findings"]) == ([], []), "twin: nothing is set otherwise"


def test_a_quota_that_has_no_room_for_the_rollout_and_one_that_has(site: Site) -> None:
    before, after = [deployment("web", site.namespace)], [deployment("web", site.namespace, "reg.example/web:2")]
    site.apply(before)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q", "namespace": site.namespace}}
    path = f"/api/v1/namespaces/{site.namespace}/resourcequotas/q/status"
    for hard, told in (("1200m", True), ("2", False)):
        site.hands.apply({**quota, "spec": {"hard": {"requests.cpu": hard}}})
        site.hands.request(
            "PATCH",
            path,
            {"status": {"hard": {"requests.cpu": hard}, "used": {"requests.cpu": "1"}}},
            content_type="application/merge-patch+json",
        )  # as the controller that this server does not have would
        assert ("quota" in site.dangers(before, after)) == told


def test_a_disruption_budget_that_lets_no_pod_go_and_one_that_does(site: Site) -> None:
    before, after = [deployment("web", site.namespace)], [deployment("web", site.namespace, "reg.example/web:2")]
    site.apply(before)
    budget = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget"}
    budget |= {"metadata": {"name": "web", "namespace": site.namespace}}
    budget |= {"spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}}
    site.hands.apply(budget)
    for allowed, told in ((0, {"web"}), (1, None)):
        status = {"disruptionsAllowed": allowed, "expectedPods": 2, "currentHealthy": 2, "desiredHealthy": 2 - allowed}
        site.hands.request(
            "PATCH",
            f"/apis/policy/v1/namespaces/{site.namespace}/poddisruptionbudgets/web/status",
            {"status": {"observedGeneration": 1, **status}},
            content_type="application/merge-patch+json",
        )  # as the controller that this server does not have would
        assert site.dangers(before, after).get("disruption-budget") == told
    other = [{**before[0], "metadata": {**before[0]["metadata"], "annotations": {"a": "1"}}}]
    assert "disruption-budget" not in site.dangers(before, other)  # no pod is replaced


def test_a_right_that_the_hub_lacks_is_told_with_the_command_that_grants_it(site: Site) -> None:
    one, web = config_map("one", site.namespace, "1"), deployment("web", site.namespace)

    def lacking(*resources: str) -> set[tuple[str, str]]:
        """What is told where an earlier grant gave the hub all verbs on these resources."""
        rule = {"apiGroups": ["", "apps"], "resources": [*resources], "verbs": ["*"]}
        site.hands.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": ACCOUNT, "namespace": site.namespace, "labels": {GRANT_LABEL: ACCOUNT}},
                "rules": [rule],
            }
        )
        found = site.plan([one], [one, web])["findings"]
        rights = [item for item in found if item["danger"] == "missing-right" and "deployments" in item["message"]]
        assert all(item["message"].startswith("the hub may not: ") for item in rights)
        return {(item["cluster"], item["next"]) for item in rights}

    name = site.plane.name
    assert lacking("configmaps", "namespaces") == {(name, f"fleet cluster grant {name}")}
    assert lacking("configmaps", "namespaces", "deployments") == set()


def test_blame_asks_the_cluster_itself_who_holds_a_field(site: Site) -> None:
    one = config_map("one", site.namespace, "1")
    site.deliver([one])
    path, name = "data.a", site.plane.name

    def told(seconds: float = 30.0) -> dict[str, str]:
        out = io.StringIO()
        blame(site.root, Asked("ConfigMap/one", name, None, path, live_seconds=seconds), out, output="json")
        document = json.loads(out.getvalue())
        jsonschema.validate(document, BLAME_SCHEMA)
        (answer,) = document["answers"]
        return answer["live"]

    assert told()["live"] == "as released, as the cluster has it (seen 0s ago)"
    assert told()["reached"].startswith(f"it is there with {site.revision[:7]}")
    site.hands.apply(config_map("one", site.namespace, "by hand"), manager="kubectl-edit")
    assert "data.a by kubectl-edit" in told()["live"]
    site.hands.delete(f"/api/v1/namespaces/{site.namespace}/configmaps/one")
    assert told() == {"reached": f"unknown: ConfigMap {site.namespace}/one is not on {name}"} | {
        "live": f"unknown: ConfigMap {site.namespace}/one is not on {name}"
    }


def test_values_of_secrets_are_in_nothing_that_is_told(site: Site) -> None:
    def secret(value: str) -> dict[str, Any]:
        metadata = {"name": "key", "namespace": site.namespace}
        body = {"stringData": {"key": value}, "immutable": True}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **body}

    site.apply([secret("first-battery")])
    site.hands.merge(f"/api/v1/namespaces/{site.namespace}/secrets/key", {"metadata": {"labels": {"x": "y"}}})
    found = site.plan([secret("first-battery")], [secret("second-staple")])
    assert "immutable" in {one["danger"] for one in found["findings"]}
    assert not any(word in json.dumps(found) for word in ("battery", "staple"))


def test_a_cluster_that_does_not_answer_costs_its_deadline_and_is_said(site: Site, tmp_path: Path) -> None:
    config = site.plane.kubeconfig()
    config["clusters"].append({"name": "gone", "cluster": {"server": "https://127.0.0.1:1"}})
    config["contexts"].append({"name": "gone", "context": {"cluster": "gone", "user": config["users"][0]["name"]}})
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(config))
    entry = f"{HEAD}kind: Cluster\nmetadata: {{name: gone}}\nspec: {{environment: prod}}\n"
    site.clusters["clusters/gone.yaml"] = entry
    site.clusters["clusters/unnamed.yaml"] = entry.replace("gone", "unnamed")
    found = site.plan([config_map("a", site.namespace, "1")], [config_map("a", site.namespace, "2")], seconds=5)
    problems = {one["name"]: bool(one["problem"]) for one in found["clusters"]}
    assert problems == {"gone": True, "unnamed": True, site.plane.name: False}
    assert not found["complete"]


@pytest.mark.parametrize("user", ["admin", "onlooker"])
def test_nothing_but_reads_and_dry_runs_is_sent(site: Site, user: str, tmp_path: Path) -> None:
    before, after = [deployment("web", site.namespace)], [deployment("web", site.namespace, "reg.example/web:2")]
    site.apply(before)
    if user == "onlooker":  # may look and not try
        site.plane.grant(user, {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list"]})
    site.plane.write_kubeconfig(tmp_path / "kubeconfig", user, certificate=user != "admin")
    mark = site.plane.ledger_mark()
    found = site.plan(before, after)
    sent = [one for one in site.plane.ledger(mark) if one.user_agent.startswith("fleet")]
    assert sent
    assert {one.verb for one in sent if not one.dry_run} <= {"get", "list"}
    assert any(one.dry_run for one in sent)
    assert found["clusters"][0]["approximate"] == (0 if user == "admin" else 1)


def test_what_another_overlay_of_the_change_brings_fails_nothing_where_it_goes_first(site: Site) -> None:
    """Its Namespace and its kind: with dependsOn it cannot be tried out, without it the order is told."""
    place = f"{site.namespace}-new"
    crew = {"apiVersion": "crew.example/v1", "kind": "Crew", "metadata": {"name": "c", "namespace": place}}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"kind": "Crew", "plural": "crews"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "crews.crew.example"},
        "spec": {"group": "crew.example", "scope": "Namespaced", "names": names, "versions": versions},
    }
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place}}
    objects = {"platform": [namespace], "kinds": [definition], "app": [config_map("one", place, "1"), crew]}

    def planned(after: dict[str, list[dict[str, Any]]], **depends_on: str) -> tuple[Found, int]:
        base = site.commit([config_map("a", site.namespace, "1")])
        for overlay, found in after.items():
            spec = f"{{clusters: [{{all: true}}], dependsOn: {depends_on.get(overlay, '[]')}}}"
            files = {
                "kustomization.yaml": "resources: [objects.yaml]\n",
                "overlay.yaml": f"{HEAD}kind: Overlay\nmetadata: {{name: {overlay}}}\nspec: {spec}\n",
                "objects.yaml": "---\n".join(json.dumps(one) + "\n" for one in found),
            }
            write(site.root, {f"overlays/{overlay}/{name}": text for name, text in files.items()})
        head = site.commit([config_map("a", site.namespace, "1")])
        live = site.planned(base, head)
        told: Found = {}
        for one in live["findings"]:
            if one["danger"] != "missing-right":  # which depends on what other tests granted there
                told.setdefault(one["danger"], set()).add(one["message"].partition(" comes")[0])
        for overlay in after:
            git(site.root, "rm", "-q", "-r", f"overlays/{overlay}")
        return told, live["clusters"][0]["approximate"]

    assert planned(objects, app="[platform, kinds]") == ({}, 2)
    assert planned(objects, app="[kinds]", kinds="[platform]") == ({}, 2)
    unordered, approximate = planned(objects)
    assert unordered == {"order": {f"Namespace {place}", "kind Crew of crew.example"}}
    assert approximate == 2
    alone, _ = planned({"app": objects["app"]})
    assert alone.keys() == {"refused", "kind-missing"}
