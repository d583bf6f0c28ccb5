"""The HTTP front of one simulated API server: from a request to a verb, from its result to an answer.

Below the routing everything is synchronous: a write is one step of the event loop, so that writes of one cluster
have an order without locks.
"""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import secrets
from functools import partial
from typing import TYPE_CHECKING, cast

import orjson
from aiohttp import web

from fleet.core.documents import Document, Json, text_at
from fleet.core.objects import OWNER_ANNOTATION
from fleet.sim import discovery, patch, rules, virtual
from fleet.sim.calls import (
    Call,
    applied_document_of,
    body_of,
    delete_options_of,
    document_of,
    form_of,
    grace_seconds_of,
    write_options_of,
)
from fleet.sim.deletion import Preconditions
from fleet.sim.front import Front, json_answer
from fleet.sim.kinds import Kind, built_ins, server_version
from fleet.sim.ledger import Met
from fleet.sim.reads import Form, encode, filter_of, make_list
from fleet.sim.statuses import (
    ApiError,
    bad_request,
    method_not_allowed,
    no_such_resource,
    not_found,
    unauthorized,
    unsupported_media,
)
from fleet.sim.writes import Written

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster

_GZIP_FROM = 128 * 1024
APPLY_PATCH = "application/apply-patch+yaml"
_PATCHES = {
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    APPLY_PATCH,
}
_CUSTOM_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_NAMED = {"get", "update", "patch", "delete"}
_HEALTH = {"/healthz", "/livez", "/readyz"}


