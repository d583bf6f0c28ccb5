"""Validation of built-in kinds: required fields and values (422 with causes). What may not change: immutable.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

import orjson

from fleet.core.documents import Document, Json, at, documents_at, items_at, mapping_at, number_at, text_at
from fleet.sim import crds, network_validation, workload_validation
from fleet.sim.causes import (
    Causes,
    forbidden,
    invalid,
    not_negative,
    not_supported,
    required,
)
from fleet.sim.immutable import changed_causes
from fleet.sim.kinds import Kind
from fleet.sim.names import qualified_problems
from fleet.sim.pod_validation import spec_warnings
from fleet.sim.quantity import value_of
from fleet.sim.statuses import Cause

MAX_OBJECT_BYTES = 1024 * 1024


def validate(kind: Kind, document: Document, old: Document | None, subresource: str) -> list[Cause]:
    """What is wrong with the object, in the server's order and words."""
    if subresource == "status":
        return []
    if kind.resource == crds.RESOURCE:
        return crds.definition_causes(document, old)
    found: Causes = []
    check = _CHECKS.get(kind.resource)
    if check is not None:
        found += check(document)
    if old is not None:
        found += changed_causes(kind.resource, document, old)
    return found


def warnings_of(kind: Kind, document: Document) -> list[str]:
    """What the server warns about when this object is written."""
    if kind.resource == "pods":
        return spec_warnings(mapping_at(document, "spec"), "spec")
    if kind.resource == "cronjobs.batch":
        path = "spec.jobTemplate.spec.template.spec"
        return spec_warnings(mapping_at(document, "spec", "jobTemplate", "spec", "template", "spec"), path)
    if kind.group in {"apps", "batch"}:
        return spec_warnings(mapping_at(document, "spec", "template", "spec"), "spec.template.spec")
    return []


_KEY = re.compile(r"[-._a-zA-Z0-9]+\Z")
_KEY_HELP = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


def _keys(data: Document, field: str) -> Causes:
    return [invalid(f"{field}[{key}]", key, _KEY_HELP) for key in sorted(data) if not _KEY.match(key)]


def _config_map(document: Document) -> Causes:
    data, binary = mapping_at(document, "data"), mapping_at(document, "binaryData")
    found = _keys(data, "data")
    found += [
        invalid(f"data[{key}]", key, "duplicate of key present in binaryData") for key in sorted(data) if key in binary
    ]
    found += _keys(binary, "binaryData")
    return found + _too_long(sum(len(str(value)) for value in (*data.values(), *binary.values())), "[]")


def _too_long(size: int, field: str) -> Causes:
    if size <= MAX_OBJECT_BYTES:
        return []
    return [Cause("FieldValueTooLong", f"Too long: may not be more than {MAX_OBJECT_BYTES} bytes", field)]


_NEEDS = {
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/dockercfg": (".dockercfg",),
}


