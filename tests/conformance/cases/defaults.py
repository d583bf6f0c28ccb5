"""What a server fills in and rewrites: defaults, quantities, allocated addresses."""

from __future__ import annotations

import base64
from typing import Any

from conformance.client import Api, Reply
from conformance.objects import container, deployment, pod, secret, service
from conformance.suite import case

LABELS = {"app": "web"}


def template(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": list(containers) or [container()], **spec}}


async def applied(api: Api, plural: str, kind: str, spec: Any, api_version: str = "v1", **fields: Any) -> Reply:
    """Apply one object called "x"."""
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, **fields}
    return await api.apply(api.path(plural, "x"), {**body, "spec": spec} if spec is not None else body)


def spec_of(reply: Reply) -> Any:
    return reply.at("spec") if reply.code < 300 else reply.whole


@case
async def a_deployment(api: Api) -> Any:
    return spec_of(await api.apply(api.path("deployments", "web"), deployment()))


@case
async def a_recreate_deployment(api: Api) -> Any:
    return (await api.apply(api.path("deployments", "web"), deployment(strategy={"type": "Recreate"}))).at(
        "spec", "strategy"
    )


@case
async def a_stateful_set(api: Api) -> Any:
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = {
        "selector": {"matchLabels": LABELS},
        "serviceName": "web",
        "template": template(),
        "volumeClaimTemplates": [claim],
    }
    return spec_of(await applied(api, "statefulsets", "StatefulSet", spec, "apps/v1"))


@case
async def a_daemon_set(api: Api) -> Any:
    spec = {"selector": {"matchLabels": LABELS}, "template": template()}
    return spec_of(await applied(api, "daemonsets", "DaemonSet", spec, "apps/v1"))


@case
async def a_job(api: Api) -> Any:
    reply = await applied(api, "jobs", "Job", {"template": template(restartPolicy="Never")}, "batch/v1")
    return [spec_of(reply), reply.at("metadata", "labels")]


@case
async def a_cron_job(api: Api) -> Any:
    spec = {"schedule": "*/5 * * * *", "jobTemplate": {"spec": {"template": template(restartPolicy="OnFailure")}}}
    return spec_of(await applied(api, "cronjobs", "CronJob", spec, "batch/v1"))


@case
async def a_pod(api: Api) -> Any:
    return spec_of(await api.apply(api.path("pods", "p"), pod(schedulerName="nobody")))


@case
async def probes(api: Api) -> Any:
    probe = {"httpGet": {"port": 8080}}
    body = deployment(
        "web",
        container(
            livenessProbe=probe,
            readinessProbe={"tcpSocket": {"port": "http"}},
            startupProbe={"exec": {"command": ["a"]}},
        ),
    )
    made = (await api.apply(api.path("deployments", "web"), body)).at("spec", "template", "spec", "containers", 0)
    return [made[name] for name in ("livenessProbe", "readinessProbe", "startupProbe")]


@case
async def a_grpc_probe_and_hooks(api: Api) -> Any:
    hooks = {"preStop": {"httpGet": {"port": 80}}}
    body = deployment("web", container(livenessProbe={"grpc": {"port": 1}}, lifecycle=hooks))
    made = (await api.apply(api.path("deployments", "web"), body)).at("spec", "template", "spec", "containers", 0)
    return [made["livenessProbe"], made["lifecycle"]]


@case
async def container_ports_and_environment(api: Api) -> Any:
    environment = [
        {"name": "A", "value": ""},
        {"name": "B"},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "D", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "E", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    body = deployment("web", container(ports=[{"containerPort": 80}], env=environment))
    made = (await api.apply(api.path("deployments", "web"), body)).at("spec", "template", "spec", "containers", 0)
    return [made["ports"], made["env"]]


@case
async def volumes(api: Api) -> Any:
    sources = [
        {"name": "a", "configMap": {"name": "c"}},
        {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "hostPath": {"path": "/tmp"}},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "e", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "f"},
    ]
    body = deployment()
    body["spec"]["template"]["spec"]["volumes"] = sources
    return (await api.apply(api.path("deployments", "web"), body)).at("spec", "template", "spec", "volumes")


@case
async def limits_become_requests(api: Api) -> Any:
    body = pod("p", container(resources={"limits": {"cpu": "1"}}), schedulerName="nobody")
    made = await api.apply(api.path("pods", "p"), body)
    plain = await api.apply(
        api.path("deployments", "web"), deployment("web", container(resources={"limits": {"cpu": "1"}}))
    )
    return [
        made.at("spec", "containers", 0, "resources"),
        plain.at("spec", "template", "spec", "containers", 0, "resources"),
    ]


