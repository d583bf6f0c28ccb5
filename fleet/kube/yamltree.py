"""A YAML document as nodes that remember their line, so that a refusal can name it.

Scalars stay the text that is written (a token of digits is no number, a user called "no" no boolean); only an
explicit null is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import yaml

from fleet.values import dataclass

_MOST_BYTES = 1 << 20
_MOST_NODES = 50_000
_MOST_DEPTH = 50
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Value: TypeAlias = "None | str | list[Node] | dict[str, Node]"


@dataclass(frozen=True, slots=True)
class Node:
    """A value, the file it is in, and its line (from 1)."""

    value: Value
    file: str
    line: int
    tag: str = ""  # what YAML would make of the text: "bool", "int", "float", else ""

    @property
    def where(self) -> str:
        """`file:line`."""
        return f"{self.file}:{self.line}"

    @property
    def fields(self) -> Mapping[str, Node]:
        """The entries of a mapping; none where it is something else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items of a list; none where it is something else."""
        return self.value if isinstance(self.value, list) else []

    def text(self, name: str) -> str:
        """The text of a field; "" where it is absent or no scalar."""
        found = self.fields.get(name)
        return found.value if found is not None and isinstance(found.value, str) else ""

    def flag(self, name: str) -> bool:
        """A boolean field; absent is false."""
        return self.text(name).lower() in ("true", "yes", "on", "y")

    def plain(self) -> object:
        """The value without lines, for handing on (an exec plugin's `config`)."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        if self.value is not None and self.tag:
            return yaml.safe_load(self.value)
        return self.value


def read_yaml(raw: bytes, file: str) -> Node:
    """Parse one document; raises ValueError with a line in its text, never with the content (it may be secret)."""
    if len(raw) > _MOST_BYTES:
        raise ValueError(f"larger than {_MOST_BYTES >> 20} MiB")
    try:
        tree = yaml.compose(raw.decode("utf-8"), Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"line {line}: {error.problem or 'no YAML'}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ValueError("no YAML text") from None
    if tree is None:
        raise ValueError("the file is empty")
    return _Reader(file).read(tree)


class _Reader:
    def __init__(self, file: str) -> None:
        self._file, self._left = file, _MOST_NODES

    def read(self, tree: yaml.Node, depth: int = 0, named_at: yaml.Node | None = None) -> Node:
        self._left -= 1  # aliases are read again at each use, so this bounds their growth too
        if self._left < 0 or depth > _MOST_DEPTH:
            raise ValueError(f"more than {_MOST_NODES} values, or deeper than {_MOST_DEPTH}")
        kind = tree.tag.removeprefix("tag:yaml.org,2002:")
        tag = kind if kind in ("bool", "int", "float") else ""
        line = (named_at or tree).start_mark.line + 1  # of its name, where it has one
        return Node(self._value(tree, depth), self._file, line, tag)

    def _value(self, tree: yaml.Node, depth: int) -> Value:
        if isinstance(tree, yaml.MappingNode):
            fields: dict[str, Node] = {}
            for key, value in tree.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise ValueError(f"line {key.start_mark.line + 1}: a key that is no text")
                name = key.value
                if name in fields:
                    raise ValueError(f"line {key.start_mark.line + 1}: {name} is there twice")
                fields[name] = self.read(value, depth + 1, key)
            return fields
        if isinstance(tree, yaml.SequenceNode):
            return [self.read(item, depth + 1) for item in tree.value]
        return None if tree.tag == "tag:yaml.org,2002:null" else str(tree.value)
