"""One hub alone: the lock on its data directory makes it the only one, and each worker takes a higher epoch.

No fence lets a write pass while the hub's own state cannot be written: what is done would not be recorded, and no word
to stop would be kept (R24).
"""

from __future__ import annotations

from fleet.core.ids import ClusterName
from fleet.errors import OwnedByOther, StateError, StateNotWritable
from fleet.ports.state import State
from fleet.values import dataclass


@dataclass(slots=True)
class LocalFence:
    """`fleet.ports.kube.Fence` of one worker; closed when the worker ends, so that no late write passes."""

    cluster: ClusterName
    epoch: int
    owner: LocalOwnership
    is_open: bool = True

    async def check(self) -> int:
        """The epoch in force; raises OwnedByOther once the worker was ended, StateNotWritable while `prove` fails."""
        if not self.is_open:
            raise OwnedByOther(
                "this worker was ended and may not write any more",
                where=f"cluster {self.cluster}",
                why=f"its epoch {self.epoch} is over",
                next_step="nothing: its successor goes on",
            )
        if self.owner.unwritable is not None:
            raise StateNotWritable(
                "nothing is written to clusters while the hub's own state cannot be written",
                where=self.owner.unwritable.where,
                why=self.owner.unwritable.why or self.owner.unwritable.what,
                next_step=self.owner.unwritable.next_step,
            )
        return self.epoch


class LocalOwnership:
    """Hands out fences with rising epochs."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.unwritable: StateError | None = None  # what the last attempt to write into the state met
        self._fences: dict[ClusterName, LocalFence] = {}

    def of(self, cluster: ClusterName) -> LocalFence | None:
        """The fence of the worker that owns a cluster now, None where none does."""
        fence = self._fences.get(cluster)
        return fence if fence is not None and fence.is_open else None

    async def take(self, cluster: ClusterName) -> LocalFence:
        """A new fence; the one before is closed."""
        earlier = self._fences.get(cluster)
        if earlier is not None:
            earlier.is_open = False
        fence = self._fences[cluster] = LocalFence(cluster, await self._state.next_epoch(cluster), self)
        return fence

    async def prove(self) -> None:
        """Write into the state; raises StateError, and then no fence lets a write pass until this succeeds again."""
        try:
            await self._state.keep_run_time()
        except StateError as error:
            self.unwritable = error
            raise
        self.unwritable = None
