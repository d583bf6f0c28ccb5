"""One kustomization file, read for what a build of it can open: each mention with its line, and what is refused.

Every field of kustomize 5 is known by name. Names are compared without regard to case, because kustomize does so: a
`Path:` that this reader overlooked could name a file outside of the commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import Enum

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.core.documents import Json
from fleet.errors import DocumentInvalid
from fleet.render.parse import Allowance, nodes_of, value_of, visits_of
from fleet.values import dataclass, field

FILE_NAMES = ("kustomization.yaml", "kustomization.yml", "Kustomization")
CLUSTER_FACTS = "fleet-cluster"
_NODES_PER_FILE = 50_000  # half a second of the hub's own loop, and what the nodes of a file may grow to by aliases


class Role(Enum):
    """What kustomize does with a text: that decides what it may name."""

    RESOURCE = "resource"  # a file of objects, or a directory with a kustomization
    COMPONENT = "component"  # a directory
    FILE = "file"
    PLUGIN = "plugin"  # a file with configurations of built-in generators or transformers


@dataclass(frozen=True, slots=True)
class Mention:
    """A path written in a kustomization."""

    role: Role
    text: str
    line: int
    field: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that is never built: a chart, a plugin, a function (R27)."""

    what: str
    line: int
    why: str


@dataclass(frozen=True, slots=True)
class ChartUse:
    """One entry of helmCharts."""

    name: str
    version: str
    repo: str
    line: int


@dataclass(slots=True)
class Kustomization:
    """What one file says. Shared by all readers of the same content: do not change it."""

    kind: str = "Kustomization"
    mentions: list[Mention] = field(default_factory=list[Mention])
    refusals: list[Refusal] = field(default_factory=list[Refusal])
    unknown: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    unknown_texts: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])
    patch_files: set[str] = field(default_factory=set[str])
    inline_merge_patch: bool = False
    openapi: bool = False
    order: dict[str, Json] = field(default_factory=dict[str, Json])  # sortOptions, buildMetadata: they act at a root
    crds: set[str] = field(default_factory=set[str])
    secret_files: set[str] = field(default_factory=set[str])
    secret_texts: set[str] = field(default_factory=set[str])
    charts: list[ChartUse] = field(default_factory=list[ChartUse])
    chart_home: str = "charts"
    facts: set[str] = field(default_factory=set[str])  # field paths of `fleet-cluster` that are used
    facts_mentions: int = 0  # how often the name stands in the file; more than `facts_known`: all facts count
    facts_known: int = 0
    allowance: Allowance = field(default_factory=lambda: Allowance(_NODES_PER_FILE))  # texts inside of it included
    size: int = 0  # of the file, in bytes
    visits: int = 0  # of nodes, an alias counted each time: what it takes to follow all that it says


_PLAIN_FIELDS = frozenset(
    {
        "apiversion",
        "commonannotations",
        "commonlabels",
        "generatoroptions",
        "images",
        "imagetags",
        "labels",
        "metadata",
        "nameprefix",
        "namespace",
        "namesuffix",
        "replicas",
        "vars",
    }
)
# What of an entry of helmCharts becomes a word of helm's command line; none may be taken for an option.
_CHART_WORDS = frozenset({"name", "version", "repo", "releasename", "namespace", "nametemplate", "kubeversion"})
_CHART_PLAIN = frozenset({"valuesinline", "valuesmerge", "includecrds", "skiphooks", "skiptests", "debug", "devel"})
_CHART_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_BYTES_OF_ONE = 100  # of a text inside of a file: a long one counts as several values
_PLAIN_KIND = re.compile("[A-Za-z]+")
_NAMES = frozenset(("apiVersion", "kind", "metadata", "op", "path", "from"))  # in a patch
_PLUGIN_FIELDS = frozenset(("generators", "transformers", "validators"))
# Built-in plugins and the fields in which they name files; the chart generator is left out on purpose.
_BUILT_IN_PLUGINS: dict[str, tuple[str, ...]] = {
    "AnnotationsTransformer": (),
    "ConfigMapGenerator": ("files", "envs", "env"),
    "HashTransformer": (),
    "IAMPolicyGenerator": (),
    "ImageTagTransformer": (),
    "LabelTransformer": (),
    "NamespaceTransformer": (),
    "PatchJson6902Transformer": ("path",),
    "PatchStrategicMergeTransformer": ("paths",),
    "PatchTransformer": ("path",),
    "PrefixTransformer": (),
    "PrefixSuffixTransformer": (),
    "ReplacementTransformer": ("replacements",),
    "ReplicaCountTransformer": (),
    "SecretGenerator": ("files", "envs", "env"),
    "SortOrderTransformer": (),
    "SuffixTransformer": (),
    "ValueAddTransformer": ("targetfilepath",),
}


