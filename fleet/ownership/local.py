"""One hub alone: the lock on its data directory makes it the only one, and each worker takes a higher epoch."""

from __future__ import annotations

from fleet.core.ids import ClusterName
from fleet.errors import OwnedByOther
from fleet.ports.state import State
from fleet.values import dataclass


@dataclass(slots=True)
class LocalFence:
    """`fleet.ports.kube.Fence` of one worker; closed when the worker ends, so that no late write passes."""

    cluster: ClusterName
    epoch: int
    is_open: bool = True

    async def check(self) -> int:
        """The epoch in force; raises OwnedByOther once the worker was ended."""
        if not self.is_open:
            raise OwnedByOther(
                "this worker was ended and may not write any more",
                where=f"cluster {self.cluster}",
                why=f"its epoch {self.epoch} is over",
                next_step="nothing: its successor goes on",
            )
        return self.epoch


class LocalOwnership:
    """Hands out fences with rising epochs."""

    def __init__(self, state: State) -> None:
        self._state = state
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
        fence = self._fences[cluster] = LocalFence(cluster, await self._state.next_epoch(cluster))
        return fence
