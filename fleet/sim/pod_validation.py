"""Validation of a pod's spec, alone and in a template (ValidatePodSpec, ValidatePodTemplateSpec)."""

from __future__ import annotations

import ipaddress

from fleet.core.documents import Document, Json, documents_at, items_at, mapping_at, text_at
from fleet.sim.causes import (
    Causes,
    duplicate,
    forbidden,
    invalid,
    not_negative,
    not_supported,
    one_of,
    port_name,
    port_number,
    port_or_name,
    required,
)
from fleet.sim.names import label_causes, label_problems, qualified_problems, subdomain_problems
from fleet.sim.quantity import value_of
from fleet.sim.statuses import Cause

_PULL = ["Always", "IfNotPresent", "Never"]
_PROTOCOLS = ["SCTP", "TCP", "UDP"]
_RESTART = ["Always", "OnFailure", "Never"]
_DNS = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"]


def template_causes(template: Document, field: str) -> Causes:
    """A pod template. Its metadata's problems stand, as in the real server, right below the template."""
    metadata = mapping_at(template, "metadata")
    found = list(label_causes(mapping_at(metadata, "labels"), f"{field}.labels"))
    for key in sorted(mapping_at(metadata, "annotations")):
        found += [invalid(f"{field}.annotations", key, why) for why in qualified_problems(key.lower())]
    return found + spec_causes(mapping_at(template, "spec"), f"{field}.spec")


def spec_causes(spec: Document, field: str) -> Causes:
    """A pod's spec."""
    found: Causes = []
    volumes, problems = _volumes(documents_at(spec, "volumes"), f"{field}.volumes")
    found += problems
    names: set[str] = set()
    containers = documents_at(spec, "containers")
    if not containers:
        found.append(required(f"{field}.containers"))
    for key in ("containers", "initContainers"):
        for index, container in enumerate(documents_at(spec, key)):
            here, name = f"{field}.{key}[{index}]", text_at(container, "name")
            found += _container(container, here, volumes)
            if name in names:
                found.append(duplicate(f"{here}.name", name))
            names.add(name)
    found += one_of(spec, "restartPolicy", field, _RESTART)
    found += one_of(spec, "dnsPolicy", field, _DNS)
    for key in sorted(mapping_at(spec, "nodeSelector")):
        found += [invalid(f"{field}.nodeSelector", key, why) for why in qualified_problems(key)]
    account = text_at(spec, "serviceAccountName")
    if account:
        found += [invalid(f"{field}.serviceAccountName", account, why) for why in subdomain_problems(account)]
    found += _tolerations(documents_at(spec, "tolerations"), f"{field}.tolerations")
    found += _scheduling(spec, field)
    for index, alias in enumerate(documents_at(spec, "hostAliases")):
        found += _address(text_at(alias, "ip"), f"{field}.hostAliases[{index}].ip")
    return found


