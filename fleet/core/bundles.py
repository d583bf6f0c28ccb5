"""From the documents of one build to the objects of a bundle: flattened, checked, normalised, Secret values sealed.

Says only what Git says: no cluster is asked. What is wrong with one object makes the whole build fail, because half a
unit must never be applied (R14).
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence

import orjson

from fleet.core.documents import Document, Json, canonical, digest_of_bytes, items_at, mapping_at, text_at
from fleet.core.ids import ObjectRef
from fleet.core.normalise import normalise
from fleet.core.objects import BundleObject, Scope, is_secret, ref_of, seal, split_api_version
from fleet.core.options import options_of
from fleet.core.scopes import defined_scopes, scope_of
from fleet.errors import DocumentInvalid, DuplicateObject, EncryptedUnsupported, NamespaceMissing, RenderTooLarge
from fleet.values import dataclass

LOCAL_CONFIG = "config.kubernetes.io/local-config"
OBJECTS_PER_BUILD_ADVISED = 600  # kustomize's time grows with the square of the objects in one build
_HASHED_NAME = re.compile(r"(?P<base>.+)-(?P<hash>[bcdfghkmt2456789]{10})\Z")
_HASH_ALPHABET = str.maketrans("013ae", "ghkmt")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9._:]{0,251}[A-Za-z0-9])?\Z")  # RBAC names hold colons and capitals


@dataclass(frozen=True, slots=True)
class BundleLimits:
    """R28: what one unit may hold."""

    objects: int = 10_000
    object_bytes: int = 1_500_000  # etcd refuses more than that
    total_bytes: int = 64 * 1024 * 1024
    secret_bytes: int = 16 * 1024 * 1024  # each is kept encrypted, while what stands for it in a result is short
    secret_values: int = 10_000  # they are kept in one transaction, and others wait for it


@dataclass(frozen=True, slots=True)
class Assembly:
    """The objects of one build in its order, and the clear Secret values by seal, for the vault alone (R32)."""

    objects: tuple[BundleObject, ...]
    secrets: Mapping[str, bytes]
    warnings: tuple[str, ...] = ()


class SecretValues:
    """Clear values by seal, of one build."""

    def __init__(self, limits: BundleLimits) -> None:
        self.by_seal: dict[str, bytes] = {}
        self._limits, self._size_bytes = limits, 0

    def put(self, sealed: str, clear: bytes, ref: ObjectRef) -> None:
        """Take one of an object; raises RenderTooLarge. Equal ones are kept once."""
        if sealed not in self.by_seal:
            self._size_bytes += len(clear)
        self.by_seal[sealed] = clear
        count, most = len(self.by_seal), self._limits
        if self._size_bytes > most.secret_bytes or count > most.secret_values:
            raise RenderTooLarge(
                f"the Secret values of this build are too large, at {ref}",
                where=ref.key,
                why=f"{self._size_bytes} bytes in {count} values so far; the limits are {most.secret_bytes} bytes and "
                f"{most.secret_values} values",
                next_step="split the overlay; one Secret may hold 1 MiB in Kubernetes",
            )


def flatten(documents: Iterable[Document]) -> list[Document]:
    """Items of `List` kinds in place of the list; objects that are only kustomize's own input left out."""
    flat: list[Document] = []
    for document in documents:
        kind = text_at(document, "kind")
        if kind.endswith("List") and isinstance(document.get("items"), list):
            for item in items_at(document, "items"):
                if not isinstance(item, dict):
                    raise DocumentInvalid(
                        f"an item of a {kind} is no object",
                        why="a list holds only objects",
                        next_step="correct the file that holds the list",
                    )
                typed = {"apiVersion": text_at(document, "apiVersion"), "kind": kind.removesuffix("List"), **item}
                flat.extend(flatten([typed if kind != "List" else item]))
        elif not _is_local(document):
            flat.append(document)
    return flat


