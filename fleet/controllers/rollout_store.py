"""All rollouts as the hub's state keeps them: two values, written with what follows from them.

What a rollback may need of rollouts long over is a value of its own: it is large, and seldom another one.
"""

from __future__ import annotations

from dataclasses import replace

from fleet.core.passage import Passages, decode_last, decode_passages, encode_last, encode_passages
from fleet.errors import StateDamaged
from fleet.ports.state import State

ROLLOUTS = "rollouts"
LAST = "rollouts-last"


async def read_rollouts(state: State) -> Passages:
    """As they were written last; raises StateError."""
    text, last = await state.get_value(ROLLOUTS), await state.get_value(LAST)
    try:
        kept = decode_passages(text) if text else Passages()
        return replace(kept, last=decode_last(last)) if last else kept
    except ValueError as error:
        raise StateDamaged(
            "how far rollouts were cannot be read",
            why=str(error),
            next_step="restore a backup of the data directory",
        ) from error


def values_of(kept: Passages, before: Passages) -> dict[str, str]:
    """As values of the state. before: as they are durable now; what is the same is not written again."""
    if kept is before:
        return {}
    last = {LAST: encode_last(kept)} if kept.last is not before.last else dict[str, str]()
    return {ROLLOUTS: encode_passages(kept), **last}
