"""Make fleet/sim/schema.json and kinds.json from a running kube-apiserver and Go's own types.

    go run gotypes.go > types.json      (needs k8s.io/api, client-go, apiextensions-apiserver, kube-aggregator)
    python generate.py URL TOKEN types.json

The server's OpenAPI v3 says how lists and maps merge (list types, keys, defaults); Go's struct tags say what the
server writes where a field is empty (`omitempty`, pointers). Together they are what "decode, default, encode" does.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.request
from pathlib import Path
from typing import Any

OUT = Path(__file__).parents[3] / "fleet" / "sim"
PREFIXES = {
    "io.k8s.apimachinery.pkg.apis.meta.": "meta.",
    "io.k8s.apimachinery.pkg.runtime.": "runtime.",
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.": "apiextensions.",
    "io.k8s.kube-aggregator.pkg.apis.apiregistration.": "apiregistration.",
    "io.k8s.api.": "",
}


def short(name: str) -> str:
    for prefix, to in PREFIXES.items():
        if name.startswith(prefix):
            return to + name[len(prefix) :]
    return name


def fetch(url: str, token: str, path: str, accept: str = "application/json") -> Any:
    context = ssl._create_unverified_context()
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
    with urllib.request.urlopen(request, context=context) as answer:
        return json.load(answer)


def resolve(schema: dict[str, Any]) -> str:
    found = schema.get("$ref", "")
    for part in schema.get("allOf", []):
        found = found or part.get("$ref", "")
    return found.rpartition("/")[2]


def spell(go: str, schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    """One type as text: scalar, #struct, [keys]elem, {}elem; see fleet/sim/schema.py."""
    if go.startswith("list:"):
        how = schema.get("x-kubernetes-list-type", "atomic")
        mark = {"atomic": "", "set": "set"}.get(how) if how != "map" else ",".join(schema["x-kubernetes-list-map-keys"])
        return f"[{mark}]" + spell(go[5:], schema.get("items", {}), schemas)
    if go.startswith("map:"):
        mark = "atomic" if schema.get("x-kubernetes-map-type") == "atomic" else ""
        return f"{{{mark}}}" + spell(go[4:], schema.get("additionalProperties", {}), schemas)
    if go.startswith("#"):
        target = schemas.get(go[1:], {})
        atomic = "atomic" in (schema.get("x-kubernetes-map-type"), target.get("x-kubernetes-map-type"))
        return ("!" if atomic else "") + "#" + short(go[1:])
    return {"int": "int64"}.get(go, go)


def main() -> None:
    url, token, types = sys.argv[1], sys.argv[2], json.loads(Path(sys.argv[3]).read_text())
    schemas: dict[str, Any] = {}
    for path in fetch(url, token, "/openapi/v3")["paths"]:
        if path.startswith("api"):
            schemas |= fetch(url, token, f"/openapi/v3/{path}").get("components", {}).get("schemas", {})
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = fetch(url, token, "/api", accept)["items"] + fetch(url, token, "/apis", accept)["items"]
    wanted: list[str] = []
    for group in groups:
        for version in group["versions"]:
            for resource in version["resources"]:
                for served in [resource, *resource.get("subresources", [])]:
                    kind = served["responseKind"]
                    place = (
                        f"{kind['group'] or group['metadata'].get('name', '')}/{kind['version'] or version['version']}"
                    )
                    wanted.append(f"{place}/{kind['kind']}")
    kinds = {key: types["kinds"][key] for key in wanted if key in types["kinds"]}
    out: dict[str, dict[str, str]] = {}
    enums: dict[str, list[str]] = {}
    merges: dict[str, list[str]] = {}
    todo = [name[1:] for name in kinds.values()]
    while todo:
        name = todo.pop()
        if short(name) in out:
            continue
        schema = schemas.get(name, {})
        fields: dict[str, str] = {}
        for entry in types["types"][name] or []:
            prop = schema.get("properties", {}).get(entry["Name"], {})
            text = spell(entry["Type"], prop, schemas)
            flags = "".join(
                letter
                for letter, on in (
                    ("o", entry["Empty"]),
                    ("z", entry["Zero"]),
                    ("p", entry["Pointer"]),
                    ("r", entry["Name"] in schema.get("required", [])),
                )
                if on
            )
            default = prop.get("default")
            if default not in (None, {}, []):
                flags += "=" + json.dumps(default)
            fields[entry["Name"]] = f"{text} {flags}".rstrip()
            where = f"{short(name)}.{entry['Name']}"
            if "enum" in prop:
                enums[where] = [value for value in prop["enum"] if value]
            if "x-kubernetes-patch-strategy" in prop:
                merges[where] = [prop["x-kubernetes-patch-strategy"], prop.get("x-kubernetes-patch-merge-key", "")]
            inner = entry["Type"]
            while inner.startswith(("list:", "map:")):
                inner = inner.partition(":")[2]
            if inner.startswith("#"):
                todo.append(inner[1:])
        out[short(name)] = fields
    lines = [
        f"  {json.dumps(name)}: {json.dumps(fields, separators=(',', ':'))}" for name, fields in sorted(out.items())
    ]
    tables = {
        "kinds": {key: short(value[1:]) for key, value in sorted(kinds.items())},
        "enums": enums,
        "merges": merges,
    }
    head = "".join(
        f" {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))},\n" for key, value in tables.items()
    )
    (OUT / "schema.json").write_text("{\n" + head + ' "types": {\n' + ",\n".join(lines) + "\n }\n}\n")
    rows = [json.dumps(group, separators=(",", ":")) for group in groups]
    version = fetch(url, token, "/version")
    (OUT / "kinds.json").write_text(
        '{\n "version": ' + json.dumps(version) + ',\n "groups": [\n' + ",\n".join(rows) + "\n ]\n}\n"
    )


if __name__ == "__main__":
    main()