def assemble(
    documents: Sequence[Document],
    *,
    key: bytes,
    generated: Sequence[str] | None = None,
    defined: Mapping[tuple[str, str], Scope] | None = None,
    limits: BundleLimits | None = None,
) -> Assembly:
    """Make objects of flat documents, which are changed in place.

    key: the installation key for seals. generated: per document its name before kustomize's hash, where that is known
    already. defined: scopes of custom kinds that the closure defines outside of the build. Raises RenderError.
    """
    limits = limits or BundleLimits()
    if len(documents) > limits.objects:
        raise RenderTooLarge(
            f"{len(documents)} objects in one build",
            why=f"the limit is {limits.objects}",
            next_step="split the overlay",
        )
    scopes = {**(defined or {}), **defined_scopes(documents)}
    values = SecretValues(limits)
    objects: list[BundleObject] = []
    seen: set[ObjectRef] = set()
    total = 0
    for index, document in enumerate(documents):
        base = generated[index] if generated is not None else generated_from(document)
        made = _object(document, base, key, scopes, values)
        total += len(made.body)
        if len(made.body) > limits.object_bytes or total > limits.total_bytes:
            raise RenderTooLarge(
                f"{made.ref} is too large"
                if total <= limits.total_bytes
                else "the objects of this build are too large",
                why=f"{len(made.body)} bytes; limits: {limits.object_bytes} for one, {limits.total_bytes} in all",
                next_step="split it: etcd refuses objects above 1.5 MB",
            )
        if made.ref in seen:
            raise DuplicateObject(
                f"{made.ref} is defined twice",
                where=made.ref.key,
                why="two documents of this build have the same group, kind, namespace and name",
                next_step="remove or rename one",
            )
        seen.add(made.ref)
        objects.append(made)
    warnings: tuple[str, ...] = ()
    if len(objects) > OBJECTS_PER_BUILD_ADVISED:
        warnings = (
            f"{len(objects)} objects in one build: kustomize's time grows with their square, split the overlay",
        )
    return Assembly(tuple(objects), values.by_seal, warnings)


def generated_from(document: Document) -> str:
    """The name before kustomize's hash suffix, proven by computing that hash again; "" where the name has none."""
    ref = ref_of(document)
    match = _HASHED_NAME.match(ref.name)
    if not match or ref.group or ref.kind not in ("ConfigMap", "Secret"):
        return ""
    # kustomize looks for a field called "metadata/name", finds none, and so hashes an empty name.
    hashed: Document = {"kind": ref.kind, "name": "", "data": document.get("data", "")}
    extra = "binaryData"
    if ref.kind == "Secret":
        hashed["type"] = document.get("type", "")
        extra = "stringData"
    if isinstance(document.get(extra), dict):
        hashed[extra] = document[extra]
    digits = hashlib.sha256(_as_go_writes(hashed)).hexdigest()[:10].translate(_HASH_ALPHABET)
    return match["base"] if digits == match["hash"] else ""


def _as_go_writes(value: Json) -> bytes:
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.encode()


def _is_local(document: Document) -> bool:
    value = mapping_at(document, "metadata", "annotations").get(LOCAL_CONFIG)
    return value is not None and str(value).lower() != "false"


def _object(
    document: Document,
    base: str,
    key: bytes,
    scopes: Mapping[tuple[str, str], Scope],
    values: SecretValues,
) -> BundleObject:
    ref = _checked_ref(document)
    options = options_of(document)
    scope = scope_of(ref.group, ref.kind, scopes)
    ref = _placed(document, ref, scope)
    normalise(document)
    if is_secret(ref):
        data = mapping_at(document, "data")
        for name, value in data.items():
            clear = b64decode(str(value))
            data[name] = sealed = seal(key, clear)
            values.put(sealed, clear, ref)
    body = canonical(document)
    _, version = split_api_version(text_at(document, "apiVersion"))
    return BundleObject(ref, version, scope, body, digest_of_bytes(body), options, base)


def _checked_ref(document: Document) -> ObjectRef:
    ref = ref_of(document)
    shown = f"{ref.kind or 'a document'} {ref.name}".strip()
    if "sops" in document:
        raise EncryptedUnsupported(
            f"{ref} is encrypted with sops",
            where=ref.key,
            why="decryption is not built, and the encrypted text must never reach a cluster",
            next_step="take it out of the overlay, or put the plain object there by other means",
        )
    for name in ("apiVersion", "kind"):
        if not text_at(document, name):
            raise DocumentInvalid(
                f"{shown} has no {name}", where=shown, why="no Kubernetes object without it", next_step=f"add {name}"
            )
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not _NAME.match(text_at(metadata, "name")):
        name = text_at(document, "metadata", "name")
        raise DocumentInvalid(
            f"{shown} has no usable metadata.name",
            where=shown,
            why=f"{name!r} is no name" if name else "generateName would make a new object with each apply",
            next_step="give it a name",
        )
    for part in ("labels", "annotations"):
        for label, value in mapping_at(metadata, part).items():
            if not isinstance(value, str):
                raise DocumentInvalid(
                    f"metadata.{part}.{label} of {ref} is no text", where=ref.key, next_step="put it in quotes"
                )
    return ref


def _placed(document: Document, ref: ObjectRef, scope: Scope) -> ObjectRef:
    """Cluster-scoped objects carry no namespace, namespaced ones must say theirs."""
    if scope is Scope.CLUSTER and ref.namespace:
        mapping_at(document, "metadata").pop("namespace", None)
        return ObjectRef(ref.group, ref.kind, "", ref.name)
    if scope is Scope.NAMESPACED and not ref.namespace:
        raise NamespaceMissing(
            f"{ref} has no namespace",
            where=ref.key,
            why=f"{ref.kind} lives in a namespace, and a default would differ between clusters",
            next_step="set namespace: in the kustomization, or metadata.namespace in the object",
        )
    return ref
