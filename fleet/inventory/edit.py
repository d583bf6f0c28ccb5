"""`images:` of a kustomization, read with their lines and edited in place: no other byte of the file changes.

Edits are made at the positions of YAML nodes, and the result is read again: unless it says exactly what was meant, the
edit is refused. What cannot be edited at a position (flow style, anchors, aliases, tags, text over several lines) is
refused with its line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import NoReturn, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.tokens import AliasToken, AnchorToken, TagToken, Token

from fleet.core.documents import Json
from fleet.core.promotion import FIELDS, ImageEntry, Move
from fleet.errors import PromotionRefused
from fleet.values import dataclass, field

LIMIT_BYTES = 256 << 10
NODE_LIMIT = 50_000
_STRING = "tag:yaml.org,2002:str"
_NO_TEXT = frozenset(f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null"))
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+:-]*[A-Za-z0-9]\Z|[A-Za-z]\Z")
# What one reader of YAML or another takes for a number or a time.
_NUMBER = re.compile(
    r"[0-9][0-9_.:-]*\Z|[0-9]{4}-[0-9]{2}-[0-9]{2}.*|0[xXoObB][0-9a-fA-F_]*\Z|[0-9][0-9_.]*[eE][-+]?[0-9]+\Z"
)
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "infinity"))
_PRINTABLE = re.compile(r"[ -~]+\Z")
_DASH = re.compile(r"( *)-( +)\Z")
_VERSION = re.compile(r"[0-9]+(\.[0-9]+){2,}\Z")  # three numbers and more are no number


@dataclass(slots=True)
class Kustomization:
    """One file. `path`: for messages."""

    path: str
    text: str
    root: MappingNode
    entries: tuple[ImageEntry, ...]
    _fields: Json
    _items: Mapping[str, MappingNode]
    _images: tuple[ScalarNode, Node] | None
    _edits: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])

    @property
    def fields(self) -> dict[str, Json]:
        """Its top-level fields as written, to compare them with another's."""
        return deepcopy(cast("dict[str, Json]", self._fields))

    def edited(self, moves: Sequence[Move]) -> bytes:
        """The file with these moves; raises PromotionRefused with the line that cannot be edited."""
        if not moves:
            return self.text.encode()
        wanted = self._wanted(moves)
        self._edits = []
        self._check_form()
        added: list[str] = []
        for move in moves:
            item = self._items.get(move.name)
            if item is None:
                added.append(move.name)
            else:
                self._change(item, move)
        if added:
            self._append([move for move in moves if move.name in added])
        text = self._applied()
        try:
            (root,) = yaml.compose_all(text, Loader=yaml.SafeLoader)
            is_meant = _plain(root) == wanted
        except (yaml.YAMLError, ValueError):
            is_meant = False
        if not is_meant:
            self._refuse(self._images[0] if self._images else self.root, "an edit here would not say what is meant")
        return text.encode()

    def _wanted(self, moves: Sequence[Move]) -> Json:
        """What the file shall say, computed on values alone."""
        document = self.fields
        images = cast("list[dict[str, Json]]", document.setdefault("images", []) or [])
        for move in moves:
            found = next((item for item in images if item.get("name") == f"{_STRING} {move.name}"), None)
            if found is None:
                found = dict[str, Json](name=f"{_STRING} {move.name}")
                images.append(found)
            for name in FIELDS:
                value = move.after.get(name)
                if value is None:
                    found.pop(name, None)
                elif str(found.get(name, "")).partition(" ")[2] != value:
                    found[name] = f"{_STRING} {value}"
        document["images"] = cast("Json", images)
        return document

    def _check_form(self) -> None:
        if self.root.flow_style or self.root.start_mark.column:
            self._refuse(self.root, "it is written in flow style, or indented")
        if self._images is None:
            return
        key, value = self._images
        if not isinstance(value, SequenceNode) or value.flow_style or not value.value:
            self._refuse(key, "images is no list with an entry on lines of its own")
        if value.start_mark.index < key.start_mark.index:
            self._refuse(key, "images is an alias of what stands elsewhere")
        end = value.end_mark.index
        for token in yaml.scan(self.text, Loader=yaml.SafeLoader):
            inside = key.start_mark.index <= token.start_mark.index < end
            if inside and isinstance(token, AnchorToken | AliasToken | TagToken):
                self._refuse(token, "an anchor, an alias or a tag stands in images")

    def _change(self, item: MappingNode, move: Move) -> None:
        pairs = {str(key.value): (key, value) for key, value in item.value}
        if item.flow_style:
            self._refuse(item, "the entry is written in flow style")
        for key, value in pairs.values():
            if value.start_mark.line != value.end_mark.line:  # a block scalar ends on a later one too
                self._refuse(key, "the field goes over several lines")
        for name in FIELDS:
            if name in pairs and name not in move.after:
                self._remove(*pairs[name])
            elif name in pairs and pairs[name][1].value != move.after[name]:
                value = cast("ScalarNode", pairs[name][1])
                written = self._written(value, move.after[name], str(value.style or ""))
                self._edits.append((value.start_mark.index, value.end_mark.index, written))
        new = [name for name in FIELDS if name in move.after and name not in pairs]
        indent = " " * item.start_mark.column
        lines = [f"{indent}{name}: {self._written(item, move.after[name], '')}" for name in new]
        self._insert(item.value[-1][1], lines)

    def _remove(self, key: ScalarNode, value: ScalarNode) -> None:
        start = self.text.rfind("\n", 0, key.start_mark.index) + 1
        if self.text[start : key.start_mark.index].strip(" "):
            self._refuse(key, f"{key.value} would go, and shares its line with the dash of the entry")
        self._edits.append((start, self._line_end(value.end_mark.index), ""))

    def _append(self, moves: Sequence[Move]) -> None:
        dash, spaces, last = "", " ", None
        lines: list[str] = []
        if self._images is None:
            lines.append("images:")
        else:
            items = cast("SequenceNode", self._images[1]).value
            start = items[0].start_mark.index
            found = _DASH.match(self.text[self.text.rfind("\n", 0, start) + 1 : start])
            if found is None:
                self._refuse(items[0], "the entry does not stand behind its dash")
            dash, spaces, last = found[1], found[2], items[-1]
        for move in moves:
            at = self.root if last is None else last
            values = {"name": move.name, **move.after}
            texts = [f"{name}: {self._written(at, value, '')}" for name, value in values.items()]
            lines.append(f"{dash}-{spaces}{texts[0]}")
            lines += [f"{dash} {' ' * len(spaces)}{text}" for text in texts[1:]]
        if last is not None and not last.flow_style:
            last = last.value[-1][1]
        self._insert(last, lines)

    def _insert(self, after: Node | None, lines: Sequence[str]) -> None:
        """Put lines behind the line that a node ends on; None: at the end of the file."""
        if not lines:
            return
        place = len(self.text) if after is None else self._line_end(after.end_mark.index)
        ending = "\r\n" if "\r\n" in self.text else "\n"
        block = "".join(line + ending for line in lines)
        if self.text[:place].endswith("\n"):
            self._edits.append((place, place, block))
        else:
            self._edits.append((place, place, ending + block[: -len(ending)]))

    def _line_end(self, index: int) -> int:
        found = self.text.find("\n", index)
        return len(self.text) if found < 0 else found + 1

    def _applied(self) -> str:
        parts: list[str] = []
        at = 0
        for start, end, written in sorted(self._edits, key=lambda edit: edit[0]):
            parts += [self.text[at:start], written]
            at = end
        return "".join([*parts, self.text[at:]])

    def _written(self, where: Node, value: str, style: str) -> str:
        """A value as YAML text, plain only where every reader takes it for text."""
        if not _PRINTABLE.match(value):
            self._refuse(where, "a value to be written here is no image, tag or digest")
        if style == "'" and "'" not in value:
            return f"'{value}'"
        is_number = _NUMBER.match(value) is not None and not _VERSION.match(value)
        if style == '"' or is_number or value.lower() in _WORDS or not _PLAIN.match(value):
            return json.dumps(value)
        return value

    def _refuse(self, at: Node | Token, why: str) -> NoReturn:
        raise _refusal(self.path, at.start_mark.line + 1, why)


