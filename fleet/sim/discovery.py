"""Discovery documents: aggregated (one answer for all groups) and the older form of one per group and version."""

from __future__ import annotations

import hashlib
import re

from fleet.core.documents import Document, Json, documents_at, text_at
from fleet.sim.kinds import Kind, Registry, built_in_groups

AGGREGATED = ("v2", "v2beta1")


def aggregated(registry: Registry, *, core: bool, version: str) -> Document:
    """APIGroupDiscoveryList of /api (core) or /apis."""
    groups = [group for group in built_in_groups() if (not text_at(group, "metadata", "name")) == core]
    if not core:
        groups = [*groups, *_custom_groups(registry)]
    items: list[Json] = [*groups]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _custom_groups(registry: Registry) -> list[Document]:
    groups: dict[str, dict[str, list[Kind]]] = {}
    for kind in registry.custom.values():
        groups.setdefault(kind.group, {}).setdefault(kind.version, []).append(kind)
    out: list[Document] = []
    for name, versions in sorted(groups.items()):
        listed: list[Json] = []
        for version in sorted(versions, key=version_rank):
            resources: list[Json] = [_entry(kind) for kind in sorted(versions[version], key=lambda one: one.plural)]
            listed.append({"version": version, "resources": resources, "freshness": "Current"})
        out.append({"metadata": {"name": name, "creationTimestamp": None}, "versions": listed})
    return out


def _entry(kind: Kind) -> Document:
    made: Document = {
        "resource": kind.plural,
        "responseKind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        made["shortNames"] = [*kind.short_names]
    if kind.categories:
        made["categories"] = [*kind.categories]
    if kind.subresources:
        made["subresources"] = [
            {
                "subresource": sub.name,
                "responseKind": {"group": sub.group, "version": sub.version, "kind": sub.kind},
                "verbs": [*sorted(sub.verbs)],
            }
            for sub in sorted(kind.subresources.values(), key=lambda one: one.name)
        ]
    return made


_CUSTOM_ORDER = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")


def _verbs(kind: Kind) -> list[Json]:
    return [*_CUSTOM_ORDER] if kind.custom is not None else [*sorted(kind.verbs)]


def version_rank(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2, v1, v1beta2, v1alpha1, then others by name."""
    found = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if found is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stage, -int(found[1]), -int(found[3] or 0), version)


def core_versions(address: str) -> Document:
    """/api, the older form."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list(registry: Registry) -> Document:
    """/apis, the older form."""
    groups: list[Json] = [_group(group) for group in _all_groups(registry) if text_at(group, "metadata", "name")]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def group(registry: Registry, name: str) -> Document | None:
    """/apis/GROUP; None where there is no such group."""
    for one in _all_groups(registry):
        if text_at(one, "metadata", "name") == name and name:
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(one)}
    return None


def _all_groups(registry: Registry) -> list[Document]:
    return [*built_in_groups(), *_custom_groups(registry)]


def _group(entry: Document) -> Document:
    name = text_at(entry, "metadata", "name")
    versions: list[Json] = [
        {"groupVersion": f"{name}/{text_at(version, 'version')}", "version": text_at(version, "version")}
        for version in documents_at(entry, "versions")
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def resource_list(registry: Registry, group_name: str, version: str) -> Document | None:
    """/api/v1 or /apis/GROUP/VERSION; None where there is none."""
    kinds = sorted(
        (kind for kind in registry.all() if kind.group == group_name and kind.version == version),
        key=lambda kind: kind.plural,
    )
    if not kinds:
        return None
    entries: list[Json] = []
    for kind in kinds:
        entries.append(_legacy(kind))
        for sub in sorted(kind.subresources.values(), key=lambda one: one.name):
            made: Document = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
            if (sub.group, sub.version) not in {(kind.group, kind.version), ("", "")}:
                made |= {"group": sub.group, "version": sub.version}
            made |= {"kind": sub.kind, "verbs": [*sorted(sub.verbs)]}
            entries.append(made)
    where = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": where, "resources": entries}


def _legacy(kind: Kind) -> Document:
    made: Document = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": _verbs(kind),
    }
    if kind.short_names:
        made["shortNames"] = [*kind.short_names]
    if kind.categories:
        made["categories"] = [*kind.categories]
    return made


def schema_index(registry: Registry) -> Document:
    """/openapi/v3: where the schemas of each group and version are."""
    paths: Document = {}
    for kind in registry.all():
        place = f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"
        mark = hashlib.sha256(f"{place} {registry.revision}".encode()).hexdigest().upper()
        paths[place] = {"serverRelativeURL": f"/openapi/v3/{place}?hash={mark}"}
    return {"paths": paths}
