"""A render worker: a small process that builds, parses, checks and seals, so that the hub reads only digests and JSON.

It is started with an empty environment, gives up the network and the sight of foreign files, reads jobs from its
standard input and writes answers to its standard output. It keeps nothing between jobs.
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from fleet.core.bundles import BundleLimits, SecretValues, assemble, flatten, generated_from
from fleet.core.compat import understood
from fleet.core.documents import Document, canonical, documents_at, items_at, mapping_at, parse_document, text_at
from fleet.core.ids import ObjectRef
from fleet.core.normalise import drop_last_applied, unusable, values_of_secret
from fleet.core.objects import Bundle, Scope, bundle_digest, is_secret, ref_of, seal
from fleet.core.options import wants_substitution
from fleet.core.scopes import defined_scopes
from fleet.core.substitute import is_mention, names_in, substitute
from fleet.errors import (
    DocumentInvalid,
    DuplicateObject,
    FleetError,
    NamespaceMissing,
    RenderError,
    RenderFailed,
    RenderInterrupted,
)
from fleet.render.aliases import refuse_growth
from fleet.render.confine import confine
from fleet.render.jobs import (
    Answer,
    BuildJob,
    FinishJob,
    answer_parts,
    build_job,
    bundle_block,
    error_parts,
    finish_job,
    frame,
    lengths_of,
    lengths_size,
)
from fleet.render.kustomize import build
from fleet.render.limits import HubGone
from fleet.render.messages import error_of
from fleet.render.parse import documents

_INPUT, _OUTPUT = 0, 1
_AGAIN = "it is tried again with the next fetch"
# What comes of the names, links and sizes in a commit; EFBIG is the worker's own limit on files.
_ERRNOS_OF_INPUT = frozenset(
    (
        errno.EEXIST,
        errno.EFBIG,
        errno.EILSEQ,
        errno.EINVAL,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENOTDIR,
    )
)
_GARBAGE_THRESHOLDS = 50_000, 10, 10  # a small build makes some thousand values, hardly any of them in cycles


def main() -> None:
    """Serve until the hub closes the pipe. The first frame holds the key of the seals and the directories."""
    hello = _read_frame()
    if hello is None:
        return
    settings = parse_document(hello[0])
    scratch = Path(text_at(settings, "scratch"))
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    measures = confine(scratch=scratch, readable=[str(path) for path in items_at(settings, "readable")])
    _write([orjson.dumps({"measures": measures})])
    key = hello[1]
    gc.freeze()
    gc.set_threshold(*_GARBAGE_THRESHOLDS)
    try:
        while (parts := _read_frame()) is not None:
            _write(_answer(parts, key, scratch))
    except (HubGone, BrokenPipeError):
        return


def _answer(parts: Sequence[bytes], key: bytes, scratch: Path) -> list[bytes]:
    header = parse_document(parts[0])
    try:
        if text_at(header, "kind") == "build":
            job = build_job(header)
            return answer_parts(_build(job, dict(zip(job.files, parts[1:], strict=True)), key, scratch))
        finish = finish_job(header)
        return answer_parts(_finish(finish, parts[1], dict(zip(finish.seals, parts[2:], strict=True)), key))
    except FleetError as error:
        return error_parts(error)
    except RecursionError:
        return error_parts(
            RenderFailed(
                "the build broke off",
                why="nested too deeply for the render worker",
                next_step="nest its documents less deeply",
            )
        )
    except (OSError, MemoryError) as error:
        return error_parts(_broken_off(error))


def _broken_off(error: OSError | MemoryError) -> RenderError:
    """A name that no system takes is the input's fault; memory, space or a directory that is gone may come back."""
    why = f"{type(error).__name__} in the render worker"
    if isinstance(error, OSError) and error.errno in _ERRNOS_OF_INPUT:
        return RenderFailed(
            "the build broke off",
            why=f"{why}: {os.strerror(error.errno)}",
            next_step="correct the name, link or size among its files that this system does not take",
        )
    return RenderInterrupted("the build broke off", why=why, next_step=_AGAIN)


def _build(job: BuildJob, files: Mapping[str, bytes], key: bytes, scratch: Path) -> Answer:
    refuse_growth(files)
    built = build(job, files, scratch, _INPUT)
    finished = built.finished
    if -finished.returncode in (signal.SIGKILL, signal.SIGTERM):
        why = "a signal from outside: the system may have run out of memory"
        raise RenderInterrupted("kustomize was ended", where=job.root or ".", why=why, next_step=_AGAIN)
    if finished.returncode != 0:
        raise _failure(job, files, finished.stderr, built.directory)
    try:
        found = flatten(documents(finished.stdout))
    except RenderError as error:
        raise _named(error, job.root) from None
    try:
        found = [understood(document, job.compat) for document in found] if job.compat else found
    except RenderError as error:
        raise _placed(error, files, job.root) from None
    defined = _defined(job, files)
    try:
        if job.template:
            block, secrets = _template(found, defined, key)
        else:
            block, secrets = _bundle(found, key, defined, job.renderer)
    except RenderError as error:
        raise _placed(error, files, job.root) from None
    return Answer(block, secrets, finished.cpu_seconds, built.slim, built.differs)


def _bundle(
    found: Sequence[Document],
    key: bytes,
    defined: Mapping[tuple[str, str], Scope],
    renderer: str,
    generated: Sequence[str] | None = None,
) -> tuple[bytes, Mapping[str, bytes]]:
    made = assemble(found, key=key, defined=defined, generated=generated)
    bundle = Bundle(bundle_digest(made.objects), made.objects, renderer, made.warnings)
    return bundle_block(bundle), made.secrets