def _refusal(path: str, line: int, why: str) -> PromotionRefused:
    return PromotionRefused(
        "this kustomization cannot be edited safely",
        where=f"{path}:{line}",
        why=why,
        next_step="write each image as lines of its own (- name:, newTag:), commit, and promote again",
    )


def read_kustomization(raw: bytes, path: str) -> Kustomization:
    """Read one; raises PromotionRefused where its images cannot be told for sure."""
    try:
        if len(raw) > LIMIT_BYTES:
            raise _refusal(path, 1, f"it has {len(raw)} bytes, the limit is {LIMIT_BYTES}")
        text = raw.decode()
        roots = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except UnicodeDecodeError as error:
        raise _refusal(path, raw[: error.start].count(b"\n") + 1, "it is not UTF-8 text") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise _refusal(path, mark.line + 1 if mark else 1, "it is no YAML") from error
    except RecursionError as error:
        raise _refusal(path, 1, "it is nested too deeply") from error
    if len(roots) != 1 or not isinstance(root := roots[0], MappingNode):
        raise _refusal(path, 1, "it is not one mapping")
    try:
        values = _plain(root)
    except (ValueError, RecursionError) as error:
        raise _refusal(path, 1, "its aliases multiply, or contain themselves") from error
    fields = _fields_of(root, path)
    images = fields.get("images")
    items = _items_of(images[1], path) if images is not None else []
    entries: dict[str, ImageEntry] = {}
    for item in items:
        entry = _entry_of(item, path)
        if entry.name in entries:
            first = entries[entry.name].line
            raise _refusal(path, entry.line, f"image {entry.name} is here twice, first in line {first}")
        entries[entry.name] = entry
    named = {entry.name: item for entry, item in zip(entries.values(), items, strict=True)}
    return Kustomization(path, text, root, tuple(entries.values()), values, named, images)