def read_kustomization(raw: bytes) -> Kustomization:
    """Read the first document, as kustomize does; raises DocumentInvalid with its line."""
    found = Kustomization()
    node = next(nodes_of(raw, allowance=found.allowance), None)
    if node is None:
        return found
    found.visits = visits_of(node, limit=_NODES_PER_FILE)
    if not isinstance(node, MappingNode):
        raise DocumentInvalid(
            "a kustomization must be a mapping",
            where=f"line {_line(node)}",
            next_step="begin it with fields, as resources:",
        )
    for name, key, item in _fields(node):
        _read_field(found, name, key, item)
    found.facts_mentions = _mentions_of_facts(node)
    return found


def read_plugins(raw: bytes, field_name: str) -> Kustomization:
    """A file of generator or transformer configurations: its mentions, and refusals for all that is not built in."""
    found = Kustomization()
    for node in nodes_of(raw, allowance=found.allowance):
        found.visits += visits_of(node, limit=_NODES_PER_FILE - found.visits)
        _read_plugin(found, node, field_name, _line(node))
        found.facts_mentions += _mentions_of_facts(node)
    return found


def _read_field(found: Kustomization, name: str, key: ScalarNode, node: Node) -> None:
    line = _line(key)
    match name:
        case "resources" | "bases":
            found.mentions.extend(_mentions(Role.RESOURCE, name, node))
        case "components":
            found.mentions.extend(_mentions(Role.COMPONENT, name, node))
        case "crds" | "configurations":
            named = list(_mentions(Role.FILE, name, node))
            found.mentions.extend(named)
            if name == "crds":
                found.crds.update(mention.text for mention in named)
        case "openapi":
            found.openapi = True
            found.mentions.extend(_under(node, "path", Role.FILE, "openapi.path"))
        case "patches" | "patchesjson6902":
            for item in _items(node):
                _read_patch(found, item, key.value)
        case "patchesstrategicmerge":
            for mention in _mentions(Role.FILE, key.value, node):
                _read_patch_text(found, mention)
        case "replacements":
            for item in _items(node):
                _read_replacement(found, item)
        case "configmapgenerator" | "secretgenerator":
            for item in _items(node):
                _read_generator(found, item, key.value, secret=name == "secretgenerator")
        case "kind":
            found.kind = node.value if isinstance(node, ScalarNode) else found.kind
        case "sortoptions" | "buildmetadata":
            found.order[key.value] = value_of(node)
        case _ if name in _PLUGIN_FIELDS:
            for mention in _mentions(Role.PLUGIN, key.value, node):
                _read_plugin_text(found, mention)
        case "helmglobals":
            _read_chart_globals(found, node)
        case "helmcharts":
            for item in _items(node):
                _read_chart(found, item)
        case "helmchartinflationgenerator":
            if _holds_something(node):
                found.refusals.append(Refusal(key.value, line, "it is the old form of helmCharts"))
        case _ if name not in _PLAIN_FIELDS:
            found.unknown.append((key.value, line))
            found.unknown_texts.extend(_all_texts(node))
        case _:
            pass  # changes objects, names no file


def _read_patch(found: Kustomization, item: Node, field_name: str) -> None:
    fields = _fields(item)
    target = next((node for name, _, node in fields if name == "target"), None)
    for name, _, node in fields:
        if name == "path":
            for mention in _scalars(Role.FILE, f"{field_name}.path", [node]):
                found.mentions.append(mention)
                found.patch_files.add(mention.text)
        elif name == "patch" and isinstance(node, ScalarNode):
            found.inline_merge_patch |= not is_json_patch(node.value.encode())
            _hide_patch(found, node.value, _nodes_in(found, node.value), target)


def _read_patch_text(found: Kustomization, mention: Mention) -> None:
    nodes = _inline_nodes(found, mention.text)
    if is_text(mention.text):
        _hide_patch(found, mention.text, nodes)  # also where it is no YAML, so that it is taken for a path
    if _holds_objects(nodes):
        found.inline_merge_patch = True
        return
    found.mentions.append(mention)
    found.patch_files.add(mention.text)


