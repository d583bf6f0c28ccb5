"""What becomes of a body before any rule of its kind: decoded, defaulted, put into its namespace."""

from __future__ import annotations

from fleet.core.documents import Document, mapping_at, text_at
from fleet.sim import births, crds
from fleet.sim.codec import DecodeError, Notes, decode
from fleet.sim.defaults import default
from fleet.sim.kinds import Kind
from fleet.sim.statuses import ApiError, bad_request


def read(kind: Kind, body: Document, notes: Notes, validation: str) -> Document:
    """A body as POST and PUT take it, decoded and defaulted; raises ApiError 400."""
    version, said = text_at(body, "apiVersion"), text_at(body, "kind")
    if version and version != kind.api_version and said in {"", kind.kind}:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version ({kind.api_version})"
        )
    if said and said != kind.kind:
        raise bad_request(
            f"{said} in version {_quoted(kind.version)} cannot be handled as a {kind.kind}: "
            f"converting (v1.{said}) to ({kind.group.partition('.')[0] or 'core'}.{kind.kind}): unknown conversion"
        )
    document = decoded(kind, body, notes)
    if notes.unknown and validation == "Strict":
        told = ", ".join(f'unknown field "{path}"' for path in notes.unknown)
        raise bad_request(
            f"{kind.kind} in version {_quoted(kind.version)} cannot be handled as a {kind.kind}: "
            f"strict decoding error: {told}"
        )
    if validation == "Ignore":
        notes.unknown.clear()
    return document


def decoded(kind: Kind, body: Document, notes: Notes, *, applied: bool = False) -> Document:
    """A document as its kind holds it: decoded and defaulted, or pruned by its CRD. Raises ApiError."""
    if kind.custom is not None:
        return crds.decoded(kind, body, notes)
    try:
        document = decode(body, kind.type, notes)
    except DecodeError as problem:
        if applied:
            raise ApiError(
                500,
                "",
                f"failed to convert new object ({place_of(body)}; {gvk_of(body)}) to proper version: "
                f"unable to convert unstructured object to {gvk_of(body)}: {problem}",
            ) from None
        raise bad_request(
            f"{kind.kind} in version {_quoted(kind.version)} cannot be handled as a {kind.kind}: {problem}"
        ) from None
    if kind.resource == "secrets":
        births.merge_string_data(document)
    document["kind"], document["apiVersion"] = kind.kind, kind.api_version
    default(kind.resource, document)
    return document


def place(kind: Kind, namespace: str, name: str, document: Document) -> None:
    """Check name and namespace against the path, and put the namespace in."""
    metadata = dict(mapping_at(document, "metadata"))
    said = text_at(metadata, "namespace")
    if kind.namespaced:
        if said and said != namespace:
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        metadata["namespace"] = namespace
    elif said:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    if name and text_at(metadata, "name") != name:
        told = text_at(metadata, "name")
        raise bad_request(f"the name of the object ({told}) does not match the name on the URL ({name})")
    document["metadata"] = metadata


def _quoted(text: str) -> str:
    return f'"{text}"'


def place_of(body: Document) -> str:
    """`namespace/name` as errors of an apply print it."""
    return f"{text_at(body, 'metadata', 'namespace')}/{text_at(body, 'metadata', 'name')}"


def gvk_of(body: Document) -> str:
    """`group/version, Kind=kind` as Go prints it."""
    group, slash, version = text_at(body, "apiVersion").partition("/")
    if not slash:
        group, version = "", group
    return f"{group}/{version}, Kind={text_at(body, 'kind')}"