def _secret(document: Document) -> Causes:
    data, kind = mapping_at(document, "data"), text_at(document, "type")
    found = _keys(data, "data")
    found += _too_long(sum(len(str(value)) * 3 // 4 for value in data.values()), "data")
    for key in _NEEDS.get(kind, ()):
        if key not in data:
            found.append(required(f"data[{key}]"))
        elif key.startswith(".docker"):
            found += _docker_config(str(data[key]), key)
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        found += [required("data[username]"), required("data[password]")]
    account = "kubernetes.io/service-account.name"
    if kind == "kubernetes.io/service-account-token" and not text_at(document, "metadata", "annotations", account):
        found.append(required(f"metadata.annotations[{account}]"))
    return found


def _docker_config(encoded: str, key: str) -> Causes:
    import base64

    raw = base64.b64decode(encoded)
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        letter = raw[:1].decode("latin-1")
        why = f"invalid character '{letter}' looking for beginning of value" if raw else "unexpected end of JSON input"
        return [invalid(f"data[{key}]", "<secret contents redacted>", why)]
    return []


_ACCESS = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"]


def _claim(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found: Causes = []
    modes = items_at(spec, "accessModes")
    if not modes:
        found.append(required("spec.accessModes", "at least 1 access mode is required"))
    found += [not_supported("spec.accessModes", mode, _ACCESS) for mode in modes if mode not in _ACCESS]
    size = at(spec, "resources", "requests", "storage")
    if not isinstance(size, str):
        found.append(required("spec.resources[storage]"))
    elif value_of(size) <= 0:
        found.append(invalid("spec.resources[storage]", size, "must be greater than zero"))
    return found


def _autoscaler(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found: Causes = []
    least, most = number_at(spec, "minReplicas", default=1), number_at(spec, "maxReplicas")
    if least < 1:
        found.append(invalid("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        found.append(required("spec.maxReplicas", "must be set and greater than 0"))
    if most < least:
        found.append(invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    target = mapping_at(spec, "scaleTargetRef")
    found += [required(f"spec.scaleTargetRef.{key}") for key in ("kind", "name") if not target.get(key)]
    if not target.get("apiVersion"):
        found.append(invalid("spec.scaleTargetRef.apiVersion", "", "apiVersion must specify API group"))
    if least == 0:
        why = "must specify at least one Object or External metric to support scaling to zero replicas"
        found.append(forbidden("spec.metrics", why))
    return found


def _role(document: Document) -> Causes:
    found: Causes = []
    for index, rule in enumerate(documents_at(document, "rules")):
        here = f"rules[{index}]"
        if not items_at(rule, "verbs"):
            found.append(required(f"{here}.verbs", "verbs must contain at least one value"))
        if items_at(rule, "nonResourceURLs"):
            continue
        if not items_at(rule, "apiGroups"):
            found.append(required(f"{here}.apiGroups", "resource rules must supply at least one api group"))
        if not items_at(rule, "resources"):
            found.append(required(f"{here}.resources", "resource rules must supply at least one resource"))
    return found


def _binding(kinds: list[str]) -> Callable[[Document], Causes]:
    def check(document: Document) -> Causes:
        role = mapping_at(document, "roleRef")
        found: Causes = []
        if role.get("kind") not in kinds:
            found.append(not_supported("roleRef.kind", text_at(role, "kind"), kinds))
        if not role.get("name"):
            found.append(required("roleRef.name"))
        for index, subject in enumerate(documents_at(document, "subjects")):
            here = f"subjects[{index}]"
            if not subject.get("name"):
                found.append(required(f"{here}.name"))
            homeless = subject.get("kind") == "ServiceAccount" and not subject.get("namespace")
            if homeless and kinds == ["ClusterRole"]:
                found.append(required(f"{here}.namespace"))
        return found

    return check


def _budget(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        shown, other = (orjson.dumps(value).decode() for value in (least, most))
        message = (
            f'Invalid value: {{"MinAvailable":{shown},"Selector":null,"MaxUnavailable":{other},'
            '"UnhealthyPodEvictionPolicy":null}: minAvailable and maxUnavailable cannot be both set'
        )
        return [Cause("FieldValueInvalid", message, "spec")]
    return not_negative(spec, "minAvailable", "spec") + not_negative(spec, "maxUnavailable", "spec")


def _storage_class(document: Document) -> Causes:
    return [] if document.get("provisioner") else [required("provisioner")]


def _priority_class(document: Document) -> Causes:
    name, value = text_at(document, "metadata", "name"), number_at(document, "value")
    if name.startswith("system-") and name not in {"system-node-critical", "system-cluster-critical"}:
        why = (
            "priority class names with 'system-' prefix are reserved for system use only. "
            f"error: {name} is not a known system priority class"
        )
        return [forbidden("metadata.name", why)]
    if value > 1_000_000_000 and not name.startswith("system-"):
        return [forbidden("value", "maximum allowed value of a user defined priority is 1000000000")]
    return []


def _quota(document: Document) -> Causes:
    found: Causes = []
    for key in sorted(mapping_at(document, "spec", "hard")):
        here = f"spec.hard[{key}]"
        problems = [invalid(here, key, why) for why in qualified_problems(key)]
        found += problems
        if problems:
            found.append(invalid(here, key, "must be a standard resource for quota"))
    return found


def _limit_range(document: Document) -> Causes:
    found: Causes = []
    for index, limit in enumerate(documents_at(document, "spec", "limits")):
        low = mapping_at(limit, "min")
        for name in sorted(low):
            least = str(low[name])
            here = f"spec.limits[{index}]"
            for key, word in (("max", "max"), ("defaultRequest", "default request"), ("default", "default")):
                other = mapping_at(limit, key).get(name)
                if isinstance(other, str) and value_of(least) > value_of(other):
                    place = f"{here}.min[{name}]" if key == "max" else f"{here}.{key}[{name}]"
                    shown = least if key == "max" else other
                    found.append(invalid(place, shown, f"min value {least} is greater than {word} value {other}"))
    return found


def _webhooks(document: Document) -> Causes:
    found: Causes = []
    for index, one in enumerate(documents_at(document, "webhooks")):
        here, name = f"webhooks[{index}]", text_at(one, "name")
        if len(name.split(".")) < 3:
            why = "should be a domain with at least three segments separated by dots"
            found.append(invalid(f"{here}.name", name, why))
        if not one.get("sideEffects"):
            found.append(required(f"{here}.sideEffects", "must specify one of None, NoneOnDryRun"))
        client = mapping_at(one, "clientConfig")
        if (client.get("url") is None) == (client.get("service") is None):
            found.append(required(f"{here}.clientConfig", "exactly one of url or service is required"))
        if not items_at(one, "admissionReviewVersions"):
            found.append(required(f"{here}.admissionReviewVersions", "must specify one of v1, v1beta1"))
    return found


def _persistent_volume(document: Document) -> Causes:
    spec = mapping_at(document, "spec")
    found: Causes = []
    capacity = mapping_at(spec, "capacity")
    if not items_at(spec, "accessModes"):
        found.append(required("spec.accessModes"))
    if not capacity:
        found.append(required("spec.capacity"))
    if set(capacity) != {"storage"}:
        found.append(not_supported("spec.capacity", cast("Json", capacity or None), ["storage"]))
    plain = {
        "accessModes",
        "capacity",
        "persistentVolumeReclaimPolicy",
        "volumeMode",
        "storageClassName",
        "claimRef",
        "mountOptions",
        "nodeAffinity",
        "volumeAttributesClassName",
    }
    if not set(spec) - plain:
        found.append(required("spec", "must specify a volume type"))
    return found


_RBAC = "rbac.authorization.k8s.io"
_CHECKS: dict[str, Callable[[Document], Causes]] = {
    **workload_validation.CHECKS,
    **network_validation.CHECKS,
    f"clusterrolebindings.{_RBAC}": _binding(["ClusterRole"]),
    f"clusterroles.{_RBAC}": _role,
    "configmaps": _config_map,
    "horizontalpodautoscalers.autoscaling": _autoscaler,
    "limitranges": _limit_range,
    "mutatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
    "persistentvolumeclaims": _claim,
    "persistentvolumes": _persistent_volume,
    "poddisruptionbudgets.policy": _budget,
    "priorityclasses.scheduling.k8s.io": _priority_class,
    "resourcequotas": _quota,
    f"rolebindings.{_RBAC}": _binding(["Role", "ClusterRole"]),
    f"roles.{_RBAC}": _role,
    "secrets": _secret,
    "storageclasses.storage.k8s.io": _storage_class,
    "validatingwebhookconfigurations.admissionregistration.k8s.io": _webhooks,
}