def _address(text: str, field: str) -> Causes:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return [invalid(field, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    return []


def _scheduling(spec: Document, field: str) -> Causes:
    found: Causes = []
    needed = mapping_at(spec, "affinity", "nodeAffinity").get("requiredDuringSchedulingIgnoredDuringExecution")
    if isinstance(needed, dict) and not items_at(needed, "nodeSelectorTerms"):
        here = f"{field}.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
        found.append(required(here, "must have at least one node selector term"))
    for index, spread in enumerate(documents_at(spec, "topologySpreadConstraints")):
        here, skew = f"{field}.topologySpreadConstraints[{index}]", spread.get("maxSkew")
        if not isinstance(skew, int) or skew <= 0:
            found.append(invalid(f"{here}.maxSkew", skew, "must be greater than zero"))
        if not spread.get("topologyKey"):
            found.append(required(f"{here}.topologyKey", "can not be empty"))
        found += one_of(spread, "whenUnsatisfiable", here, ["DoNotSchedule", "ScheduleAnyway"])
    return found


def _tolerations(tolerations: list[Document], field: str) -> Causes:
    found: Causes = []
    for index, one in enumerate(tolerations):
        here, operator = f"{field}[{index}]", text_at(one, "operator")
        if not one.get("key") and operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            found.append(invalid(f"{here}.operator", operator, why))
        found += one_of(one, "operator", here, ["Equal", "Exists"])
        found += one_of(one, "effect", here, ["NoSchedule", "PreferNoSchedule", "NoExecute"])
    return found


def _volumes(volumes: list[Document], field: str) -> tuple[set[str], Causes]:
    names: set[str] = set()
    found: Causes = []
    for index, volume in enumerate(volumes):
        here, name = f"{field}[{index}]", text_at(volume, "name")
        sources = [key for key in volume if key != "name"]
        secret = volume.get("secret")
        if len(sources) > 1:
            extra = next((key for key in sources if key != "emptyDir"), sources[1])
            found.append(forbidden(f"{here}.{extra}", "may not specify more than 1 volume type"))
        elif isinstance(secret, dict) and not secret.get("secretName"):
            found.append(required(f"{here}.secret.secretName"))
        if not name:
            found.append(required(f"{here}.name"))
        else:
            found += [invalid(f"{here}.name", name, why) for why in label_problems(name)]
        if name in names:
            found.append(duplicate(f"{here}.name", name))
        names.add(name)
    return names, found


def _container(container: Document, field: str, volumes: set[str]) -> Causes:
    found: Causes = []
    name = text_at(container, "name")
    if not name:
        found.append(required(f"{field}.name"))
    else:
        found += [invalid(f"{field}.name", name, why) for why in label_problems(name)]
    if not container.get("image"):
        found.append(required(f"{field}.image"))
    found += _probes(container, field)
    found += _ports(documents_at(container, "ports"), f"{field}.ports")
    found += _environment(documents_at(container, "env"), f"{field}.env")
    found += _mounts(documents_at(container, "volumeMounts"), f"{field}.volumeMounts", volumes)
    found += one_of(container, "imagePullPolicy", field, _PULL)
    found += one_of(container, "terminationMessagePolicy", field, ["FallbackToLogsOnError", "File"])
    found += _resources(mapping_at(container, "resources"), f"{field}.resources")
    user = mapping_at(container, "securityContext").get("runAsUser")
    if isinstance(user, int) and not 0 <= user <= 2147483647:
        found.append(invalid(f"{field}.securityContext.runAsUser", user, "must be between 0 and 2147483647, inclusive"))
    return found


_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc")


def _probes(container: Document, field: str) -> Causes:
    found: Causes = []
    for key in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(key)
        if not isinstance(probe, dict):
            continue
        here = f"{field}.{key}"
        handlers = [name for name in _HANDLERS if probe.get(name) is not None]
        if not handlers:
            found.append(required(here, "must specify a handler type"))
        for extra in handlers[1:]:
            found.append(forbidden(f"{here}.{extra}", "may not specify more than 1 handler type"))
        for name in handlers[:1]:
            if name in {"httpGet", "tcpSocket"}:
                found += port_or_name(mapping_at(probe, name).get("port"), f"{here}.{name}.port")
        for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
            found += not_negative(probe, name, here)
        once = probe.get("successThreshold")
        if key != "readinessProbe" and once != 1:
            found.append(invalid(f"{here}.successThreshold", once, "must be 1"))
    return found


def _ports(ports: list[Document], field: str) -> Causes:
    found: Causes = []
    names: set[str] = set()
    for index, port in enumerate(ports):
        here, name, number = f"{field}[{index}]", text_at(port, "name"), port.get("containerPort")
        if name:
            problems = port_name(name, f"{here}.name")
            found += problems
            if not problems and name in names:
                found.append(duplicate(f"{here}.name", name))
            names.add(name)
        if not number:
            found.append(required(f"{here}.containerPort"))
        else:
            found += port_number(number, f"{here}.containerPort")
        if port.get("hostPort"):
            found += port_number(port.get("hostPort"), f"{here}.hostPort")
        if not port.get("protocol"):
            found.append(required(f"{here}.protocol"))
        found += one_of(port, "protocol", here, _PROTOCOLS)
    return found


_ENV_HELP = "a valid environment variable name must consist only of printable ASCII characters other than '='"


def _environment(variables: list[Document], field: str) -> Causes:
    found: Causes = []
    for index, one in enumerate(variables):
        here, name = f"{field}[{index}]", text_at(one, "name")
        if not name:
            found.append(required(f"{here}.name"))
        elif "=" in name or not (name.isascii() and name.isprintable()):
            found.append(invalid(f"{here}.name", name, _ENV_HELP))
        source = one.get("valueFrom")
        if isinstance(source, dict):
            if one.get("value"):
                found.append(invalid(f"{here}.valueFrom", "", "may not be specified when `value` is not empty"))
            elif not source:
                kinds = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef`, `fileKeyRef`"
                found.append(invalid(f"{here}.valueFrom", "", f"must specify one of: {kinds}"))
    return found


def _mounts(mounts: list[Document], field: str, volumes: set[str]) -> Causes:
    found: Causes = []
    paths: set[Json] = set()
    for index, mount in enumerate(mounts):
        here, name, path = f"{field}[{index}]", text_at(mount, "name"), text_at(mount, "mountPath")
        if not name:
            found.append(required(f"{here}.name"))
        elif name not in volumes:
            found.append(_not_found(f"{here}.name", name))
        if not path:
            found.append(required(f"{here}.mountPath"))
        elif path in paths:
            found.append(invalid(f"{here}.mountPath", path, "must be unique"))
        paths.add(path)
    return found


def _not_found(field: str, name: str) -> Cause:
    return Cause("FieldValueNotFound", f'Not found: "{name}"', field)


_STANDARD = {"cpu", "memory", "ephemeral-storage"}


def _resources(resources: Document, field: str) -> Causes:
    found: Causes = []
    limits, requests = mapping_at(resources, "limits"), mapping_at(resources, "requests")
    for kind, amounts in (("limits", limits), ("requests", requests)):
        for name in sorted(amounts):
            here, amount = f"{field}.{kind}[{name}]", str(amounts[name])
            if "/" not in name and name not in _STANDARD and not name.startswith("hugepages-"):
                found.append(invalid(here, name, "must be a standard resource type or fully qualified"))
                found.append(invalid(here, name, "must be a standard resource for containers"))
            elif value_of(amount) < 0:
                found.append(invalid(here, amount, "must be greater than or equal to 0"))
    for name in sorted(requests):
        limit = limits.get(name)
        if limit is not None and value_of(str(requests[name])) > value_of(str(limit)):
            why = f"must be less than or equal to {name} limit of {limit}"
            found.append(invalid(f"{field}.requests", requests[name], why))
    return found


def restart_causes(spec: Document, field: str, allowed: list[str]) -> Causes:
    """A restartPolicy that this kind of workload does not take."""
    policy = spec.get("restartPolicy")
    return [] if policy in allowed else [not_supported(f"{field}.restartPolicy", policy, allowed)]


def spec_warnings(spec: Document, field: str) -> list[str]:
    """What the server warns about in a pod's spec."""
    found: list[str] = []
    for key in ("containers", "initContainers"):
        for index, container in enumerate(documents_at(spec, key)):
            seen: set[str] = set()
            for number, variable in enumerate(documents_at(container, "env")):
                name = text_at(variable, "name")
                if name in seen:
                    found.append(
                        f'{field}.{key}[{index}].env[{number}]: hides previous definition of "{name}", '
                        "which may be dropped when using apply"
                    )
                seen.add(name)
    grace = spec.get("terminationGracePeriodSeconds")
    if isinstance(grace, int) and grace < 0:
        why = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{field}.terminationGracePeriodSeconds: {why}")
    for index, one in enumerate(documents_at(spec, "imagePullSecrets")):
        if not one.get("name"):
            found.append(f'{field}.imagePullSecrets[{index}].name: invalid empty name ""')
    return found
