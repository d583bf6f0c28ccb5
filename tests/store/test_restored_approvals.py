"""What was approved in a backup may have been rejected since: it is void, and all is asked anew (R9, R12, R24)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.planning.approval import (
    ApprovalState,
    Going,
    PlanApproval,
    approvals_of_text,
    approvals_text,
)
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.ports.state import APPROVALS, HoldRow
from fleet.store.backup import make_backup
from fleet.store.crypto import FoundKey
from fleet.store.restore import restore_backup
from fleet.store.sql import SqlState, open_state

KEY = b"k" * 32
COMMIT = Revision("1" * 40)
WEB = UnitName(OverlayName("web"), ClusterName("eu-1"))
ITEM = PendingDeletion(ObjectRef("", "Namespace", "", "shop"), "u", Digest("c"))
GOING = Going(WEB, ITEM.ref, "u", Digest("c"))
WAITS = PlanApproval(Digest("p"), frozenset({WEB}), (GOING,), frozenset(), "jo", "", 5, 9999)
BOUND = replace(WAITS, digest=Digest("q"), standing=ApprovalState.BOUND, commit=COMMIT)
ENDED = replace(WAITS, digest=Digest("r"), standing=ApprovalState.VOID, void="it expired")
MEANWHILE = "a backup was restored meanwhile"


async def restored(tmp_path: Path, decisions: dict[str, str], plans: str) -> SqlState:
    """A state with a hold of each of these overlays, decided so, that was backed up and restored."""
    state = await open_state(tmp_path / "data", KEY)
    await state.set_value(APPROVALS, plans)
    for overlay, decision in decisions.items():
        request = HoldRequest(UnitName(OverlayName(overlay), WEB.cluster), COMMIT, "precious-kind", "m", (ITEM,))
        hold = await state.put_hold(HoldRow("", overlay, COMMIT, 1.0, Digest("d"), (request,), 9999.0))
        if decision == "void":
            await state.close_hold(hold.id, 2.0)
        elif decision:
            await state.decide_hold(hold.id, list_digest=Digest("d"), decision=decision, actor="jo", reason="", at=2.0)
    await state.close()
    key, file = FoundKey(KEY, "data/key"), tmp_path / "b.tar"
    make_backup(tmp_path / "data", file, key, with_key=False, left_out=(), at=10.0)
    await restore_backup(file, tmp_path / "other", key, replace_state=False, upgrade=False, at=20.0)
    return await open_state(tmp_path / "other", KEY)


async def test_what_was_approved_in_a_backup_is_void(tmp_path: Path) -> None:
    state = await restored(tmp_path, {"web": "approved"}, approvals_text((WAITS, BOUND)))
    (hold,) = await state.holds()
    assert (hold.decision, hold.decided_at, hold.reason) == ("void", 20.0, MEANWHILE)
    plans = approvals_of_text(await state.get_value(APPROVALS) or "")
    assert plans == (WAITS.voided(MEANWHILE), BOUND.voided(MEANWHILE))
    await state.close()


@pytest.mark.parametrize("plans", ["", approvals_text((ENDED,)), "{"])
async def test_twin_what_was_not_approved_stays_as_it_was(tmp_path: Path, plans: str) -> None:
    decisions = {"web": "rejected", "edge": "", "shop": "void"}
    state = await restored(tmp_path, decisions, plans)
    found = {row.overlay: row for row in await state.holds()}
    assert {overlay: row.decision for overlay, row in found.items()} == decisions
    assert (found["web"].decided_by, found["shop"].reason) == ("jo", "nothing is to be deleted any more")
    assert await state.get_value(APPROVALS) == plans
    await state.close()
