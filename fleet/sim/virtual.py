"""What is answered but not stored: scale, reviews, tokens, eviction, logs, and finalize of namespaces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from fleet.core.documents import Document, at, mapping_at, number_at, text_at
from fleet.sim.access import User
from fleet.sim.causes import invalid
from fleet.sim.kinds import Kind
from fleet.sim.objects import Change
from fleet.sim.requests import Target
from fleet.sim.statuses import invalid_of, no_such_resource
from fleet.sim.writes import WriteOptions

if TYPE_CHECKING:
    from fleet.sim.cluster import SimCluster


_NEGATIVE = "must be greater than or equal to 0"


def _answer(document: Document, status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(document), content_type="application/json")


def get(cluster: SimCluster, kind: Kind, target: Target) -> web.Response | None:
    """A GET that is answered from elsewhere; None for a plain one."""
    if kind.resource == "pods" and target.subresource == "log":
        row = cluster.objects.row(kind, target.namespace, target.name)
        text = cluster.logs.get((target.namespace, target.name), "")
        del row
        return web.Response(body=text.encode(), content_type="text/plain")
    return None


def read(cluster: SimCluster, kind: Kind, namespace: str, name: str, subresource: str) -> Document:
    """GET of a subresource with a kind of its own."""
    if subresource == "scale":
        return scale_of(kind, cluster.objects.get(kind, namespace, name))
    return cluster.objects.get(kind, namespace, name)


def scale_of(kind: Kind, document: Document) -> Document:
    """The Scale of a workload or custom resource."""
    metadata = mapping_at(document, "metadata")
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    if kind.custom is not None:
        paths = mapping_at(kind.custom, "subresources", "scale")
        replicas = at(document, *text_at(paths, "specReplicasPath").strip(".").split("."))
        ready = at(document, *text_at(paths, "statusReplicasPath").strip(".").split("."))
        selector = at(document, *text_at(paths, "labelSelectorPath").strip(".").split("."))
    else:
        replicas = at(document, "spec", "replicas")
        ready = at(document, "status", "replicas")
        chosen = at(document, "spec", "selector", "matchLabels") or at(document, "spec", "selector")
        pairs: Document = chosen if isinstance(chosen, dict) else {}
        selector = ",".join(f"{key}={pairs[key]}" for key in sorted(pairs))
    spec: Document = {"replicas": replicas} if replicas else {}
    status: Document = {"replicas": ready if isinstance(ready, int) else 0}
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": spec,
        "status": status,
    }


def write(
    cluster: SimCluster, kind: Kind, namespace: str, target: Target, change: Change, options: WriteOptions
) -> Document:
    """PUT or PATCH of a subresource with a kind of its own; the answer."""
    objects = cluster.objects
    if target.subresource == "scale":
        old = objects.get(kind, namespace, target.name)
        wanted = change(scale_of(kind, old))
        return _set_scale(cluster, kind, namespace, target.name, wanted, options)
    if target.subresource == "finalize":
        document = change(objects.get(kind, namespace, target.name))
        written = objects.change(
            kind,
            namespace,
            target.name,
            lambda old: {**old, "spec": mapping_at(document, "spec")},
            options,
            "finalize",
        )
        return written.object
    written = objects.change(kind, namespace, target.name, change, options, target.subresource)
    return written.object


def apply(
    cluster: SimCluster, kind: Kind, namespace: str, target: Target, body: Document, options: WriteOptions
) -> Document:
    """Server-side apply of a subresource."""
    if target.subresource == "scale":
        return _set_scale(cluster, kind, namespace, target.name, body, options)
    return cluster.objects.apply(kind, namespace, target.name, body, options, target.subresource).object


def _set_scale(
    cluster: SimCluster, kind: Kind, namespace: str, name: str, wanted: Document, options: WriteOptions
) -> Document:
    replicas = number_at(wanted, "spec", "replicas")
    if replicas < 0:
        raise invalid_of("Scale", "autoscaling", name, [invalid("spec.replicas", replicas, _NEGATIVE)])
    path = ["spec", "replicas"]
    if kind.custom is not None:
        path = text_at(kind.custom, "subresources", "scale", "specReplicasPath").strip(".").split(".")

    def change(old: Document) -> Document:
        version = text_at(wanted, "metadata", "resourceVersion")
        metadata = mapping_at(old, "metadata")
        if version:
            metadata = {**metadata, "resourceVersion": version}
        return _with({**old, "metadata": metadata}, path, replicas)

    written = cluster.objects.change(kind, namespace, name, change, options, "scale")
    return scale_of(kind, written.object)


def _with(document: Document, path: list[str], value: int) -> Document:
    if len(path) == 1:
        return {**document, path[0]: value}
    return {**document, path[0]: _with(mapping_at(document, path[0]), path[1:], value)}


def create(cluster: SimCluster, kind: Kind, target: Target, body: Document, user: User) -> web.Response | None:
    """A POST that stores nothing; None for a plain create."""
    if kind.group == "authorization.k8s.io":
        return _review(cluster, kind, target, body, user)
    if kind.group == "authentication.k8s.io":
        return _who(cluster, kind, body, user)
    if target.subresource == "token":
        return _token(cluster, target, body)
    if target.subresource in {"eviction", "binding"}:
        if target.subresource == "eviction":
            cluster.objects.delete(kind, target.namespace, target.name)
        success: Document = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
        return _answer(success, 201)
    if target.subresource:
        raise no_such_resource()
    return None


def _review(cluster: SimCluster, kind: Kind, target: Target, body: Document, user: User) -> web.Response:
    if kind.kind == "SelfSubjectRulesReview":
        rules_found = cluster.access.rules(user, text_at(body, "spec", "namespace"))
        listed: Document = {
            "resourceRules": [rule for rule in rules_found if "resources" in rule],
            "nonResourceRules": [rule for rule in rules_found if "nonResourceURLs" in rule],
            "incomplete": False,
        }
        return _answer({**body, "metadata": mapping_at(body, "metadata"), "status": listed}, 201)
    spec = mapping_at(body, "spec")
    if not kind.kind.startswith("Self"):
        groups = spec.get("groups")
        names = tuple(str(one) for one in groups) if isinstance(groups, list) else ()
        user = User(text_at(spec, "user"), names)
    asked = mapping_at(spec, "resourceAttributes")
    path = mapping_at(spec, "nonResourceAttributes")
    if path:
        wanted = Target(text_at(path, "path"), text_at(path, "verb"))
    else:
        wanted = Target(
            "",
            text_at(asked, "verb"),
            text_at(asked, "group"),
            text_at(asked, "version"),
            text_at(asked, "namespace"),
            text_at(asked, "resource"),
            text_at(asked, "name"),
            text_at(asked, "subresource"),
        )
    del target
    status: Document = {"allowed": cluster.access.allows(user, wanted)}
    return _answer({**body, "metadata": mapping_at(body, "metadata"), "status": status}, 201)


def _who(cluster: SimCluster, kind: Kind, body: Document, user: User) -> web.Response:
    if kind.kind == "TokenReview":
        found = cluster.access.tokens.get(text_at(body, "spec", "token"))
        status: Document = {"user": {}}
        if found is not None:
            status = {"authenticated": True, "user": {"username": found.name, "groups": [*found.groups]}}
        return _answer({**body, "metadata": {}, "status": status}, 201)
    info: Document = {"username": user.name, "groups": [*user.groups]}
    return _answer({**body, "metadata": {"creationTimestamp": cluster.clock.now()}, "status": {"userInfo": info}}, 201)


def _token(cluster: SimCluster, target: Target, body: Document) -> web.Response:
    kind = cluster.registry.find("", "v1", "serviceaccounts")
    if kind is None:
        raise no_such_resource()
    account = cluster.objects.get(kind, target.namespace, target.name)
    token = cluster.issue_token(target.namespace, target.name, text_at(account, "metadata", "uid"))
    seconds = number_at(body, "spec", "expirationSeconds", default=3600)
    made: Document = {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": target.name, "namespace": target.namespace, "creationTimestamp": cluster.clock.now()},
        "spec": {**mapping_at(body, "spec"), "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": cluster.clock.later(seconds)},
    }
    return _answer(made, 201)