class ApiServer:
    """Answers the requests of one cluster."""

    def __init__(self, cluster: SimCluster) -> None:
        self._cluster = cluster
        self.front = Front(cluster.faults, cluster.ledger, self._answer, _finish)
        self._discovery: dict[str, tuple[int, bytes]] = {}

    async def _answer(self, call: Call) -> web.StreamResponse:
        user = self._cluster.access.user_of(call.request.headers.get("Authorization", ""))
        if user is None:
            raise unauthorized()
        call.user = user
        self._cluster.access.check(user, call.target)
        return await self._resource(call) if call.target.is_resource else self._path(call)

    # Paths that are no resources

    def _path(self, call: Call) -> web.Response:
        path = call.target.path.rstrip("/") or "/"
        if path in _HEALTH or path.rpartition("/")[0] in _HEALTH:
            return web.Response(body=b"ok", content_type="text/plain")
        if path == "/version":
            return json_answer(server_version())
        if path in {"/api", "/apis"}:
            return self._groups(call, core=path == "/api")
        parts = path.strip("/").split("/")
        registry = self._cluster.registry
        if parts[0] == "apis" and len(parts) == 2:
            found = discovery.group(registry, parts[1])
            if found is not None:
                return json_answer(found)
        if parts[0] in {"api", "apis"} and len(parts) == (2 if parts[0] == "api" else 3):
            listed = discovery.resource_list(registry, "" if parts[0] == "api" else parts[1], parts[-1])
            if listed is not None:
                return json_answer(listed)
        if path == "/openapi/v3":
            return json_answer(discovery.schema_index(registry))
        return web.Response(status=404, body=b"404 page not found\n", content_type="text/plain")

    def _groups(self, call: Call, *, core: bool) -> web.Response:
        registry = self._cluster.registry
        accept = call.request.headers.get("Accept", "")
        for version in discovery.AGGREGATED:
            if f"v={version}" in accept.replace(" ", "") and "as=APIGroupDiscoveryList" in accept:
                key = f"{core}{version}"
                known = self._discovery.get(key)
                if known is None or known[0] != registry.revision:
                    raw = orjson.dumps(discovery.aggregated(registry, core=core, version=version))
                    known = self._discovery[key] = (registry.revision, raw)
                etag = f'"{hashlib.sha256(known[1]).hexdigest().upper()}"'
                if call.request.headers.get("If-None-Match") == etag:
                    return web.Response(status=304, headers={"ETag": etag, "Vary": "Accept"})
                media = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                return web.Response(body=known[1], headers={"Content-Type": media, "Vary": "Accept", "ETag": etag})
        return json_answer(discovery.core_versions(self._cluster.address) if core else discovery.group_list(registry))

    # Resources

    async def _resource(self, call: Call) -> web.StreamResponse:
        target = call.target
        registry = self._cluster.registry
        kind = registry.find(target.group, target.version, target.resource)
        if kind is None:
            known = registry.serves_group(target.group, target.version)
            if known or any(target.group == one[0] for one in built_ins()):
                raise no_such_resource()
            return web.Response(status=404, body=b"404 page not found\n", content_type="text/plain")
        if target.subresource and target.subresource not in kind.subresources:
            if kind.custom is not None:
                raise not_found(kind.plural, kind.group, target.name)
            raise no_such_resource()
        if target.namespace and not kind.namespaced and kind.plural != "namespaces":
            raise no_such_resource()
        verbs = kind.subresources[target.subresource].verbs if target.subresource else kind.verbs
        fits = bool(target.name) == (target.verb in _NAMED) or target.verb == "watch"
        if target.verb not in verbs or not (fits or (target.verb == "create" and target.subresource)):
            raise method_not_allowed()
        if kind.namespaced and not target.namespace and (target.name or target.verb == "create"):
            raise no_such_resource()
        deprecated = rules.DEPRECATED.get(kind.resource)
        if deprecated:
            call.warnings.append(deprecated)
        match target.verb:
            case "get":
                return self._get(call, kind)
            case "list":
                return self._list(call, kind)
            case "watch":
                return await self._watch(call, kind)
            case _:
                return await self._write(call, kind)

    def _namespace(self, call: Call, kind: Kind) -> str:
        return call.target.namespace if kind.namespaced else ""

    def _get(self, call: Call, kind: Kind) -> web.Response:
        target = call.target
        found = virtual.get(self._cluster, kind, target)
        if found is not None:
            return found
        objects = self._cluster.objects
        namespace = self._namespace(call, kind)
        if target.subresource and target.subresource != "status":
            return json_answer(virtual.read(self._cluster, kind, namespace, target.name, target.subresource))
        stale = self._cluster.faults.hit("stale", target, call.agent)
        if stale is None:
            row = objects.row(kind, namespace, target.name)
        else:
            row = self._cluster.past_row(kind, (namespace, target.name), stale.versions)
        raw = encode(kind, row, form_of(call))
        raw = self._cluster.disguised(raw, target, call.agent)
        return web.Response(body=raw, content_type="application/json")

    def _list(self, call: Call, kind: Kind) -> web.Response:
        wanted = filter_of(kind, self._namespace(call, kind), call.query)
        raw = make_list(self._cluster.store, kind, wanted, call.query, form_of(call))
        return web.Response(body=raw, content_type="application/json")

    async def _watch(self, call: Call, kind: Kind) -> web.StreamResponse:
        wanted = filter_of(kind, self._namespace(call, kind), call.query, call.target.name)

        return await self._cluster.watches.serve(
            call, kind, wanted, form_of(call), self._cluster.faults, partial(self.front.record, call)
        )

    async def _write(self, call: Call, kind: Kind) -> web.Response:
        target = call.target
        body = await body_of(call.request)
        namespace = self._namespace(call, kind)
        if target.verb == "delete":
            return self._delete(call, kind, namespace, body)
        if target.verb == "deletecollection":
            return self._delete_collection(call, kind, namespace, body)
        if target.verb == "patch":
            return self._patch(call, kind, namespace, body)
        options = write_options_of(call, applying=False)
        document, twice = document_of(call, body, kind)
        if twice and options.validation == "Strict":
            told = ", ".join(f'duplicate field "{path}"' for path in twice)
            raise bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"strict decoding error: {told}"
            )
        if options.validation == "Warn":
            call.warnings += [f'duplicate field "{path}"' for path in twice]
        self._cluster.access.check_grant(call.user, target, document)
        if target.verb == "create":
            made = virtual.create(self._cluster, kind, target, document, call.user)
            if made is not None:
                return made
            written = self._cluster.objects.create(kind, namespace, document, options)
        else:
            if target.subresource and target.subresource != "status":
                return json_answer(
                    virtual.write(self._cluster, kind, namespace, target, lambda _old: document, options)
                )
            written = self._cluster.objects.replace(kind, namespace, target.name, document, options, target.subresource)
        return self._written(call, kind, written)

    def _patch(self, call: Call, kind: Kind, namespace: str, body: bytes) -> web.Response:
        target, objects = call.target, self._cluster.objects
        media = call.request.content_type
        if kind.custom is not None and (media not in _PATCHES or media.startswith("application/strategic")):
            raise unsupported_media(_CUSTOM_PATCHES)
        if media not in _PATCHES:
            raise ApiError(415, "UnsupportedMediaType", "415: Unsupported Media Type", details={})
        options = write_options_of(call, applying=media == APPLY_PATCH)
        if media == APPLY_PATCH:
            standing = self._cluster.store.get(kind.resource, (namespace, target.name))
            mark = (options.manager, target.subresource, kind.version, hashlib.sha256(body).digest())
            if standing is not None and standing.applied == mark:
                return web.Response(body=encode(kind, standing, form_of(call)), content_type="application/json")
            document = applied_document_of(body)
            if standing is None:
                self._cluster.access.check(call.user, dataclasses.replace(target, verb="create"))
            self._cluster.access.check_grant(call.user, target, document)
            if target.subresource and target.subresource != "status":
                return json_answer(virtual.apply(self._cluster, kind, namespace, target, document, options))
            written = objects.apply(kind, namespace, target.name, document, options, target.subresource)
            made = self._cluster.store.get(kind.resource, (namespace, target.name))
            plain = not (written.warnings or call.dry_run or text_at(document, "metadata", "resourceVersion"))
            # Only a repetition that changed nothing is known to change nothing: admission may undo a first apply.
            if made is not None and made is standing and plain:
                made.applied = (options.manager, target.subresource, kind.version, hashlib.sha256(body).digest())
            return self._written(call, kind, written)
        change = patch.reader(media, body, kind)
        if target.subresource and target.subresource != "status":
            return json_answer(virtual.write(self._cluster, kind, namespace, target, change, options))
        written = objects.change(kind, namespace, target.name, change, options, target.subresource)
        return self._written(call, kind, written)

    def _written(self, call: Call, kind: Kind, written: Written) -> web.Response:
        call.warnings += written.warnings
        document = written.object
        if form_of(call) is Form.METADATA:
            document = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": document["metadata"],
            }
        return json_answer(document, status=201 if written.created else 200)

    def _delete(self, call: Call, kind: Kind, namespace: str, body: bytes) -> web.Response:
        asked = delete_options_of(call, body)
        call.met = self._met(kind, namespace, call.target.name, asked)
        if (
            kind.resource == "jobs.batch"
            and not text_at(asked, "propagationPolicy")
            and "orphanDependents" not in asked
        ):
            call.warnings.append(rules.ORPHAN_WARNING)
        document, gone = self._cluster.objects.delete(
            kind,
            namespace,
            call.target.name,
            preconditions=Preconditions(
                text_at(asked, "preconditions", "uid"), text_at(asked, "preconditions", "resourceVersion")
            ),
            propagation=text_at(asked, "propagationPolicy"),
            grace_seconds=grace_seconds_of(asked),
            dry_run=call.dry_run or "All" in cast("list[Json]", asked.get("dryRun") or []),
        )
        return self._deleted(kind, document, gone)

    def _met(self, kind: Kind, namespace: str, name: str, asked: Document) -> Met:
        """What stands under the name that is to be deleted, for the ledger."""
        row = self._cluster.store.get(kind.resource, (namespace, name))
        owner = text_at(row.document(), "metadata", "annotations", OWNER_ANNOTATION) if row else ""
        wanted = (text_at(asked, "preconditions", field) for field in ("uid", "resourceVersion"))
        return Met(row.uid if row else "", owner, *wanted)

    def _deleted(self, kind: Kind, document: Document, gone: bool) -> web.Response:
        if not gone or kind.resource in rules.RETURN_DELETED:
            return json_answer(document)
        details: Document = {"name": text_at(document, "metadata", "name")}
        if kind.group:
            details["group"] = kind.group
        details |= {"kind": kind.plural, "uid": text_at(document, "metadata", "uid")}
        return json_answer(
            {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
        )

    def _delete_collection(self, call: Call, kind: Kind, namespace: str, body: bytes) -> web.Response:
        asked = delete_options_of(call, body)
        wanted = filter_of(kind, namespace, call.query)
        store, objects = self._cluster.store, self._cluster.objects
        rows = store.rows(kind.resource)
        keys = sorted(key for key, row in rows.items() if wanted.takes(key, row))
        raw = make_list(store, kind, wanted, {key: call.query[key] for key in call.query if key != "limit"}, Form.FULL)
        for key in keys:
            objects.delete(
                kind,
                key[0],
                key[1],
                propagation=text_at(asked, "propagationPolicy"),
                grace_seconds=grace_seconds_of(asked),
                dry_run=call.dry_run,
            )
        return web.Response(body=raw, content_type="application/json")


def _finish(call: Call, response: web.Response) -> None:
    headers = response.headers
    headers["Audit-Id"] = secrets.token_hex(16)
    headers.setdefault("Cache-Control", "no-cache, private")
    for text in call.warnings:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"')
        headers.add("Warning", f'299 - "{escaped}"')
    body = response.body
    if isinstance(body, bytes) and len(body) > _GZIP_FROM and "gzip" in call.request.headers.get("Accept-Encoding", ""):
        response.body = gzip.compress(body, 1)
        headers["Content-Encoding"] = "gzip"
        headers["Vary"] = "Accept-Encoding"
