"""One file of the inventory to what it defines: clusters, one overlay, or the fleet's settings.

Other documents are skipped and counted; near misses of our group or kind are errors. A document that breaks the
schema makes Unknown what it names; a file that is no YAML, or no file, makes Unknown all that it named before (R5).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from pydantic import ValidationError

from fleet.core.documents import Document, Json, text_at
from fleet.core.fleet import Cluster
from fleet.core.ids import ClusterName, OverlayName, is_dns_label, is_dns_subdomain
from fleet.core.nearest import hint, nearest
from fleet.core.problems import Origin, Problem, Severity
from fleet.inventory import schema
from fleet.inventory.complaints import problems_of
from fleet.inventory.content import NoContent
from fleet.inventory.convert import Draft, FleetSettings, Written, cluster_of, draft_of, settings_of
from fleet.inventory.yamlfile import YamlDocument, YamlRefused, read_documents
from fleet.values import dataclass, field

_KEPT = "what it was meant to define stays as it was; nothing is deleted"
FileKind = TypeVar("FileKind", schema.FleetFile, schema.ClusterFile, schema.OverlayFile)


@dataclass(frozen=True, slots=True)
class ClusterFileResult:
    """What one file below clusters/ defines. `nameless`: a problem because of which it may define more than this."""

    clusters: tuple[Cluster, ...] = ()
    unknown: Mapping[ClusterName, Problem] = field(default_factory=dict[ClusterName, Problem])
    problems: tuple[Problem, ...] = ()
    skipped: int = 0
    nameless: Problem | None = None

    @property
    def names(self) -> frozenset[ClusterName]:
        """All clusters that this file is known to define."""
        return frozenset(cluster.name for cluster in self.clusters) | self.unknown.keys()


@dataclass(frozen=True, slots=True)
class OverlayFileResult:
    """What an overlay.yaml says. `draft` None with no `problem`: no Overlay in it, the directory decides alone.

    `nameless`: with the problem, it is not known whether it gives the overlay another name than its directory.
    """

    draft: Draft | None = None
    name: OverlayName | None = None  # as far as it could be read
    problem: Problem | None = None
    problems: tuple[Problem, ...] = ()
    skipped: int = 0
    nameless: bool = False


@dataclass(frozen=True, slots=True)
class FleetFileResult:
    """What fleet.yaml says; None where it cannot be used."""

    settings: FleetSettings | None
    problems: tuple[Problem, ...] = ()
    skipped: int = 0


def read_cluster_file(path: str, content: bytes | NoContent) -> ClusterFileResult:
    """Read a file with Cluster documents. Never raises."""
    clusters: list[Cluster] = []
    unknown: dict[ClusterName, Problem] = {}
    problems: list[Problem] = []
    nameless: Problem | None = None
    skipped = 0
    try:
        for document in _documents(content):
            if document.value is None:
                continue
            written = Written(path, document.spot)
            verdict = _verdict(written, document.value, "Cluster")
            if verdict is None:
                skipped += 1
                continue
            if isinstance(verdict, Problem):
                found = (verdict,)
            else:
                parsed = _validated(written, verdict, schema.ClusterFile, _subject("Cluster", verdict))
                if isinstance(parsed, schema.ClusterFile):
                    clusters.append(cluster_of(written, parsed))
                    continue
                found = parsed
            problems.extend(found)
            name = text_at(document.value, "metadata", "name") if isinstance(document.value, dict) else ""
            if is_dns_label(name):
                unknown[ClusterName(name)] = found[0]
            else:
                nameless = nameless or found[0]
    except YamlRefused as refused:
        broken = _broken(path, refused, "the clusters that it defines stay as they were; nothing is deleted")
        names = {*(cluster.name for cluster in clusters), *unknown}
        return ClusterFileResult(
            unknown=dict.fromkeys(names, broken), problems=(*problems, broken), skipped=skipped, nameless=broken
        )
    return ClusterFileResult(tuple(clusters), unknown, tuple(problems), skipped, nameless)


def read_overlay_file(path: str, content: bytes | NoContent) -> OverlayFileResult:
    """Read an overlay.yaml. Never raises."""
    draft: Draft | None = None
    skipped = 0
    try:
        for document in _documents(content):
            if document.value is None:
                continue
            written = Written(path, document.spot)
            verdict = _verdict(written, document.value, "Overlay")
            if verdict is None:
                skipped += 1
                continue
            if isinstance(verdict, Problem):
                return _refused_overlay(document.value, (verdict,), skipped)
            if draft is not None:
                second = _problem(
                    "DuplicateName",
                    "two Overlay documents in one overlay.yaml",
                    written.origin(),
                    why="a directory holds one overlay",
                    next_step="give the second its own directory",
                )
                return _refused_overlay(document.value, (second,), skipped)
            parsed = _validated(written, verdict, schema.OverlayFile, _subject("Overlay", verdict))
            if not isinstance(parsed, schema.OverlayFile):
                return _refused_overlay(document.value, parsed, skipped)
            draft = draft_of(written, parsed)
    except YamlRefused as refused:
        broken = _broken(path, refused, "the overlay stays as it was on its clusters; nothing is deleted")
        return OverlayFileResult(problem=broken, problems=(broken,), skipped=skipped, nameless=True)
    return OverlayFileResult(draft, draft.overlay.name or None if draft else None, skipped=skipped)


def _refused_overlay(value: Json, problems: tuple[Problem, ...], skipped: int) -> OverlayFileResult:
    name = text_at(value, "metadata", "name") if isinstance(value, dict) else ""
    return OverlayFileResult(
        name=OverlayName(name) if is_dns_subdomain(name) else None,
        problem=problems[0],
        problems=problems,
        skipped=skipped,
        nameless=not isinstance(value, dict) or (bool(name) and not is_dns_subdomain(name)),
    )


def read_fleet_file(path: str, content: bytes | NoContent) -> FleetFileResult:
    """Read fleet.yaml. Never raises; without usable settings everything is Unknown."""
    settings: FleetSettings | None = None
    skipped = 0
    effect = "the whole fleet stays as it was; nothing is deleted"
    try:
        for document in _documents(content):
            if document.value is None:
                continue
            written = Written(path, document.spot)
            verdict = _verdict(written, document.value, "Fleet")
            if verdict is None:
                skipped += 1
                continue
            if isinstance(verdict, Problem):
                return FleetFileResult(None, (verdict,), skipped)
            if settings is not None:
                why = "rights and defaults are said once"
                twice = _problem("DuplicateName", "two Fleet documents in fleet.yaml", written.origin(), why=why)
                return FleetFileResult(None, (twice,), skipped)
            parsed = _validated(written, verdict, schema.FleetFile, "Fleet", effect)
            if not isinstance(parsed, schema.FleetFile):
                return FleetFileResult(None, parsed, skipped)
            settings = settings_of(written, parsed)
    except YamlRefused as refused:
        return FleetFileResult(None, (_broken(path, refused, effect),), skipped)
    if settings is None:
        missing = _problem(
            "FieldInvalid",
            "fleet.yaml holds no Fleet document",
            Origin(path, 1),
            why=f"it starts with apiVersion: {schema.API_VERSION} and kind: Fleet",
            effect=effect,
            next_step="add them, or remove the file to run with the defaults",
        )
        return FleetFileResult(None, (missing,), skipped)
    return FleetFileResult(settings, (), skipped)


def _documents(content: bytes | NoContent) -> Iterator[YamlDocument]:
    if isinstance(content, NoContent):
        raise YamlRefused(content.what, 0, next_step=content.next_step)
    yield from read_documents(content)


def _verdict(written: Written, value: Json, wanted: str) -> Document | Problem | None:
    """The document if it is of the wanted kind, a problem if it is a near miss, None if it is somebody else's."""
    if isinstance(value, list):
        return _verdict_on_list(written, value, wanted)
    if not isinstance(value, dict):
        what = f"{written.path} holds a plain value where documents are expected"
        step = f"correct line {written.spot.line}, then: fleet validate"
        return _problem("FileInvalid", what, written.origin(), effect=_KEPT, next_step=step)
    api_version, kind = value.get("apiVersion"), value.get("kind")
    group, _, version = api_version.rpartition("/") if isinstance(api_version, str) else ("", "", "")
    if group == schema.GROUP:
        return _verdict_on_ours(written, value, version, kind, wanted)
    if not api_version and (not kind or not isinstance(kind, str)) and "spec" in value:
        # Nobody else's document has a spec without a kind: read as "nothing here", it would let go of its clusters.
        what = "a document with neither apiVersion nor kind"
        return _near_miss(written, what, f"apiVersion: {schema.API_VERSION}, kind: {wanted}", "spec", "spec")
    if isinstance(kind, str) and kind in schema.KINDS and not api_version:
        return _near_miss(written, f"{kind} without apiVersion", f"apiVersion: {schema.API_VERSION}", "kind", kind)
    if group and nearest(group, [schema.GROUP]) and len(group) < 2 * len(schema.GROUP) and _close(group):
        what = f"group {group} is not ours"
        return _near_miss(written, what, f"apiVersion: {schema.API_VERSION}", "apiVersion", str(api_version))
    if isinstance(api_version, str) and api_version in (schema.GROUP, f"{schema.GROUP}{schema.VERSION}"):
        what = f"apiVersion {api_version} has no version"
        return _near_miss(written, what, f"apiVersion: {schema.API_VERSION}", "apiVersion", api_version)
    return None


