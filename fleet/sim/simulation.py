"""Many simulated clusters in one process: start, kubeconfigs, stop."""

from __future__ import annotations

import asyncio
import base64
from asyncio import sslproto
from collections.abc import Sequence
from random import Random
from types import TracebackType

import orjson

from fleet.sim.authority import Authority
from fleet.sim.cluster import SimCluster
from fleet.sim.control import Control

# asyncio's default of 256 KiB a TLS stream makes thousands of idle watches dear.
_TLS_BUFFER_BYTES = 16 * 1024


class Simulation:
    """Simulated clusters by name. Use as an async context manager."""

    def __init__(
        self,
        clusters: Sequence[str],
        *,
        seed: int = 0,
        bookmark_seconds: float = 60.0,
        history: int = 4000,
        ledger_limit: int = 20_000,
        controllers: bool = True,
        ready_seconds: float = 0.3,
    ) -> None:
        """`seed` repeats names and UIDs; `history` and `ledger_limit` bound memory, in events and requests.

        `bookmark_seconds`: the rhythm of bookmarks (a minute on the real server). `controllers`: False for an API
        server alone. `ready_seconds`: from a pod's birth to its fate.
        """
        self._authority = Authority()
        self.control = Control(self)
        self.clusters = {
            name: SimCluster(
                name,
                Random(f"{seed}/{name}"),
                bookmark_seconds=bookmark_seconds,
                history=history,
                ledger_limit=ledger_limit,
                controllers=controllers,
                ready_seconds=ready_seconds,
            )
            for name in clusters
        }

    def cluster(self, name: str) -> SimCluster:
        """One cluster; raises KeyError."""
        return self.clusters[name]

    def kubeconfig(self, name: str, *, user: str = "", groups: Sequence[str] = ()) -> bytes:
        """A kubeconfig (JSON, which is YAML) for the admin, or for a user without rights of their own."""
        cluster = self.clusters[name]
        token = cluster.user_token(user, *groups) if user else cluster.token
        return self.kubeconfig_with(name, token)

    def kubeconfig_with(self, name: str, token: str) -> bytes:
        """A kubeconfig with this token."""
        cluster = self.clusters[name]
        authority = base64.b64encode(self._authority.pem).decode()
        server = {"server": f"https://{cluster.address}", "certificate-authority-data": authority}
        return orjson.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [{"name": name, "cluster": server}],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            }
        )

    async def __aenter__(self) -> Simulation:
        sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES
        for cluster in self.clusters.values():
            cluster.authority_pem = self._authority.pem.decode()
            await cluster.start(self._authority.server_context(cluster.name))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.control.stop()
        await asyncio.gather(*(cluster.stop() for cluster in self.clusters.values()))