def _hide_patch(found: Kustomization, text: str, nodes: list[Node] | None, target: Node | None = None) -> None:
    """Take what an inline patch may put into a Secret for text that must be in no message (R32).

    nodes: the text as YAML; None where it is none, so that nobody knows what of it is a value.
    """
    kind = _text({name: node for name, _, node in _fields(target)}.get("kind"))
    is_known = target is None or (_PLAIN_KIND.fullmatch(kind) and kind != "Secret")  # kustomize takes it for a pattern
    texts: list[str] = []
    if nodes is None:
        texts = [part.strip() for line in text.splitlines() for part in (line, line.partition(":")[2])]
    elif not is_known or "Secret" in text:
        values = {value for node in nodes for value, _ in _all_texts(_without_names(node))}
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


def _read_replacement(found: Kustomization, item: Node) -> None:
    for name, _, node in _fields(item):
        if name == "path":
            found.mentions.extend(_scalars(Role.FILE, "replacements.path", [node]))
        elif name == "source":
            source = {key: value.value for key, _, value in _fields(node) if isinstance(value, ScalarNode)}
            if source.get("name") == CLUSTER_FACTS:
                found.facts.add(source.get("fieldpath", "metadata.name"))
                found.facts_known += 1


def _read_generator(found: Kustomization, item: Node, field_name: str, *, secret: bool) -> None:
    for name, _, node in _fields(item):
        if name in ("files", "envs", "env"):
            nodes = [node] if name == "env" else _items(node)
            for mention in _scalars(Role.FILE, f"{field_name}.{name}", nodes):
                text = mention.text if name != "files" else mention.text.rpartition("=")[2]
                found.mentions.append(Mention(Role.FILE, text, mention.line, mention.field))
                if secret:
                    found.secret_files.add(text)
        elif name == "literals" and secret:
            for literal in _items(node):
                if isinstance(literal, ScalarNode):
                    found.secret_texts.add(literal.value.partition("=")[2])


def _read_chart_globals(found: Kustomization, node: Node) -> None:
    for name, key, item in _fields(node):
        if name == "charthome" and isinstance(item, ScalarNode):
            found.chart_home = item.value or found.chart_home
        elif _holds_something(item):
            found.refusals.append(Refusal(f"helmGlobals.{key.value}", _line(key), "helm would read plugins there"))


def _read_chart(found: Kustomization, item: Node) -> None:
    words: dict[str, str] = {}
    for name, key, node in _fields(item):
        if name in _CHART_WORDS or name == "apiversions":
            texts = [text for text, _ in _all_texts(node)]
            if any(text.startswith("-") for text in texts) or (name != "apiversions" and len(texts) != 1):
                why = "helm would take it for an option"
                found.refusals.append(Refusal(f"helmCharts.{key.value}", _line(key), why))
            words[name] = "".join(texts)
        elif name in ("valuesfile", "additionalvaluesfiles"):
            nodes = _items(node) if isinstance(node, SequenceNode) else [node]
            found.mentions.extend(_scalars(Role.FILE, f"helmCharts.{key.value}", nodes))
        elif name not in _CHART_PLAIN:
            found.refusals.append(Refusal(f"helmCharts.{key.value}", _line(key), "this field is not known"))
    use = ChartUse(words.get("name", ""), words.get("version", ""), words.get("repo", ""), _line(item))
    if not _CHART_NAME.fullmatch(use.name) or not _CHART_NAME.fullmatch(use.version or "0"):
        found.refusals.append(Refusal("helmCharts", use.line, "its name or version is none that a chart can have"))
    found.charts.append(use)


def _read_plugin_text(found: Kustomization, mention: Mention) -> None:
    if not _is_inline(found, mention.text):
        found.mentions.append(mention)
        return
    for node in nodes_of(mention.text.encode(), allowance=found.allowance):
        found.visits += visits_of(node, limit=_NODES_PER_FILE - found.visits)
        _read_plugin(found, node, mention.field, mention.line)


def _read_plugin(found: Kustomization, node: Node, field_name: str, line: int) -> None:
    fields = {name: item for name, _, item in _fields(node)}
    api_version, kind = _text(fields.get("apiversion")), _text(fields.get("kind"))
    paths = _BUILT_IN_PLUGINS.get(kind)
    if api_version != "builtin" or paths is None:
        shown = f"{api_version or '?'}/{kind or '?'}"
        found.refusals.append(Refusal(f"{field_name}: {shown}", line, "only kustomize's built-in plugins are run"))
        return
    if any("function" in text for text, _ in _all_texts(fields.get("metadata"), keys=True)):
        found.refusals.append(Refusal(f"{field_name}: {kind}", line, "a function would be run"))
        return
    if kind in ("ConfigMapGenerator", "SecretGenerator"):
        _read_generator(found, node, field_name, secret=kind == "SecretGenerator")
        return
    for name in paths:
        if name == "replacements":
            for item in _items(fields.get(name)):
                _read_replacement(found, item)
        elif name in fields:
            item = fields[name]
            nodes = _items(item) if isinstance(item, SequenceNode) else [item]
            for mention in _scalars(Role.FILE, f"{field_name}: {kind}.{name}", nodes):
                if not _is_inline(found, mention.text):
                    found.mentions.append(Mention(mention.role, mention.text, line, mention.field))
    if kind.startswith("Patch"):
        found.inline_merge_patch = True
        for name in ("patch", "jsonop", "patches", "paths"):
            for text, _ in _all_texts(fields.get(name)):
                if name != "paths" or is_text(text):
                    _hide_patch(found, text, _nodes_in(found, text), fields.get("target"))


