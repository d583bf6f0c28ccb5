"""How what a person asked for ends, as the audit log says it."""

from __future__ import annotations

from fleet.controllers.last_words import end
from fleet.ports.state import OperationRow
from fleet.store.memory import MemoryState

ROW = OperationRow("op-1", "sync", "web@eu-1", "ann", 1.0, "the shop is down", override=True)


async def test_what_has_ended_meanwhile_gets_no_other_last_word() -> None:
    state = MemoryState()
    await state.add_operation(ROW)
    await end(state, ROW.id, "done", "", 2.0)
    await end(state, ROW.id, "refused", "there is no unit web@eu-1", 3.0)  # by one who did not hear of that
    assert [link.entry.outcome for link in await state.audit_entries()] == ["done"]
    ended = await state.operation(ROW.id)
    assert ended is not None
    assert (ended.outcome, ended.ended_at) == ("done", 2.0)


async def test_the_first_one_to_end_it_has_the_last_word() -> None:
    state = MemoryState()
    await state.add_operation(ROW)
    await end(state, ROW.id, "refused", "suspended: night", 2.0)
    assert [link.entry.outcome for link in await state.audit_entries()] == ["refused: suspended: night"]
