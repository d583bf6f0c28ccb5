"""Make fleet/render/slim.json from kustomize's built-in schema: only what decides how a merge patch is applied.

    go run . > definitions.json   (in a module that requires sigs.k8s.io/kustomize/kustomize/v5 of the version wanted)
    python make_slim.py definitions.json ../../../fleet/render/slim.json

kustomize asks a schema three things: the kind at the top of an object, the merge strategy and keys of a list, and
whether a node has a schema at all (where it has none, an embedded apiVersion and kind are looked up instead). So a
node is kept if it has a strategy, if it is free-form or a reference to an object, or if one below it is kept.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

GVK = "x-kubernetes-group-version-kind"
STRATEGY = "x-kubernetes-patch-strategy"
KEYS = (STRATEGY, "x-kubernetes-patch-merge-key", "x-kubernetes-list-map-keys")


def slim(definitions: dict[str, Any]) -> dict[str, Any]:
    kept: set[str] = {name for name, node in definitions.items() if GVK in node}
    needed: set[str] = set()
    while True:
        more = {name for name, node in definitions.items() if name not in needed and is_needed(node, needed)}
        if not more:
            break
        needed |= more
    names = {name: f"d{number}" for number, name in enumerate(sorted(kept | needed))}
    return {"definitions": {names[name]: reduced(definitions[name], needed, names) for name in sorted(kept | needed)}}


def is_needed(node: dict[str, Any], needed: set[str]) -> bool:
    if STRATEGY in node:
        return True
    if "$ref" in node:
        return node["$ref"].rpartition("/")[2] in needed
    properties = node.get("properties", {})
    if {"apiVersion", "kind"} <= properties.keys() and GVK not in node:
        return True
    below = [*properties.values(), *(node[name] for name in ("items", "additionalProperties") if is_schema(node, name))]
    if not below:
        return node.get("type") in (["object"], "object", None)
    return any(is_needed(child, needed) for child in below)


def is_schema(node: dict[str, Any], name: str) -> bool:
    return isinstance(node.get(name), dict)


def reduced(node: dict[str, Any], needed: set[str], names: dict[str, str]) -> dict[str, Any]:
    if "$ref" in node:
        target = node["$ref"].rpartition("/")[2]
        # kustomize follows the reference and so loses a strategy that stands beside it.
        return {"$ref": f"#/definitions/{names[target]}"} if target in names else {}
    made: dict[str, Any] = {key: node[key] for key in (GVK, *KEYS) if key in node}
    properties = {
        name: reduced(child, needed, names)
        for name, child in node.get("properties", {}).items()
        if is_needed(child, needed)
    }
    if properties:
        made["properties"] = properties
    for name in ("items", "additionalProperties"):
        if is_schema(node, name):
            child = node[name]
            if name == "items" and STRATEGY in node and not is_needed(child, needed):
                made["type"] = "array"
            elif is_needed(child, needed):
                made[name] = reduced(child, needed, names)
                if name == "items":
                    made["type"] = "array"
    return made


if __name__ == "__main__":
    source, target = (Path(name) for name in sys.argv[1:3])
    text = json.dumps(slim(json.loads(source.read_text())), separators=(",", ":"), sort_keys=True)
    target.write_text(text + "\n")
