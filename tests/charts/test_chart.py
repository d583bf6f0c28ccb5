"""`charts/fleet`, rendered and installed by the real helm on a real control plane under restricted pod security."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from testbed import binaries
from testbed.controlplane import ControlPlane
from testbed.fixtures import require
from testbed.rest import Refused

from fleet.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "fleet"
REPO = "https://git.acme.example/fleet.git"
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def helm(tmp_path: Path) -> Helm:
    """Runs helm with a home of its own."""
    require("helm")

    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        kept = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
        home = {
            name: str(tmp_path / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME", "HOME")
        }
        done = subprocess.run(
            [str(binaries.find("helm")), *arguments], env=kept | home, capture_output=True, text=True, timeout=110
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


def render(helm: Helm, *more: str) -> list[dict[str, Any]]:
    done = helm("template", "fleet", str(CHART), "--namespace", "gitops", "--set", f"repo={REPO}", *more)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def of_kind(documents: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (document for document in documents if document["kind"] == kind)
    return found


class TestRendered:
    def test_it_lints(self, helm: Helm) -> None:
        helm("lint", "--strict", str(CHART), "--set", f"repo={REPO}")

    def test_the_alert_rules_are_those_of_the_docs_and_few(self, helm: Helm) -> None:
        rules = of_kind(render(helm, "--set", "alerts.as=PrometheusRule"), "PrometheusRule")["spec"]
        ours = yaml.safe_load((ROOT / "docs" / "alerts.yaml").read_text())
        assert rules == ours
        assert 0 < sum(len(group["rules"]) for group in ours["groups"]) <= 8
        config = of_kind(render(helm, "--set", "alerts.as=ConfigMap"), "ConfigMap")
        assert yaml.safe_load(config["data"]["fleet.yaml"]) == ours

    def test_every_variable_is_a_setting_of_the_hub(self, helm: Helm) -> None:
        everything = ("--set", "git.uses={token,ssh-key,known-hosts,ca}", "--set", "git.existingSecret=git",
                      "--set", "credentials.existingSecret=clusters", "--set", "settings.poll_seconds=60",
                      "--set", "metrics.enabled=true")  # fmt: skip
        (hub,) = of_kind(render(helm, *everything), "StatefulSet")["spec"]["template"]["spec"]["containers"]
        given = {entry["name"]: entry["value"] for entry in hub["env"]}
        assert len(given) == len(hub["env"])
        names = {name.removeprefix("FLEET_").lower() for name in given if name.startswith("FLEET_")}
        assert names <= set(Settings.model_fields)
        assert given["FLEET_POLL_SECONDS"] == "60"
        mounts = {mount["mountPath"] for mount in hub["volumeMounts"]}
        for value in given.values():
            if value.startswith("/etc/"):
                assert any(value == mount or value.startswith(f"{mount}/") for mount in mounts)

    @pytest.mark.parametrize(
        ("words", "named"),
        [
            (("--set", "repo=http://git.acme.example/x"), "repo"),
            (("--set", "replicas=2"), "replicas"),
            (("--set", "settings.data_dir=x"), "data_dir"),
            (("--set", "git.uses={token}"), "existingSecret"),
            (("--set", "rbac.inCluster=all"), "inCluster"),
        ],
    )
    def test_values_that_cannot_be_meant_are_refused_by_name(
        self, helm: Helm, words: tuple[str, ...], named: str
    ) -> None:
        done = helm("template", "fleet", str(CHART), "--set", f"repo={REPO}", *words, check=False)
        assert done.returncode != 0
        assert named in done.stderr

    def test_no_role_is_made_unless_asked_for_and_observe_reads_no_secret(self, helm: Helm) -> None:
        kinds = {document["kind"] for document in render(helm)}
        assert not kinds & {"ClusterRole", "ClusterRoleBinding", "Role"}
        rules = of_kind(render(helm, "--set", "rbac.inCluster=observe"), "ClusterRole")["rules"]
        assert {verb for rule in rules for verb in rule["verbs"]} == {"get", "list", "watch"}
        core = {name for rule in rules if "" in rule["apiGroups"] for name in rule["resources"]}
        assert not core & {"secrets", "*"}

    def test_a_hub_that_manages_itself_sees_nothing_outside_its_namespace(self, helm: Helm) -> None:
        documents = render(helm, "--set", "rbac.inCluster=self")
        assert of_kind(documents, "ClusterRole")["rules"] == [
            {"apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["kube-system", "gitops"],
             "verbs": ["get"]}
        ]  # fmt: skip
        assert of_kind(documents, "Role")["metadata"]["namespace"] == "gitops"

    def test_nothing_answers_without_a_token_unless_asked_for(self, helm: Helm) -> None:
        def doors(*more: str) -> set[str]:
            documents = render(helm, *more)
            services = [document for document in documents if document["kind"] == "Service"]
            (hub,) = of_kind(documents, "StatefulSet")["spec"]["template"]["spec"]["containers"]
            named = {port["name"] for service in services for port in service["spec"]["ports"]}
            assert named == {port["name"] for port in hub["ports"]}
            assert ("metrics" in named) == ("FLEET_METRICS_LISTEN" in {entry["name"] for entry in hub["env"]})
            return named

        assert doors() == {"http"}
        assert doors("--set", "metrics.enabled=true") == {"http", "metrics"}


def make_volume(cluster: ControlPlane, namespace: str, claim: str) -> None:
    """A volume for one claim: there is no provisioner on the test bed."""
    cluster.client().create(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"for-{namespace}"},
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/nowhere"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": namespace,
                    "name": claim,
                },
            },
        }
    )


def test_helm_installs_upgrades_and_leaves_key_and_data(
    helm: Helm, real_cluster: ControlPlane, namespace: str, tmp_path: Path
) -> None:
    hands = real_cluster.client()
    hands.make_namespace(namespace)
    label = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
    hands.merge(f"/api/v1/namespaces/{namespace}", label)
    loose = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "loose", "namespace": namespace},
             "spec": {"containers": [{"name": "c", "image": "x"}]}}  # fmt: skip
    with pytest.raises(Refused, match="restricted"):
        hands.create(loose)  # the label is in force
    make_volume(real_cluster, namespace, "data-fleet-0")
    kubeconfig = real_cluster.write_kubeconfig(tmp_path / "kubeconfig")
    common = ("--kubeconfig", str(kubeconfig), "--namespace", namespace)
    values = ("--set", f"repo={REPO}", "--set", "alerts.as=ConfigMap", "--set", "rbac.inCluster=observe")
    helm("install", "fleet", str(CHART), *common, *values, "--wait", "--timeout", "90s")
    stateful = hands.get(f"/apis/apps/v1/namespaces/{namespace}/statefulsets/fleet")
    assert stateful["status"]["readyReplicas"] == 1
    claim = hands.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data-fleet-0")
    assert claim["status"]["phase"] == "Bound"
    key = hands.get(f"/api/v1/namespaces/{namespace}/secrets/fleet-key")["data"]
    helm("upgrade", "fleet", str(CHART), *common, *values, "--set", "settings.poll_seconds=60", "--wait")
    assert hands.get(f"/api/v1/namespaces/{namespace}/secrets/fleet-key")["data"] == key
    env = hands.get(f"/api/v1/namespaces/{namespace}/pods/fleet-0")["spec"]["containers"][0]["env"]
    assert {"name": "FLEET_POLL_SECONDS", "value": "60"} in env
    helm("uninstall", "fleet", *common, "--wait")
    assert hands.exists(f"/api/v1/namespaces/{namespace}/secrets/fleet-key")
    assert hands.exists(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/data-fleet-0")
    assert not hands.exists(f"/apis/apps/v1/namespaces/{namespace}/statefulsets/fleet")


class TestDockerfile:
    TEXT = (ROOT / "Dockerfile").read_text()

    def test_bases_are_arguments_and_no_registry_is_named(self) -> None:
        arguments = dict(re.findall(r"^ARG (\w+)=(.*)$", self.TEXT, re.MULTILINE))
        bases = [line.split()[1] for line in self.TEXT.splitlines() if line.startswith("FROM ")]
        assert bases
        assert all(re.fullmatch(r"\$\{(\w+)\}", base)[1] in arguments for base in bases)  # type: ignore[index]
        assert not any("/" in default for default in arguments.values())
        assert "://" not in self.TEXT

    def test_what_it_copies_is_there(self) -> None:
        for line in self.TEXT.splitlines():
            if line.startswith("COPY ") and "--from" not in line:
                for source in line.split()[1:-1]:
                    assert (ROOT / source).exists(), line

    def test_it_runs_as_the_user_that_the_chart_names(self, helm: Helm) -> None:
        pod = of_kind(render(helm), "StatefulSet")["spec"]["template"]["spec"]
        user = pod["securityContext"]["runAsUser"]
        assert f"USER {user}:{user}" in self.TEXT
        entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", self.TEXT, re.MULTILINE)[1])  # type: ignore[index]
        assert entry[-1].endswith("fleet")
