"""How what a person asked for ends: the audit log has the last word on it where it has the first (R43)."""

from __future__ import annotations

from fleet.core.audit import AuditEntry
from fleet.core.overrides import SYNC_OVERRIDE
from fleet.core.wipe import WIPE
from fleet.ports.state import OperationRow, State


async def end(state: State, operation: str, outcome: str, message: str, at: float) -> None:
    """End an operation, if it is open still; the last word on it is written down before that (V5)."""
    row = await state.operation(operation)
    if row is None or row.outcome:
        return
    if (word := last_word_of(row, outcome, message, at)) is not None:
        await state.write(word)
    await state.end_operation(operation, outcome, message, at)


def last_word_of(row: OperationRow, outcome: str, message: str, at: float) -> AuditEntry | None:
    """None for what the audit log has no first word of: a sync that passes nothing."""
    action = SYNC_OVERRIDE if row.override else row.kind
    if action not in (SYNC_OVERRIDE, WIPE):
        return None
    said = outcome if outcome == "done" else f"{outcome}: {message}"
    return AuditEntry(
        at=at,
        actor=row.actor,
        action=action,
        cluster=row.target.rpartition("@")[2],
        unit=row.target,
        object=row.id,
        reason=row.reason,
        outcome=said,
    )
