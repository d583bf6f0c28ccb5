"""One kustomization file, read for what a build of it can open: each mention with its line, and what is refused.

Every field of kustomize 5 is known by name. Names are compared without regard to case, because kustomize does so: a
`Path:` that this reader overlooked could name a file outside of the commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from fleet.errors import DocumentInvalid
from fleet.render.inline import hide_patch, holds_objects, inline_nodes, is_inline, is_json_patch, is_text, nodes_in
from fleet.render.mentions import CLUSTER_FACTS, NODES_PER_FILE, ChartUse, Kustomization, Mention, Refusal, Role
from fleet.render.nodes import all_texts, fields_of, holds_something, items_of, line_of, text_of
from fleet.render.parse import nodes_of, value_of, visits_of

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
    found.visits = visits_of(node, limit=NODES_PER_FILE)
    if not isinstance(node, MappingNode):
        raise DocumentInvalid(
            "a kustomization must be a mapping",
            where=f"line {line_of(node)}",
            next_step="begin it with fields, as resources:",
        )
    for name, key, item in fields_of(node):
        _read_field(found, name, key, item)
    found.facts_mentions = _mentions_of_facts(node)
    return found


def read_plugins(raw: bytes, field_name: str) -> Kustomization:
    """A file of generator or transformer configurations: its mentions, and refusals for all that is not built in."""
    found = Kustomization()
    for node in nodes_of(raw, allowance=found.allowance):
        found.visits += visits_of(node, limit=NODES_PER_FILE - found.visits)
        _read_plugin(found, node, field_name, line_of(node))
        found.facts_mentions += _mentions_of_facts(node)
    return found


def _read_field(found: Kustomization, name: str, key: ScalarNode, node: Node) -> None:
    line = line_of(key)
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
            for item in items_of(node):
                _read_patch(found, item, key.value)
        case "patchesstrategicmerge":
            for mention in _mentions(Role.FILE, key.value, node):
                _read_patch_text(found, mention)
        case "replacements":
            for item in items_of(node):
                _read_replacement(found, item)
        case "configmapgenerator" | "secretgenerator":
            for item in items_of(node):
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
            for item in items_of(node):
                _read_chart(found, item)
        case "helmchartinflationgenerator":
            if holds_something(node):
                found.refusals.append(Refusal(key.value, line, "it is the old form of helmCharts"))
        case _ if name not in _PLAIN_FIELDS:
            found.unknown.append((key.value, line))
            found.unknown_texts.extend(all_texts(node))
        case _:
            pass  # changes objects, names no file


def _read_patch(found: Kustomization, item: Node, field_name: str) -> None:
    fields = fields_of(item)
    target = next((node for name, _, node in fields if name == "target"), None)
    for name, _, node in fields:
        if name == "path":
            for mention in _scalars(Role.FILE, f"{field_name}.path", [node]):
                found.mentions.append(mention)
                found.patch_files.add(mention.text)
        elif name == "patch" and isinstance(node, ScalarNode):
            found.inline_merge_patch |= not is_json_patch(node.value.encode())
            hide_patch(found, node.value, nodes_in(found, node.value), target)


def _read_patch_text(found: Kustomization, mention: Mention) -> None:
    nodes = inline_nodes(found, mention.text)
    if is_text(mention.text):
        hide_patch(found, mention.text, nodes)  # also where it is no YAML, so that it is taken for a path
    if holds_objects(nodes):
        found.inline_merge_patch = True
        return
    found.mentions.append(mention)
    found.patch_files.add(mention.text)


def _read_replacement(found: Kustomization, item: Node) -> None:
    for name, _, node in fields_of(item):
        if name == "path":
            found.mentions.extend(_scalars(Role.FILE, "replacements.path", [node]))
        elif name == "source":
            source = {key: value.value for key, _, value in fields_of(node) if isinstance(value, ScalarNode)}
            if source.get("name") == CLUSTER_FACTS:
                found.facts.add(source.get("fieldpath", "metadata.name"))
                found.facts_known += 1


def _read_generator(found: Kustomization, item: Node, field_name: str, *, secret: bool) -> None:
    for name, _, node in fields_of(item):
        if name in ("files", "envs", "env"):
            nodes = [node] if name == "env" else items_of(node)
            for mention in _scalars(Role.FILE, f"{field_name}.{name}", nodes):
                text = mention.text if name != "files" else mention.text.rpartition("=")[2]
                found.mentions.append(Mention(Role.FILE, text, mention.line, mention.field))
                if secret:
                    found.secret_files.add(text)
        elif name == "literals" and secret:
            for literal in items_of(node):
                if isinstance(literal, ScalarNode):
                    found.secret_texts.add(literal.value.partition("=")[2])


def _read_chart_globals(found: Kustomization, node: Node) -> None:
    for name, key, item in fields_of(node):
        if name == "charthome" and isinstance(item, ScalarNode):
            found.chart_home = item.value or found.chart_home
        elif holds_something(item):
            found.refusals.append(Refusal(f"helmGlobals.{key.value}", line_of(key), "helm would read plugins there"))


def _read_chart(found: Kustomization, item: Node) -> None:
    words: dict[str, str] = {}
    for name, key, node in fields_of(item):
        if name in _CHART_WORDS or name == "apiversions":
            texts = [text for text, _ in all_texts(node)]
            if any(text.startswith("-") for text in texts) or (name != "apiversions" and len(texts) != 1):
                why = "helm would take it for an option"
                found.refusals.append(Refusal(f"helmCharts.{key.value}", line_of(key), why))
            words[name] = "".join(texts)
        elif name in ("valuesfile", "additionalvaluesfiles"):
            nodes = items_of(node) if isinstance(node, SequenceNode) else [node]
            found.mentions.extend(_scalars(Role.FILE, f"helmCharts.{key.value}", nodes))
        elif name not in _CHART_PLAIN:
            found.refusals.append(Refusal(f"helmCharts.{key.value}", line_of(key), "this field is not known"))
    use = ChartUse(words.get("name", ""), words.get("version", ""), words.get("repo", ""), line_of(item))
    if not _CHART_NAME.fullmatch(use.name) or not _CHART_NAME.fullmatch(use.version or "0"):
        found.refusals.append(Refusal("helmCharts", use.line, "its name or version is none that a chart can have"))
    found.charts.append(use)


def _read_plugin_text(found: Kustomization, mention: Mention) -> None:
    if not is_inline(found, mention.text):
        found.mentions.append(mention)
        return
    for node in nodes_of(mention.text.encode(), allowance=found.allowance):
        found.visits += visits_of(node, limit=NODES_PER_FILE - found.visits)
        _read_plugin(found, node, mention.field, mention.line)


def _read_plugin(found: Kustomization, node: Node, field_name: str, line: int) -> None:
    fields = {name: item for name, _, item in fields_of(node)}
    api_version, kind = text_of(fields.get("apiversion")), text_of(fields.get("kind"))
    paths = _BUILT_IN_PLUGINS.get(kind)
    if api_version != "builtin" or paths is None:
        shown = f"{api_version or '?'}/{kind or '?'}"
        found.refusals.append(Refusal(f"{field_name}: {shown}", line, "only kustomize's built-in plugins are run"))
        return
    if any("function" in text for text, _ in all_texts(fields.get("metadata"), keys=True)):
        found.refusals.append(Refusal(f"{field_name}: {kind}", line, "a function would be run"))
        return
    if kind in ("ConfigMapGenerator", "SecretGenerator"):
        _read_generator(found, node, field_name, secret=kind == "SecretGenerator")
        return
    for name in paths:
        if name == "replacements":
            for item in items_of(fields.get(name)):
                _read_replacement(found, item)
        elif name in fields:
            item = fields[name]
            nodes = items_of(item) if isinstance(item, SequenceNode) else [item]
            for mention in _scalars(Role.FILE, f"{field_name}: {kind}.{name}", nodes):
                if not is_inline(found, mention.text):
                    found.mentions.append(Mention(mention.role, mention.text, line, mention.field))
    if kind.startswith("Patch"):
        found.inline_merge_patch = True
        for name in ("patch", "jsonop", "patches", "paths"):
            for text, _ in all_texts(fields.get(name)):
                if name != "paths" or is_text(text):
                    hide_patch(found, text, nodes_in(found, text), fields.get("target"))


def _mentions(role: Role, field_name: str, node: Node) -> Iterator[Mention]:
    return _scalars(role, field_name, items_of(node))


def _scalars(role: Role, field_name: str, nodes: Iterable[Node]) -> Iterator[Mention]:
    return (Mention(role, node.value, line_of(node), field_name) for node in nodes if isinstance(node, ScalarNode))


def _under(node: Node, name: str, role: Role, field_name: str) -> list[Mention]:
    return [
        mention for key, _, item in fields_of(node) if key == name for mention in _scalars(role, field_name, [item])
    ]


def _mentions_of_facts(node: Node) -> int:
    return sum(CLUSTER_FACTS in text for text, _ in all_texts(node, keys=True))
