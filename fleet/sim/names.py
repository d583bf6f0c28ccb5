"""Names, labels and annotations: what is valid, in the server's words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from fleet.core.documents import Document, Json, at, documents_at, mapping_at
from fleet.sim.statuses import Cause

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]\Z")
_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?\Z")

SUBDOMAIN_HELP = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
LABEL_HELP = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
QUALIFIED_HELP = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    "character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
VALUE_HELP = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def subdomain_problems(name: str) -> list[str]:
    """Why this is no DNS subdomain."""
    found = ["must be no more than 253 characters"] if len(name) > 253 else []
    return found if _SUBDOMAIN.match(name) else [*found, SUBDOMAIN_HELP]


def label_problems(name: str) -> list[str]:
    """Why this is no DNS label."""
    if "." in name and _SUBDOMAIN.match(name):
        return ["must not contain dots"]
    found = ["must be no more than 63 characters"] if len(name) > 63 else []
    return found if _LABEL.match(name) else [*found, LABEL_HELP]


def path_problems(name: str) -> list[str]:
    """Why this cannot stand in a path (names of roles and bindings)."""
    if name in {".", ".."}:
        return [f"may not be '{name}'"]
    return [f"may not contain '{bad}'" for bad in ("/", "%") if bad in name]


_LABELS_ONLY = {"namespaces", "services"}
_PATHS = {
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
}


def name_problems(resource: str, name: str) -> list[str]:
    """Why an object of this resource cannot have this name."""
    if resource in _LABELS_ONLY:
        return label_problems(name)
    if resource in _PATHS:
        return path_problems(name)
    return subdomain_problems(name)


def invalid_value(field: str, value: str, why: str) -> Cause:
    """`Invalid value: "x": why`."""
    return Cause("FieldValueInvalid", f'Invalid value: "{value}": {why}', field)


def required(field: str, why: str = "") -> Cause:
    """`Required value: why`."""
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


_KEY_HELP = (
    "a valid label key must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]') with an optional DNS subdomain prefix and '/' "
    "(e.g. 'example.com/MyName')"
)


def qualified_problems(key: str) -> list[str]:
    """Why this is no key of a label or annotation."""
    prefix, slash, name = key.rpartition("/")
    found: list[str] = []
    if slash:
        if not prefix:
            found.append("prefix part must be non-empty")
        elif "/" in prefix:
            return [_KEY_HELP]
        else:
            found += [f"prefix part {why}" for why in subdomain_problems(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif len(name) > 63:
        found.append("name part must be no more than 63 characters")
    if not _QUALIFIED.match(name):
        found.append(QUALIFIED_HELP)
    return found


def label_causes(labels: Document, field: str) -> Iterator[Cause]:
    """What is wrong with a map of labels."""
    for key in sorted(labels):
        for why in qualified_problems(key):
            yield invalid_value(field, key, why)
        value = labels[key]
        if isinstance(value, str):
            if len(value) > 63:
                yield invalid_value(field, value, "must be no more than 63 characters")
            if not _VALUE.match(value):
                yield invalid_value(field, value, VALUE_HELP)


MAX_ANNOTATIONS = 256 * 1024


def metadata_causes(resource: str, document: Document, *, custom: bool) -> list[Cause]:
    """What is wrong with an object's metadata on create and on update."""
    metadata = mapping_at(document, "metadata")
    found: list[Cause] = []
    name = metadata.get("name")
    if not isinstance(name, str) or not name:
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        found += [invalid_value("metadata.name", name, why) for why in name_problems(resource, name)]
    found += label_causes(mapping_at(metadata, "labels"), "metadata.labels")
    annotations = mapping_at(metadata, "annotations")
    size = 0
    for key in sorted(annotations):
        for why in qualified_problems(key.lower()):
            found.append(invalid_value("metadata.annotations", key, why))
        size += len(key) + len(str(annotations[key]))
    if size > MAX_ANNOTATIONS:
        found.append(
            Cause(
                "FieldValueTooLong", f"Too long: may not be more than {MAX_ANNOTATIONS} bytes", "metadata.annotations"
            )
        )
    for owner in documents_at(metadata, "ownerReferences"):
        found += [
            invalid_value(f"metadata.ownerReferences.{key}", "", "must not be empty")
            for key in ("apiVersion", "kind", "name", "uid")
            if not owner.get(key)
        ]
    finalizers = at(metadata, "finalizers")
    if isinstance(finalizers, list):
        found += _finalizer_causes(finalizers, custom=custom)
    return found


_STANDARD_FINALIZERS = {"kubernetes", "foregroundDeletion", "orphan"}


def _finalizer_causes(finalizers: list[Json], *, custom: bool) -> Iterator[Cause]:
    for index, one in enumerate(finalizers):
        if isinstance(one, str):
            for why in qualified_problems(one) if "/" in one or custom else ():
                yield invalid_value("metadata.finalizers", one, why)
            if "/" not in one and one not in _STANDARD_FINALIZERS and not custom:
                yield Cause(
                    "FieldValueInvalid",
                    f'Invalid value: "{one}": name is neither a standard finalizer name nor is it fully qualified',
                    f"metadata.finalizers[{index}]",
                )