def _verdict_on_list(written: Written, values: list[Json], wanted: str) -> Problem | None:
    """A list of patches or values is somebody else's; one with a document of ours in it is not."""
    if all(not isinstance(value, dict | list) or _verdict(written, value, wanted) is None for value in values):
        return None
    what = f"{written.path} holds a list with documents in it"
    step = "separate them with a line of ---, then: fleet validate"
    return _problem("FileInvalid", what, written.origin(), effect=_KEPT, next_step=step)


def _close(group: str) -> bool:
    """Closer than two honest groups are to one another: `fleet.internl`, not `fleet.cattle.io`."""
    plain = group.lower()
    return plain.startswith("fleet.int") or plain.endswith(".internal") or plain.replace("-", ".") == schema.GROUP


def _verdict_on_ours(
    written: Written, value: Document, version: str, kind: Json, wanted: str
) -> Document | Problem | None:
    if version != schema.VERSION:
        what = f"version {version or 'none'} of {schema.GROUP} is not known"
        return _near_miss(
            written, what, f"did you mean {schema.API_VERSION}?", "apiVersion", f"{schema.GROUP}/{version}"
        )
    if kind == wanted:
        return value
    if isinstance(kind, str) and kind in schema.KINDS:
        place = {"Fleet": "in fleet.yaml at the root", "Overlay": "in overlay.yaml in the overlay's directory"}
        label = f"a {kind} belongs {place.get(kind, 'below clusters/')}"
        return _near_miss(written, f"kind {kind} in the wrong file", label, "kind", str(kind))
    if kind is None:
        return _near_miss(written, "a document of ours without kind", f"add kind: {wanted}", "apiVersion", "")
    label = hint(str(kind), schema.KINDS, otherwise=f"known here: {', '.join(schema.KINDS)}")
    return _near_miss(written, f"kind {kind} is not known", label, "kind", str(kind))


