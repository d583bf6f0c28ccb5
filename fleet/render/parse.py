"""YAML as kustomize writes and reads it, to JSON documents.

PyYAML's own resolvers disagree with kustomize (YAML 1.1 dates, octals, `=`, `<<`), so only its C parser is used and
plain scalars are resolved here by the rules of the Go parser that kustomize uses (go.yaml.in/yaml/v2, resolve.go).
A stream is parsed as a whole: splitting it at `---` loses the last newline of a block scalar.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, NoReturn

import yaml
from yaml import CSafeLoader
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.core.documents import Document, Json
from fleet.errors import DocumentInvalid
from fleet.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

NESTING_LIMIT = 100
DOCUMENT_NODES = 1_000_000  # of one document: 300 MiB, and twice what the largest object that is taken can have
NODE_LIMIT = 4_000_000  # visits, so that an alias counts each time it is used
_PLAIN = "?"
_STR = "tag:yaml.org,2002:str"
_KNOWN_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))
_WORDS: dict[str, Json] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
}
_NOT_JSON = frozenset(sign + word for sign in ("", "+", "-") for word in (".inf", ".Inf", ".INF")) | {
    ".nan",
    ".NaN",
    ".NAN",
}
_STARTS = frozenset("+-.0123456789yYnNtTfFoO~")
_MOST_DIGITS = 70  # 64 bits have 64 of them at most; int() itself refuses some thousands
_FLOAT = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?\Z")  # one way to match: else it backtracks
_INTEGERS = (
    (re.compile(r"[-+]?0[xX][0-9a-fA-F]+\Z"), 16),
    (re.compile(r"[-+]?0[bB][01]+\Z"), 2),
    (re.compile(r"[-+]?0[oO]?[0-7]+\Z"), 8),
    (re.compile(r"[-+]?(0|[1-9][0-9]*)\Z"), 10),
)


class _Parser(CSafeLoader):
    """The C parser without PyYAML's resolvers: the tag says only what kind of node it is, or what was written."""

    def resolve(self, kind: type[Node], value: object, implicit: object) -> str:
        return _PLAIN if isinstance(implicit, tuple) and implicit[0] else _STR

    def descend_resolver(self, current_node: object, current_index: object) -> None:
        """Nothing to follow: there are no path resolvers."""

    def ascend_resolver(self) -> None:
        """Nothing to follow."""


class _CountingParser(_Parser):
    """Stops at a number of nodes, before the rest is made."""

    def __init__(self, raw: bytes, allowance: Allowance) -> None:
        super().__init__(raw)
        self._allowance = allowance

    def resolve(self, kind: type[Node], value: object, implicit: object) -> str:
        allowance = self._allowance
        allowance.used += 1
        if allowance.used > allowance.limit:  # not by a call: this is done for each node
            allowance.refuse()
        return super().resolve(kind, value, implicit)


@dataclass(slots=True)
class Allowance:
    """How many nodes may be made, perhaps of several texts together."""

    limit: int
    used: int = 0

    def refuse(self) -> NoReturn:
        """Raises DocumentInvalid."""
        raise DocumentInvalid(
            "a document breaks the limits on YAML", why=f"more than {self.limit} values", next_step="split the file"
        )

    def is_exceeded(self) -> bool:
        """Whether more was asked for than there is."""
        return self.used > self.limit


def nodes_of(raw: bytes, *, allowance: Allowance | None = None, anew: bool = False) -> Iterator[Node]:
    """The documents of a stream as nodes, with their lines; raises DocumentInvalid with line and column.

    allowance: for nodes as they are written, where the time or the memory to make them matters. anew: each document
    has all of it, because the one before is let go.
    """
    parser = _Parser(raw) if allowance is None else _CountingParser(raw, allowance)
    try:
        while parser.check_node():
            node = parser.get_node()
            if node is not None:
                yield node
            if allowance is not None and anew:
                allowance.used = 0
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = str(getattr(error, "problem", "") or getattr(error, "reason", "") or "it cannot be read")
        raise DocumentInvalid("not valid YAML", where=where, why=problem, next_step="correct the file") from None
    except (UnicodeDecodeError, RecursionError):
        raise DocumentInvalid(
            "not valid YAML", why="not UTF-8, or nested too deeply", next_step="correct the file"
        ) from None


