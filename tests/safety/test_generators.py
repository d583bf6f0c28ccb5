"""A new name for what kustomize generates, on more clusters than a deletion may go to unasked: nobody is asked (R9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safety import generators

from fleet.reconcile.prune import Pruner

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do


async def test_changes_of_a_generator_are_never_held_and_no_pod_misses_what_it_mounts(tmp_path: Path) -> None:
    found = await generators.change(tmp_path, clusters=5, changes=6, seed=1)
    assert found.holds == []
    assert found.missing == []
    assert found.others_deleted == []
    assert found.left == 2  # one ConfigMap and one Secret
    assert found.deleted >= 5 * 2 * 4  # a name that comes back may not have been pruned between
    assert found.most_pods > 2  # old and new ones stood side by side


async def test_the_watchman_sees_a_product_that_prunes_before_the_new_pods_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prune = Pruner.prune

    async def at_once(self: Pruner, *given: Any, healthy: bool) -> None:
        await prune(self, *given, healthy=True)

    monkeypatch.setattr(Pruner, "prune", at_once)
    found = await generators.change(tmp_path, clusters=1, changes=3, seed=1)
    assert any("stands without" in text for text in found.missing)
