"""Lists and single reads as bytes: paging, selectors, resourceVersion, metadata only.

Bodies are copied from the store into the answer; they are parsed only where a field selector, a conversion or a
smaller form asks for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from enum import StrEnum

import orjson

from fleet.core.documents import Document, mapping_at, number_at, parse_document, text_at
from fleet.sim.conversion import to_version
from fleet.sim.kinds import Kind
from fleet.sim.selectors import FieldClause, LabelTest, fields_match, label_test, parse_fields
from fleet.sim.statuses import ApiError, Cause, bad_request, expired, invalid_of
from fleet.sim.storage import Key, Row, Store
from fleet.values import dataclass, field


class Form(StrEnum):
    """In which form objects are wanted."""

    FULL = "full"
    METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Filter:
    """Which objects of a resource are wanted."""

    namespace: str = ""
    name: str = ""
    labels: LabelTest | None = None
    fields: tuple[FieldClause, ...] = ()
    key: str = field(default="")  # text of the selectors, for messages

    def takes(self, key: Key, row: Row) -> bool:
        """Whether an object is among them."""
        if self.namespace and key[0] != self.namespace:
            return False
        if self.name and key[1] != self.name:
            return False
        if self.labels is not None and not self.labels(row.labels):
            return False
        return not self.fields or fields_match(row.document(), self.fields)

    @property
    def selective(self) -> bool:
        """Whether a selector is at work."""
        return self.labels is not None or bool(self.fields)


def filter_of(kind: Kind, namespace: str, query: Mapping[str, str], name: str = "") -> Filter:
    """The filter of a list or watch; raises ApiError 400."""
    labels = label_test(query.get("labelSelector", ""))
    fields = parse_fields(query.get("fieldSelector", ""), kind.resource)
    return Filter(namespace, name, labels, fields)


def encode(kind: Kind, row: Row, form: Form, *, item: bool = False) -> bytes:
    """One object as JSON; an item of a built-in list carries no kind and apiVersion."""
    if form is Form.METADATA:
        made = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": row.document()["metadata"]}
        return orjson.dumps(made)
    if kind.stored_version != kind.api_version and kind.custom is None:
        converted = to_version(
            {"kind": kind.kind, "apiVersion": kind.stored_version, **row.document()}, kind.api_version
        )
        if item:
            converted = {key: value for key, value in converted.items() if key not in {"kind", "apiVersion"}}
        return orjson.dumps(converted)
    if item and kind.custom is None:
        return row.body
    return kind.head + row.body[1:]


def with_version(raw: bytes, version: int) -> bytes:
    """An encoded object with another resourceVersion (deletions carry that of the event)."""
    document = parse_document(raw)
    mapping_at(document, "metadata")["resourceVersion"] = str(version)
    return orjson.dumps(document)


def make_list(store: Store, kind: Kind, wanted: Filter, query: Mapping[str, str], form: Form) -> bytes:
    """The answer to a list; raises ApiError."""
    limit = _number(query.get("limit", ""), "limit")
    version, start = store.version, None
    token = query.get("continue", "")
    said = query.get("resourceVersion", "")
    match = query.get("resourceVersionMatch", "")
    rows: Mapping[Key, Row] = store.rows(kind.resource)
    if token:
        version, start = _read_token(token)
        if said not in {"", "0"}:
            raise bad_request("specifying resource version is not allowed when using continue")
        if version >= 0:
            if version < store.compacted:
                raise _token_expired(store, start)
            rows = store.rows_at(kind.resource, version)
        else:
            version = store.version
    else:
        asked = _version(said)
        if asked > store.version:
            raise too_large(asked, store.version)
        if match and not said:
            raise _match_without_version()
        if match == "Exact":
            if asked < store.compacted:
                raise expired("The resourceVersion for the provided list is too old.")
            version, rows = asked, store.rows_at(kind.resource, asked)
        if said == "0":
            limit = 0
    keys = sorted(key for key, row in rows.items() if wanted.takes(key, row) and (start is None or key > start))
    page = keys[:limit] if limit else keys
    metadata: Document = {"resourceVersion": str(version)}
    if len(page) < len(keys):
        metadata["continue"] = _make_token(version, page[-1])
        if not wanted.selective:
            metadata["remainingItemCount"] = len(keys) - len(page)
    if form is Form.METADATA:
        head = b'{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":'
    else:
        head = b'{"kind":"%s","apiVersion":"%s","metadata":' % (kind.list_kind.encode(), kind.api_version.encode())
    items = b",".join(encode(kind, rows[key], form, item=True) for key in page)
    return head + orjson.dumps(metadata) + b',"items":[' + items + b"]}"


def _match_without_version() -> ApiError:
    why = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
    return invalid_of("ListOptions", "meta.k8s.io", "", [Cause("FieldValueForbidden", why, "resourceVersionMatch")])


def too_large(asked: int, current: int) -> ApiError:
    """504: a resourceVersion from the future."""
    problem = ApiError(
        504,
        "Timeout",
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )
    problem.retry_after = 1
    return problem


def _number(text: str, name: str) -> int:
    if not text:
        return 0
    try:
        return max(0, int(text))
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _version(text: str) -> int:
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise invalid_version(text) from None


def invalid_version(text: str) -> ApiError:
    """What a resourceVersion that is no number gets."""
    return ApiError(
        500, "", f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
    )


def _make_token(version: int, key: Key) -> str:
    start = f"{key[0]}/{key[1]}\0" if key[0] else f"/{key[1]}\0"
    raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read_token(token: str) -> tuple[int, Key]:
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    except (binascii.Error, ValueError):
        raise bad_request("invalid continue token: continue key is not valid: illegal base64 data") from None
    try:
        document = parse_document(raw)
    except ValueError:
        letter = go_letter(raw[:1].decode("latin-1"))
        raise bad_request(
            f"invalid continue token: continue key is not valid: invalid character '{letter}' looking for beginning of "
            "value"
        ) from None
    namespace, _, name = text_at(document, "start").rstrip("\0").partition("/")
    return number_at(document, "rv"), (namespace, name)


def go_letter(letter: str) -> str:
    """A character as Go's JSON errors quote it."""
    return (
        letter if letter.isprintable() else f"\\u{ord(letter):04x}" if ord(letter) > 0x7F else f"\\x{ord(letter):02x}"
    )


_CONTINUE_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def _token_expired(store: Store, start: Key) -> ApiError:
    problem = expired(_CONTINUE_TOO_OLD)
    problem.metadata = {"continue": _make_token(-1, start)}
    del store
    return problem
