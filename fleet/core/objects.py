"""Rendered objects and the bundle they make: what Git says for one unit, without any cluster.

A bundle is named by its digest and never changes. Values of Secrets are not in it: the render worker puts the keyed
digest of each value in its place (`SEALED_PREFIX` + HMAC), and the values lie in the encrypted store (R32).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from enum import StrEnum

from fleet.core.documents import Document, digest_of_bytes, mapping_at, parse_document, text_at
from fleet.core.ids import Digest, ObjectRef
from fleet.values import dataclass, field

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
    only_if_absent: bool = False  # made where it is not there; what is there, whoever made it, is never changed
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
    warnings: tuple[str, ...] = ()  # what a person should know of this build; no part of the digest


@dataclass(frozen=True, slots=True)
class Mark:
    """Who owns an object: label, label and annotation on the object's own metadata only (R4)."""

    installation: str  # the installation id, as in fleet.yaml
    identity: str
    overlay: str


def split_api_version(api_version: str) -> tuple[str, str]:
    """`apps/v1` to ("apps", "v1"), `v1` to ("", "v1")."""
    group, slash, version = api_version.rpartition("/")
    return (group, version) if slash else ("", api_version)


def ref_of(document: Document) -> ObjectRef:
    """The reference of a document as it stands; parts that are absent are ""."""
    group, _ = split_api_version(text_at(document, "apiVersion"))
    metadata = mapping_at(document, "metadata")
    return ObjectRef(group, text_at(document, "kind"), text_at(metadata, "namespace"), text_at(metadata, "name"))


def bundle_digest(objects: Iterable[BundleObject]) -> Digest:
    """SHA-256 over references and digests, sorted by reference: the order of the build does not count."""
    lines = sorted(f"{found.ref.key} {found.digest}\n" for found in objects)
    return digest_of_bytes("".join(lines).encode())


def is_secret(ref: ObjectRef) -> bool:
    """Whether an object's `data` must never be shown or kept in clear (R32)."""
    return ref.kind == "Secret" and ref.group == ""


def seal(key: bytes, value: bytes) -> str:
    """The keyed digest that stands for a Secret value: equal values have equal seals under one installation key."""
    return SEALED_PREFIX + hmac.digest(key, value, hashlib.sha256).hex()


def seals_of(document: Document) -> tuple[str, ...]:
    """The sealed values in a document's `data`, in its order."""
    values = mapping_at(document, "data").values()
    return tuple(value for value in values if isinstance(value, str) and value.startswith(SEALED_PREFIX))


def unsealed(document: Document, values: Mapping[str, bytes]) -> Document:
    """A Secret with its clear values put back into `data`, base64-encoded as the API wants them.

    values: the decoded bytes by seal, as the vault holds them. Raises KeyError with the seal that is not known.
    """
    data = {
        name: base64.b64encode(values[value]).decode()
        if isinstance(value, str) and value.startswith(SEALED_PREFIX)
        else value
        for name, value in mapping_at(document, "data").items()
    }
    return {**document, "data": data}


def masked(document: Document) -> Document:
    """The document as it may be shown: values of a Secret replaced, sealed or not (R32)."""
    if text_at(document, "kind") != "Secret" or text_at(document, "apiVersion") != "v1":
        return document
    shown = dict(document)
    for part in ("data", "stringData"):
        if part in document:
            shown[part] = dict.fromkeys(mapping_at(document, part), "(hidden)")
    return shown
