"""Where in the repo a rendered object is written: the file and line of its document, unknown rather than wrong."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

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
        document that may define another object of the same result as well, or that is called as that one, is not it.
        """
        others = [other.name for other in result if other != ref and (other.group, other.kind) == (ref.group, ref.kind)]
        found = [
            written
            for path in files
            for written in self._documents(path)
            if (written.kind, written.api_version) == (ref.kind, api_version) and written.name in ref.name
        ]
        longest = max((len(written.name) for written in found), default=0)
        best = [written for written in found if len(written.name) == longest]
        return best[0].origin if len(best) == 1 and not _is_of_others(best[0].name, ref.name, others) else None

    def _documents(self, path: str) -> list[Written]:
        if path not in self._known:
            self._known[path] = list(self._read(path)) if path.endswith(_ENDINGS) else []
        return self._known[path]

    def _read(self, path: str) -> Iterator[Written]:
        try:
            for node in nodes_of(self._snapshot.read(path)):
                name = _text(_under(_under(node, "metadata"), "name"))
                kind, api_version = _under(node, "kind"), _under(node, "apiVersion")
                if name and kind is not None and api_version is not None:
                    line = api_version.start_mark.line + 1
                    yield Written(_text(api_version), _text(kind), name, Origin(path, line))
        except (DocumentInvalid, KeyError):
            return


def _is_of_others(written: str, name: str, others: Iterable[str]) -> bool:
    """Whether a document of this name may define another object than the one that is looked for."""
    return any(written == other or (written != name and written in other) for other in others)


def _under(node: Node | None, name: str) -> Node | None:
    if not isinstance(node, MappingNode):
        return None
    return next((value for key, value in node.value if isinstance(key, ScalarNode) and key.value == name), None)


def _text(node: Node | None) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else ""
