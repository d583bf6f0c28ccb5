"""Texts that stand in a kustomization: whether one is meant as objects, what it costs, and what of it is a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.errors import DocumentInvalid
from fleet.render.mentions import NODES_PER_FILE, Kustomization
from fleet.render.nodes import all_texts, fields_of, text_of
from fleet.render.parse import nodes_of

_BYTES_OF_ONE = 100  # of a text inside of a file: a long one counts as several values
_PLAIN_KIND = re.compile("[A-Za-z]+")
_NAMES = frozenset(("apiVersion", "kind", "metadata", "op", "path", "from"))  # in a patch


def is_json_patch(patch: bytes) -> bool:
    """Whether a patch is a list of operations (RFC 6902): such a one needs no schema."""
    for line in patch.splitlines():
        text = line.strip()
        if text and not text.startswith(b"#") and text != b"---":
            return text.startswith((b"-", b"["))
    return False


def is_text(path: str) -> bool:
    """Whether what stands for a path looks like a text that was meant to be inline, with values in it (R32)."""
    return "\n" in path or ": " in path or "{" in path


def is_inline(found: Kustomization, text: str) -> bool:
    """kustomize first tries a text as YAML objects; a path is a plain scalar to YAML."""
    return holds_objects(inline_nodes(found, text))


def inline_nodes(found: Kustomization, text: str) -> list[Node] | None:
    """A text as YAML where it may be more than a path; None where it is no YAML."""
    return nodes_in(found, text) if "\n" in text or ":" in text or "{" in text else []


def holds_objects(nodes: list[Node] | None) -> bool:
    """Whether anything of this is more than a plain word, as a path is."""
    return any(not isinstance(node, ScalarNode) for node in nodes or ())


def nodes_in(found: Kustomization, text: str) -> list[Node] | None:
    """A text inside of a kustomization as YAML, None where it is none.

    Its nodes count as the file's own, each time it is used: those that are written, as many for a long text, and all
    that its aliases stand for. Raises DocumentInvalid beyond what a file may have.
    """
    found.allowance.used += len(text) // _BYTES_OF_ONE
    if found.allowance.is_exceeded():
        found.allowance.refuse()
    try:
        nodes = list(nodes_of(text.encode(), allowance=found.allowance))
    except DocumentInvalid:
        if found.allowance.is_exceeded():
            raise
        return None
    _follow(found, nodes)
    return nodes


def _follow(found: Kustomization, nodes: Iterable[Node]) -> None:
    """Count what nodes stand for; one that holds itself stands for more than there may be."""
    ahead, inside = list[Node](), list(nodes)
    while inside or ahead:
        found.visits += len(inside)
        if found.visits > NODES_PER_FILE:
            found.allowance.refuse()
        ahead += inside
        node = ahead.pop()
        inside = []
        if isinstance(node, SequenceNode):
            inside = node.value
        elif isinstance(node, MappingNode):
            inside = [part for pair in node.value for part in pair]


def hide_patch(found: Kustomization, text: str, nodes: list[Node] | None, target: Node | None = None) -> None:
    """Take what an inline patch may put into a Secret for text that must be in no message (R32).

    nodes: the text as YAML; None where it is none, so that nobody knows what of it is a value.
    """
    kind = text_of({name: node for name, _, node in fields_of(target)}.get("kind"))
    is_known = target is None or (_PLAIN_KIND.fullmatch(kind) and kind != "Secret")  # kustomize takes it for a pattern
    texts: list[str] = []
    if nodes is None:
        texts = [part.strip() for line in text.splitlines() for part in (line, line.partition(":")[2])]
    elif not is_known or "Secret" in text:
        values = {value for node in nodes for value, _ in all_texts(_without_names(node))}
        texts = [part for value in values for part in (value, *value.splitlines())]
    found.secret_texts.update(part for part in texts if len(part) > 3)  # as of files of Secrets


def _without_names(node: Node) -> Node:
    """A patch without what says where it belongs, and a list of operations without what they do and where."""
    if isinstance(node, SequenceNode):
        return SequenceNode(node.tag, [_without_names(item) for item in node.value])
    if isinstance(node, MappingNode):
        kept = [pair for pair in node.value if not isinstance(pair[0], ScalarNode) or pair[0].value not in _NAMES]
        return MappingNode(node.tag, kept)
    return node
