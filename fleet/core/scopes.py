"""Which kinds live in namespaces, as far as that is known without asking a cluster.

Built-in kinds from the Kubernetes API 1.36 and the versions before it that clusters still serve; custom ones from the
CustomResourceDefinitions that are rendered beside them. Everything else is UNKNOWN and resolved on the cluster.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.core.documents import Document, text_at
from fleet.core.objects import Scope

# group -> (kinds in namespaces, kinds of the cluster)
_BUILT_IN: dict[str, tuple[str, str]] = {
    "": (
        "Binding ConfigMap Endpoints Event LimitRange PersistentVolumeClaim Pod PodTemplate ReplicationController "
        "ResourceQuota Secret Service ServiceAccount",
        "ComponentStatus Namespace Node PersistentVolume",
    ),
    "admissionregistration.k8s.io": (
        "",
        "MutatingAdmissionPolicy MutatingAdmissionPolicyBinding MutatingWebhookConfiguration "
        "ValidatingAdmissionPolicy ValidatingAdmissionPolicyBinding ValidatingWebhookConfiguration",
    ),
    "apiextensions.k8s.io": ("", "CustomResourceDefinition"),
    "apiregistration.k8s.io": ("", "APIService"),
    "apps": ("ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet", ""),
    "authentication.k8s.io": ("", "SelfSubjectReview TokenReview"),
    "authorization.k8s.io": (
        "LocalSubjectAccessReview",
        "SelfSubjectAccessReview SelfSubjectRulesReview SubjectAccessReview",
    ),
    "autoscaling": ("HorizontalPodAutoscaler", ""),
    "batch": ("CronJob Job", ""),
    "certificates.k8s.io": ("PodCertificateRequest", "CertificateSigningRequest ClusterTrustBundle"),
    "coordination.k8s.io": ("Lease LeaseCandidate", ""),
    "discovery.k8s.io": ("EndpointSlice", ""),
    "events.k8s.io": ("Event", ""),
    "flowcontrol.apiserver.k8s.io": ("", "FlowSchema PriorityLevelConfiguration"),
    "internal.apiserver.k8s.io": ("", "StorageVersion"),
    "networking.k8s.io": ("Ingress NetworkPolicy", "IPAddress IngressClass ServiceCIDR"),
    "node.k8s.io": ("", "RuntimeClass"),
    "policy": ("PodDisruptionBudget", "PodSecurityPolicy"),
    "rbac.authorization.k8s.io": ("Role RoleBinding", "ClusterRole ClusterRoleBinding"),
    "resource.k8s.io": (
        "ResourceClaim ResourceClaimTemplate",
        "DeviceClass DeviceTaintRule ResourcePoolStatusRequest ResourceSlice",
    ),
    "scheduling.k8s.io": ("PodGroup Workload", "PriorityClass"),
    "storage.k8s.io": (
        "CSIStorageCapacity",
        "CSIDriver CSINode StorageClass VolumeAttachment VolumeAttributesClass",
    ),
    "storagemigration.k8s.io": ("", "StorageVersionMigration"),
}

BUILT_IN_SCOPES: Mapping[tuple[str, str], Scope] = {
    (group, kind): scope
    for group, columns in _BUILT_IN.items()
    for scope, kinds in zip((Scope.NAMESPACED, Scope.CLUSTER), columns, strict=True)
    for kind in kinds.split()
}


def is_built_in(group: str, kind: str) -> bool:
    """Whether Kubernetes itself defines the kind; a custom resource otherwise."""
    return (group, kind) in BUILT_IN_SCOPES


def defined_scopes(documents: Iterable[Document]) -> dict[tuple[str, str], Scope]:
    """Scopes of the kinds that CustomResourceDefinitions among these documents define."""
    scopes: dict[tuple[str, str], Scope] = {}
    for document in documents:
        if text_at(document, "kind") != "CustomResourceDefinition":
            continue
        group, kind = text_at(document, "spec", "group"), text_at(document, "spec", "names", "kind")
        match text_at(document, "spec", "scope"):
            case "Namespaced":
                scopes[group, kind] = Scope.NAMESPACED
            case "Cluster":
                scopes[group, kind] = Scope.CLUSTER
            case _:
                continue
    return scopes


def scope_of(group: str, kind: str, defined: Mapping[tuple[str, str], Scope]) -> Scope:
    """The scope of a kind: built-in, defined beside it, or UNKNOWN."""
    return BUILT_IN_SCOPES.get((group, kind)) or defined.get((group, kind), Scope.UNKNOWN)
