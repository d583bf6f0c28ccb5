"""Some requests of the reference run, each met by a fault; all of them: `python -m safety sweep`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hubworld import make_world
from safety.reference import SICK, WELL, Day, reference_run
from safety.rig import Rig
from safety.sweep import FAULTS, Boundary, one_run

from fleet.core.guard import PruneVerdict
from fleet.reconcile import prune

pytestmark = pytest.mark.timeout(400)  # on a machine with much else to do

# Where most can go wrong: the first contact, a write, the deletion itself and its reading, the record on the cluster.
CHOSEN: list[tuple[Boundary, str]] = [
    (("get", "namespaces", "kube-system", 2), "error"),
    (("patch", "configmaps", "c", 2), "crash after"),
    (("get", "configmaps", "e", 3), "stale read"),
    (("delete", "configmaps", "e", 1), "crash before"),
    (("delete", "configmaps", "e", 1), "landed, no answer"),
    (("delete", "namespaces", "shop-old", 1), "crash after"),
    (("get", "namespaces", "shop-old", 2), "stale read"),  # it is gone, and the read that verifies it says it stands
    (("patch", "configmaps", "unit-web", 3), "landed, no answer"),
]


@pytest.mark.parametrize(("boundary", "fault"), CHOSEN, ids=[f"{b[0]}-{b[2]}-{f}" for b, f in CHOSEN])
async def test_a_request_met_by_a_fault_changes_nothing_of_the_outcome(boundary: Boundary, fault: str) -> None:
    assert fault in FAULTS
    found = await one_run(boundary, fault)
    assert found.met
    assert found.violations == ()


async def test_the_sweep_sees_a_product_that_deletes_without_asking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "judge_prune", lambda doomed, **_: PruneVerdict(tuple(doomed)))
    async with make_world(tmp_path, (SICK, WELL), render_workers=1) as world:
        rig = Rig(world)
        rig.watch_clusters()
        try:
            await reference_run(rig, Day(rig))
        finally:
            await rig.stop()
        assert any("nobody approved it" in violation for violation in rig.violations())