@case
async def quantities_are_rewritten(api: Api) -> Any:
    words = [
        "1000m",
        "0.5",
        "1024Mi",
        "1e3",
        "1.5Gi",
        "100M",
        "0.1",
        "2",
        "1Ki",
        "0",
        "1500m",
        "1000Ki",
        "12e6",
        "1.25",
        "0.001",
    ]
    found = {}
    for number, word in enumerate(words):
        requests = {"memory": word} if not word.endswith("m") else {"cpu": word}
        body = pod(f"p{number}", container(resources={"requests": requests}), schedulerName="nobody")
        reply = await api.post(api.path("pods"), body)
        found[word] = (
            list(reply.at("spec", "containers", 0, "resources", "requests").values())
            if reply.code == 201
            else reply.code
        )
    return found


@case
async def numbers_for_quantities_become_strings(api: Api) -> Any:
    body = deployment("web", container(resources={"requests": {"cpu": 1, "memory": 0.5}}))
    reply = await api.apply(api.path("deployments", "web"), body)
    return [reply.code, reply.at("spec", "template", "spec", "containers", 0, "resources")]


@case
async def image_tags_choose_the_pull_policy(api: Api) -> Any:
    images = ["a", "a:latest", "a:1", "a@sha256:" + "0" * 64]
    body = deployment("web", *({"name": f"c{number}", "image": image} for number, image in enumerate(images)))
    reply = await api.apply(api.path("deployments", "web"), body)
    return [item["imagePullPolicy"] for item in reply.at("spec", "template", "spec", "containers")]


@case
async def a_cluster_service(api: Api) -> Any:
    return spec_of(await api.apply(api.path("services", "web"), service()))


@case
async def a_headless_service(api: Api) -> Any:
    return spec_of(await api.apply(api.path("services", "web"), service(clusterIP="None")))


@case
async def a_node_port_service(api: Api) -> Any:
    return spec_of(await api.apply(api.path("services", "web"), service(type="NodePort")))


@case
async def a_load_balancer_service(api: Api) -> Any:
    return spec_of(await api.apply(api.path("services", "web"), service(type="LoadBalancer")))


@case
async def an_external_name_service(api: Api) -> Any:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    return spec_of(
        await api.apply(
            api.path("services", "web"), {**body, "spec": {"type": "ExternalName", "externalName": "example.org"}}
        )
    )


@case
async def a_reapplied_service_keeps_its_addresses(api: Api) -> Any:
    path = api.path("services", "web")
    first = await api.apply(path, service(type="NodePort"))
    second = await api.apply(path, service(type="NodePort"))
    third = await api.apply(path, service("web", {"port": 81}, type="NodePort"))
    same_ip = first.at("spec", "clusterIP") == third.at("spec", "clusterIP")
    return [second.version == first.version, same_ip, third.at("spec", "ports", 0, "targetPort")]


@case
async def an_ingress(api: Api) -> Any:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    rule = {"host": "a.example.org", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    return spec_of(await applied(api, "ingresses", "Ingress", {"rules": [rule]}, "networking.k8s.io/v1"))


@case
async def a_network_policy(api: Api) -> Any:
    spec = {"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]}
    return spec_of(await applied(api, "networkpolicies", "NetworkPolicy", spec, "networking.k8s.io/v1"))


@case
async def an_autoscaler(api: Api) -> Any:
    spec = {"maxReplicas": 5, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}}
    return spec_of(await applied(api, "horizontalpodautoscalers", "HorizontalPodAutoscaler", spec, "autoscaling/v2"))


@case
async def an_autoscaler_with_behavior(api: Api) -> Any:
    spec = {
        "maxReplicas": 5,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "behavior": {"scaleDown": {}},
    }
    return spec_of(await applied(api, "horizontalpodautoscalers", "HorizontalPodAutoscaler", spec, "autoscaling/v2"))


@case
async def a_disruption_budget(api: Api) -> Any:
    spec = {"minAvailable": "50%", "selector": {"matchLabels": LABELS}}
    return spec_of(await applied(api, "poddisruptionbudgets", "PodDisruptionBudget", spec, "policy/v1"))


@case
async def a_volume_claim(api: Api) -> Any:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}}
    reply = await applied(api, "persistentvolumeclaims", "PersistentVolumeClaim", spec)
    return [spec_of(reply), reply.at("status"), reply.at("metadata", "finalizers")]


