"""YAML nodes as kustomize reads them: names without regard to case, merge keys followed, lines kept."""

from __future__ import annotations

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.errors import DocumentInvalid


def fields_of(node: Node | None) -> list[tuple[str, ScalarNode, Node]]:
    """Fields of a mapping by case-folded name, merge keys followed; a name that is written twice is refused."""
    if not isinstance(node, MappingNode):
        return []
    own: dict[str, tuple[str, ScalarNode, Node]] = {}
    merged: list[Node] = []
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value == "<<" and not key.style:
            merged.extend(items_of(value) if isinstance(value, SequenceNode) else [value])
            continue
        name = key.value.casefold()
        if name in own:
            raise DocumentInvalid(
                f"the field {key.value} is written twice",
                where=f"line {line_of(key)}",
                why=f"kustomize does not tell {own[name][1].value} and {key.value} apart",
                next_step="keep one",
            )
        own[name] = (name, key, value)
    for source in merged:
        for name, key, value in fields_of(source):
            own.setdefault(name, (name, key, value))
    return list(own.values())


def items_of(node: Node | None) -> list[Node]:
    """Entries of a sequence, none of anything else."""
    return list(node.value) if isinstance(node, SequenceNode) else []


def text_of(node: Node | None) -> str:
    """The text of a scalar, "" of anything else."""
    return node.value if isinstance(node, ScalarNode) else ""


def line_of(node: Node) -> int:
    """The line in which it begins, from 1."""
    return node.start_mark.line + 1


def holds_something(node: Node) -> bool:
    """Whether it says more than null or nothing."""
    return bool(node.value) if not isinstance(node, ScalarNode) else node.value not in ("", "null", "~")


def all_texts(node: Node | None, *, keys: bool = False) -> list[tuple[str, int]]:
    """All scalars inside with their lines; keys: those of mappings too."""
    if isinstance(node, ScalarNode):
        return [(node.value, line_of(node))]
    if isinstance(node, SequenceNode):
        return [text for item in node.value for text in all_texts(item, keys=keys)]
    if isinstance(node, MappingNode):
        parts = [part for pair in node.value for part in (pair if keys else pair[1:])]
        return [text for part in parts for text in all_texts(part, keys=keys)]
    return []
