"""The form in which a rendered object is kept: what only a server may write is gone, each value has one spelling.

A table with a reason per row. Nothing here depends on a cluster, so equal input gives equal digests on any machine.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from fleet.core.documents import Document, Json, mapping_at, text_at
from fleet.core.objects import ref_of, split_api_version
from fleet.core.scopes import is_built_in
from fleet.errors import DocumentInvalid
from fleet.values import dataclass

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVER_METADATA = (
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One normalisation: which objects, what is done (in place), and why."""

    name: str
    reason: str
    applies: Callable[[Document], bool]
    act: Callable[[Document], None]


def normalise(document: Document) -> Document:
    """Bring a document into its normal form, in place, and return it. Idempotent.

    Raises DocumentInvalid for a Secret whose values are no text or no base64; values are never in the message (R32).
    """
    for row in TABLE:
        if row.applies(document):
            row.act(document)
    return document


def _always(_: Document) -> bool:
    return True


def _is(group: str, kind: str) -> Callable[[Document], bool]:
    def applies(document: Document) -> bool:
        return text_at(document, "kind") == kind and split_api_version(text_at(document, "apiVersion"))[0] == group

    return applies


def _is_built_in(document: Document) -> bool:
    return is_built_in(split_api_version(text_at(document, "apiVersion"))[0], text_at(document, "kind"))


def _merge_string_data(document: Document) -> None:
    data: Document = {}
    for name, value in values_of_secret(document, "data").items():
        data[name] = _base64(document, f"data.{name}", value)
    for name, value in values_of_secret(document, "stringData").items():
        if not isinstance(value, str):
            raise unusable(document, f"stringData.{name}", "not a text")
        data[name] = base64.b64encode(value.encode()).decode()
    document.pop("stringData", None)
    if data or "data" in document:
        document["data"] = data


def values_of_secret(document: Document, part: str) -> Document:
    """Values by name in `data` or `stringData`; not a copy. Raises DocumentInvalid for what is no mapping."""
    if not isinstance(document.get(part), dict | None):
        raise unusable(document, part, "not a mapping")
    return mapping_at(document, part)


def _base64(document: Document, where: str, value: Json) -> str:
    if value is None:
        return ""
    try:
        if not isinstance(value, str):
            raise unusable(document, where, "not a text")
        decoded = base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        raise unusable(document, where, "not valid base64") from None
    return base64.b64encode(decoded).decode()


def unusable(document: Document, where: str, why: str) -> DocumentInvalid:
    """The error for values of a Secret that cannot be used, without them."""
    return DocumentInvalid(
        f"{where} of {ref_of(document)} cannot be used", where=where, why=why, next_step="correct it, or use stringData"
    )


def _drop_status(document: Document) -> None:
    document.pop("status", None)


def _drop_server_metadata(document: Document) -> None:
    metadata = mapping_at(document, "metadata")
    for name in _SERVER_METADATA:
        metadata.pop(name, None)


def _drop_nested_creation(document: Document) -> None:
    _drop_null_creation(document)


def _drop_null_creation(value: Json) -> None:
    if isinstance(value, dict):
        metadata = value.get("metadata")
        if isinstance(metadata, dict) and metadata.get("creationTimestamp", "") is None:
            del metadata["creationTimestamp"]
        for item in value.values():
            _drop_null_creation(item)
    elif isinstance(value, list):
        for item in value:
            _drop_null_creation(item)


def drop_last_applied(document: Document) -> None:
    """Take kubectl's copy of the object out: in a Secret it holds the values in clear."""
    annotations = mapping_at(document, "metadata", "annotations")
    if annotations.pop(LAST_APPLIED, None) is not None and not annotations:
        del mapping_at(document, "metadata")["annotations"]


def _drop_nulls(document: Document) -> None:
    _without_nulls(document)


def _without_nulls(value: Json) -> None:
    if isinstance(value, dict):
        for name in [name for name, item in value.items() if item is None]:
            del value[name]
        for item in value.values():
            _without_nulls(item)
    elif isinstance(value, list):
        for item in value:
            _without_nulls(item)


def _drop_aggregated_rules(document: Document) -> None:
    if mapping_at(document, "aggregationRule"):
        document.pop("rules", None)


TABLE: tuple[Row, ...] = (
    Row(
        "Secret stringData to data",
        "the server merges it and never returns it; kept apart it would look like a difference for ever",
        _is("", "Secret"),
        _merge_string_data,
    ),
    Row("status dropped", "controllers own it, and an apply to the main resource ignores it", _always, _drop_status),
    Row(
        "server-side metadata dropped",
        "only a server may write it: a copied uid or resourceVersion refuses the apply, managedFields must be empty",
        _always,
        _drop_server_metadata,
    ),
    Row(
        "null creationTimestamp dropped in templates",
        "Go programs print it for every embedded object; it says nothing, in custom resources neither",
        _always,
        _drop_nested_creation,
    ),
    Row(
        "last-applied annotation dropped",
        "kubectl's own book-keeping, stale by definition, and a copy of a Secret's values in clear",
        _always,
        drop_last_applied,
    ),
    Row(
        "null dropped, except in custom resources",
        "built-in kinds read null as absent; a custom schema may be nullable, where null is a value",
        _is_built_in,
        _drop_nulls,
    ),
    Row(
        "rules dropped beside an aggregationRule",
        "a controller fills them in, and would be fought for ever",
        _is("rbac.authorization.k8s.io", "ClusterRole"),
        _drop_aggregated_rules,
    ),
)
