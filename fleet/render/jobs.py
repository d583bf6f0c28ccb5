"""What a render worker is asked and answers: small headers of JSON and blocks of bytes, framed for a pipe."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import cast

import orjson

from fleet import errors
from fleet.core.documents import Document, Json, documents_at, items_at, number_at, parse_document, text_at
from fleet.core.ids import Digest, ObjectRef
from fleet.core.objects import Bundle, BundleObject, HookDelete, HookPhase, ObjectOptions, PruneRule, Scope
from fleet.render.limits import RunLimits
from fleet.values import dataclass, field

_COUNT = struct.Struct("!I")
_LENGTH = struct.Struct("!Q")
PARTS_LIMIT = 200_000
FRAME_LIMIT = 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BuildJob:
    """One run of kustomize. Contents of `files` follow in the frame, in this order."""

    argv: tuple[str, ...]
    root: str
    components: tuple[str, ...]
    files: tuple[str, ...]
    links: tuple[tuple[str, str], ...]  # path, target
    facts: Json  # content of the ConfigMap `fleet-cluster`; None: not used
    order: Mapping[str, Json]
    slim: bool  # whether the slim schema may be used
    sample: bool  # build a second time without it, and compare
    template: bool  # True: keep the documents for substitution
    renderer: str
    patch_files: tuple[str, ...] = ()
    inline_merge_patch: bool = False
    crds: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    secret_texts: tuple[str, ...] = ()
    charts: Mapping[str, str] = field(default_factory=dict[str, str])  # archive -> where kustomize looks for the chart
    uses_charts: bool = False
    compat: tuple[str, ...] = ()
    limits: RunLimits = field(default_factory=RunLimits)


@dataclass(frozen=True, slots=True)
class FinishJob:
    """Put a cluster's variables into a template; the template and its clear Secret texts follow in the frame."""

    variables: Mapping[str, Json]
    seals: tuple[str, ...]
    renderer: str
    root: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a job: a block to keep, and clear Secret values for the vault alone."""

    block: bytes
    secrets: Mapping[str, bytes]
    cpu_seconds: float = 0.0  # of kustomize
    slim: bool = False  # the slim schema was used
    differs: bool = False  # a sample came out otherwise without it: the result is the one without


def frame(parts: Sequence[bytes]) -> bytes:
    """Count, lengths, contents."""
    head = _COUNT.pack(len(parts)) + b"".join(_LENGTH.pack(len(part)) for part in parts)
    return head + b"".join(parts)


def lengths_size(head: bytes) -> int:
    """From the first 4 bytes: how many bytes of lengths follow; raises ValueError when that cannot be meant."""
    (count,) = _COUNT.unpack(head)
    if count > PARTS_LIMIT:
        raise ValueError("a frame with too many parts")
    return count * _LENGTH.size


def lengths_of(raw: bytes) -> list[int]:
    """The lengths of the parts; raises ValueError above the limit."""
    lengths = [length for (length,) in _LENGTH.iter_unpack(raw)]
    if sum(lengths) > FRAME_LIMIT:
        raise ValueError("a frame that is too large")
    return lengths


def build_header(job: BuildJob) -> bytes:
    """JSON of a job."""
    return _header("build", job)


def build_job(header: Document) -> BuildJob:
    """The inverse of `build_header`."""
    limits = cast("dict[str, float]", header["limits"])
    return BuildJob(
        argv=_texts(header, "argv"),
        root=text_at(header, "root"),
        components=_texts(header, "components"),
        files=_texts(header, "files"),
        links=tuple((str(pair[0]), str(pair[1])) for pair in items_at(header, "links") if isinstance(pair, list)),
        facts=header["facts"],
        order=cast("dict[str, Json]", header["order"]),
        slim=bool(header["slim"]),
        sample=bool(header["sample"]),
        template=bool(header["template"]),
        renderer=text_at(header, "renderer"),
        patch_files=_texts(header, "patch_files"),
        inline_merge_patch=bool(header["inline_merge_patch"]),
        crds=_texts(header, "crds"),
        secret_files=_texts(header, "secret_files"),
        secret_texts=_texts(header, "secret_texts"),
        charts=cast("dict[str, str]", header["charts"]),
        uses_charts=bool(header["uses_charts"]),
        compat=_texts(header, "compat"),
        limits=RunLimits(
            seconds=limits["seconds"],
            memory_bytes=int(limits["memory_bytes"]),
            output_bytes=int(limits["output_bytes"]),
            input_bytes=int(limits["input_bytes"]),
            files=int(limits["files"]),
            processes=int(limits["processes"]),
        ),
    )


def finish_header(job: FinishJob) -> bytes:
    """JSON of a job."""
    return _header("finish", job)


def _header(kind: str, job: BuildJob | FinishJob) -> bytes:
    """Its fields by name; nothing is copied for that."""
    return orjson.dumps({"kind": kind, **{part.name: getattr(job, part.name) for part in fields(job)}})


def finish_job(header: Document) -> FinishJob:
    """The inverse of `finish_header`."""
    return FinishJob(
        variables=cast("dict[str, Json]", header["variables"]),
        seals=_texts(header, "seals"),
        renderer=text_at(header, "renderer"),
        root=text_at(header, "root"),
    )


def answer_parts(answer: Answer) -> list[bytes]:
    """An answer as parts of a frame."""
    header = {
        "ok": True,
        "cpu": answer.cpu_seconds,
        "slim": answer.slim,
        "differs": answer.differs,
        "seals": list(answer.secrets),
    }
    return [orjson.dumps(header), answer.block, *answer.secrets.values()]


def error_parts(error: errors.FleetError) -> list[bytes]:
    """An error as parts of a frame; its four texts are all that is kept."""
    return [
        orjson.dumps(
            {
                "ok": False,
                "reason": error.reason,
                "what": error.what,
                "where": error.where,
                "why": error.why,
                "next_step": error.next_step,
            }
        )
    ]


def answer_of(parts: Sequence[bytes]) -> Answer:
    """Read an answer; raises the error that it holds."""
    header = parse_document(parts[0])
    if not header["ok"]:
        raise error_from(header)
    seals = _texts(header, "seals")
    cpu = header["cpu"]
    return Answer(
        block=parts[1],
        secrets=dict(zip(seals, parts[2:], strict=True)),
        cpu_seconds=float(cpu) if isinstance(cpu, (int, float)) else 0.0,
        slim=bool(header["slim"]),
        differs=bool(header["differs"]),
    )


def error_from(header: Document) -> errors.FleetError:
    """An error of the class that the header names."""
    found: object = getattr(errors, text_at(header, "reason"), None)
    kind = found if isinstance(found, type) and issubclass(found, errors.FleetError) else errors.RenderFailed
    return kind(
        text_at(header, "what"),
        where=text_at(header, "where"),
        why=text_at(header, "why"),
        next_step=text_at(header, "next_step"),
    )


def bundle_block(bundle: Bundle) -> bytes:
    """A bundle as one block: a header, then the bodies."""
    rows = [_row(made) for made in bundle.objects]
    header = orjson.dumps(
        {"digest": bundle.digest, "renderer": bundle.renderer, "warnings": bundle.warnings, "objects": rows}
    )
    return frame([header, *(made.body for made in bundle.objects)])


def bundle_of(block: bytes) -> Bundle:
    """The inverse of `bundle_block`; raises ValueError or KeyError for anything else."""
    header_raw, *bodies = unframe(block)
    header = parse_document(header_raw)
    rows = documents_at(header, "objects")
    return Bundle(
        digest=Digest(text_at(header, "digest")),
        objects=tuple(_object(row, body) for row, body in zip(rows, bodies, strict=True)),
        renderer=text_at(header, "renderer"),
        warnings=_texts(header, "warnings"),
    )


def unframe(raw: bytes) -> list[bytes]:
    """The parts of a frame that is held as a whole; raises ValueError."""
    start = _COUNT.size + lengths_size(raw[: _COUNT.size])
    parts: list[bytes] = []
    for length in lengths_of(raw[_COUNT.size : start]):
        parts.append(raw[start : start + length])
        start += length
    if start != len(raw):
        raise ValueError("a frame of another length")
    return parts


def _row(made: BundleObject) -> Document:
    row: Document = {"ref": made.ref.key, "version": made.version, "scope": made.scope.value, "digest": made.digest}
    if made.generated_from:
        row["generated_from"] = made.generated_from
    if made.options != _PLAIN:
        options = made.options
        deletes: list[Json] = [*sorted(word.value for word in options.hook_delete)]
        row["options"] = {
            "wave": options.wave,
            "prune": options.prune.value,
            "reconcile": options.reconcile,
            "only_if_absent": options.only_if_absent,
            "replace": options.replace,
            "hook": options.hook.value if options.hook else None,
            "hook_delete": deletes,
            "skip_missing_kind": options.skip_missing_kind,
        }
    return row


def _object(row: Document, body: bytes) -> BundleObject:
    return BundleObject(
        ref=ObjectRef.from_key(text_at(row, "ref")),
        version=text_at(row, "version"),
        scope=Scope(text_at(row, "scope")),
        body=body,
        digest=Digest(text_at(row, "digest")),
        options=_options(row["options"]) if "options" in row else _PLAIN,
        generated_from=text_at(row, "generated_from"),
    )


_PLAIN = ObjectOptions()


def _options(value: Json) -> ObjectOptions:
    hook = text_at(value, "hook")
    return ObjectOptions(
        wave=number_at(value, "wave"),
        prune=PruneRule(text_at(value, "prune")),
        reconcile=cast("Document", value)["reconcile"] is True,
        only_if_absent=cast("Document", value).get("only_if_absent") is True,
        replace=cast("Document", value)["replace"] is True,
        hook=HookPhase(hook) if hook else None,
        hook_delete=frozenset(HookDelete(word) for word in _texts(value, "hook_delete")),
        skip_missing_kind=cast("Document", value)["skip_missing_kind"] is True,
    )


def _texts(value: Json, name: str) -> tuple[str, ...]:
    return tuple(str(item) for item in items_at(value, name))
