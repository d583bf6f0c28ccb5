"""In which order objects are applied: waves by annotation, ranks by kind within a wave; pruning goes backwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum

from fleet.core.ids import ObjectRef
from fleet.core.objects import BundleObject
from fleet.values import dataclass


class Rank(IntEnum):
    """What must stand before what, within a wave (design, section 6.6)."""

    FOUNDATION = 0  # namespaces, definitions (until Established), classes
    CONFIG = 1  # rights, quota, configuration, claims
    WORKLOAD = 2  # services, workloads and everything else
    GATE = 3  # what intercepts requests: only when what answers it stands


_RBAC, _STORAGE, _ADMISSION = "rbac.authorization.k8s.io", "storage.k8s.io", "admissionregistration.k8s.io"
_RANKS: Mapping[tuple[str, str], Rank] = {
    ("", "Namespace"): Rank.FOUNDATION,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): Rank.FOUNDATION,
    (_STORAGE, "StorageClass"): Rank.FOUNDATION,
    (_STORAGE, "VolumeAttributesClass"): Rank.FOUNDATION,
    (_STORAGE, "CSIDriver"): Rank.FOUNDATION,
    ("scheduling.k8s.io", "PriorityClass"): Rank.FOUNDATION,
    ("networking.k8s.io", "IngressClass"): Rank.FOUNDATION,
    ("node.k8s.io", "RuntimeClass"): Rank.FOUNDATION,
    ("gateway.networking.k8s.io", "GatewayClass"): Rank.FOUNDATION,
    ("snapshot.storage.k8s.io", "VolumeSnapshotClass"): Rank.FOUNDATION,
    ("resource.k8s.io", "DeviceClass"): Rank.FOUNDATION,
    (_RBAC, "ClusterRole"): Rank.CONFIG,
    (_RBAC, "ClusterRoleBinding"): Rank.CONFIG,
    (_RBAC, "Role"): Rank.CONFIG,
    (_RBAC, "RoleBinding"): Rank.CONFIG,
    ("", "ServiceAccount"): Rank.CONFIG,
    ("", "ResourceQuota"): Rank.CONFIG,
    ("", "LimitRange"): Rank.CONFIG,
    ("", "ConfigMap"): Rank.CONFIG,
    ("", "Secret"): Rank.CONFIG,
    ("", "PersistentVolume"): Rank.CONFIG,
    ("", "PersistentVolumeClaim"): Rank.CONFIG,
    ("networking.k8s.io", "NetworkPolicy"): Rank.CONFIG,
    ("policy", "PodDisruptionBudget"): Rank.CONFIG,
    (_ADMISSION, "MutatingWebhookConfiguration"): Rank.GATE,
    (_ADMISSION, "ValidatingWebhookConfiguration"): Rank.GATE,
    (_ADMISSION, "MutatingAdmissionPolicy"): Rank.GATE,
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): Rank.GATE,
    (_ADMISSION, "ValidatingAdmissionPolicy"): Rank.GATE,
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): Rank.GATE,
    ("apiregistration.k8s.io", "APIService"): Rank.GATE,
}


def rank_of(ref: ObjectRef) -> Rank:
    """The rank of a kind; kinds that are not in the table, custom ones too, go with the workloads."""
    return _RANKS.get((ref.group, ref.kind), Rank.WORKLOAD)


@dataclass(frozen=True, slots=True)
class Stage:
    """Objects that may be applied at the same time."""

    wave: int
    rank: Rank
    objects: tuple[BundleObject, ...]


def stages_of(objects: Iterable[BundleObject]) -> tuple[Stage, ...]:
    """Stages in order: by wave, then by rank; within one the order of the build."""
    groups: dict[tuple[int, Rank], list[BundleObject]] = {}
    for obj in objects:
        groups.setdefault((obj.options.wave, rank_of(obj.ref)), []).append(obj)
    return tuple(Stage(wave, rank, tuple(groups[wave, rank])) for wave, rank in sorted(groups))


def waves_of(stages: Iterable[Stage]) -> tuple[tuple[Stage, ...], ...]:
    """The stages of each wave: the next wave waits until the one before is Current."""
    waves: dict[int, list[Stage]] = {}
    for stage in stages:
        waves.setdefault(stage.wave, []).append(stage)
    return tuple(tuple(waves[wave]) for wave in sorted(waves))


def prune_stages(
    doomed: Iterable[ObjectRef], waves: Mapping[ObjectRef, int] | None = None
) -> tuple[tuple[ObjectRef, ...], ...]:
    """Deletions in groups, the reverse of the order in which they would be applied; unknown waves count as 0."""
    known = waves or {}
    groups: dict[tuple[int, Rank], list[ObjectRef]] = {}
    for ref in doomed:
        groups.setdefault((known.get(ref, 0), rank_of(ref)), []).append(ref)
    return tuple(tuple(sorted(groups[place])) for place in sorted(groups, reverse=True))
