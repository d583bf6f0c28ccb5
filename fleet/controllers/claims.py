"""Which entry of the repo a cluster's identity is of: claimed, recorded, and taken along to another name (R1, R2)."""

from __future__ import annotations

from fleet.controllers.board import Board
from fleet.controllers.releases import Releases
from fleet.controllers.rollout_store import values_of as rollout_values
from fleet.controllers.roster import has_left
from fleet.core.fleet import Unknown
from fleet.core.ids import ClusterName, Identity
from fleet.core.view import View
from fleet.errors import StateError


class Claims:
    """One instance per hub."""

    def __init__(self, view: View, board: Board, releases: Releases) -> None:
        self._view, self._board, self._releases = view, board, releases

    def record(self, cluster: ClusterName, identity: Identity) -> None:
        """An identity that was recorded or accepted; its cluster's Desired is published again."""
        board = self._board
        if board.identities.of(cluster) != identity:
            board.identities.recorded[cluster] = identity
            board.publisher.dirty.add(cluster)
            board.compare_identities()
            board.departures.look_again()  # what waited for it to say which cluster it is

    async def claim(self, cluster: ClusterName, identity: Identity) -> tuple[ClusterName, bool] | None:
        """Take an identity for an entry (R2).

        If it is another entry's, that one is returned, and whether it left the repo: then the cluster was renamed,
        which `Identities.renames` says from now on. If either left the repo and never reached the cluster, it has
        nothing there to let go, and nothing to be carried over. Else both entries are stopped. Raises StateError.
        """
        board, identities = self._board, self._board.identities
        fleet, stopped = self._view.fleet, set(identities.shared.values())
        unknown = fleet.unknown if fleet is not None else Unknown()
        entries = dict(board.entries())
        for name in identities.unreached(identity, entries, lambda one: fleet is not None and has_left(one, fleet)):
            if name != cluster:
                del entries[name]
                await self._end(name)
        others = identities.claim(cluster, identity, entries, unknown.identities)
        there = [name for name in others if fleet is None or not has_left(name, fleet)]
        owner = next(iter(there or others), None)
        is_gone = owner is not None and not there
        if owner is not None and is_gone:
            identities.renames[owner] = cluster
            return owner, True
        if owner is not None and fleet is not None and has_left(cluster, fleet):
            if identities.of(cluster) is None:
                await self._end(cluster)
            return owner, False
        if owner is not None:
            identities.shared[cluster] = owner
        shared = board.books.units_on(stopped ^ set(identities.shared.values()))
        concerned = shared | set(board.roster.leaving.units)
        if board.compare_identities() or concerned:
            board.books.dirty |= concerned
            await board.publish()
        return (owner, False) if owner is not None else None

    async def _end(self, cluster: ClusterName) -> None:
        """An entry that left the repo, and of which nothing is on any cluster."""
        for unit in self._board.roster.leaving.of_cluster(cluster):
            await self._board.departures.end(unit)
        await self._board.publish()

    async def rename(self, old: ClusterName, new: ClusterName) -> None:
        """Carry all that is known of a cluster over to its new name. Raises StateError, and then nothing changed."""
        fleet, board = self._view.fleet, self._board
        books, deletions = board.books, board.deletions
        async with books.changing, board.publishing:
            kept = self._view.passages.renamed(old, new)
            values = rollout_values(kept, self._view.passages)
            judged = deletions.rename(old, new)
            try:
                values = {**values, **deletions.values()}
                await board.roster.rename(old, new, fleet.units if fleet is not None else (), values)
            except StateError:
                deletions.restore(judged)
                raise
            deletions.saved()
            books.bar(kept)
            board.identities.rename(old, new)
            board.standing.rename(old, new)
            board.compare_identities()
            board.publisher.forget(old)
            books.rename(old, new)
        board.publisher.dirty.add(new)
        books.dirty |= board.roster.leaving.of_cluster(new)
        # What it holds now is another thing than when it looked new: its deletions are judged anew (R9).
        books.unjudged |= {name for name in books.results if name.cluster == new}
        await self._releases.release({})

    def forget(self, cluster: ClusterName) -> None:
        """A cluster that left, and whose units are all let go."""
        self._board.identities.forget(cluster)
        self._board.publisher.forget(cluster)
