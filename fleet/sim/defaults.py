"""Defaults of the built-in kinds, by resource (the SetDefaults_… functions and parts of the create strategies).

Each function changes the decoded document that it is given. What depends on the cluster (addresses, ports) is in
allocate.py, what only a create does in births.py.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim.pods import default_pod, default_template, put_default

_TEMPLATES = "deprecated.daemonset.template.generation"
RBAC_GROUP = "rbac.authorization.k8s.io"


def default(resource: str, document: Document) -> None:
    """Put the defaults of this resource into the document."""
    if document.get("apiVersion") == "autoscaling/v1":
        put_default(_spec(document), "minReplicas", 1)
        return
    found = _DEFAULTS.get(resource)
    if found is not None:
        found(document)


def _spec(document: Document) -> Document:
    return mapping_at(document, "spec")


def _deployment(document: Document) -> None:
    spec = _spec(document)
    put_default(spec, "replicas", 1)
    strategy = mapping_at(spec, "strategy")
    put_default(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        put_default(strategy, "rollingUpdate", {})
        rolling = mapping_at(strategy, "rollingUpdate")
        put_default(rolling, "maxUnavailable", "25%")
        put_default(rolling, "maxSurge", "25%")
    spec["strategy"] = strategy
    put_default(spec, "revisionHistoryLimit", 10)
    put_default(spec, "progressDeadlineSeconds", 600)
    default_template(mapping_at(spec, "template"))


def _stateful_set(document: Document) -> None:
    spec = _spec(document)
    put_default(spec, "replicas", 1)
    put_default(spec, "podManagementPolicy", "OrderedReady")
    strategy = mapping_at(spec, "updateStrategy")
    put_default(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        put_default(strategy, "rollingUpdate", {})
        put_default(mapping_at(strategy, "rollingUpdate"), "partition", 0)
    spec["updateStrategy"] = strategy
    put_default(spec, "revisionHistoryLimit", 10)
    put_default(spec, "persistentVolumeClaimRetentionPolicy", {})
    retention = mapping_at(spec, "persistentVolumeClaimRetentionPolicy")
    put_default(retention, "whenDeleted", "Retain")
    put_default(retention, "whenScaled", "Retain")
    default_template(mapping_at(spec, "template"))
    for claim in documents_at(spec, "volumeClaimTemplates"):
        put_default(claim, "apiVersion", "v1")
        put_default(claim, "kind", "PersistentVolumeClaim")
        _claim(claim)


def _daemon_set(document: Document) -> None:
    metadata = mapping_at(document, "metadata")
    annotations = mapping_at(metadata, "annotations")
    if _TEMPLATES not in annotations:
        metadata["annotations"] = {**annotations, _TEMPLATES: "0"}
    spec = _spec(document)
    strategy = mapping_at(spec, "updateStrategy")
    put_default(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        put_default(strategy, "rollingUpdate", {})
        rolling = mapping_at(strategy, "rollingUpdate")
        put_default(rolling, "maxUnavailable", 1)
        put_default(rolling, "maxSurge", 0)
    spec["updateStrategy"] = strategy
    put_default(spec, "revisionHistoryLimit", 10)
    default_template(mapping_at(spec, "template"))


def _replica_set(document: Document) -> None:
    put_default(_spec(document), "replicas", 1)
    default_template(mapping_at(document, "spec", "template"))


def _replication_controller(document: Document) -> None:
    spec = _spec(document)
    labels = mapping_at(spec, "template", "metadata", "labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = labels
        metadata = mapping_at(document, "metadata")
        if not metadata.get("labels"):
            metadata["labels"] = labels
    _replica_set(document)


def _job(document: Document) -> None:
    default_job_spec(_spec(document))
    labels = mapping_at(document, "spec", "template", "metadata", "labels")
    metadata = mapping_at(document, "metadata")
    if labels and not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def default_job_spec(spec: Document) -> None:
    """A Job's spec, alone and in a CronJob's template."""
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    put_default(spec, "parallelism", 1)
    if spec.get("backoffLimitPerIndex") is None:
        put_default(spec, "backoffLimit", 6)
    else:
        put_default(spec, "backoffLimit", 2147483647)
    put_default(spec, "completionMode", "NonIndexed")
    put_default(spec, "suspend", False)
    put_default(spec, "manualSelector", False)
    failing = spec.get("podFailurePolicy") is not None
    put_default(spec, "podReplacementPolicy", "Failed" if failing else "TerminatingOrFailed")
    default_template(mapping_at(spec, "template"))


def _cron_job(document: Document) -> None:
    spec = _spec(document)
    put_default(spec, "concurrencyPolicy", "Allow")
    put_default(spec, "suspend", False)
    put_default(spec, "successfulJobsHistoryLimit", 3)
    put_default(spec, "failedJobsHistoryLimit", 1)
    job = mapping_at(spec, "jobTemplate", "spec")
    default_template(mapping_at(job, "template"))


def _service(document: Document) -> None:
    spec = _spec(document)
    put_default(spec, "sessionAffinity", "None")
    if spec.get("sessionAffinity") == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec.get("sessionAffinity") == "ClientIP":
        config = mapping_at(spec, "sessionAffinityConfig", "clientIP")
        put_default(config, "timeoutSeconds", 10800)
        spec["sessionAffinityConfig"] = {"clientIP": config}
    put_default(spec, "type", "ClusterIP")
    for port in documents_at(spec, "ports"):
        put_default(port, "protocol", "TCP")
        if port.get("targetPort") in (None, 0, ""):
            port["targetPort"] = port.get("port")
    outside = spec["type"] in {"NodePort", "LoadBalancer"}
    if outside or (spec["type"] == "ClusterIP" and spec.get("externalIPs")):
        put_default(spec, "externalTrafficPolicy", "Cluster")
    if spec["type"] in {"NodePort", "LoadBalancer", "ClusterIP"}:
        put_default(spec, "internalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        put_default(spec, "allocateLoadBalancerNodePorts", True)


def _secret(document: Document) -> None:
    put_default(document, "type", "Opaque")


def _claim(document: Document) -> None:
    put_default(_spec(document), "volumeMode", "Filesystem")
    status = mapping_at(document, "status")
    put_default(status, "phase", "Pending")
    document["status"] = status


def _volume(document: Document) -> None:
    put_default(_spec(document), "persistentVolumeReclaimPolicy", "Retain")
    put_default(_spec(document), "volumeMode", "Filesystem")
    path = _spec(document).get("hostPath")
    if isinstance(path, dict):
        put_default(path, "type", "")
    status = mapping_at(document, "status")
    put_default(status, "phase", "Pending")
    document["status"] = status


def _namespace(document: Document) -> None:
    metadata = mapping_at(document, "metadata")
    name = text_at(metadata, "name")
    if name:
        metadata["labels"] = {**mapping_at(metadata, "labels"), "kubernetes.io/metadata.name": name}
    status = mapping_at(document, "status")
    put_default(status, "phase", "Active")
    document["status"] = status


def _node(document: Document) -> None:
    status = mapping_at(document, "status")
    if status.get("allocatable") is None and status.get("capacity"):
        status["allocatable"] = status["capacity"]


def _network_policy(document: Document) -> None:
    spec = _spec(document)
    if not spec.get("policyTypes"):
        kinds: list[Json] = ["Ingress"]
        if spec.get("egress"):
            kinds.append("Egress")
        spec["policyTypes"] = kinds
    for direction in ("ingress", "egress"):
        for rule in documents_at(spec, direction):
            for port in documents_at(rule, "ports"):
                put_default(port, "protocol", "TCP")


def _autoscaler(document: Document) -> None:
    spec = _spec(document)
    put_default(spec, "minReplicas", 1)
    if not spec.get("metrics"):
        target: Document = {"type": "Utilization", "averageUtilization": 80}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        _scaling(behavior, "scaleUp", 0, [("Pods", 4), ("Percent", 100)])
        _scaling(behavior, "scaleDown", None, [("Percent", 100)])


def _scaling(behavior: Document, key: str, window: int | None, policies: list[tuple[str, int]]) -> None:
    rules = mapping_at(behavior, key)
    if window is not None:
        put_default(rules, "stabilizationWindowSeconds", window)
    put_default(rules, "selectPolicy", "Max")
    if not rules.get("policies"):
        rules["policies"] = [{"type": kind, "value": value, "periodSeconds": 15} for kind, value in policies]
    behavior[key] = rules


def _binding(document: Document) -> None:
    role = mapping_at(document, "roleRef")
    if not role.get("apiGroup"):
        role["apiGroup"] = RBAC_GROUP
    for subject in documents_at(document, "subjects"):
        if not subject.get("apiGroup") and subject.get("kind") in {"User", "Group"}:
            subject["apiGroup"] = RBAC_GROUP


def _storage_class(document: Document) -> None:
    put_default(document, "reclaimPolicy", "Delete")
    put_default(document, "volumeBindingMode", "Immediate")


def _priority_class(document: Document) -> None:
    put_default(document, "preemptionPolicy", "PreemptLowerPriority")


def _validating_webhooks(document: Document) -> None:
    for webhook in documents_at(document, "webhooks"):
        put_default(webhook, "failurePolicy", "Fail")
        put_default(webhook, "matchPolicy", "Equivalent")
        put_default(webhook, "namespaceSelector", {})
        put_default(webhook, "objectSelector", {})
        put_default(webhook, "timeoutSeconds", 10)
        service = mapping_at(webhook, "clientConfig", "service")
        if service:
            put_default(service, "port", 443)
        for rule in documents_at(webhook, "rules"):
            put_default(rule, "scope", "*")


def _mutating_webhooks(document: Document) -> None:
    for webhook in documents_at(document, "webhooks"):
        put_default(webhook, "reinvocationPolicy", "Never")
    _validating_webhooks(document)


def _admission_policy(document: Document) -> None:
    spec = _spec(document)
    put_default(spec, "failurePolicy", "Fail")
    _match_resources(mapping_at(spec, "matchConstraints"))


def _admission_binding(document: Document) -> None:
    _match_resources(mapping_at(document, "spec", "matchResources"))
    parameters = mapping_at(document, "spec", "paramRef")
    del parameters


def _match_resources(match: Document) -> None:
    if not match:
        return
    put_default(match, "matchPolicy", "Equivalent")
    put_default(match, "namespaceSelector", {})
    put_default(match, "objectSelector", {})
    for name in ("resourceRules", "excludeResourceRules"):
        for rule in documents_at(match, name):
            put_default(rule, "scope", "*")


def _ingress_class(document: Document) -> None:
    parameters = mapping_at(document, "spec", "parameters")
    if parameters:
        put_default(parameters, "scope", "Cluster")


def _api_service(document: Document) -> None:
    service = mapping_at(document, "spec", "service")
    if service:
        put_default(service, "port", 443)


def _endpoints(document: Document) -> None:
    for subset in documents_at(document, "subsets"):
        for port in documents_at(subset, "ports"):
            put_default(port, "protocol", "TCP")


def _endpoint_slice(document: Document) -> None:
    for port in documents_at(document, "ports"):
        put_default(port, "name", "")
        put_default(port, "protocol", "TCP")


def _limit_range(document: Document) -> None:
    for limit in documents_at(document, "spec", "limits"):
        if limit.get("type") == "Container":
            limit["default"] = {**mapping_at(limit, "max"), **mapping_at(limit, "default")}
            requests = {**mapping_at(limit, "default"), **mapping_at(limit, "defaultRequest")}
            for name, amount in mapping_at(limit, "min").items():
                if name not in requests:
                    requests[name] = amount
            limit["defaultRequest"] = requests
            for name in ("default", "defaultRequest"):
                if not limit[name]:
                    del limit[name]


def _csi_driver(document: Document) -> None:
    spec = _spec(document)
    for key, value in (
        ("attachRequired", True),
        ("podInfoOnMount", False),
        ("storageCapacity", False),
        ("fsGroupPolicy", "ReadWriteOnceWithFSType"),
        ("requiresRepublish", False),
        ("seLinuxMount", False),
    ):
        put_default(spec, key, value)
    if not items_at(spec, "volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def _crd(document: Document) -> None:
    spec = _spec(document)
    names = mapping_at(spec, "names")
    kind = text_at(names, "kind")
    if not names.get("singular"):
        names["singular"] = kind.lower()
    if not names.get("listKind") and kind:
        names["listKind"] = f"{kind}List"
    put_default(spec, "conversion", {"strategy": "None"})
    service = mapping_at(spec, "conversion", "webhook", "clientConfig", "service")
    if service:
        put_default(service, "port", 443)


_DEFAULTS: dict[str, Callable[[Document], None]] = {
    "apiservices.apiregistration.k8s.io": _api_service,
    "clusterrolebindings.rbac.authorization.k8s.io": _binding,
    "cronjobs.batch": _cron_job,
    "csidrivers.storage.k8s.io": _csi_driver,
    "customresourcedefinitions.apiextensions.k8s.io": _crd,
    "daemonsets.apps": _daemon_set,
    "deployments.apps": _deployment,
    "endpoints": _endpoints,
    "endpointslices.discovery.k8s.io": _endpoint_slice,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "ingressclasses.networking.k8s.io": _ingress_class,
    "jobs.batch": _job,
    "limitranges": _limit_range,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": _admission_policy,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _mutating_webhooks,
    "namespaces": _namespace,
    "nodes": _node,
    "networkpolicies.networking.k8s.io": _network_policy,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _volume,
    "pods": default_pod,
    "podtemplates": lambda document: default_template(mapping_at(document, "template")),
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "replicasets.apps": _replica_set,
    "replicationcontrollers": _replication_controller,
    "rolebindings.rbac.authorization.k8s.io": _binding,
    "secrets": _secret,
    "services": _service,
    "statefulsets.apps": _stateful_set,
    "storageclasses.storage.k8s.io": _storage_class,
    "validatingadmissionpolicies.admissionregistration.k8s.io": _admission_policy,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": _admission_binding,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _validating_webhooks,
}