@case
async def a_secret(api: Api) -> Any:
    data = base64.b64encode(b"v").decode()
    reply = await api.apply(api.path("secrets", "a"), secret(data={"k": data}, stringData={"l": "w", "k": "over"}))
    return [reply.code, reply.at("type"), reply.at("data")]


@case
async def a_service_account(api: Api) -> Any:
    reply = await applied(api, "serviceaccounts", "ServiceAccount", None)
    return [reply.code, sorted(reply.body)]


@case
async def a_role_and_its_binding(api: Api) -> Any:
    root = "rbac.authorization.k8s.io"
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    role = await applied(api, "roles", "Role", None, f"{root}/v1", rules=rules)
    reference = {"apiGroup": root, "kind": "Role", "name": "x"}
    subjects = [{"kind": "User", "name": "jo"}, {"kind": "ServiceAccount", "name": "s", "namespace": "default"}]
    binding = await applied(
        api, "rolebindings", "RoleBinding", None, f"{root}/v1", roleRef=reference, subjects=subjects
    )
    return [role.at("rules"), binding.at("roleRef"), binding.at("subjects")]


@case
async def a_resource_quota(api: Api) -> Any:
    reply = await applied(api, "resourcequotas", "ResourceQuota", {"hard": {"pods": "10", "requests.cpu": "1000m"}})
    return [spec_of(reply), reply.at("status")]


@case
async def a_limit_range(api: Api) -> Any:
    spec = {"limits": [{"type": "Container", "default": {"cpu": "500m"}}]}
    return spec_of(await applied(api, "limitranges", "LimitRange", spec))


@case
async def a_namespace(api: Api) -> Any:
    reply = await api.get(f"/api/v1/namespaces/{api.ns}")
    return [reply.at("metadata", "labels"), reply.at("spec"), reply.at("status")]


@case
async def a_priority_class(api: Api) -> Any:
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": api.unique}, "value": 5}
    reply = await api.apply(f"/apis/scheduling.k8s.io/v1/priorityclasses/{api.unique}", body)
    return {key: value for key, value in reply.body.items() if key != "metadata"}


@case
async def a_webhook_configuration(api: Api) -> Any:
    hook = {
        "name": "a.example.org",
        "clientConfig": {"service": {"name": "s", "namespace": api.ns}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothings"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": api.ns}},
        "failurePolicy": "Ignore",
    }
    body = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": api.unique},
        "webhooks": [hook],
    }
    reply = await api.apply(f"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/{api.unique}", body)
    return reply.at("webhooks")


@case
async def a_storage_class(api: Api) -> Any:
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": api.unique},
        "provisioner": "example.org/p",
    }
    reply = await api.apply(f"/apis/storage.k8s.io/v1/storageclasses/{api.unique}", body)
    return {key: value for key, value in reply.body.items() if key != "metadata"}


@case
async def an_ingress_class(api: Api) -> Any:
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": api.unique},
        "spec": {"controller": "example.org/c"},
    }
    reply = await api.apply(f"/apis/networking.k8s.io/v1/ingressclasses/{api.unique}", body)
    return [reply.at("spec"), reply.at("metadata", "generation")]


@case
async def a_cluster_role_with_aggregation(api: Api) -> Any:
    rule = {"clusterRoleSelectors": [{"matchLabels": {"aggregate": api.unique}}]}
    body = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": api.unique},
        "aggregationRule": rule,
    }
    reply = await api.apply(f"/apis/rbac.authorization.k8s.io/v1/clusterroles/{api.unique}", body)
    return [reply.at("rules"), reply.at("aggregationRule"), reply.at("metadata", "managedFields", 0, "fieldsV1")]


@case
async def binary_data_is_checked_and_kept(api: Api) -> Any:
    encoded = base64.b64encode(b"\x00\xff").decode()
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "binaryData": {"k": encoded}}
    return (await api.apply(api.path("configmaps", "a"), body)).at("binaryData")


@case
async def a_deprecated_kind_is_warned_about(api: Api) -> Any:
    body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "a"}}
    reply = await api.apply(api.path("endpoints", "a"), body)
    return [reply.code, list(reply.warnings)]


@case
async def an_environment_name_twice_is_warned_about(api: Api) -> Any:
    body = deployment("web", container(env=[{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]))
    reply = await api.post(api.path("deployments"), body)
    return [reply.code, list(reply.warnings)]
