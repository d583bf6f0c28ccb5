"""A small blocking client of an API server, for preparing and checking a test's world.

It is the tests' hands, not what is tested; the product's own transport lives in the product.
"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

USER_AGENT = "testbed"
# A kind that was just defined answers 404, then 429 ("storage is (re)initializing"), then serves.
_NOT_YET = frozenset({404, 429, 503})
_APPLY = "application/apply-patch+yaml"
_CLUSTER_SCOPED = frozenset(
    {
        "namespaces",
        "nodes",
        "persistentvolumes",
        "clusterroles",
        "clusterrolebindings",
        "customresourcedefinitions",
        "priorityclasses",
        "storageclasses",
        "ingressclasses",
        "runtimeclasses",
        "apiservices",
        "mutatingwebhookconfigurations",
        "validatingwebhookconfigurations",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "flowschemas",
        "prioritylevelconfigurations",
    }
)
_IRREGULAR = {"Ingress": "ingresses", "Endpoints": "endpoints"}


class Refused(Exception):
    """The API server answered with an error status; `code` and `status` hold it."""

    def __init__(self, code: int, status: dict[str, Any]) -> None:
        super().__init__(f"{code} {status.get('reason', '')}: {status.get('message', '')}")
        self.code = code
        self.status = status


class TimedOut(Exception):
    """What a test waited for did not come to be; the text carries what was there instead."""


@dataclass(frozen=True)
class Rest:
    """Requests to one server as one user; every call opens a connection of its own."""

    url: str
    trust: ssl.SSLContext
    token: str | None
    user_agent: str = USER_AGENT

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        seconds: float = 30,
    ) -> Any:
        """One request; the parsed answer, or Refused."""
        where = urlsplit(self.url)
        connection = http.client.HTTPSConnection(where.hostname or "", where.port, context=self.trust, timeout=seconds)
        headers = {"User-Agent": self.user_agent, "Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        payload = None
        if body is not None:
            payload = body if isinstance(body, (bytes, str)) else json.dumps(body)
            headers["Content-Type"] = content_type
        try:
            connection.request(method, path + (f"?{urlencode(query)}" if query else ""), payload, headers)
            answer = connection.getresponse()
            raw = answer.read()
        finally:
            connection.close()
        parsed = json.loads(raw) if "json" in (answer.getheader("Content-Type") or "") else raw.decode()
        if answer.status >= 400:
            raise Refused(answer.status, parsed if isinstance(parsed, dict) else {"message": parsed})
        return parsed

    def apply(self, document: dict[str, Any], *, manager: str = "testbed", force: bool = True) -> Any:
        """Server-side apply of one document."""
        query = {"fieldManager": manager, "force": str(force).lower()}
        return self.request("PATCH", path_of(document), document, content_type=_APPLY, query=query)

    def create(self, document: dict[str, Any]) -> Any:
        return self.request("POST", path_of(document).rsplit("/", 1)[0], document)

    def get(self, path: str) -> Any:
        return self.request("GET", path)

    def exists(self, path: str) -> bool:
        try:
            self.get(path)
        except Refused as refused:
            if refused.code == 404:
                return False
            raise
        return True

    def merge(self, path: str, patch: dict[str, Any]) -> Any:
        """JSON merge patch."""
        return self.request("PATCH", path, patch, content_type="application/merge-patch+json")

    def delete(self, path: str, **options: Any) -> Any:
        return self.request("DELETE", path, options or None)

    def make_namespace(self, name: str) -> str:
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        return name

    def wait(self, path: str, until: Callable[[Any], Any], *, seconds: float = 30) -> Any:
        """Read an object until it is as asked, and return it; one that is not there (yet) is an empty mapping."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                seen = self.get(path)
            except Refused as refused:
                if refused.code not in _NOT_YET:
                    raise
                seen = {}
            if until(seen):
                return seen
            if time.monotonic() > deadline:
                raise TimedOut(f"{path} after {seconds} s: {json.dumps(seen)[:3000]}")
            time.sleep(0.05)


def path_of(document: Mapping[str, Any]) -> str:
    """The URL path of an object from its apiVersion, kind, namespace ("default" when absent) and name."""
    metadata = document["metadata"]
    kind = document["kind"]
    plural = _IRREGULAR.get(kind) or _plural(kind.lower())
    group_version = document["apiVersion"]
    root = f"/api/{group_version}" if "/" not in group_version else f"/apis/{group_version}"
    if plural not in _CLUSTER_SCOPED:
        root += f"/namespaces/{metadata.get('namespace', 'default')}"
    return f"{root}/{plural}/{quote(metadata.get('name', ''))}"


def _plural(word: str) -> str:
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + ("es" if word.endswith(("s", "x", "ch")) else "s")
