"""When each value came to a cluster, from its own history: how long a commit was on its way."""

from __future__ import annotations

import time
from math import inf
from typing import Any

from fleet.sim import SimCluster


class Arrivals:
    """Values that are numbers, of ConfigMaps in `default` on one cluster, and when these went."""

    def __init__(self, cluster: SimCluster) -> None:
        self._at: dict[str, list[tuple[int, float]]] = {}
        self._gone: dict[str, float] = {}
        cluster.store.listen("configmaps", self._saw)

    def _saw(self, event: Any) -> None:
        space, name = event.key
        if space != "default":
            return
        if event.after is None:
            self._gone[name] = time.time()
            return
        value = event.after.document().get("data", {}).get("a", "")
        if value.lstrip("-").isdigit():
            self._at.setdefault(name, []).append((int(value), time.time()))

    def of(self, name: str, number: int) -> float:
        """When this value, or one of a later commit, was there; infinity while it is not."""
        return next((at for value, at in self._at.get(name, ()) if value >= number), inf)

    def gone(self, name: str) -> float:
        """When it went last; infinity where it never did."""
        return self._gone.get(name, inf)

    def has_held(self, name: str, number: int | None) -> bool:
        """Whether the value, or that it is gone, was ever true."""
        return (self.gone(name) if number is None else self.of(name, number)) < inf
