"""Values of Secrets in memory, for as long as a process lives."""

from __future__ import annotations

from collections.abc import Collection, Mapping


class MemoryVault:
    """`fleet.ports.render.Vault` in memory."""

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}

    async def put(self, values: Mapping[str, bytes]) -> None:
        """Keep values."""
        self._values.update(values)

    async def get(self, names: Collection[str]) -> Mapping[str, bytes]:
        """Those that are known."""
        return {name: self._values[name] for name in names if name in self._values}
