"""The suite's own client: plain requests as one user, in one namespace, nothing clever.

It shares no code with the product's transport, so that an error there cannot hide itself here.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

USERS = ("admin", "nobody", "limited")
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
METADATA_LIST = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

ROOTS = {
    "/api/v1": "configmaps secrets services serviceaccounts pods persistentvolumeclaims resourcequotas limitranges "
    "endpoints events replicationcontrollers podtemplates",
    "/apis/apps/v1": "deployments statefulsets daemonsets replicasets controllerrevisions",
    "/apis/batch/v1": "jobs cronjobs",
    "/apis/networking.k8s.io/v1": "ingresses networkpolicies",
    "/apis/policy/v1": "poddisruptionbudgets",
    "/apis/autoscaling/v2": "horizontalpodautoscalers",
    "/apis/rbac.authorization.k8s.io/v1": "roles rolebindings",
    "/apis/coordination.k8s.io/v1": "leases",
}
_ROOT_OF = {plural: root for root, plurals in ROOTS.items() for plural in plurals.split()}


@dataclass(frozen=True, slots=True)
class Target:
    """A server under test: where it is, how it is trusted, tokens by user ("admin" may all, "nobody" nothing)."""

    url: str
    trust: ssl.SSLContext | None
    tokens: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `body` is parsed where it is JSON, else text."""

    code: int
    body: Any
    headers: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def at(self, *path: str | int) -> Any:
        """The value under a path of keys and indexes; None where there is none."""
        here = self.body
        for step in path:
            try:
                here = here[step]
            except (KeyError, IndexError, TypeError):
                return None
        return here

    @property
    def whole(self) -> list[Any]:
        return [self.code, self.body]

    @property
    def version(self) -> str:
        return self.at("metadata", "resourceVersion")


@dataclass(frozen=True, slots=True)
class Api:
    """Requests to a target as one user. `ns` exists when a case begins; `unique` is a word no other case uses."""

    target: Target
    session: aiohttp.ClientSession
    ns: str
    unique: str
    user: str | None = "admin"
    generated: list[str] = field(default_factory=list)

    def as_user(self, user: str | None) -> Api:
        """The same as another user of the target, without credentials for None."""
        return replace(self, user=user)

    def path(self, plural: str, name: str = "", *, sub: str = "") -> str:
        """Path of a namespaced built-in resource in the case's namespace."""
        parts = [_ROOT_OF[plural], "namespaces", self.ns, plural, name, sub]
        return "/".join(part for part in parts if part)

    async def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Reply:
        sent = {"Accept": accept, "User-Agent": "conformance/1", **(headers or {})}
        if self.user:
            sent["Authorization"] = f"Bearer {self.target.tokens.get(self.user, self.user)}"
        payload = None
        if body is not None:
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = content_type
        async with self.session.request(
            method, self.target.url + path, data=payload, headers=sent, params=query, allow_redirects=False
        ) as answer:
            raw = await answer.read()
            is_json = "json" in answer.headers.get("Content-Type", "") and raw
            warnings = tuple(answer.headers.getall("Warning", []))
            return Reply(answer.status, json.loads(raw) if is_json else raw.decode(), answer.headers, warnings)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.request("GET", path, **options)

    async def post(self, path: str, body: Any, **options: Any) -> Reply:
        return await self.request("POST", path, body, **options)

    async def put(self, path: str, body: Any, **options: Any) -> Reply:
        return await self.request("PUT", path, body, **options)

    async def delete(self, path: str, body: Any = None, **options: Any) -> Reply:
        return await self.request("DELETE", path, body, **options)

    async def patch(self, path: str, body: Any, content_type: str = MERGE, **options: Any) -> Reply:
        return await self.request("PATCH", path, body, content_type=content_type, **options)

    async def apply(self, path: str, body: Any, manager: str | None = "fleet", **options: Any) -> Reply:
        """Server-side apply; without `force` a conflict answers 409."""
        named = {"fieldManager": manager} if manager is not None else {}
        return await self.request("PATCH", path, body, content_type=APPLY, **named, **options)

    async def watch(
        self,
        path: str,
        *,
        until: int | None = None,
        accept: str = "application/json",
        seconds: float = 15,
        **query: Any,
    ) -> list[Any]:
        """Events until there are as many as asked, or until the server closes: `[[type, object], …]`.

        A refusal is one pair `[code, body]`; "silent" as last item says the server neither sent nor closed in time.
        """
        sent = {"Accept": accept, "Authorization": f"Bearer {self.target.tokens.get(self.user or '', self.user)}"}
        events: list[Any] = []
        try:
            async with (
                asyncio.timeout(seconds),
                self.session.get(self.target.url + path, headers=sent, params={"watch": "true", **query}) as answer,
            ):
                if answer.status != 200:
                    return [[answer.status, json.loads(await answer.read())]]
                async for line in answer.content:
                    event = json.loads(line)
                    events.append([event["type"], event["object"]])
                    if until is not None and len(events) >= until:
                        break
        except TimeoutError:
            events.append("silent")
        return events

    async def until(self, path: str, holds: Any, *, seconds: float = 30) -> Reply:
        """Read until `holds(reply)`, and return that reply (the last one when time is up)."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            reply = await self.get(path)
            if holds(reply) or loop.time() > deadline:
                return reply
            await asyncio.sleep(0.03)
