"""Objects of one cluster: get, list, follow, apply, patch, delete, logs. Implements `fleet.ports.kube.Kube`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import orjson

from fleet.core.documents import Document, Json, items_at, mapping_at, number_at, text_at
from fleet.core.ids import Identity
from fleet.core.scopes import is_built_in
from fleet.errors import AnswerInvalid, ClusterTimeout, Expired, Forbidden, NestedTooDeep
from fleet.kube.answers import Asked, Reply, document_of, error_of, is_absent, printable
from fleet.kube.discovery import discover
from fleet.kube.exchange import JSON, METADATA, METADATA_LIST, Request
from fleet.kube.levels import LEVELS, holds_folded
from fleet.kube.paths import collection, is_named, is_secret, shown, single, with_query
from fleet.kube.reflector import Reflector
from fleet.kube.transport import Transport
from fleet.kube.weight import values_in
from fleet.ports.kube import Answer, Catalog, May, ObjectList, Seen, ServedKind

_APPLY = "application/apply-patch+yaml"
_METADATA_KIND = "PartialObjectMetadata"
_MOST_PAGES = 10_000


class ClusterKube:
    """One proven connection; made by `connect`, closed by `close`."""

    def __init__(self, transport: Transport) -> None:
        self._transport, self._limits = transport, transport.limits
        self._version = ""
        self._catalog: Catalog | None = None
        self._discovering = asyncio.Lock()

    async def connect(self) -> None:
        """Prove the identity and read the version; nothing else may be called before."""
        await self._transport.prove()
        request = Request("GET", "/version", self._transport.asked("read the version"))
        try:
            reply = await self._transport.read(request)
        except Forbidden:
            return  # only shown to people; a cluster may hide it
        if reply.status == 200:
            self._version = text_at(document_of(reply, request.asked), "gitVersion")

    @property
    def identity(self) -> Identity:
        """As proven last."""
        return self._transport.identity

    @property
    def clock_ahead(self) -> float:
        """How far the cluster's clock is ahead of ours."""
        return self._transport.ahead

    @property
    def version(self) -> str:
        """The API server's version, as "v1.36.3"; "" where it is hidden."""
        return self._version

    async def discover(self, *, fresh: bool = False) -> Catalog:
        """What the cluster serves; cached until `fresh`. Callers at one time share one answer."""
        known = self._catalog
        if known is not None and not fresh:
            return known
        async with self._discovering:
            if self._catalog is None or self._catalog is known:
                self._catalog = await discover(self._transport)
            return self._catalog

    async def get(self, kind: ServedKind, namespace: str, name: str, *, metadata_only: bool = False) -> Document | None:
        """One object; None only if the server that serves this kind says 404 for the object."""
        asked = self._asked("get", kind, namespace, name)
        accept = METADATA if metadata_only else JSON
        request = Request("GET", single(kind, namespace, name), asked, accept=accept)
        reply = await self._transport.read(request)
        if reply.status == 404:
            if is_absent(reply, name):
                return None
            raise error_of(reply, asked)
        return _whole(document_of(reply, asked), kind, namespace, name, asked, metadata_only=metadata_only)

    async def list(
        self, kind: ServedKind, *, namespace: str = "", selector: str = "", metadata_only: bool = False
    ) -> ObjectList:
        """All objects of a kind, of all pages; namespace "" means all. Raises instead of giving a part."""
        asked = self._transport.asked(f"list {kind.plural}", secret=is_secret(kind))
        accept = METADATA_LIST if metadata_only else JSON
        path = collection(kind, namespace)
        seconds = self._limits.list_seconds
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                try:
                    return await self._pages(kind, path, selector, accept, asked)
                except Expired:
                    # The continue token became too old between two pages: once more from the start.
                    return await self._pages(kind, path, selector, accept, asked)
        except TimeoutError as error:
            if not limit.expired():
                raise
            why = f"not complete within {seconds:g} s; a part of a list counts for nothing (R19)"
            raise ClusterTimeout(
                f"cannot {asked.what}", where=asked.where, why=why, next_step="it is tried again"
            ) from error

    def follow(
        self, kind: ServedKind, *, namespace: str = "", selector: str = "", since: str = ""
    ) -> AsyncIterator[Seen]:
        """List, then watch, for ever; see `fleet.ports.kube.Kube.follow`."""

        async def listed() -> ObjectList:
            return await self.list(kind, namespace=namespace, selector=selector)

        async def read(namespace: str, name: str) -> Document | None:
            return await self.get(kind, namespace, name, metadata_only=True)

        asked = self._transport.asked(f"watch {kind.plural}", secret=is_secret(kind))
        return Reflector(self._transport, asked, collection(kind, namespace), selector, listed, read).follow(since)

    async def apply(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        body: bytes,
        *,
        manager: str = "fleet",
        force: bool = False,
        dry_run: bool = False,
        may: May | None = None,
    ) -> Answer:
        """Server-side apply (KEP-555). The body may carry metadata.uid and resourceVersion as preconditions."""
        query = f"?fieldManager={manager}&force={'true' if force else 'false'}{'&dryRun=All' if dry_run else ''}"
        target = single(kind, namespace, name) + query
        asked = self._asked("dry-run" if dry_run else "apply", kind, namespace, name)
        request = Request("PATCH", target, asked, content_type=_APPLY, body=body)
        answer = await self._written(request, dry_run, may)
        return replace(answer, object=_whole(answer.object, kind, namespace, name, asked))

    async def patch(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        body: bytes,
        content_type: str,
        *,
        dry_run: bool = False,
        may: May | None = None,
    ) -> Answer:
        """JSON patch or merge patch, by content type."""
        query = "?fieldManager=fleet" + ("&dryRun=All" if dry_run else "")
        target = single(kind, namespace, name) + query
        asked = self._asked("patch", kind, namespace, name)
        request = Request("PATCH", target, asked, content_type=content_type, body=body)
        answer = await self._written(request, dry_run, may)
        return replace(answer, object=_whole(answer.object, kind, namespace, name, asked))

    async def delete(
        self,
        kind: ServedKind,
        namespace: str,
        name: str,
        *,
        uid: str,
        resource_version: str = "",
        propagation: str = "Background",
        may: May | None = None,
    ) -> Document | None:
        """Delete with preconditions (R11). Returns the object if it still stands (finalizers), None if it is gone."""
        asked = self._asked("delete", kind, namespace, name)
        if not uid:
            raise ValueError("a delete needs the UID of what it means")
        preconditions: dict[str, Json] = {"uid": uid}
        if resource_version:
            preconditions["resourceVersion"] = resource_version
        options: Document = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": propagation,
            "preconditions": preconditions,
        }
        target = single(kind, namespace, name)
        request = Request("DELETE", target, asked, content_type=JSON, body=orjson.dumps(options))
        reply = await self._transport.write(request, may=may)
        if is_absent(reply, name):
            return None
        if reply.status not in (200, 202):
            raise error_of(reply, asked)
        answer = document_of(reply, asked)
        if text_at(answer, "kind") == "Status":
            is_gone = reply.status == 200 and text_at(answer, "status") == "Success"
            return None if is_gone else await self._same(kind, namespace, name, uid)
        if _is_held(answer):
            return _whole(answer, kind, namespace, name, asked)
        # Some kinds answer with the object as it was, gone or not: only a look tells.
        return await self._same(kind, namespace, name, uid)

    async def logs(
        self, namespace: str, pod: str, *, container: str = "", previous: bool = False, tail: int = 20
    ) -> str:
        """The last lines of a container's log, at most 64 KiB."""
        pods = ServedKind("", "v1", "Pod", "pods", True, frozenset())
        query = {
            "container": container,
            "previous": "true" if previous else "",
            "tailLines": str(tail),
            "limitBytes": str(self._limits.log_bytes),
        }
        asked = self._transport.asked(f"read the log of Pod {namespace}/{pod}")
        target = with_query(f"{single(pods, namespace, pod)}/log", query)
        reply = await self._transport.read(Request("GET", target, asked, accept="*/*"))
        if reply.status != 200:
            raise error_of(reply, asked)
        return reply.body[-self._limits.log_bytes :].decode("utf-8", "replace")

    async def issue_token(self, namespace: str, account: str, seconds: int) -> tuple[str, str]:
        """A new token of a service account, and when it ends (RFC 3339): the server may make it shorter.

        The cluster keeps nothing of it, and tokens from before stay good: it is no write that a fence would guard.
        """
        kind = ServedKind("", "v1", "ServiceAccount", "serviceaccounts", True, frozenset())
        wanted: Document = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": seconds},
        }
        asked = self._transport.asked(f"issue a token of ServiceAccount {namespace}/{account}", secret=True)
        target = f"{single(kind, namespace, account)}/token"
        request = Request("POST", target, asked, content_type=JSON, body=orjson.dumps(wanted))
        status = mapping_at((await self._written(request, dry_run=True)).object, "status")
        token = text_at(status, "token")
        if not token:
            raise AnswerInvalid(
                f"cannot {asked.what}", where=asked.where, why="the answer holds no token", next_step="try again"
            )
        return token, text_at(status, "expirationTimestamp")

    async def close(self) -> None:
        """End all connections."""
        await self._transport.close()

    def _asked(self, verb: str, kind: ServedKind, namespace: str, name: str) -> Asked:
        return self._transport.asked(f"{verb} {shown(kind, namespace, name)}", secret=is_secret(kind))

    async def _written(self, request: Request, dry_run: bool, may: May | None = None) -> Answer:
        asked = request.asked
        if holds_folded(request.body or b""):
            raise NestedTooDeep(
                f"cannot {asked.what}",
                where=asked.where,
                why=f"what stands there is nested more than {LEVELS} levels deep: it was not read whole",
                next_step="see who nests so deeply (kubectl get -o yaml --show-managed-fields), and take that out",
            )
        reply = await self._transport.write(request, stores=not dry_run, may=may)
        if reply.status not in (200, 201):
            raise error_of(reply, request.asked)
        return Answer(document_of(reply, request.asked), reply.warnings)

    async def _same(self, kind: ServedKind, namespace: str, name: str, uid: str) -> Document | None:
        found = await self.get(kind, namespace, name)
        return found if found is not None and text_at(found, "metadata", "uid") == uid else None

    async def _pages(self, kind: ServedKind, path: str, selector: str, accept: str, asked: Asked) -> ObjectList:
        found: list[Document] = []
        token, total, values = "", 0, 0
        for _ in range(_MOST_PAGES):
            query = {"limit": str(self._limits.page_objects), "labelSelector": selector, "continue": token}
            reply = await self._transport.read(
                Request("GET", with_query(path, query), asked, accept=accept, compressed=True)
            )
            if reply.status != 200:
                raise error_of(reply, asked)
            total += len(reply.body)
            if total > self._limits.list_bytes:
                raise _no_list(asked, f"it is larger than {self._limits.list_bytes >> 20} MiB")
            most = self._limits.list_values
            # What texts in it may add to a rough count fills half of that at most.
            values += values_in(reply.body, most - values, rough=most // 2 - values)
            if values > most:
                raise _no_list(asked, f"it holds more than {most} values")
            document = _list_of(reply, kind, asked, metadata_only=accept == METADATA_LIST)
            found += [_typed(item, kind) for item in _items(document, kind, asked)]
            following = text_at(document, "metadata", "continue")
            if not following and (left := number_at(document, "metadata", "remainingItemCount")):
                raise _no_list(asked, f"it ends while {left} objects are left, and says not where it goes on")
            if not following:
                return ObjectList(tuple(found), text_at(document, "metadata", "resourceVersion"))
            if following == token:
                raise _no_list(asked, "its pages do not go on")
            token = following
        raise _no_list(asked, f"it has more than {_MOST_PAGES} pages")


def _list_of(reply: Reply, kind: ServedKind, asked: Asked, *, metadata_only: bool) -> Document:
    """A page that is a list for certain; `{}` or another kind is no empty list (R5)."""
    document = document_of(reply, asked, outer=2)
    found, version = text_at(document, "kind"), text_at(document, "metadata", "resourceVersion")
    if not found.endswith("List") or "items" not in document or not version:
        raise _no_list(asked, f"the answer is a {printable(found, 80) or 'document'} without items or resourceVersion")
    if not (metadata_only and found == f"{_METADATA_KIND}List") and not _lists(document, kind):
        raise _no_list(asked, f"the answer is a {printable(found, 80)}")
    return document


def _lists(document: Document, kind: ServedKind) -> bool:
    """Whether a list is of this kind. A custom kind's list may be called as its definition says; its group tells."""
    if is_built_in(kind.group, kind.kind) and text_at(document, "kind") != f"{kind.kind}List":
        return False
    return text_at(document, "apiVersion") in ("", _api_version(kind))


def _items(document: Document, kind: ServedKind, asked: Asked) -> list[Document]:
    items = items_at(document, "items")
    whole = [item for item in items if isinstance(item, dict) and is_named(item)]
    if len(whole) != len(items) or not isinstance(document["items"], list | None):
        raise _no_list(asked, "it holds items that are no objects")
    named = {text_at(item, "kind") for item in whole} - {"", kind.kind, _METADATA_KIND}
    if named:
        raise _no_list(asked, f"it holds items of kind {printable(min(named), 80)}")
    return whole


def _whole(
    document: Document, kind: ServedKind, namespace: str, name: str, asked: Asked, *, metadata_only: bool = False
) -> Document:
    """The object that was asked for; what answers with any other document says nothing of it (R5)."""
    found, metadata = text_at(document, "kind"), mapping_at(document, "metadata")
    is_kind = found in ("", kind.kind) or (metadata_only and found == _METADATA_KIND)
    is_there = not kind.namespaced or text_at(metadata, "namespace") in ("", namespace)
    if not is_kind or not is_there or text_at(metadata, "name") != name or not is_named(document):
        shown_as = " ".join(part for part in (found or "document", text_at(metadata, "name")) if part)
        raise AnswerInvalid(
            f"cannot {asked.what}",
            where=asked.where,
            why=f"the answer is another: {printable(shown_as, 120)}",
            next_step="see what answers at this address",
        )
    return _typed(document, kind)


def _no_list(asked: Asked, why: str) -> AnswerInvalid:
    return AnswerInvalid(
        f"cannot {asked.what}", where=asked.where, why=why, next_step="see what answers at this address"
    )


def _typed(document: Document, kind: ServedKind) -> Document:
    """Items of lists of built-in kinds come without apiVersion and kind, metadata comes as PartialObjectMetadata."""
    document["kind"] = kind.kind
    document["apiVersion"] = _api_version(kind)
    return document


def _api_version(kind: ServedKind) -> str:
    return f"{kind.group}/{kind.version}" if kind.group else kind.version


def _is_held(document: Document) -> bool:
    """Whether a deleted object stands until somebody lets it go: finalizers, a grace period, a namespace's content."""
    metadata = mapping_at(document, "metadata")
    return bool(text_at(metadata, "deletionTimestamp")) and bool(
        items_at(metadata, "finalizers")
        or items_at(document, "spec", "finalizers")
        or number_at(metadata, "deletionGracePeriodSeconds")
    )
