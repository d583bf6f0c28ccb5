"""Values of Secrets are swept again and again, and one that is missed is said and never left out."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.controllers.feed import BoardFeed, Slot
from fleet.controllers.value_sweeps import ValueSweeps
from fleet.core.ids import Digest
from fleet.errors import StateDamaged
from fleet.store.vault import MemoryVault


class Sweeps:
    """In the place of the renderer: counts, and ends the loop."""

    def __init__(self) -> None:
        self.count = 0

    async def sweep_values(self) -> int:
        self.count += 1
        if self.count == 3:
            raise StateDamaged("the third")
        return self.count - 1


async def test_they_are_swept_again_and_again() -> None:
    renderer: Any = Sweeps()
    with pytest.raises(StateDamaged, match="the third"):
        await ValueSweeps(renderer, every_seconds=0.0).run()
    assert renderer.count == 3


async def test_a_worker_gets_all_values_that_it_asks_for_or_an_error() -> None:
    async def no_bundle(_: Digest) -> Any:
        raise AssertionError

    vault = MemoryVault()
    feed = BoardFeed(Slot(), no_bundle, vault)
    await vault.put(Digest("a" * 64), {"fleet-sealed:1": b"one"})
    assert dict(await feed.secrets(["fleet-sealed:1"])) == {"fleet-sealed:1": b"one"}
    with pytest.raises(StateDamaged, match="1 Secret values are not") as missed:
        await feed.secrets(["fleet-sealed:1", "fleet-sealed:2"])
    assert "renders again" in missed.value.next_step
