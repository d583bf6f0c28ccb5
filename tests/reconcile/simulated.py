"""A hub of a few lines around one worker that reaches a simulated cluster."""

from __future__ import annotations

from dataclasses import dataclass

from rig import Hub

from fleet.sim import SimCluster, Simulation
from fleet.sim.ledger import Entry

SHOP = "default"


@dataclass
class SimHub(Hub):
    """A hub whose worker reaches one simulated cluster; `at` may be moved to another."""

    at: str = "one"

    async def kubeconfig(self, name: str) -> bytes:
        simulation: Simulation = self.plane  # type: ignore[assignment]
        return simulation.kubeconfig(self.at)

    @property
    def cluster(self) -> SimCluster:
        simulation: Simulation = self.plane  # type: ignore[assignment]
        return simulation.cluster(self.at)

    def asked(self, verb: str, name: str = "", since: float = 0.0) -> list[Entry]:
        entries = self.cluster.ledger.since(0)
        return [
            e for e in entries if e.verb == verb and name in ("", e.name) and e.moment > since and e.namespace == SHOP
        ]
