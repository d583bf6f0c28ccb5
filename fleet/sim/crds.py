"""Custom resources: which kinds a CRD serves, and what its schema does to their objects."""

from __future__ import annotations

from fleet.core.documents import Document, Json, at, documents_at, items_at, mapping_at, text_at
from fleet.sim import structural
from fleet.sim.codec import DecodeError, Notes, decode
from fleet.sim.kinds import Kind, Subresource
from fleet.sim.schema import custom, struct
from fleet.sim.statuses import Cause, bad_request

RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_VERBS = frozenset({"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"})
_STATUS_VERBS = frozenset({"get", "patch", "update"})


def kinds_of(definition: Document) -> list[Kind]:
    """The kinds that a CRD serves, one for each served version."""
    spec = mapping_at(definition, "spec")
    group, names = text_at(spec, "group"), mapping_at(spec, "names")
    versions = documents_at(spec, "versions")
    storage = next((text_at(version, "name") for version in versions if version.get("storage") is True), "")
    found: list[Kind] = []
    for version in versions:
        if version.get("served") is not True:
            continue
        name, kind = text_at(version, "name"), text_at(names, "kind")
        subresources: dict[str, Subresource] = {}
        if at(version, "subresources", "status") is not None:
            subresources["status"] = Subresource("status", group, name, kind, _STATUS_VERBS)
        if at(version, "subresources", "scale") is not None:
            subresources["scale"] = Subresource("scale", "autoscaling", "v1", "Scale", _STATUS_VERBS)
        found.append(
            Kind(
                group,
                name,
                kind,
                text_at(names, "plural"),
                text_at(names, "singular") or kind.lower(),
                text_at(spec, "scope") == "Namespaced",
                _VERBS,
                custom(mapping_at(version, "schema", "openAPIV3Schema")),
                subresources,
                tuple(str(one) for one in items_at(names, "shortNames")),
                tuple(str(one) for one in items_at(names, "categories")),
                custom=version,
                storage_version=storage,
                list_kind=text_at(names, "listKind") or f"{kind}List",
            )
        )
    return found


def _schema(kind: Kind) -> Document:
    return mapping_at(kind.custom or {}, "schema", "openAPIV3Schema")


def decoded(kind: Kind, body: Document, notes: Notes) -> Document:
    """The custom resource pruned and defaulted; raises ApiError 400 for metadata that is none."""
    pruned, unknown = structural.prune(body, _schema(kind), root=True)
    notes.unknown += unknown
    filled = structural.fill(pruned, _schema(kind))
    document: Document = filled if isinstance(filled, dict) else {}
    try:
        metadata = decode(mapping_at(body, "metadata"), struct("meta.v1.ObjectMeta"), notes)
    except DecodeError as problem:
        raise bad_request(str(problem)) from None
    return {**document, "apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata}


def causes(kind: Kind, document: Document, old: Document | None, subresource: str) -> list[Cause]:
    """What the schema refuses; rules in CEL are asked only of a value that fits otherwise."""
    del subresource
    schema = _schema(kind)
    found = list(structural.problems(document, schema, root=True))
    if found:
        return found
    before: Json = old
    return list(structural.rule_problems(document, schema, before))


def definition_causes(document: Document, old: Document | None) -> list[Cause]:
    """What is wrong with a CRD itself."""
    spec = mapping_at(document, "spec")
    found: list[Cause] = []
    name, plural, group = (
        text_at(document, "metadata", "name"),
        text_at(spec, "names", "plural"),
        text_at(spec, "group"),
    )
    if name != f"{plural}.{group}":
        message = f'Invalid value: "{name}": must be spec.names.plural+"."+spec.group'
        found.append(Cause("FieldValueInvalid", message, "metadata.name"))
    versions = documents_at(spec, "versions")
    storing = [version for version in versions if version.get("storage") is True]
    if len(storing) != 1:
        shown = ",".join(_shown(version) for version in versions)
        message = f"Invalid value: [{shown}]: must have exactly one version marked as storage version"
        found.append(Cause("FieldValueInvalid", message, "spec.versions"))
    for index, version in enumerate(versions):
        if at(version, "schema", "openAPIV3Schema") is None:
            found.append(
                Cause("FieldValueRequired", "Required value", f"spec.versions[{index}].schema.openAPIV3Schema")
            )
    if not storing and old is None:
        message = "Invalid value: null: must have at least one stored version"
        found.append(Cause("FieldValueInvalid", message, "status.storedVersions"))
    if old is not None:
        for key in ("group", "scope"):
            if spec.get(key) != at(old, "spec", key):
                message = f'Invalid value: "{text_at(spec, key)}": field is immutable'
                found.append(Cause("FieldValueInvalid", message, f"spec.{key}"))
    return found


def _shown(version: Document) -> str:
    served, storage = (str(version.get(key) is True).lower() for key in ("served", "storage"))
    return (
        f'{{"Name":"{text_at(version, "name")}","Served":{served},"Storage":{storage},"Deprecated":false,'
        '"DeprecationWarning":null,"Schema":null,"Subresources":null,"AdditionalPrinterColumns":null,'
        '"SelectableFields":null}'
    )


def with_stored_version(document: Document) -> Document:
    """A CRD whose status names its storage version among the stored ones."""
    storing = next(
        (text_at(one, "name") for one in documents_at(document, "spec", "versions") if one.get("storage") is True), ""
    )
    status = mapping_at(document, "status")
    stored = items_at(status, "storedVersions")
    if not storing or storing in stored:
        return document
    return {**document, "status": {**status, "storedVersions": [*stored, storing]}}
