"""What a cluster serves: aggregated discovery in two requests, the older form where that is not served.

A group that did not answer is `unknown`, never absent (R5): a broken aggregated API server must not make its objects
look unserved. Parsing is pure; only `discover` asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from fleet.core.documents import Document, documents_at, items_at, text_at
from fleet.errors import AnswerInvalid, ClusterError
from fleet.kube.answers import document_of, error_of
from fleet.kube.exchange import Request
from fleet.kube.paths import is_place
from fleet.kube.transport import Transport
from fleet.ports.kube import Catalog, ServedKind
from fleet.values import dataclass, field

_AGGREGATED = ",".join(
    f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList" for version in ("v2", "v2beta1")
)
_ACCEPT = f"{_AGGREGATED},application/json"


@dataclass(slots=True)
class _Kinds:
    """Kinds as they are found; the first version that serves a kind is the preferred one."""

    found: dict[tuple[str, str], list[ServedKind]] = field(default_factory=dict[tuple[str, str], list[ServedKind]])
    unknown: set[str] = field(default_factory=set[str])

    def add(self, kind: ServedKind, group: str) -> None:
        """Take over what a group lists; what leads out of the cluster's own paths makes the group unknown."""
        if not is_place(kind.group, kind.version, kind.plural, kind.kind):
            self.unknown.add(group)
            return
        self.found.setdefault((kind.group, kind.kind), []).append(kind)

    def catalog(self) -> Catalog:
        kinds: dict[tuple[str, str], ServedKind] = {}
        for key, served in self.found.items():
            first = served[0]
            versions = tuple(dict.fromkeys(kind.version for kind in served))
            kinds[key] = ServedKind(
                first.group, first.version, first.kind, first.plural, first.namespaced, first.verbs, versions
            )
        return Catalog(kinds, frozenset(self.unknown))


async def discover(transport: Transport) -> Catalog:
    """Ask the cluster what it serves. Raises when the core group or the list of groups cannot be had."""
    core, groups = await asyncio.gather(
        _get(transport, "/api", _ACCEPT, {"APIGroupDiscoveryList": "items", "APIVersions": "versions"}),
        _get(transport, "/apis", _ACCEPT, {"APIGroupDiscoveryList": "items", "APIGroupList": "groups"}),
    )
    kinds = _Kinds()
    if text_at(core, "kind") == "APIGroupDiscoveryList":
        add_aggregated(kinds, core)
    else:
        versions = [text for text in items_at(core, "versions") if isinstance(text, str)]
        await _add_legacy(transport, kinds, [("", version) for version in versions])
    if text_at(groups, "kind") == "APIGroupDiscoveryList":
        add_aggregated(kinds, groups)
    else:
        await _add_legacy(transport, kinds, group_versions_of(groups))
    return kinds.catalog()


def add_aggregated(kinds: _Kinds, document: Document) -> None:
    """Add an APIGroupDiscoveryList; groups with a stale version are unknown as well."""
    for group in documents_at(document, "items"):
        name = text_at(group, "metadata", "name")
        for version in documents_at(group, "versions"):
            if text_at(version, "freshness") == "Stale":
                kinds.unknown.add(name)
            for resource in documents_at(version, "resources"):
                kinds.add(
                    ServedKind(
                        group=text_at(resource, "responseKind", "group") or name,
                        version=text_at(version, "version"),
                        kind=text_at(resource, "responseKind", "kind"),
                        plural=text_at(resource, "resource"),
                        namespaced=text_at(resource, "scope") == "Namespaced",
                        verbs=_texts(resource, "verbs"),
                    ),
                    name,
                )


def group_versions_of(groups: Document) -> list[tuple[str, str]]:
    """Group and version pairs of an APIGroupList, the preferred version of each group first."""
    pairs: list[tuple[str, str]] = []
    for group in documents_at(groups, "groups"):
        name, preferred = text_at(group, "name"), text_at(group, "preferredVersion", "version")
        versions = [text_at(version, "version") for version in documents_at(group, "versions")]
        pairs += [(name, version) for version in sorted(versions, key=lambda version: version != preferred)]
    return pairs


def add_resource_list(kinds: _Kinds, group: str, version: str, document: Document) -> None:
    """Add an APIResourceList; subresources are no kinds."""
    for resource in documents_at(document, "resources"):
        plural = text_at(resource, "name")
        if "/" not in plural:
            namespaced, verbs = resource.get("namespaced") is True, _texts(resource, "verbs")
            kinds.add(ServedKind(group, version, text_at(resource, "kind"), plural, namespaced, verbs), group)


async def _add_legacy(transport: Transport, kinds: _Kinds, pairs: Iterable[tuple[str, str]]) -> None:
    said = list(pairs)
    ordered = [(group, version) for group, version in said if is_place(group, version)]
    kinds.unknown |= {group for group, _ in said} - {group for group, _ in ordered}
    answers = await asyncio.gather(*(_resource_list(transport, group, version) for group, version in ordered))
    for (group, version), answer in zip(ordered, answers, strict=True):
        if answer is None:
            kinds.unknown.add(group)
        else:
            add_resource_list(kinds, group, version, answer)


async def _resource_list(transport: Transport, group: str, version: str) -> Document | None:
    path = f"/apis/{group}/{version}" if group else f"/api/{version}"
    try:
        return await _get(transport, path, "application/json", {"APIResourceList": "resources"})
    except ClusterError:
        if not group:
            raise  # without the core group nothing can be said at all
        return None


async def _get(transport: Transport, path: str, accept: str, lists: Mapping[str, str]) -> Document:
    """An answer of one of these kinds with the list that belongs to it; anything else is no empty catalog (R5)."""
    request = Request("GET", path, transport.asked(f"discover {path}"), accept=accept, compressed=True)
    reply = await transport.read(request)
    if reply.status != 200:
        raise error_of(reply, request.asked)
    document = document_of(reply, request.asked)
    kind = text_at(document, "kind")
    if not isinstance(document.get(lists.get(kind, "")), list):
        raise AnswerInvalid(
            f"cannot {request.asked.what}",
            where=request.asked.where,
            why=f"the answer is a {kind or 'document'}, expected {' or '.join(lists)}",
            next_step="see what answers at this address",
        )
    return document


def _texts(resource: Document, name: str) -> frozenset[str]:
    return frozenset(text for text in items_at(resource, name) if isinstance(text, str))
