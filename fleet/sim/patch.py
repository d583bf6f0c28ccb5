"""Patches that are no apply: JSON patch (RFC 6902), merge patch (RFC 7386), strategic merge patch."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

from fleet.core.documents import Document, Json, parse
from fleet.sim.kinds import Kind
from fleet.sim.schema import ANY, Shape, Type
from fleet.sim.statuses import ApiError, bad_request

Change = Callable[[Document], Document]


def reader(media: str, body: bytes, kind: Kind) -> Change:
    """A function that makes the new document from the live one; raises ApiError for a body that is no patch."""
    try:
        value = parse(body)
    except ValueError as problem:
        raise bad_request(f"error decoding patch: {go_json_error(body, str(problem))}") from None
    if media == "application/json-patch+json":
        if not isinstance(value, list):
            raise bad_request(
                "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch"
            )
        return lambda document: _json_patch(document, value)
    if not isinstance(value, dict):
        raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}")
    if media == "application/merge-patch+json":
        return lambda document: _as_document(merge_patch(document, value))
    return lambda document: _as_document(strategic(document, value, kind.type))


def _as_document(value: Json) -> Document:
    return value if isinstance(value, dict) else {}


def merge_patch(target: Json, change: Json) -> Json:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    out: Document = dict(target) if isinstance(target, dict) else {}
    for key, value in change.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), value)
    return out


class _PatchProblem(Exception):
    """An operation that cannot be carried out."""


def _json_patch(document: Document, operations: list[Json]) -> Document:
    out: Json = copy.deepcopy(document)
    for operation in operations:
        if not isinstance(operation, dict):
            raise bad_request("error decoding patch: json: cannot unmarshal into Go value of type jsonpatch.Operation")
        try:
            out = _operate(out, operation)
        except _PatchProblem as problem:
            message = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", message, details={}) from problem
    return _as_document(out)


def _operate(document: Json, operation: Document) -> Json:
    kind, path = str(operation.get("op")), str(operation.get("path", ""))
    tokens = _tokens(path)
    match kind:
        case "add":
            return _put(document, tokens, copy.deepcopy(operation.get("value")), insert=True)
        case "replace":
            _find(document, tokens)
            return _put(document, tokens, copy.deepcopy(operation.get("value")), insert=False)
        case "remove":
            return _drop(document, tokens)
        case "test":
            try:
                found = _find(document, tokens)
            except _PatchProblem:
                found = None
            if found != operation.get("value"):
                raise _PatchProblem(f"testing value {path} failed: test failed")
            return document
        case "copy" | "move":
            source = _tokens(str(operation.get("from", "")))
            value = copy.deepcopy(_find(document, source))
            if kind == "move":
                document = _drop(document, source)
            return _put(document, tokens, value, insert=True)
        case _:
            raise _PatchProblem(f"Unexpected kind: {kind}")


def _tokens(path: str) -> list[str]:
    if not path:
        return []
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _find(document: Json, tokens: list[str]) -> Json:
    here = document
    for token in tokens:
        if isinstance(here, dict) and token in here:
            here = here[token]
        elif isinstance(here, list) and token.isdigit() and int(token) < len(here):
            here = here[int(token)]
        else:
            raise _PatchProblem("doc is missing path")
    return here


def _put(document: Json, tokens: list[str], value: Json, *, insert: bool) -> Json:
    if not tokens:
        return value
    parent, last = _find(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        if last == "-":
            parent.append(value)
        elif not last.isdigit() or int(last) > len(parent):
            raise _PatchProblem("index out of bounds")
        elif insert:
            parent.insert(int(last), value)
        else:
            parent[int(last)] = value
    else:
        raise _PatchProblem("doc is missing path")
    return document


def _drop(document: Json, tokens: list[str]) -> Json:
    parent, last = _find(document, tokens[:-1]), tokens[-1]
    _find(parent, [last])
    if isinstance(parent, dict):
        del parent[last]
    elif isinstance(parent, list):
        del parent[int(last)]
    return document


_DIRECTIVES = ("$patch", "$retainKeys", "$setElementOrder/", "$deleteFromPrimitiveList/")


def strategic(target: Json, change: Document, kind: Type) -> Json:
    """Strategic merge patch: lists with a merge key item by item, `$patch: delete|replace`, deletes from sets."""
    if change.get("$patch") == "replace":
        return {key: value for key, value in change.items() if key != "$patch"}
    if change.get("$patch") == "delete":
        return {}
    out: Document = dict(target) if isinstance(target, dict) else {}
    retain = change.get("$retainKeys")
    if isinstance(retain, list):
        out = {key: value for key, value in out.items() if key in retain}
    for key, value in change.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            held = out.get(field)
            if isinstance(held, list) and isinstance(value, list):
                out[field] = [one for one in held if one not in value]
            continue
        if key.startswith(_DIRECTIVES):
            continue
        one = kind.fields.get(key)
        inner = one.type if one is not None else (kind.element or ANY)
        if value is None:
            out.pop(key, None)
        elif isinstance(value, dict):
            out[key] = strategic(out.get(key), value, inner)
        elif isinstance(value, list) and one is not None and one.merge_key is not None:
            out[key] = _merge_list(out.get(key), value, inner, one.merge_key)
        else:
            out[key] = value
    return out


def _merge_list(target: Json, change: list[Json], kind: Type, key: str) -> list[Json]:
    out: list[Json] = [*target] if isinstance(target, list) else []
    if not key:
        return out + [item for item in change if item not in out]
    element = kind.element if kind.shape is Shape.LIST and kind.element else ANY
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in change):
        return [item for item in change if not (isinstance(item, dict) and item.get("$patch") == "replace")]
    for item in change:
        if not isinstance(item, dict):
            continue
        index = next(
            (at for at, held in enumerate(out) if isinstance(held, dict) and held.get(key) == item.get(key)), None
        )
        if item.get("$patch") == "delete":
            if index is not None:
                del out[index]
        elif index is None:
            out.append(strategic({}, item, element))
        else:
            out[index] = strategic(out[index], item, element)
    return out


def go_json_error(body: bytes, problem: str) -> str:
    """An error of Python's parser in the words of Go's."""
    found = re.search(r"char (\d+)", problem)
    text = body.decode("utf-8", "replace")
    at = int(found[1]) if found else 0
    if at >= len(text) or not text.strip():
        return "unexpected end of JSON input"
    before = text[:at].rstrip()
    where = "object key string" if before.endswith(("{", ",")) else "value"
    return f"invalid character '{text[at]}' looking for beginning of {where}"