def is_json_patch(patch: bytes) -> bool:
    """Whether a patch is a list of operations (RFC 6902): such a one needs no schema."""
    for line in patch.splitlines():
        text = line.strip()
        if text and not text.startswith(b"#") and text != b"---":
            return text.startswith((b"-", b"["))
    return False


def _fields(node: Node | None) -> list[tuple[str, ScalarNode, Node]]:
    """Fields of a mapping by case-folded name, merge keys followed; a name that is written twice is refused."""
    if not isinstance(node, MappingNode):
        return []
    own: dict[str, tuple[str, ScalarNode, Node]] = {}
    merged: list[Node] = []
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            continue
        if key.value == "<<" and not key.style:
            merged.extend(_items(value) if isinstance(value, SequenceNode) else [value])
            continue
        name = key.value.casefold()
        if name in own:
            raise DocumentInvalid(
                f"the field {key.value} is written twice",
                where=f"line {_line(key)}",
                why=f"kustomize does not tell {own[name][1].value} and {key.value} apart",
                next_step="keep one",
            )
        own[name] = (name, key, value)
    for source in merged:
        for name, key, value in _fields(source):
            own.setdefault(name, (name, key, value))
    return list(own.values())


def _items(node: Node | None) -> list[Node]:
    return list(node.value) if isinstance(node, SequenceNode) else []


def _mentions(role: Role, field_name: str, node: Node) -> Iterator[Mention]:
    return _scalars(role, field_name, _items(node))


def _scalars(role: Role, field_name: str, nodes: Iterable[Node]) -> Iterator[Mention]:
    return (Mention(role, node.value, _line(node), field_name) for node in nodes if isinstance(node, ScalarNode))


def _under(node: Node, name: str, role: Role, field_name: str) -> list[Mention]:
    return [mention for key, _, item in _fields(node) if key == name for mention in _scalars(role, field_name, [item])]


def _text(node: Node | None) -> str:
    return node.value if isinstance(node, ScalarNode) else ""


def _line(node: Node) -> int:
    return node.start_mark.line + 1


def is_text(path: str) -> bool:
    """Whether what stands for a path looks like a text that was meant to be inline, with values in it (R32)."""
    return "\n" in path or ": " in path or "{" in path


def _is_inline(found: Kustomization, text: str) -> bool:
    """kustomize first tries a text as YAML objects; a path is a plain scalar to YAML."""
    return _holds_objects(_inline_nodes(found, text))


def _inline_nodes(found: Kustomization, text: str) -> list[Node] | None:
    return _nodes_in(found, text) if "\n" in text or ":" in text or "{" in text else []


def _holds_objects(nodes: list[Node] | None) -> bool:
    return any(not isinstance(node, ScalarNode) for node in nodes or ())


def _nodes_in(found: Kustomization, text: str) -> list[Node] | None:
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
        if found.visits > _NODES_PER_FILE:
            found.allowance.refuse()
        ahead += inside
        node = ahead.pop()
        inside = []
        if isinstance(node, SequenceNode):
            inside = node.value
        elif isinstance(node, MappingNode):
            inside = [part for pair in node.value for part in pair]


def _mentions_of_facts(node: Node) -> int:
    return sum(CLUSTER_FACTS in text for text, _ in _all_texts(node, keys=True))


def _holds_something(node: Node) -> bool:
    return bool(node.value) if not isinstance(node, ScalarNode) else node.value not in ("", "null", "~")


def _all_texts(node: Node | None, *, keys: bool = False) -> list[tuple[str, int]]:
    if isinstance(node, ScalarNode):
        return [(node.value, _line(node))]
    if isinstance(node, SequenceNode):
        return [text for item in node.value for text in _all_texts(item, keys=keys)]
    if isinstance(node, MappingNode):
        parts = [part for pair in node.value for part in (pair if keys else pair[1:])]
        return [text for part in parts for text in _all_texts(part, keys=keys)]
    return []
