"""Entries and identities are one to one (R2): a cluster that answers for one entry never serves another.

Stands before the connector, because it must be known before the first write, not with the first report.
"""

from __future__ import annotations

from collections.abc import Callable

from fleet.core.fleet import Connection
from fleet.core.ids import ClusterName, Identity
from fleet.errors import IdentityMismatch
from fleet.ports.kube import Connector, Fence, Kube


class OneToOne:
    """A `fleet.ports.kube.Connector` that refuses an identity which is another entry's."""

    def __init__(self, connector: Connector, claim: Callable[[ClusterName, Identity], ClusterName | None]) -> None:
        self._connector, self._claim = connector, claim

    async def connect(
        self, cluster: ClusterName, connection: Connection, *, expected: Identity | None, fence: Fence
    ) -> Kube:
        """As the connector within; raises IdentityMismatch naming the entry that has this identity."""
        kube = await self._connector.connect(cluster, connection, expected=expected, fence=fence)
        owner = self._claim(cluster, kube.identity)
        if owner is None:
            return kube
        await kube.close()
        raise IdentityMismatch(
            f"{cluster} reaches the cluster of entry {owner}",
            where=f"cluster {cluster}",
            why=f"its identity {kube.identity} is recorded for {owner}; entries and identities are one to one",
            next_step=f"correct the credential of {cluster}, or remove one of the two entries",
        )
