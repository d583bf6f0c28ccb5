"""Values of Secrets in memory, for as long as a process lives."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from fleet.core.ids import Digest


class MemoryVault:
    """`fleet.ports.render.Vault` in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def put(self, result: Digest, values: Mapping[str, bytes]) -> None:
        """Keep values."""
        self._values.update(values)

    async def get(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Those that are known."""
        return {name: self._values[name] for name in names if name in self._values}

    async def use(self, result: Digest, names: Collection[str]) -> bool:
        """Whether all of them are there."""
        return self._values.keys() >= set(names)

    async def unknown(self, results: Collection[Digest]) -> Collection[Digest]:
        """None: nothing here depends on it."""
        return ()

    async def sweep(self, in_use: Collection[Digest]) -> int:
        """Nothing is ever dropped."""
        return 0
