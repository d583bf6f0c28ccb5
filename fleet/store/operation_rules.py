"""What a request for an action that was made before means (R42): pure, and the same in every store."""

from __future__ import annotations

from fleet.errors import RequestInvalid
from fleet.ports.state import OperationRow


def repeated_operation(earlier: OperationRow, asked: OperationRow) -> OperationRow:
    """The earlier one, where `asked` has its id or key. Raises RequestInvalid where it asks for something else."""
    if (earlier.kind, earlier.target, earlier.override) == (asked.kind, asked.target, asked.override):
        return earlier
    override = " with an override" if earlier.override else ""
    raise RequestInvalid(
        "this Idempotency-Key stands for another request already",
        why=f"{earlier.id} is the {earlier.kind} of {earlier.target}{override}",
        next_step="send each new request with a key of its own",
    )
