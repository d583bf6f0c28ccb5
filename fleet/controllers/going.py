"""What would go by a plan, as it is on its clusters now: read by the hub itself, with its own credentials (R9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from fleet.core.fingerprint import content_of
from fleet.core.fleet import Cluster, Fleet
from fleet.core.ids import ClusterName, Digest, Identity, ObjectRef, UnitName
from fleet.core.planning.approval import Going
from fleet.errors import FleetError, PreconditionFailed, UsageInvalid
from fleet.ports.kube import Connector
from fleet.values import dataclass

READ_SECONDS = 12.0  # of one cluster
ALL_SECONDS = 25.0  # of all of them: who asked waits 30 s for the answer
_READS_AT_ONCE = 8


class _ReadsOnly:
    """The fence of connections that only look."""

    async def check(self) -> int:
        raise UsageInvalid("an approval writes nothing to a cluster", next_step="report this as a bug of fleet")


@dataclass(frozen=True, slots=True)
class GoingReader:
    """One instance per hub. digest_key: of digests of live Secrets, the same as the workers'."""

    connector: Connector
    identity_of: Callable[[ClusterName], Identity | None]
    digest_key: bytes

    async def read(
        self,
        fleet: Fleet | None,
        doomed: Mapping[UnitName, frozenset[ObjectRef]],
        old_names: Mapping[ClusterName, ClusterName] = MappingProxyType({}),
    ) -> tuple[Going, ...]:
        """UID and content of all that would go; raises ClusterError where one of them cannot be read (R5, R9).

        fleet: as the commit in force says it; doomed: what would go, by unit;
        old_names: of clusters that the change renames, by the new ones: so they are called until it is in force.
        """
        by_cluster: dict[ClusterName, list[tuple[UnitName, ObjectRef]]] = {}
        for unit, refs in sorted(doomed.items()):
            names = (old_names.get(unit.cluster, unit.cluster), unit.cluster)
            cluster = next((name for name in names if fleet is not None and name in fleet.clusters), None)
            if cluster is None:
                raise PreconditionFailed(
                    f"{unit} is not known to this hub",
                    why="its cluster is in no commit that was taken over",
                    next_step="merge the cluster first, and approve a plan made after that",
                )
            by_cluster.setdefault(cluster, []).extend((unit, ref) for ref in sorted(refs))
        gate = asyncio.Semaphore(_READS_AT_ONCE)

        async def one(name: ClusterName) -> list[Going]:
            assert fleet is not None
            async with gate:
                return await self._of_cluster(fleet.clusters[name], by_cluster[name])

        reads: dict[ClusterName, asyncio.Task[list[Going]]] = {}
        try:
            try:
                async with asyncio.timeout(ALL_SECONDS), asyncio.TaskGroup() as tasks:
                    for name in by_cluster:
                        reads[name] = tasks.create_task(one(name), name=f"approve {name}")
            except* FleetError as group:
                error = group.exceptions[0]  # one is enough to approve nothing
                raise error from None
        except TimeoutError:
            silent = [name for name, read in reads.items() if read.cancelled()]
            raise PreconditionFailed(
                f"{len(silent)} of {len(reads)} clusters were not read within {ALL_SECONDS:g} s",
                where=", ".join(silent[:3]),
                why="what would go there cannot be read, so that nothing can be approved",
                next_step="approve again when they answer, or approve the hold after the merge",
            ) from None
        return tuple(going for read in reads.values() for going in read.result())

    async def _of_cluster(self, entry: Cluster, wanted: Sequence[tuple[UnitName, ObjectRef]]) -> list[Going]:
        expected = entry.identity or self.identity_of(entry.name)
        if expected is None:
            raise PreconditionFailed(
                f"{entry.name} was never met",
                why="which cluster it is is not known, so nothing on it can be approved",
                next_step=f"fleet describe cluster {entry.name}, and approve again once it was reached",
            )
        found: list[Going] = []
        try:
            async with asyncio.timeout(READ_SECONDS):
                kube = await self.connector.connect(entry.name, entry.connection, expected=expected, fence=_ReadsOnly())
                try:
                    catalog = await kube.discover()
                    for unit, ref in wanted:
                        kind = catalog.find(ref.group, ref.kind)
                        live = await kube.get(kind, ref.namespace, ref.name) if kind is not None else None
                        if live is not None:  # what is not there cannot go, and is in no hold
                            metadata = live.get("metadata")
                            uid = metadata.get("uid") if isinstance(metadata, dict) else ""
                            content = content_of(live, key=self.digest_key)
                            found.append(Going(unit, ref, str(uid or ""), Digest(content)))
                finally:
                    await kube.close()
        except TimeoutError:
            raise PreconditionFailed(
                f"{entry.name} does not answer within {READ_SECONDS:g} s",
                why="what would go there cannot be read, so that nothing can be approved",
                next_step="approve again when it answers, or approve its hold after the merge",
            ) from None
        return found
