"""Objects that comparing manifests would find drifted although nobody touched them, each with a true drift.

`ours` is what fleet applies, `others` are merge patches by which controllers and people write beside us (no drift),
`drift` is a merge patch that changes a field of ours, `path` the field that must be named.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Doc = dict[str, Any]
CRD_GROUP = "awkward.example.com"
IMAGE = "registry.example/app:1"


@dataclass(frozen=True)
class Awkward:
    name: str
    ours: Doc
    drift: Doc
    path: str
    others: tuple[Doc, ...] = ()
    scale_to: int = 0
    masked: bool = False
    drift_type: str = "application/merge-patch+json"
    settles: bool = field(default=False)  # a controller brings it to Available or Complete


def awkward_objects(ns: str) -> list[Awkward]:
    return [*_core(ns), *_workloads(ns), *_policies(ns), *_cluster_scoped(ns), *_custom(ns)]


def _doc(
    api: str, kind: str, name: str, ns: str = "", *, labels: Doc | None = None, notes: Doc | None = None, **body: Any
) -> Doc:
    metadata: Doc = {"name": name}
    if ns:
        metadata["namespace"] = ns
    if labels is not None:
        metadata["labels"] = labels
    if notes is not None:
        metadata["annotations"] = notes
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **body}


def _pod_spec(**container: Any) -> Doc:
    return {"containers": [{"name": "app", "image": IMAGE, **container}]}


def _template(name: str, spec: Doc) -> Doc:
    return {"metadata": {"labels": {"app": name}}, "spec": spec}


def _core(ns: str) -> list[Awkward]:
    note: Doc = {"metadata": {"annotations": {"others.example/seen": "1"}}}
    return [
        Awkward(
            "secret-string-data",
            _doc(
                "v1", "Secret", "plain", ns, type="Opaque", stringData={"password": "s3cret-value"}, data={"a": "Yg=="}
            ),
            {"data": {"password": "b3RoZXI="}},
            "data.password",
            masked=True,
        ),
        Awkward(
            "secret-data",
            _doc("v1", "Secret", "sealed", ns, type="Opaque", data={"password": "czNjcmV0", "other": "YQ=="}),
            {"data": {"password": "b3RoZXI="}},
            "data.password",
            others=({"data": {"added": "eA=="}},),
            masked=True,
        ),
        Awkward(
            "config-map-empty-maps",
            _doc("v1", "ConfigMap", "empty", ns, labels={"app": "x"}, notes={}, data={}, binaryData={}),
            {"metadata": {"labels": {"app": "y"}}},
            "metadata.labels.app",
            others=(note, {"data": {"theirs": "1"}}),
        ),
        Awkward(
            "config-map-text",
            _doc(
                "v1",
                "ConfigMap",
                "text",
                ns,
                data={"lines": "a\nb\n", "off": "off", "n": "01"},
                binaryData={"b": "AAE="},
            ),
            {"data": {"lines": "a\nc\n"}},
            "data.lines",
            others=(note,),
        ),
        Awkward(
            "service-node-port",
            _doc(
                "v1",
                "Service",
                "node-port",
                ns,
                spec={
                    "type": "NodePort",
                    "selector": {"app": "x"},
                    "ports": [{"port": 80}, {"port": 443, "name": "tls"}],
                }
                | {"ports": [{"port": 80, "name": "plain"}, {"port": 443, "name": "tls", "targetPort": "tls"}]},
            ),
            {"spec": {"selector": {"app": "other"}}},
            "spec.selector",
            others=(note,),
        ),
        Awkward(
            "service-cluster-ip",
            _doc(
                "v1",
                "Service",
                "plain",
                ns,
                spec={"selector": {"app": "x"}, "ports": [{"port": 53, "protocol": "UDP"}]},
            ),
            {"spec": {"sessionAffinity": "ClientIP", "selector": {"app": "z"}}},
            "spec.selector",
        ),
        Awkward(
            "service-headless",
            _doc(
                "v1",
                "Service",
                "headless",
                ns,
                spec={"clusterIP": "None", "selector": {"app": "x"}, "publishNotReadyAddresses": True},
            ),
            {"spec": {"publishNotReadyAddresses": False}},
            "spec.publishNotReadyAddresses",
        ),
        Awkward(
            "service-account",
            _doc(
                "v1",
                "ServiceAccount",
                "robot",
                ns,
                imagePullSecrets=[{"name": "pull"}],
                automountServiceAccountToken=False,
            ),
            {"automountServiceAccountToken": True},
            "automountServiceAccountToken",
            others=({"secrets": [{"name": "robot-token"}]},),
        ),
        Awkward(
            "claim",
            _doc(
                "v1",
                "PersistentVolumeClaim",
                "cache",
                ns,
                labels={"tier": "a"},
                spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1024Mi"}}},
            ),
            {"metadata": {"labels": {"tier": "b"}}},
            "metadata.labels.tier",
            others=(note,),
        ),
        Awkward(
            "pod-defaults",
            _doc(
                "v1",
                "Pod",
                "lone",
                ns,
                spec={
                    **_pod_spec(
                        env=[
                            {"name": "A", "value": "1"},
                            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        ],
                        ports=[{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}],
                    ),
                    "volumes": [{"name": "scratch", "emptyDir": {}}],
                    "securityContext": {},
                    "tolerations": [{"key": "only", "operator": "Exists"}],
                },
            ),
            {"spec": {"containers": [{"name": "app", "image": "registry.example/app:2"}]}},
            "spec.containers[name=app].image",
            drift_type="application/strategic-merge-patch+json",
        ),
    ]


def _workloads(ns: str) -> list[Awkward]:
    strategic = "application/strategic-merge-patch+json"
    probes = {
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
        "livenessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 20},
    }
    quantities = {"requests": {"cpu": "1000m", "memory": "1024Mi"}, "limits": {"cpu": 2, "memory": "2048Mi"}}
    return [
        Awkward(
            "deployment-quantities",
            _doc(
                "apps/v1",
                "Deployment",
                "web",
                ns,
                spec={
                    "replicas": 2,
                    "strategy": {},
                    "selector": {"matchLabels": {"app": "web"}},
                    "template": _template(
                        "web",
                        {
                            **_pod_spec(
                                resources=quantities,
                                ports=[{"name": "http", "containerPort": 8080}],
                                env=[{"name": "EMPTY", "value": ""}, {"name": "SET", "value": "x"}],
                                args=["--a", "--b"],
                                securityContext={"capabilities": {"drop": ["ALL"]}},
                                volumeMounts=[{"name": "v", "mountPath": "/v"}],
                                **probes,
                            ),
                            "securityContext": {},
                            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "text"}}],
                            "topologySpreadConstraints": [
                                {
                                    "maxSkew": 1,
                                    "topologyKey": "zone",
                                    "whenUnsatisfiable": "ScheduleAnyway",
                                    "labelSelector": {"matchLabels": {"app": "web"}},
                                },
                            ],
                        },
                    ),
                },
            ),
            {"spec": {"template": {"spec": {"containers": [{"name": "app", "env": [{"name": "SET", "value": "y"}]}]}}}},
            "spec.template.spec.containers[name=app].env[name=SET].value",
            drift_type=strategic,
            others=(
                {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}},
            ),
            settles=True,
        ),
        Awkward(
            "deployment-scaled-by-others",
            _doc(
                "apps/v1",
                "Deployment",
                "scaled",
                ns,
                spec={"selector": {"matchLabels": {"app": "scaled"}}, "template": _template("scaled", _pod_spec())},
            ),
            {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "registry.example/app:9"}]}}}},
            "spec.template.spec.containers[name=app].image",
            drift_type=strategic,
            scale_to=3,
            settles=True,
        ),
        Awkward(
            "stateful-set-claims",
            _doc(
                "apps/v1",
                "StatefulSet",
                "db",
                ns,
                spec={
                    "replicas": 0,
                    "serviceName": "headless",
                    "selector": {"matchLabels": {"app": "db"}},
                    "template": _template("db", _pod_spec()),
                    "volumeClaimTemplates": [
                        {
                            "metadata": {"name": "data"},
                            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "0.5Gi"}}},
                        },
                    ],
                },
            ),
            {"spec": {"replicas": 1}},
            "spec.replicas",
        ),
        Awkward(
            "daemon-set",
            _doc(
                "apps/v1",
                "DaemonSet",
                "agent",
                ns,
                spec={
                    "selector": {"matchLabels": {"app": "agent"}},
                    "template": _template("agent", {**_pod_spec(), "nodeSelector": {"nowhere": "true"}}),
                },
            ),
            {"spec": {"template": {"spec": {"nodeSelector": {"nowhere": "false"}}}}},
            "spec.template.spec.nodeSelector",
        ),
        Awkward(
            "job",
            _doc(
                "batch/v1",
                "Job",
                "migrate",
                ns,
                spec={
                    "backoffLimit": 2,
                    "parallelism": 1,
                    "ttlSecondsAfterFinished": 600,
                    "template": {"spec": {**_pod_spec(), "restartPolicy": "Never"}},
                },
            ),
            {"spec": {"ttlSecondsAfterFinished": 601}},
            "spec.ttlSecondsAfterFinished",
            settles=True,
        ),
        Awkward(
            "cron-job",
            _doc(
                "batch/v1",
                "CronJob",
                "nightly",
                ns,
                spec={
                    "schedule": "0 3 1 1 *",
                    "jobTemplate": {"spec": {"template": {"spec": {**_pod_spec(), "restartPolicy": "OnFailure"}}}},
                },
            ),
            {"spec": {"schedule": "0 4 1 1 *"}},
            "spec.schedule",
        ),
        Awkward(
            "autoscaler",
            _doc(
                "autoscaling/v2",
                "HorizontalPodAutoscaler",
                "web",
                ns,
                spec={
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                    "maxReplicas": 2,
                    "minReplicas": 2,
                    "metrics": [
                        {
                            "type": "Resource",
                            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
                        }
                    ],
                },
            ),
            {"spec": {"maxReplicas": 7}},
            "spec.maxReplicas",
        ),
    ]


def _policies(ns: str) -> list[Awkward]:
    return [
        Awkward(
            "network-policy-empty-selector",
            _doc(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                "deny",
                ns,
                spec={"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]},
            ),
            {"spec": {"podSelector": {"matchLabels": {"app": "x"}}}},
            "spec.podSelector",
        ),
        Awkward(
            "ingress",
            _doc(
                "networking.k8s.io/v1",
                "Ingress",
                "web",
                ns,
                spec={
                    "rules": [
                        {
                            "host": "a.example",
                            "http": {
                                "paths": [
                                    {
                                        "path": "/",
                                        "pathType": "Prefix",
                                        "backend": {"service": {"name": "plain", "port": {"number": 53}}},
                                    }
                                ]
                            },
                        }
                    ]
                },
            ),
            {"spec": {"rules": [{"host": "b.example"}]}},
            "spec.rules",
        ),
        Awkward(
            "disruption-budget",
            _doc(
                "policy/v1",
                "PodDisruptionBudget",
                "web",
                ns,
                spec={"maxUnavailable": "50%", "selector": {"matchLabels": {"app": "web"}}},
            ),
            {"spec": {"maxUnavailable": 1}},
            "spec.maxUnavailable",
        ),
        Awkward(
            "quota",
            _doc(
                "v1",
                "ResourceQuota",
                "quota",
                ns,
                spec={"hard": {"requests.storage": "1048576Mi", "configmaps": "1k", "pods": 500}},
            ),
            {"spec": {"hard": {"pods": "400"}}},
            "spec.hard.pods",
            others=({"spec": {"hard": {"services": "90"}}},),
        ),
        Awkward(
            "limit-range",
            _doc(
                "v1",
                "LimitRange",
                "limits",
                ns,
                spec={"limits": [{"type": "Container", "max": {"cpu": "64000m", "memory": "64Gi"}}]},
            ),
            {"spec": {"limits": [{"type": "Container", "max": {"cpu": "63"}}]}},
            "spec.limits",
        ),
        Awkward(
            "role-binding",
            _doc(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                "robots",
                ns,
                roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                subjects=[{"kind": "ServiceAccount", "name": "robot", "namespace": ns}, {"kind": "User", "name": "jo"}],
            ),
            {"subjects": []},
            "subjects",
        ),
    ]


def _cluster_scoped(ns: str) -> list[Awkward]:
    hook = {
        "name": "hook.awkward.example.com",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"service": {"name": "nobody", "namespace": ns}},
        "rules": [
            {
                "apiGroups": ["nothing.example.com"],
                "apiVersions": ["v1"],
                "operations": ["CREATE"],
                "resources": ["things"],
            }
        ],
    }
    bundle = {"webhooks": [{"name": hook["name"], "clientConfig": {"caBundle": CA_BUNDLE}}]}
    failure = {"webhooks": [{"name": hook["name"], "sideEffects": "NoneOnDryRun"}]}
    admission, rbac = "admissionregistration.k8s.io/v1", "rbac.authorization.k8s.io/v1"
    return [
        *(
            Awkward(
                kind.lower(),
                _doc(admission, kind, f"{ns}-{kind.lower()[:3]}", webhooks=[hook]),
                failure,
                "webhooks[name=hook.awkward.example.com].sideEffects",
                others=(bundle,),
                drift_type="application/strategic-merge-patch+json",
            )
            for kind in ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
        ),
        Awkward(
            "aggregated-cluster-role",
            _doc(
                rbac,
                "ClusterRole",
                f"{ns}-all",
                aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"to": ns}}]},
            ),
            {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to": "others"}}]}},
            "aggregationRule.clusterRoleSelectors",
        ),
        Awkward(
            "cluster-role-part",
            _doc(
                rbac,
                "ClusterRole",
                f"{ns}-part",
                labels={"to": ns},
                rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
            ),
            {"rules": []},
            "rules",
        ),
        Awkward(
            "namespace",
            _doc("v1", "Namespace", f"{ns}-more", labels={"pod-security.kubernetes.io/enforce": "baseline"}),
            {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}},
            "metadata.labels[pod-security.kubernetes.io/enforce]",
            others=({"metadata": {"annotations": {"others.example/seen": "1"}}},),
        ),
        Awkward(
            "volume",
            _doc(
                "v1",
                "PersistentVolume",
                f"{ns}-disk",
                spec={
                    "capacity": {"storage": "0.5Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": ns,
                    "hostPath": {"path": "/data"},
                },
            ),
            {"spec": {"capacity": {"storage": "2Gi"}}},
            "spec.capacity.storage",
        ),
        Awkward(
            "priority-class",
            _doc("scheduling.k8s.io/v1", "PriorityClass", f"{ns}-high", value=1000, description="ours"),
            {"description": "theirs"},
            "description",
        ),
        Awkward(
            "definition",
            definition(),
            {"spec": {"names": {"shortNames": ["wdg2"]}}},
            "spec.names.shortNames",
        ),
    ]


def definition() -> Doc:
    """A definition with defaults, all list types and two served versions."""
    schema: Doc = {
        "type": "object",
        "properties": {
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
            "spec": {
                "type": "object",
                "properties": {
                    "size": {"type": "integer", "default": 3},
                    "port": {"x-kubernetes-int-or-string": True},
                    "mode": {"type": "string", "default": "auto", "nullable": True},
                    "nested": {
                        "type": "object",
                        "default": {},
                        "properties": {"deep": {"type": "string", "default": "d"}},
                    },
                    "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                    "order": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "atomic"},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "whole": {
                        "type": "object",
                        "x-kubernetes-map-type": "atomic",
                        "additionalProperties": {"type": "string"},
                    },
                    "parts": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["port", "protocol"],
                        "items": {
                            "type": "object",
                            "required": ["port"],
                            "properties": {
                                "port": {"type": "integer"},
                                "protocol": {"type": "string", "default": "TCP"},
                                "note": {"type": "string"},
                                "weight": {"type": "integer", "default": 1},
                            },
                        },
                    },
                },
            },
        },
    }
    version = {"served": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    return _doc(
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        f"widgets.{CRD_GROUP}",
        spec={
            "group": CRD_GROUP,
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wdg"]},
            "versions": [{"name": "v1", "storage": True, **version}, {"name": "v1beta1", "storage": False, **version}],
        },
    )


def _custom(ns: str) -> list[Awkward]:
    spec = {
        "port": "80",
        "tags": ["b", "a"],
        "order": ["z", "y"],
        "free": {"a": {"b": None, "c": [1, 2.0]}},
        "whole": {"k": "v"},
        "mode": None,
        "nested": {},
        "parts": [{"port": 1, "note": "n"}, {"port": 1, "protocol": "UDP"}],
    }
    v1, older = f"{CRD_GROUP}/v1", f"{CRD_GROUP}/v1beta1"
    return [
        Awkward(
            "custom-set",
            _doc(v1, "Widget", "set", ns, spec=spec),
            {"spec": {"tags": ["b"]}},
            "spec.tags[a]",
            others=({"spec": {"tags": ["b", "a", "c"]}},),
        ),
        Awkward(
            "custom-defaults",
            _doc(v1, "Widget", "defaults", ns, spec=spec),
            {"spec": {"port": 81}},
            "spec.port",
            others=({"spec": {"size": 5}}, {"status": {"phase": "Ready"}}),
        ),
        Awkward(
            "custom-atomic", _doc(v1, "Widget", "atomic", ns, spec=spec), {"spec": {"order": ["y", "z"]}}, "spec.order"
        ),
        Awkward(
            "custom-whole", _doc(v1, "Widget", "whole", ns, spec=spec), {"spec": {"whole": {"k2": "v"}}}, "spec.whole"
        ),
        Awkward(
            "custom-free",
            _doc(v1, "Widget", "free", ns, spec=spec),
            {"spec": {"free": {"a": {"c": [1]}}}},
            "spec.free.a.c",
            others=({"spec": {"free": {"more": 1}}},),
        ),
        Awkward(
            "custom-by-key",
            _doc(v1, "Widget", "by-key", ns, spec=spec),
            {"spec": {"parts": [{"port": 1, "note": "other"}, {"port": 1, "protocol": "UDP"}]}},
            "spec.parts[port=1,protocol=TCP].note",
            others=(
                {
                    "spec": {
                        "parts": [{"port": 1, "note": "n", "weight": 4}, {"port": 1, "protocol": "UDP"}, {"port": 2}]
                    }
                },
            ),
        ),
        Awkward(
            "custom-older-version", _doc(older, "Widget", "older", ns, spec=spec), {"spec": {"port": 82}}, "spec.port"
        ),
    ]


CA_BUNDLE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg=="
