"""One request taken apart: who asks, in which form, with which body and options."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import cast

import orjson
import yaml
from aiohttp import web

from fleet.core.documents import Document, Json, parse, text_at
from fleet.sim import patch
from fleet.sim.access import User
from fleet.sim.kinds import Kind
from fleet.sim.ledger import NOTHING_MET, WRITES, Met
from fleet.sim.reads import Form
from fleet.sim.requests import Target, truth
from fleet.sim.statuses import ApiError, Cause, bad_request, invalid_of, unsupported_media
from fleet.sim.writes import WriteOptions
from fleet.values import dataclass

MAX_BODY_BYTES = 3 * 1024 * 1024
_BODIES = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
_STREAMS = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")


@dataclass(slots=True)
class Call:
    """One request on its way: who asks for what."""

    request: web.BaseRequest
    target: Target
    query: Mapping[str, str]
    user: User
    agent: str
    warnings: list[str]
    landed: bool = False  # a write that was carried out
    met: Met = NOTHING_MET

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be stored."""
        return "All" in self.request.query.getall("dryRun", [])

    def was_answered(self, status: int) -> None:
        """Note what came of it: a write that succeeded has landed."""
        self.landed = self.target.verb in WRITES and not self.dry_run and status < 400


_METADATA_FORMS = ("as=PartialObjectMetadata;", "as=PartialObjectMetadataList;")


def form_of(call: Call) -> Form:
    """The form in which the client wants objects; raises ApiError 406."""
    accept = call.request.headers.get("Accept", "")
    if not accept or accept == "application/json":
        return Form.FULL
    for offer in accept.split(","):
        compact = offer.replace(" ", "") + ";"
        if any(form in compact for form in _METADATA_FORMS):
            return Form.METADATA
        media = compact.partition(";")[0]
        if media in {"application/json", "*/*", "application/*"} and "as=Table" not in compact:
            return Form.FULL
    offered = _BODIES if call.target.name else (*_BODIES, *_STREAMS)
    raise ApiError(
        406,
        "NotAcceptable",
        f"406: Not Acceptable\n\nAvailable representations: {', '.join(offered)}",
        details={},
    )


async def body_of(request: web.BaseRequest) -> bytes:
    """The body; raises ApiError 413."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise _too_large()
    raw = await request.read()
    if len(raw) > MAX_BODY_BYTES:
        raise _too_large()
    return raw


def _too_large() -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY_BYTES}", details={})


def document_of(call: Call, body: bytes, kind: Kind) -> tuple[Document, list[str]]:
    """The object that was sent, and the paths of fields that were sent twice."""
    media = call.request.content_type
    if media not in {"application/json", "application/yaml", "application/octet-stream", ""}:
        raise unsupported_media(_BODIES if kind.custom is None else _BODIES[:2])
    if media == "application/yaml":
        return applied_document_of(body), []
    try:
        value = parse(body)
    except ValueError as problem:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; "
            f"json parse error: {patch.go_json_error(body, str(problem))} ({_shown(body)})"
        ) from None
    if not isinstance(value, dict):
        raise bad_request("cannot restore struct from: " + type(value).__name__)
    return value, _fields_twice(body, value)


def _fields_twice(body: bytes, value: Document) -> list[str]:
    """Paths of keys that an object holds twice: a parser keeps one silently."""
    if body.count(b'":') + body.count(b'" :') <= orjson.dumps(value).count(b'":'):
        return []
    found: list[str] = []

    def pairs(items: list[tuple[str, object]]) -> dict[str, object]:
        made: dict[str, object] = {}
        for key, inner in items:
            if key in made:
                found.append(key)
            made[key] = inner
        return made

    json.loads(body, object_pairs_hook=pairs)
    return [_path_of(value, key) for key in found]


def _path_of(value: Json, key: str) -> str:
    """Where a key lies, depth first; the key alone where it is not found."""
    if isinstance(value, dict):
        if key in value:
            return key
        for name, inner in value.items():
            below = _path_of(inner, key)
            if below:
                return f"{name}.{below}"
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            below = _path_of(inner, key)
            if below:
                return f"[{index}].{below}"
    return ""


def _shown(body: bytes) -> str:
    return body[:100].decode("utf-8", "replace")


def applied_document_of(body: bytes) -> Document:
    """A body in YAML or JSON, as an apply sends it."""
    try:
        value = parse(body) if body.lstrip()[:1] == b"{" else cast("Json", yaml.load(body, yaml.CSafeLoader))
    except (ValueError, yaml.YAMLError) as problem:
        raise bad_request(f"error decoding YAML: {problem}") from None
    if not isinstance(value, dict):
        raise bad_request("error decoding YAML: no object")
    return value


_VALIDATIONS = {"", "Warn", "Strict", "Ignore"}


def write_options_of(call: Call, *, applying: bool) -> WriteOptions:
    """The options of a write from its query; raises ApiError 422."""
    query, patching = call.query, call.target.verb == "patch"
    name = {"create": "CreateOptions", "update": "UpdateOptions"}.get(call.target.verb, "PatchOptions")
    causes: list[Cause] = []
    manager = query.get("fieldManager", "")
    force = query.get("force")
    if patching and not applying and force is not None:
        causes.append(Cause("FieldValueForbidden", "Forbidden: may not be specified for non-apply patch", "force"))
    if applying and not manager:
        causes.append(Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager"))
    if len(manager) > 128:
        causes.append(Cause("FieldValueTooLong", "Too long: may not be more than 128 bytes", "fieldManager"))
    dry_run = call.request.query.getall("dryRun", [])
    if dry_run and dry_run != ["All"]:
        listed = "[" + ",".join(f'"{one}"' for one in dry_run) + "]"
        causes.append(
            Cause("FieldValueNotSupported", f'Unsupported value: {listed}: supported values: "All"', "dryRun")
        )
    validation = query.get("fieldValidation", "")
    if validation not in _VALIDATIONS:
        causes.append(
            Cause(
                "FieldValueNotSupported",
                f'Unsupported value: "{validation}": supported values: "", "Ignore", "Strict", "Warn"',
                "fieldValidation",
            )
        )
    if causes:
        raise invalid_of(name, "meta.k8s.io", "", causes)
    return WriteOptions(
        manager or call.agent.partition("/")[0] or "unknown", call.dry_run, truth(force), validation or "Warn"
    )


def delete_options_of(call: Call, body: bytes) -> Document:
    """The options of a delete from body and query; raises ApiError."""
    asked: Document = {}
    if body:
        try:
            value = parse(body)
        except ValueError as problem:
            raise bad_request(str(problem)) from None
        asked = value if isinstance(value, dict) else {}
    if "propagationPolicy" in call.query:
        asked = {**asked, "propagationPolicy": call.query["propagationPolicy"]}
    if "gracePeriodSeconds" in call.query and call.query["gracePeriodSeconds"].isdigit():
        asked = {**asked, "gracePeriodSeconds": int(call.query["gracePeriodSeconds"])}
    policy = text_at(asked, "propagationPolicy")
    if policy not in {"", "Orphan", "Background", "Foreground"}:
        supported = '"Foreground", "Background", "Orphan", "nil"'
        cause = Cause(
            "FieldValueNotSupported",
            f'Unsupported value: "{policy}": supported values: {supported}',
            "propagationPolicy",
        )
        raise invalid_of("DeleteOptions", "meta.k8s.io", "", [cause])
    return asked


def grace_seconds_of(asked: Document) -> int | None:
    """gracePeriodSeconds, or None."""
    value = asked.get("gracePeriodSeconds")
    return value if isinstance(value, int) else None
