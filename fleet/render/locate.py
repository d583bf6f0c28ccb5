"""Where in the files of a build an object is written: asked only when something is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleet.core.documents import Json, documents_at, text_at
from fleet.core.problems import Origin
from fleet.errors import DocumentInvalid
from fleet.render.parse import DOCUMENT_NODES, Allowance, nodes_of, value_of

_YAML = (".yaml", ".yml", ".json")


def places_of(files: Mapping[str, bytes], kind: str, name: str) -> list[str]:
    """`path:line` of each document of this kind and name, or else of those whose name is a part of it."""
    exact: list[str] = []
    alike: list[str] = []
    for path, value, line in _documents(files):
        for document in (value, *documents_at(value, "items")):
            written = text_at(document, "metadata", "name")
            if text_at(document, "kind") != kind or not written:
                continue
            if written == name:
                exact.append(str(Origin(path, line)))
            elif written in name:
                alike.append(str(Origin(path, line)))
    return exact or alike


def first_fault(files: Mapping[str, bytes]) -> DocumentInvalid | None:
    """The first YAML file that breaks a rule which kustomize reports without a file name."""
    for path, raw in sorted(files.items()):
        if not path.endswith(_YAML):
            continue
        allowance = Allowance(DOCUMENT_NODES)
        try:
            for node in nodes_of(raw, allowance=allowance, anew=True):
                value_of(node)
        except DocumentInvalid as error:
            if allowance.is_exceeded():
                continue  # kustomize has its own limits, and may have read it
            line = error.where.removeprefix("line ").partition(",")[0]
            where = f"{path}:{line}" if line.isdigit() else path
            return DocumentInvalid(error.what, where=where, why=error.why, next_step=error.next_step)
    return None


def secret_texts(files: Mapping[str, bytes], sources: Iterable[str]) -> tuple[set[str], Sequence[str]]:
    """Texts that must not appear in any message: contents of Secrets and of the files that make them.

    Also which files are too large to be looked through: what any of them says must not appear either.
    """
    texts: set[str] = set()
    too_large: list[str] = []
    for path in sources:
        raw = files.get(path, b"").decode(errors="replace")
        texts.update(part for line in raw.splitlines() for part in (line, line.partition("=")[2]))
        texts.add(raw)
    for _, value, _ in _documents(files, too_large):
        if text_at(value, "kind") == "Secret" and isinstance(value, dict):
            for part in ("data", "stringData"):
                texts.update(_texts(value.get(part)))
    return {text for text in texts if len(text) > 3}, [path for path in too_large if b"Secret" in files[path]]


def _texts(value: Json) -> list[str]:
    found = [item for item in value.values() if isinstance(item, str)] if isinstance(value, dict) else []
    return [line for text in found for line in (text, *text.splitlines())]


def _documents(files: Mapping[str, bytes], too_large: list[str] | None = None) -> Iterable[tuple[str, Json, int]]:
    """too_large: gets the files in which one has more nodes than may be in memory; its file is not read further."""
    for path, raw in sorted(files.items()):
        if not path.endswith(_YAML):
            continue
        allowance = Allowance(DOCUMENT_NODES)
        try:
            for node in nodes_of(raw, allowance=allowance, anew=True):
                yield path, value_of(node), node.start_mark.line + 1
        except DocumentInvalid:
            if allowance.is_exceeded() and too_large is not None:
                too_large.append(path)
