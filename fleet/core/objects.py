"""Rendered objects and the bundle they make: what Git says for one unit, without any cluster.

A bundle is named by its digest and never changes. Values of Secrets are not in it: the render worker puts the keyed
digest of each value in its place (`SEALED_PREFIX` + HMAC), and the values lie in the encrypted store (R32).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fleet.core.documents import Document, parse_document
from fleet.core.ids import Digest, ObjectRef

INSTALLATION_LABEL = "fleet.internal/installation"  # hash of the installation id; the watch selector
PART_OF_LABEL = "applyset.kubernetes.io/part-of"  # KEP-3659: the ApplySet id of the unit
OWNER_ANNOTATION = "fleet.internal/owner"  # installation/identity/overlay (R4)
FIELD_MANAGER = "fleet"
HANDOVER_MANAGER = "fleet-handover"
SEALED_PREFIX = "fleet-sealed:"


class Scope(StrEnum):
    """Whether a kind lives in namespaces; UNKNOWN where only the cluster can say."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"
    UNKNOWN = "Unknown"


class PruneRule(StrEnum):
    """`fleet.internal/prune`: delete by the usual rules, never, or only by approval."""

    ALLOWED = "allowed"
    DISABLED = "disabled"
    CONFIRM = "confirm"


class HookPhase(StrEnum):
    """When a hook runs, once per bundle digest."""

    PRE_SYNC = "PreSync"
    POST_SYNC = "PostSync"
    SYNC_FAIL = "SyncFail"


class HookDelete(StrEnum):
    """When a hook's object goes: before the next run of it, or after this one."""

    BEFORE_CREATION = "BeforeHookCreation"
    SUCCEEDED = "HookSucceeded"
    FAILED = "HookFailed"


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """What an object's annotations ask of fleet."""

    wave: int = 0
    prune: PruneRule = PruneRule.ALLOWED
    reconcile: bool = True
    replace: bool = False
    hook: HookPhase | None = None
    hook_delete: frozenset[HookDelete] = frozenset({HookDelete.BEFORE_CREATION})
    skip_missing_kind: bool = False


@dataclass(frozen=True, slots=True)
class BundleObject:
    """One rendered object. `body` is its canonical JSON after normalisation, Secret values sealed; no marks yet."""

    ref: ObjectRef
    version: str  # API version without the group: "v1"
    scope: Scope
    body: bytes
    digest: Digest  # of `body`
    options: ObjectOptions = field(default_factory=ObjectOptions)
    generated_from: str = ""  # name before kustomize's hash suffix; "" where the name is not generated

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.ref.group}/{self.version}" if self.ref.group else self.version

    def document(self) -> Document:
        """The body, parsed anew: the caller may change it."""
        return parse_document(self.body)


@dataclass(frozen=True, slots=True)
class Bundle:
    """The rendered objects of one unit, in the order of the build; refs are unique."""

    digest: Digest  # over the objects' refs and digests, sorted by ref
    objects: tuple[BundleObject, ...]
    renderer: str = ""  # name and version of the tool, kept for evidence


@dataclass(frozen=True, slots=True)
class Mark:
    """Who owns an object: label, label and annotation on the object's own metadata only (R4)."""

    installation: str  # the installation id, as in fleet.yaml
    identity: str
    overlay: str
