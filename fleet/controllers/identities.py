"""Entries and identities are one to one (R2): a cluster that answers for one entry never serves another.

Stands before the connector, because it must be known before the first write, not with the first report. An identity
whose entry left the repo is not taken twice: it was renamed, and its record goes along.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping

from fleet.core.fleet import Cluster, Connection
from fleet.core.identities import clashes_of, identity_of
from fleet.core.ids import ClusterName, Identity
from fleet.core.sync_policy import Suspension
from fleet.errors import ClusterRenamed, IdentityMismatch
from fleet.ports.kube import Connector, Fence, Kube
from fleet.ports.state import Bells
from fleet.values import dataclass, field


@dataclass(slots=True)
class Identities:
    """What is known of them, and what follows from it."""

    recorded: dict[ClusterName, Identity] = field(default_factory=dict[ClusterName, Identity])
    proven: dict[ClusterName, Identity] = field(default_factory=dict[ClusterName, Identity])  # perhaps not recorded yet
    shared: dict[ClusterName, ClusterName] = field(
        default_factory=dict[ClusterName, ClusterName]
    )  # refused, with whose
    clashes: dict[ClusterName, ClusterName] = field(
        default_factory=dict[ClusterName, ClusterName]
    )  # entries that are one cluster by what Git and the records say, each with another one
    renames: dict[ClusterName, ClusterName] = field(default_factory=dict[ClusterName, ClusterName])  # old name to new

    def of(self, cluster: ClusterName) -> Identity | None:
        """The recorded identity."""
        return self.recorded.get(cluster)

    def whose(self, identity: Identity, entries: Mapping[ClusterName, Cluster]) -> list[ClusterName]:
        """Entries that are this cluster: by Git, by the records, or by what answered for them."""
        return [name for name, entry in entries.items() if identity_of(entry, self.recorded, self.proven) == identity]

    def unreached(
        self, identity: Identity, entries: Mapping[ClusterName, Cluster], left: Callable[[ClusterName], bool]
    ) -> list[ClusterName]:
        """Entries that left the repo and are this cluster by Git's word alone: they never had it, and leave nothing."""
        mine = [name for name in self.whose(identity, entries) if left(name)]
        return [name for name in mine if name not in self.recorded and name not in self.proven]

    def claim(
        self,
        cluster: ClusterName,
        identity: Identity,
        entries: Mapping[ClusterName, Cluster],
        refused: Mapping[Identity, ClusterName],
    ) -> list[ClusterName]:
        """Take an identity for an entry; if it is that of others in `entries`, those are returned instead.

        refused: entries that cannot be used, by what they say they are: no entry that is new there takes their cluster.
        """
        mine = self.whose(identity, entries)
        others = [name for name in mine if name != cluster]
        if cluster not in mine and refused.get(identity, cluster) != cluster:
            others.append(refused[identity])
        if not others:
            self.proven[cluster] = identity
            self.shared = {name: owner for name, owner in self.shared.items() if cluster not in (name, owner)}
        return others

    def compare(self, clusters: Mapping[ClusterName, Cluster]) -> set[ClusterName]:
        """Look for entries of the repo that are one cluster; returns those of which this says another thing now."""
        before, self.clashes = self.clashes, clashes_of(clusters.values(), self.recorded, self.proven)
        return {name for name, _ in before.items() ^ self.clashes.items()}

    def forget(self, cluster: ClusterName) -> None:
        """An entry that is no more."""
        self.recorded.pop(cluster, None)
        self.proven.pop(cluster, None)
        self.keep_shared(lambda name: name != cluster)

    def rename(self, old: ClusterName, new: ClusterName) -> None:
        """The record of `old` is the record of `new` now."""
        identity = self.recorded.get(old) or self.proven.get(old)
        self.forget(old)
        if identity is not None:
            self.recorded[new] = identity
        self.renames.pop(old, None)

    def keep_shared(self, is_there: Callable[[ClusterName], bool]) -> None:
        """Forget refusals of entries that are not in the repo any more."""
        self.shared = {name: owner for name, owner in self.shared.items() if is_there(name) and is_there(owner)}

    def unproven(self, left: ClusterName, clusters: Mapping[ClusterName, Cluster]) -> list[ClusterName]:
        """Entries that may be the cluster that was called `left`, and did not say yet which one they are."""
        mine = self.of(left)
        named = {name: identity_of(entry, self.recorded, self.proven) for name, entry in clusters.items()}
        return sorted(name for name, identity in named.items() if identity is None or identity == mine)

    def stops(self, clusters: Mapping[ClusterName, Cluster]) -> Iterable[Suspension]:
        """What stops the entries whose cluster another entry is, or reaches; who reached it last is refused already."""
        for name, other in sorted(self.clashes.items()):
            if other in clusters:
                reason = f"entry {other} has the same identity; entries and identities are one to one"
                yield Suspension(reason, scope=f"cluster {name}", origin=clusters[other].origin)
        for name, owner in sorted(self.shared.items()):
            if name not in clusters:
                continue
            reason = f"entry {name} reaches the same cluster; entries and identities are one to one"
            yield Suspension(reason, scope=f"cluster {owner}", origin=clusters[name].origin)

    def stops_at(self, cluster: ClusterName, clusters: Mapping[ClusterName, Cluster]) -> tuple[Suspension, ...]:
        """What stops one entry, whichever of the two that share a cluster it is."""
        mine = [stop for stop in self.stops(clusters) if stop.scope == f"cluster {cluster}"]
        if (owner := self.shared.get(cluster)) is not None:
            mine.append(Suspension(f"it reaches the cluster of entry {owner}", scope=f"cluster {cluster}"))
        return tuple(mine)


class OneToOne:
    """A `fleet.ports.kube.Connector` that refuses an identity which is another entry's.

    `claim` says whose it is, and whether that one left the repo; None where it is this entry's own.
    """

    def __init__(
        self,
        connector: Connector,
        claim: Callable[[ClusterName, Identity], Awaitable[tuple[ClusterName, bool] | None]],
        bells: Bells,
    ) -> None:
        self._connector, self._claim, self._bells = connector, claim, bells

    async def connect(
        self, cluster: ClusterName, connection: Connection, *, expected: Identity | None, fence: Fence
    ) -> Kube:
        """As the connector within; raises IdentityMismatch naming the entry that has this identity."""
        kube = await self._connector.connect(cluster, connection, expected=expected, fence=fence)
        try:
            claimed = await self._claim(cluster, kube.identity)
        except BaseException:
            await kube.close()
            raise
        if claimed is None:
            return kube
        await kube.close()
        self._bells.clusters.set()
        owner, is_gone = claimed
        if is_gone:
            raise ClusterRenamed(
                f"{cluster} is the cluster that was called {owner}",
                where=f"cluster {cluster}",
                why=f"its identity is {kube.identity}, and {owner} is not in the repo any more",
                next_step="nothing: record, marks and objects stay, under the new name",
            )
        raise IdentityMismatch(
            f"{cluster} reaches the cluster of entry {owner}",
            where=f"cluster {cluster}",
            why=f"its identity {kube.identity} is that of {owner}; entries and identities are one to one",
            next_step=f"correct the credential of {cluster}, or remove one of the two entries",
        )
