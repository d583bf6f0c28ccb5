"""Names of things: parse, compare, print. Compared whole and exact, never repaired (R3)."""

from __future__ import annotations

import re
from typing import NewType

from fleet.values import dataclass

ClusterName = NewType("ClusterName", str)
OverlayName = NewType("OverlayName", str)
Revision = NewType("Revision", str)  # a commit id, 40 hex digits
Digest = NewType("Digest", str)  # SHA-256 in hex, or a keyed one of the same form
Identity = NewType("Identity", str)  # UID of a cluster's kube-system namespace (R1)

_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\Z")
_DNS_SUBDOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")


def is_dns_label(text: str) -> bool:
    """RFC 1123 label: what a cluster, environment or step may be called."""
    return _DNS_LABEL.match(text) is not None


def is_dns_subdomain(text: str) -> bool:
    """RFC 1123 subdomain: what an overlay may be called (nested directories are joined by dots)."""
    return _DNS_SUBDOMAIN.match(text) is not None


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """What an object is for its whole life: group, kind, namespace ("" for cluster scope), name."""

    group: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """As users write it: `Deployment shop/web`, `Namespace shop`."""
        place = f"{self.namespace}/{self.name}" if self.namespace else self.name
        return f"{self.kind} {place}"

    @property
    def key(self) -> str:
        """One exact line for stores and digests: `apps/Deployment/shop/web`."""
        return f"{self.group}/{self.kind}/{self.namespace}/{self.name}"

    @classmethod
    def from_key(cls, key: str) -> ObjectRef:
        """The inverse of `key`; raises ValueError. Kubernetes names hold no slash."""
        group, kind, namespace, name = key.split("/")
        return cls(group, kind, namespace, name)


def names_no_object(key: str) -> bool:
    """Whether a stored key has a slash in one of its parts: earlier versions took over such names from clusters.

    No API server holds such an object, and nobody could address it: it is as if it had never been written.
    """
    return key.count("/") > 3


@dataclass(frozen=True, slots=True, order=True)
class UnitName:
    """One overlay on one cluster, written `overlay@cluster`."""

    overlay: OverlayName
    cluster: ClusterName

    def __str__(self) -> str:
        return f"{self.overlay}@{self.cluster}"

    @classmethod
    def parse(cls, text: str) -> UnitName:
        """Read `overlay@cluster`; raises ValueError."""
        overlay, mark, cluster = text.partition("@")
        if not mark or not is_dns_subdomain(overlay) or not is_dns_label(cluster):
            raise ValueError(f"{text!r} is no unit: write OVERLAY@CLUSTER")
        return cls(OverlayName(overlay), ClusterName(cluster))


def short(revision: str) -> str:
    """A commit id or digest as people read it: the first 7 digits."""
    return revision[:7]


def version_place(version: str) -> tuple[int, str] | None:
    """Where a resourceVersion lies among those of its kind, for comparison (KEP-5504); None where it is no number.

    As text: what a cluster sends may be thousands of digits long, which int() refuses.
    """
    if not (version.isascii() and version.isdecimal()):
        return None
    digits = version.lstrip("0")
    return len(digits), digits


def is_at_or_before(resource_version: str, than: str) -> bool:
    """Whether a state is that of `than` or older. Versions of one kind are comparable integers (KEP-5504)."""
    if resource_version == than:
        return True
    place, bound = version_place(resource_version), version_place(than)
    return place is not None and bound is not None and place <= bound


def is_before(resource_version: str, than: str) -> bool:
    """Whether a state is older than that of `than`; versions that are no numbers cannot be told apart."""
    return resource_version != than and is_at_or_before(resource_version, than)