def documents(raw: bytes) -> list[Document]:
    """All objects of a stream; empty documents are left out. Raises DocumentInvalid for anything else."""
    found: list[Document] = []
    budget = [NODE_LIMIT]
    for node in nodes_of(raw, allowance=Allowance(DOCUMENT_NODES), anew=True):
        value = _value(node, 0, budget)
        if isinstance(value, dict):
            found.append(value)
        elif value is not None:
            raise DocumentInvalid(
                "a document is no mapping",
                where=f"line {node.start_mark.line + 1}",
                why="each must be an object",
                next_step="correct the file",
            )
    return found


def value_of(node: Node, *, limit: int = NODE_LIMIT) -> Json:
    """The JSON value of a node, merge keys not followed; raises DocumentInvalid beyond the limits (R28)."""
    return _value(node, 0, [limit])


def visits_of(node: Node, *, limit: int) -> int:
    """Of how many nodes its value is made, aliases counted each time they are used; raises DocumentInvalid."""
    left = [limit]
    _value(node, 0, left)
    return limit - left[0]


def scalar(text: str) -> Json:
    """What a plain scalar means to kustomize: null, a boolean, a number, or text (dates are text)."""
    if text and text[0] not in _STARTS:
        return text
    if text in _WORDS:
        return _WORDS[text]
    if text in _NOT_JSON:
        raise DocumentInvalid(
            f"{text} is no JSON number",
            why="Kubernetes objects hold no infinities",
            next_step="write a number, or put it in quotes",
        )
    if not text or text[0] not in "+-.0123456789":
        return text
    return _number(text)


def _number(text: str) -> Json:
    if text[0] == ".":
        return _float(text, text)
    plain = text.replace("_", "")
    for pattern, base in _INTEGERS if len(plain) <= _MOST_DIGITS else ():
        if pattern.match(plain):
            number = int(_digits(plain, base), base)
            if -(2**63) <= number < 2**64:
                return number
            break
    return _float(plain, text)


def _float(plain: str, text: str) -> Json:
    """What is beyond all numbers is text to Go, and written without quotes: a digest such as 1e999 must stay."""
    if _FLOAT.match(plain) and math.isfinite(number := float(plain)):
        return number
    return text


def _digits(plain: str, base: int) -> str:
    # Python wants 0o17 where Go takes 017 as well; int(text, 8) takes both without the zero.
    return plain.replace("o", "").replace("O", "") if base == 8 else plain


def _value(node: Node, depth: int, budget: list[int]) -> Json:
    budget[0] -= 1
    if budget[0] < 0 or depth > NESTING_LIMIT:
        raise DocumentInvalid(
            "a document breaks the limits on YAML",
            where=f"line {node.start_mark.line + 1}",
            why=f"nested deeper than {NESTING_LIMIT}, or grown by aliases",
            next_step="write it plainly",
        )
    if isinstance(node, ScalarNode):
        return _scalar_of(node)
    if isinstance(node, MappingNode):
        mapping: Document = {}
        for key_node, item in node.value:
            if not isinstance(key_node, ScalarNode):
                raise _invalid(key_node, "a key is no text")
            key = key_node.value
            if key in mapping:
                raise _invalid(key_node, f"the key {key!r} is written twice")
            mapping[key] = _value(item, depth + 1, budget)
        return mapping
    if isinstance(node, SequenceNode):
        return [_value(item, depth + 1, budget) for item in node.value]
    raise _invalid(node, "an unknown kind of node")


def _scalar_of(node: ScalarNode) -> Json:
    if node.tag == _PLAIN:
        return scalar(node.value)
    if node.tag == _STR:
        return node.value
    if node.tag not in _KNOWN_TAGS:
        raise _invalid(node, f"the tag {node.tag} is not allowed")
    return scalar(node.value)


def _invalid(node: Node, why: str) -> DocumentInvalid:
    return DocumentInvalid("not valid YAML", where=f"line {node.start_mark.line + 1}", why=why, next_step="correct it")
