"""A wipe that a backup had open is not carried on: what leaves is let go, or wiped by a new word (V5, R42)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.core.ids import ClusterName, Digest, ObjectRef, OverlayName, Revision, UnitName
from fleet.core.leaving import Leave, Leaving, decode_leaving, encode_leaving
from fleet.core.status import HoldRequest, PendingDeletion
from fleet.core.wipe import WIPE, key_of
from fleet.errors import StateDamaged
from fleet.ports.state import LEAVING, HoldRow, OperationRow
from fleet.store.backup import make_backup
from fleet.store.crypto import FoundKey
from fleet.store.restore import restore_backup
from fleet.store.sql import SqlState, open_state

KEY = b"k" * 32
C1, C2 = Revision("1" * 40), Revision("2" * 40)
WEB = UnitName(OverlayName("web"), ClusterName("eu-1"))
EDGE = UnitName(OverlayName("edge"), ClusterName("eu-1"))
LISTED = PendingDeletion(ObjectRef("", "ConfigMap", "a", "b"), "u", Digest("c"))
ASKED = Leave(C1, wipe="op-1 by jo")


async def restored(tmp_path: Path, leaving: str, *approved: HoldRequest) -> SqlState:
    """A state with this that was backed up and restored; each request is a hold of its own."""
    state = await open_state(tmp_path / "data", KEY)
    await state.set_value(LEAVING, leaving)
    await state.add_operation(asked("op-1"))
    for request in approved:
        hold = await state.put_hold(
            HoldRow("", request.unit.overlay, request.commit, 1.0, Digest("d"), (request,), 9999.0)
        )
        await state.decide_hold(hold.id, list_digest=Digest("d"), decision="approved", actor="jo", reason="", at=2.0)
    await state.close()
    key, file = FoundKey(KEY, "data/key"), tmp_path / "b.tar"
    make_backup(tmp_path / "data", file, key, with_key=False, left_out=(), at=10.0)
    await restore_backup(file, tmp_path / "other", key, replace_state=False, upgrade=False, at=20.0)
    return await open_state(tmp_path / "other", KEY)


def asked(operation: str) -> OperationRow:
    return OperationRow(operation, WIPE, str(WEB), "jo", 5.0, "retired", idempotency_key=key_of(WEB, C1))


async def leaving_of(state: SqlState) -> Leaving:
    return decode_leaving(await state.get_value(LEAVING) or "")


async def test_a_wipe_that_a_backup_had_open_needs_a_new_word_and_a_new_approval(tmp_path: Path) -> None:
    others = Leave(C2, fall="most of it", wipe="op-2 by mara")
    state = await restored(tmp_path, encode_leaving(Leaving({WEB: ASKED, EDGE: others})), request(WEB, C1))
    assert (await leaving_of(state)).units == {WEB: replace(ASKED, wipe=""), EDGE: replace(others, wipe="")}
    (hold,) = await state.holds()
    assert (hold.decision, hold.decided_at, hold.reason) == ("void", 20.0, "a backup was restored meanwhile")
    ended = await state.operation("op-1")
    assert ended is not None
    assert ended.outcome == "superseded"
    assert (await state.add_operation(asked("op-3"))).id == "op-3"  # the same word of the same person, once more
    await state.close()


async def test_a_wipe_that_was_over_stays_over(tmp_path: Path) -> None:
    """The harmless twin."""
    over = Leaving({WEB: replace(ASKED, wiped=True)})
    state = await restored(tmp_path, encode_leaving(over), request(WEB, C1))
    assert await leaving_of(state) == over
    await state.close()


async def test_what_leaves_and_cannot_be_read_is_not_restored(tmp_path: Path) -> None:
    with pytest.raises(StateDamaged):
        await restored(tmp_path, "{")
    assert not (tmp_path / "other" / "state.db").exists()


def request(unit: UnitName, commit: Revision) -> HoldRequest:
    return HoldRequest(unit, commit, "sharp-fall", "m", (LISTED,))
