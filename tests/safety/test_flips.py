"""An entry whose address leads to another cluster now and then: nothing is ever written there (R1)."""

from __future__ import annotations

from pathlib import Path

import pytest
from safety.flips import flip

from fleet.core.ids import Identity
from fleet.kube.answers import Reply, document_of
from fleet.kube.identity import IdentityRule
from fleet.reconcile import worker

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do


@pytest.fixture(autouse=True)
def own_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts back what a run of flips shortens."""
    monkeypatch.setattr(worker, "REFUSALS", worker.REFUSALS)


async def test_a_cluster_that_is_swapped_again_and_again_gets_no_write(tmp_path: Path) -> None:
    found = await flip(tmp_path, 20, seed=1, settle_seconds=90.0)
    assert found.wrong_writes == []
    assert found.reached_wrong >= 3
    assert found.right_writes >= 3
    assert found.converged


async def test_the_flips_see_a_product_that_trusts_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(self: IdentityRule, reply: Reply, place: str) -> None:
        self._expected = self._expected or Identity(document_of(reply, self.asked)["metadata"]["uid"])  # type: ignore[index,call-overload]
        self._proven_at = tuple(clock() for clock in self._clocks)

    monkeypatch.setattr(IdentityRule, "judge", believe)
    found = await flip(tmp_path, 15, seed=1, settle_seconds=0.1)
    assert found.wrong_writes
