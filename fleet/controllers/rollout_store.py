"""All rollouts as the hub's state keeps them: one value, written with what follows from it."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.core.passage import Passages, decode_passages, encode_passages
from fleet.errors import StateDamaged
from fleet.ports.state import State

ROLLOUTS = "rollouts"


async def read_rollouts(state: State) -> Passages:
    """As they were written last; raises StateError."""
    text = await state.get_value(ROLLOUTS)
    try:
        return decode_passages(text) if text else Passages()
    except ValueError as error:
        raise StateDamaged(
            "how far rollouts were cannot be read",
            why=str(error),
            next_step="restore a backup of the data directory",
        ) from error


def values_of(kept: Passages) -> Mapping[str, str]:
    """As values of the state."""
    return {ROLLOUTS: encode_passages(kept)}