def _near_miss(written: Written, what: str, label: str, field_name: str, text: str) -> Problem:
    spot = written.spot.at((field_name,))
    return Problem(
        severity=Severity.ERROR,
        reason="FieldInvalid",
        what=what,
        origin=Origin(written.path, spot.line),
        effect=_KEPT,
        next_step=f"correct line {spot.line}, then: fleet validate",
        column=spot.column,
        length=len(text),
        label=label,
    )


def _validated(
    written: Written,
    value: Document,
    model: type[FileKind],
    subject: str,
    effect: str = "it stays as it was; nothing is deleted",
) -> FileKind | tuple[Problem, ...]:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        return problems_of(error, subject=subject, model=model, path=written.path, spot=written.spot, effect=effect)


def _subject(kind: str, value: Document) -> str:
    name = text_at(value, "metadata", "name")
    return f"{kind} {name[:63]}" if name else kind


def _broken(path: str, refused: YamlRefused, effect: str) -> Problem:
    return Problem(
        severity=Severity.ERROR,
        reason="FileInvalid",
        what=f"{path} cannot be read: {refused.what}",
        origin=Origin(path, refused.line),
        effect=effect,
        next_step=f"{refused.next_step}, then: fleet validate",
        column=refused.column,
        length=1 if refused.column else 0,
        label=refused.what if refused.column else "",
    )


def _problem(
    reason: str, what: str, origin: Origin, *, why: str = "", effect: str = "", next_step: str = ""
) -> Problem:
    return Problem(Severity.ERROR, reason, what, origin, why=why, effect=effect, next_step=next_step)