def _fields_of(node: MappingNode, path: str) -> dict[str, tuple[ScalarNode, Node]]:
    found: dict[str, tuple[ScalarNode, Node]] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, ScalarNode) or key.value == "<<":
            raise _refusal(path, line, "a merge key, or a key that is no text")
        if key.value in found:
            raise _refusal(path, line, f"key {key.value} is here twice")
        found[str(key.value)] = (key, value)
    return found


def _items_of(images: Node, path: str) -> list[MappingNode]:
    if isinstance(images, ScalarNode) and not images.value:
        return []
    line = images.start_mark.line + 1
    if not isinstance(images, SequenceNode):
        raise _refusal(path, line, "images is no list")
    items = [item for item in images.value if isinstance(item, MappingNode)]
    if len(items) < len(images.value):
        raise _refusal(path, line, "an entry of images is no mapping")
    return items


def _entry_of(item: MappingNode, path: str) -> ImageEntry:
    line, texts = item.start_mark.line + 1, dict[str, str]()
    for name, (key, value) in _fields_of(item, path).items():
        if not isinstance(value, ScalarNode) or value.tag in _NO_TEXT:
            raise _refusal(path, key.start_mark.line + 1, f"{name} is no text; quote it")
        texts[name] = str(value.value)
    if not (name := texts.pop("name", "")):
        raise _refusal(path, line, "an entry of images has no name")
    # An empty value is none to kustomize.
    values = {name: texts[name] for name in FIELDS if texts.get(name)}
    return ImageEntry(name, values, line, {key: text for key, text in texts.items() if key not in values})


def _plain(node: Node, left: list[int] | None = None) -> Json:
    """A node as JSON, each scalar with its tag, so that `1` and `"1"` differ; keys as they are written.

    left: how many values it may have still, those reached through aliases counted each time; raises ValueError.
    """
    left = [NODE_LIMIT] if left is None else left
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {NODE_LIMIT} values, aliases counted in full")
    if isinstance(node, MappingNode):
        return {str(key.value): _plain(value, left) for key, value in node.value}
    if isinstance(node, SequenceNode):
        return [_plain(item, left) for item in node.value]
    return f"{node.tag} {node.value}"
