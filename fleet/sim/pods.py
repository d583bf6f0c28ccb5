"""Defaults of a pod's spec, alone and in a template (SetDefaults_PodSpec and what belongs to it).

Functions here change the document they are given, which the caller has just decoded.
"""

from __future__ import annotations

from fleet.core.documents import Document, documents_at, mapping_at, text_at


def put_default(into: Document, key: str, value: object) -> None:
    """Set a field that is absent or null."""
    if into.get(key) is None:
        into[key] = value  # type: ignore[assignment]  # plain JSON by construction


def default_template(template: Document) -> None:
    """A pod template's spec."""
    spec = template.get("spec")
    if isinstance(spec, dict):
        default_spec(spec)


def default_spec(spec: Document) -> None:
    """A pod's spec; fields that only real pods get are `default_pod`'s."""
    put_default(spec, "restartPolicy", "Always")
    put_default(spec, "terminationGracePeriodSeconds", 30)
    put_default(spec, "dnsPolicy", "ClusterFirst")
    put_default(spec, "securityContext", {})
    put_default(spec, "schedulerName", "default-scheduler")
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for container in documents_at(spec, name):
            default_container(container)
    for volume in documents_at(spec, "volumes"):
        _default_volume(volume)


def default_container(container: Document) -> None:
    """One container."""
    put_default(container, "terminationMessagePath", "/dev/termination-log")
    put_default(container, "terminationMessagePolicy", "File")
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = "Always" if _is_latest(text_at(container, "image")) else "IfNotPresent"
    for port in documents_at(container, "ports"):
        put_default(port, "protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if isinstance(probe, dict):
            _default_probe(probe)
    for hook in ("postStart", "preStop"):
        _default_http(mapping_at(container, "lifecycle", hook, "httpGet"))
    for variable in documents_at(container, "env"):
        field = mapping_at(variable, "valueFrom", "fieldRef")
        if field:
            put_default(field, "apiVersion", "v1")
        resource = mapping_at(variable, "valueFrom", "resourceFieldRef")
        if resource:
            put_default(resource, "divisor", "0")
        file = mapping_at(variable, "valueFrom", "fileKeyRef")
        if file:
            put_default(file, "optional", False)


def _is_latest(image: str) -> bool:
    if "@" in image:
        return False
    if image != image.strip():
        return False  # no reference: the real parser gives up before it finds a tag
    tail = image.rpartition("/")[2]
    name, _, tag = tail.partition(":")
    del name
    return tag in {"", "latest"}


def _default_probe(probe: Document) -> None:
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(key):
            probe[key] = value
    _default_http(mapping_at(probe, "httpGet"))
    grpc = probe.get("grpc")
    if isinstance(grpc, dict):
        put_default(grpc, "service", "")


def _default_http(get: Document) -> None:
    if get:
        if not get.get("path"):
            get["path"] = "/"
        if not get.get("scheme"):
            get["scheme"] = "HTTP"


def _default_volume(volume: Document) -> None:
    if set(volume) <= {"name"}:
        volume["emptyDir"] = {}
        return
    for name in ("secret", "configMap", "downwardAPI", "projected"):
        source = volume.get(name)
        if isinstance(source, dict):
            put_default(source, "defaultMode", 420)
            for item in documents_at(source, "items"):
                _default_field(item)
            for projection in documents_at(source, "sources"):
                for item in documents_at(projection, "downwardAPI", "items"):
                    _default_field(item)
                token = projection.get("serviceAccountToken")
                if isinstance(token, dict):
                    put_default(token, "expirationSeconds", 3600)
    path = volume.get("hostPath")
    if isinstance(path, dict):
        put_default(path, "type", "")
    claim = mapping_at(volume, "ephemeral", "volumeClaimTemplate", "spec")
    if claim:
        put_default(claim, "volumeMode", "Filesystem")
    image = volume.get("image")
    if isinstance(image, dict):
        put_default(image, "pullPolicy", "Always" if _is_latest(text_at(image, "reference")) else "IfNotPresent")


def _default_field(item: Document) -> None:
    field = item.get("fieldRef")
    if isinstance(field, dict):
        put_default(field, "apiVersion", "v1")
    resource = item.get("resourceFieldRef")
    if isinstance(resource, dict):
        put_default(resource, "divisor", "0")


_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def default_pod(pod: Document) -> None:
    """A pod itself: what templates do not get, with what admission adds to each pod on create."""
    spec = mapping_at(pod, "spec")
    default_spec(spec)
    put_default(spec, "enableServiceLinks", True)
    for name in ("initContainers", "containers"):
        for container in documents_at(spec, name):
            if spec.get("hostNetwork") is True:
                for port in documents_at(container, "ports"):
                    if not port.get("hostPort"):
                        port["hostPort"] = port.get("containerPort")
            limits = mapping_at(container, "resources", "limits")
            if limits:
                resources = mapping_at(container, "resources")
                resources["requests"] = {**limits, **mapping_at(resources, "requests")}


def admit_pod(pod: Document) -> None:
    """What the built-in admission plugins add to a new pod: priority, default tolerations."""
    spec = mapping_at(pod, "spec")
    put_default(spec, "priority", 0)
    put_default(spec, "preemptionPolicy", "PreemptLowerPriority")
    tolerate(pod)


def tolerate(pod: Document) -> None:
    """The tolerations that admission adds on every write of a pod."""
    spec = mapping_at(pod, "spec")
    tolerations = [*documents_at(spec, "tolerations")]
    for key in _TOLERATED:
        if not any(one.get("key") in {key, None} and one.get("effect") in {"NoExecute", None} for one in tolerations):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    spec["tolerations"] = [*tolerations]


def quality_of_service(pod: Document) -> str:
    """Guaranteed, Burstable or BestEffort, from requests and limits."""
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    guaranteed = True
    containers = documents_at(pod, "spec", "containers") + documents_at(pod, "spec", "initContainers")
    for container in containers:
        here: set[str] = set()
        for kind, into in (("requests", requests), ("limits", limits)):
            for name, amount in mapping_at(container, "resources", kind).items():
                if name in {"cpu", "memory"} and amount != "0":
                    into[name] = str(amount)
                    if kind == "limits":
                        here.add(name)
        wanted = mapping_at(container, "resources", "requests")
        given = mapping_at(container, "resources", "limits")
        guaranteed = (
            guaranteed
            and here == {"cpu", "memory"}
            and all(wanted.get(name, given.get(name)) == given.get(name) for name in here)
        )
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
