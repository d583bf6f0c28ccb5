"""Where in the repo a rendered object is written: the file and line of its document, unknown rather than wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from yaml.nodes import MappingNode, Node, ScalarNode

from fleet.core.ids import ObjectRef
from fleet.core.problems import Origin
from fleet.errors import DocumentInvalid
from fleet.ports.source import Snapshot
from fleet.render.parse import nodes_of
from fleet.values import dataclass

_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True, slots=True)
class Written:
    """One document of a file, as far as it says what it is."""

    api_version: str
    kind: str
    namespace: str
    name: str
    origin: Origin


class Places:
    """Documents of a commit's files, each file read once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._known: dict[str, list[Written]] = {}

    def of(
        self, ref: ObjectRef, api_version: str, files: Iterable[str], result: Collection[ObjectRef]
    ) -> Origin | None:
        """The one document among these files that defines an object; None where none or several may.

        A name that kustomize gave a prefix or suffix is found by the longest part of it that a document is called. A
        document that may define another object of the same result as well is not it.
        """
        objects = {ref, *(other for other in result if (other.group, other.kind) == (ref.group, ref.kind))}
        documents = [
            written
            for path in files
            for written in self._documents(path)
            if (written.kind, written.api_version) == (ref.kind, api_version)
        ]
        return next((found for own, found in _origins(documents, objects) if own == ref), None)

    def _documents(self, path: str) -> list[Written]:
        if path not in self._known:
            self._known[path] = list(self._read(path)) if path.endswith(_ENDINGS) else []
        return self._known[path]

    def _read(self, path: str) -> Iterator[Written]:
        try:
            for node in nodes_of(self._snapshot.read(path)):
                metadata = _under(node, "metadata")
                namespace, name = _text(_under(metadata, "namespace")), _text(_under(metadata, "name"))
                kind, api_version = _under(node, "kind"), _under(node, "apiVersion")
                if name and kind is not None and api_version is not None:
                    line = api_version.start_mark.line + 1
                    yield Written(_text(api_version), _text(kind), namespace, name, Origin(path, line))
        except (DocumentInvalid, KeyError):
            return


def _origins(documents: Sequence[Written], objects: Collection[ObjectRef]) -> Iterator[tuple[ObjectRef, Origin]]:
    """Objects that one document defines and no other. Those with long names choose first, and what they may define is
    left to no shorter one."""
    left = {*objects}
    for length in sorted({len(written.name) for written in documents}, reverse=True):
        taken = [
            (written, found)
            for written in documents
            if len(written.name) == length and (found := _may_define(written, left))
        ]
        left -= {ref for _, found in taken for ref in found}
        sure = [(found[0], written.origin) for written, found in taken if len(found) == 1]
        asked = Counter(ref for _, found in taken for ref in found)
        yield from ((ref, origin) for ref, origin in sure if asked[ref] == 1)


def _may_define(written: Written, objects: Iterable[ObjectRef]) -> list[ObjectRef]:
    """Those called like it, else those with its name in theirs; of several those in its namespace, where any are."""
    found = [ref for ref in objects if written.name in ref.name]
    found = [ref for ref in found if written.name == ref.name] or found
    return [ref for ref in found if written.namespace == ref.namespace] or found


def _under(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for key, value in node.value if isinstance(key, ScalarNode) and key.value == name), None)


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else ""
