"""A hub of a few lines around one worker that reaches a real API server through the proxy that plays faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from rig import CLUSTER, SECONDS, Hub
from safety.checker import History, Script, judge, landed_of
from testbed.faultproxy import FaultProxy

from fleet.core.audit import AuditEntry, Head
from fleet.core.ids import UnitName
from fleet.sim.ledger import Entry


@dataclass
class ProxiedHub(Hub):
    """Its cluster is `proxy` and what stands behind that; all that is wanted are ConfigMaps of one namespace."""

    shop: str = ""
    script: Script = field(default_factory=Script)
    rows: list[dict[str, Any]] = field(default_factory=list)
    _wanted: set[str] = field(default_factory=set)

    @property
    def proxy(self) -> FaultProxy:
        proxy: FaultProxy = self.plane  # type: ignore[assignment]
        return proxy

    def live(self, name: str) -> Any:
        """What really stands there, by another hand; None for nothing."""
        hands, path = self.proxy.plane.client(), f"/api/v1/namespaces/{self.shop}/configmaps/{name}"
        return hands.get(path) if hands.exists(path) else None

    def hand(self, name: str, value: str) -> Any:
        """Another hand changes it; what it is then."""
        path = f"/api/v1/namespaces/{self.shop}/configmaps/{name}"
        return self.proxy.plane.client().merge(path, {"data": {"a": value}})

    def want(self, overlay: str, documents: Iterable[dict[str, Any]] | None = None, **options: Any) -> UnitName:
        documents = list(documents or [])
        names, now = {document["metadata"]["name"] for document in documents}, time.time()
        for name in self._wanted | names:
            said = self.script.wanted if name in names else self.script.dropped
            said.append((now, CLUSTER, ("configmaps", self.shop, name)))
        self._wanted = names
        return super().want(overlay, documents, **options)

    async def write(self, entry: AuditEntry) -> Head:
        self.rows.append({"id": len(self.rows) + 1, **asdict(entry), "at": time.time()})
        return await super().write(entry)

    def asked(self, verb: str, name: str = "", *, since: float = 0.0) -> list[Entry]:
        """Requests for the ConfigMaps, lists and watches also of all namespaces."""
        return [
            entry
            for entry in self.proxy.ledger
            if (entry.verb, entry.resource) == (verb, "configmaps") and entry.namespace in {"", self.shop}
            if name in ("", entry.name) and entry.moment > since
        ]

    def writes(self, *, since: float = 0.0) -> list[str]:
        """What landed in the namespace, in order."""
        return [
            f"{entry.verb} {entry.name}"
            for entry in self.proxy.ledger
            if entry.landed and entry.namespace == self.shop and entry.moment > since
        ]

    def violations(self) -> list[str]:
        """What the checker finds in the ledger."""
        identity = self.proxy.plane.client().get("/api/v1/namespaces/kube-system")["metadata"]["uid"]
        self.script.installation, self.script.identities = self.installation, {CLUSTER: identity}
        return judge(self.script, History(landed_of(CLUSTER, self.proxy.ledger), {}, [], self.rows))


async def seen(found: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Wait for what no report says."""
    end = time.monotonic() + seconds
    while not (value := await asyncio.to_thread(found)):
        assert time.monotonic() < end, what
        await asyncio.sleep(0.05)
    return value