def _template(
    found: Sequence[Document], defined: Mapping[tuple[str, str], Scope], key: bytes
) -> tuple[bytes, Mapping[str, bytes]]:
    """Documents before substitution, the texts of Secrets taken out: they may mention variables too.

    Anything else as a value is refused here already, because a template is kept (R32); a variable that stands for all
    values of a Secret holds none.
    """
    names = sorted(names_in(found))
    generated = [generated_from(document) for document in found]
    kept = SecretValues(BundleLimits())
    for document in found:
        ref = ref_of(document)
        if is_secret(ref):
            drop_last_applied(document)
            for part in ("data", "stringData"):
                if is_mention(document.get(part)) and wants_substitution(document):
                    continue
                values = values_of_secret(document, part)
                for name, value in values.items():
                    if value is None:
                        continue
                    if not isinstance(value, str):
                        raise unusable(document, f"{part}.{name}", "not a text")
                    clear = value.encode()
                    values[name] = sealed = seal(key, b"template:" + clear)
                    kept.put(sealed, clear, ref)
    template: Document = {
        "documents": [*found],
        "generated": [*generated],
        "names": [*names],
        "seals": [*kept.by_seal],
        "defined": [[group, kind, scope.value] for (group, kind), scope in defined.items()],
    }
    return canonical(template), kept.by_seal


def _finish(job: FinishJob, template: bytes, secrets: Mapping[str, bytes], key: bytes) -> Answer:
    parsed = parse_document(template)
    found = documents_at(parsed, "documents")
    for document in found:
        if is_secret(ref_of(document)):
            for part in ("data", "stringData"):
                values = mapping_at(document, part)
                for name, value in values.items():
                    if isinstance(value, str) and value in secrets:
                        values[name] = secrets[value].decode()
    generated = [str(name) for name in items_at(parsed, "generated")]
    defined: dict[tuple[str, str], Scope] = {}
    for row in items_at(parsed, "defined"):
        if isinstance(row, list):
            group, kind, scope = (str(part) for part in row)
            defined[group, kind] = Scope(scope)
    fixed = [index for index, name in enumerate(generated) if name]
    try:
        filled = substitute(found, job.variables, generated=fixed)
        block, sealed = _bundle(filled, key, defined, job.renderer, generated)
    except RenderError as error:
        raise _named(error, job.root) from None
    return Answer(block, sealed)


def _defined(job: BuildJob, files: Mapping[str, bytes]) -> dict[tuple[str, str], Scope]:
    scopes: dict[tuple[str, str], Scope] = {}
    for path in job.crds:
        try:
            scopes.update(defined_scopes(documents(files[path])))
        except DocumentInvalid:
            continue  # `crds:` may hold plain OpenAPI definitions, of which kustomize alone knows what to make
    return scopes


def _failure(job: BuildJob, files: Mapping[str, bytes], stderr: bytes, directory: str) -> FleetError:
    from fleet.render.locate import first_fault, places_of, secret_texts  # as below: a worker starts sooner

    hidden, too_large = secret_texts(files, job.secret_files)
    if too_large:
        return RenderFailed(
            "kustomize refuses it",
            where=too_large[0],
            why="what it says is hidden: this file is too large to be searched for values of Secrets",
            next_step="split the file",
        )
    hidden.update(job.secret_texts)
    error = error_of(stderr, directory=directory, root=job.root, secrets=hidden, facts=job.facts is not None)
    if job.uses_charts:
        return error  # templates of charts are no YAML to look for faults in
    if isinstance(error, DocumentInvalid):
        return first_fault(files) or error
    if isinstance(error, DuplicateObject):
        kind, _, name = error.what.partition(" is ")[0].partition(" ")
        places = places_of(files, kind, name.rpartition("/")[2])
        return _with_where(error, " and ".join(places[:2])) if len(places) > 1 else error
    return error


def _placed(error: RenderError, files: Mapping[str, bytes], root: str) -> RenderError:
    """An error about one object, with the file that holds it."""
    from fleet.render.locate import places_of

    try:
        ref = ObjectRef.from_key(error.where)
    except ValueError:
        return _named(error, root)
    places = places_of(files, ref.kind, ref.name)
    if not places:
        return _with_where(error, root or ".")
    shown = " and ".join(places[:2]) if isinstance(error, DuplicateObject) else places[0]
    if isinstance(error, NamespaceMissing):
        where = root or "."
        return NamespaceMissing(
            error.what, where=shown, why=f"{error.why}; built for {where}", next_step=error.next_step
        )
    return _with_where(error, shown)


def _named(error: RenderError, root: str) -> RenderError:
    return _with_where(error, f"{root or '.'}: {error.where}" if error.where else root or ".")


def _with_where(error: RenderError, where: str) -> RenderError:
    return type(error)(error.what, where=where, why=error.why, next_step=error.next_step)


def _read_frame() -> list[bytes] | None:
    head = _read(4)
    if head is None:
        return None
    lengths = _read(lengths_size(head))
    if lengths is None:
        return None
    parts: list[bytes] = []
    for length in lengths_of(lengths):
        part = _read(length)
        if part is None:
            return None
        parts.append(part)
    return parts


def _read(size: int) -> bytes | None:
    chunks: list[bytes] = []
    while size:
        chunk = os.read(_INPUT, min(size, 1 << 20))
        if not chunk:
            return None
        chunks.append(chunk)
        size -= len(chunk)
    return b"".join(chunks)


def _write(parts: Sequence[bytes]) -> None:
    view = memoryview(frame(parts))
    while view:
        view = view[os.write(_OUTPUT, view) :]


if __name__ == "__main__":
    sys.exit(main())
