"""Built-in APIs that Kubernetes deprecated or removed, and at which version.

Source: `APILifecycleDeprecated`, `APILifecycleRemoved` and `APILifecycleReplacement` of k8s.io/api,
k8s.io/apiextensions-apiserver 0.37 and k8s.io/kube-aggregator 0.36; the "Deprecated API Migration Guide" on
kubernetes.io for what these no longer hold (autoscaling/v2beta1 and v2beta2, PodSecurityPolicy). Kinds that are only
sent and never stored are left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from fleet.core.ids import ObjectRef
from fleet.errors import UsageInvalid
from fleet.values import dataclass

NEWEST_KNOWN = 37  # 1.37: later removals may not be in the table yet
_OLDEST_ASKED = 16
_VERSION = re.compile(r"v?1\.(\d{1,3})(\.\d+)?\Z")

# API version, kinds, deprecated at 1.N, removed at 1.N, what to use instead ("" where there is nothing yet).
_ROWS: tuple[tuple[str, str, int, int, str], ...] = (
    ("extensions/v1beta1", "DaemonSet Deployment ReplicaSet", 8, 16, "apps/v1"),
    ("extensions/v1beta1", "NetworkPolicy", 9, 16, "networking.k8s.io/v1"),
    ("extensions/v1beta1", "PodSecurityPolicy", 10, 16, "Pod Security admission"),
    ("extensions/v1beta1", "Ingress", 14, 22, "networking.k8s.io/v1"),
    ("apps/v1beta1", "ControllerRevision Deployment StatefulSet", 8, 16, "apps/v1"),
    ("apps/v1beta2", "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet", 9, 16, "apps/v1"),
    (
        "admissionregistration.k8s.io/v1beta1",
        "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
        16,
        22,
        "admissionregistration.k8s.io/v1",
    ),
    ("apiextensions.k8s.io/v1beta1", "CustomResourceDefinition", 16, 22, "apiextensions.k8s.io/v1"),
    ("apiregistration.k8s.io/v1beta1", "APIService", 19, 22, "apiregistration.k8s.io/v1"),
    ("certificates.k8s.io/v1beta1", "CertificateSigningRequest", 19, 22, "certificates.k8s.io/v1"),
    ("coordination.k8s.io/v1beta1", "Lease", 19, 22, "coordination.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", "Ingress IngressClass", 19, 22, "networking.k8s.io/v1"),
    (
        "rbac.authorization.k8s.io/v1beta1",
        "ClusterRole ClusterRoleBinding Role RoleBinding",
        17,
        22,
        "rbac.authorization.k8s.io/v1",
    ),
    ("scheduling.k8s.io/v1beta1", "PriorityClass", 14, 22, "scheduling.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", "CSIDriver StorageClass VolumeAttachment", 19, 22, "storage.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", "CSINode", 17, 22, "storage.k8s.io/v1"),
    ("storage.k8s.io/v1alpha1", "CSIStorageCapacity VolumeAttachment", 21, 24, "storage.k8s.io/v1"),
    ("autoscaling/v2beta1", "HorizontalPodAutoscaler", 22, 25, "autoscaling/v2"),
    ("autoscaling/v2beta2", "HorizontalPodAutoscaler", 23, 26, "autoscaling/v2"),
    ("batch/v1beta1", "CronJob", 21, 25, "batch/v1"),
    ("discovery.k8s.io/v1beta1", "EndpointSlice", 21, 25, "discovery.k8s.io/v1"),
    ("events.k8s.io/v1beta1", "Event", 22, 25, "events.k8s.io/v1"),
    ("node.k8s.io/v1beta1", "RuntimeClass", 22, 25, "node.k8s.io/v1"),
    ("policy/v1beta1", "PodDisruptionBudget", 21, 25, "policy/v1"),
    ("policy/v1beta1", "PodSecurityPolicy", 21, 25, "Pod Security admission"),
    (
        "flowcontrol.apiserver.k8s.io/v1beta1",
        "FlowSchema PriorityLevelConfiguration",
        23,
        26,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    (
        "flowcontrol.apiserver.k8s.io/v1beta2",
        "FlowSchema PriorityLevelConfiguration",
        26,
        29,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    (
        "flowcontrol.apiserver.k8s.io/v1beta3",
        "FlowSchema PriorityLevelConfiguration",
        29,
        32,
        "flowcontrol.apiserver.k8s.io/v1",
    ),
    ("storage.k8s.io/v1beta1", "CSIStorageCapacity", 24, 27, "storage.k8s.io/v1"),
    (
        "admissionregistration.k8s.io/v1alpha1",
        "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding",
        29,
        32,
        "admissionregistration.k8s.io/v1",
    ),
    (
        "admissionregistration.k8s.io/v1beta1",
        "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding",
        31,
        34,
        "admissionregistration.k8s.io/v1",
    ),
    ("storage.k8s.io/v1alpha1", "VolumeAttributesClass", 32, 35, "storage.k8s.io/v1"),
    ("storage.k8s.io/v1beta1", "VolumeAttributesClass", 34, 37, "storage.k8s.io/v1"),
    ("networking.k8s.io/v1beta1", "IPAddress ServiceCIDR", 34, 37, "networking.k8s.io/v1"),
    ("certificates.k8s.io/v1alpha1", "ClusterTrustBundle", 34, 37, "certificates.k8s.io/v1"),
    ("certificates.k8s.io/v1beta1", "ClusterTrustBundle PodCertificateRequest", 37, 40, "certificates.k8s.io/v1"),
    (
        "admissionregistration.k8s.io/v1alpha1",
        "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding",
        35,
        38,
        "admissionregistration.k8s.io/v1",
    ),
    (
        "admissionregistration.k8s.io/v1beta1",
        "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding",
        37,
        40,
        "admissionregistration.k8s.io/v1",
    ),
    ("coordination.k8s.io/v1alpha2", "LeaseCandidate", 35, 38, ""),
    ("coordination.k8s.io/v1beta1", "LeaseCandidate", 36, 39, ""),
    ("resource.k8s.io/v1alpha3", "DeviceTaintRule", 36, 39, ""),
    (
        "resource.k8s.io/v1beta1",
        "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice",
        35,
        38,
        "resource.k8s.io/v1",
    ),
    (
        "resource.k8s.io/v1beta2",
        "DeviceClass ResourceClaim ResourceClaimTemplate ResourceSlice",
        36,
        39,
        "resource.k8s.io/v1",
    ),
    ("resource.k8s.io/v1beta2", "DeviceTaintRule", 39, 42, ""),
    ("storagemigration.k8s.io/v1beta1", "StorageVersionMigration", 37, 40, "storagemigration.k8s.io/v1"),
)


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """When an API goes; minor versions of Kubernetes 1."""

    deprecated: int
    removed: int
    instead: str


@dataclass(frozen=True, slots=True, order=True)
class ApiNotice:
    """One API of one object that the version asked about does not serve any more, or serves for the last time."""

    is_removed: bool
    ref: ObjectRef
    api_version: str
    message: str


_LIFECYCLES = {
    (api_version, kind): Lifecycle(deprecated, removed, instead)
    for api_version, kinds, deprecated, removed, instead in _ROWS
    for kind in kinds.split()
}


def minor_of(version: str) -> int:
    """`1.36`, `v1.36.2` to 36; raises UsageInvalid for anything else, and for what is older than the table."""
    match = _VERSION.match(version.strip())
    if match is None or int(match[1]) < _OLDEST_ASKED:
        raise UsageInvalid(
            f"{version} is no Kubernetes version that can be asked about",
            next_step=f"write 1.N, from 1.{_OLDEST_ASKED} on, as --kube 1.{NEWEST_KNOWN}",
        )
    return int(match[1])


def judge_api(ref: ObjectRef, api_version: str, minor: int) -> ApiNotice | None:
    """What Kubernetes 1.`minor` says to an object's API; None: nothing that is known."""
    found = _LIFECYCLES.get((api_version, ref.kind))
    if found is None or minor < found.deprecated:
        return None
    instead = f"use {found.instead}" if found.instead else "it has no stable successor yet"
    if minor >= found.removed:
        message = f"{api_version} {ref.kind} is not served from 1.{found.removed} on: {instead}"
        return ApiNotice(True, ref, api_version, message)
    message = f"{api_version} {ref.kind} is deprecated since 1.{found.deprecated}, gone in 1.{found.removed}: {instead}"
    return ApiNotice(False, ref, api_version, message)


def judge_apis(objects: Iterable[tuple[ObjectRef, str]], minor: int) -> tuple[ApiNotice, ...]:
    """All notices, removed ones first, each object once. objects: reference and API version."""
    found = {notice for ref, api_version in objects if (notice := judge_api(ref, api_version, minor)) is not None}
    return tuple(sorted(found, key=lambda notice: (not notice.is_removed, notice.ref)))
