"""Why units wait for rollouts, or stand still because of one: the links that their chains of blockers get. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from fleet.core.advance import Advance
from fleet.core.ids import Revision, UnitName, short
from fleet.core.passage import Passage, Passages
from fleet.core.quarantine import barred_by
from fleet.core.results import Rendered
from fleet.core.status import Blocker, Standing
from fleet.core.turns import with_row


def waits_of(
    found: Mapping[Revision, Advance],
    kept: Passages,
    waiting: Mapping[UnitName, Rendered],
    is_waiting: Callable[[UnitName], bool],
    earlier: Mapping[UnitName, Blocker],
    wall: float,
) -> dict[UnitName, Blocker]:
    """One link for each unit that waits. earlier: as of the last look, for since when a reason holds.

    waiting: results that wait; is_waiting: whether a unit keeps what it holds although it has one.
    """
    waits: dict[UnitName, Blocker] = {}
    for commit, now in found.items():
        scope, describe = f"rollout {short(commit)}", f"fleet describe rollout {short(commit)}"
        for unit, why in now.waits.items():
            known = earlier.get(unit)
            lasts = known is not None and _lasting(known.reason) == _lasting(why)
            since = known.since if known is not None and lasts else wall
            waits[unit] = Blocker(Standing.WAITS, scope, why, since, "", describe)
        halted = now.passage.halted
        if halted is not None and halted.unit is not None:
            why = f"halted the rollout of {short(commit)}: {halted.reason}"
            waits[halted.unit] = Blocker(Standing.HALTED, scope, why, halted.since, "", describe)
    for unit, result in waiting.items():
        if (entry := barred_by(kept.quarantine, unit, (result.bundle,))) is not None:
            commit, stop = short(entry.commit), entry.stop
            why = f"{commit} was taken back by {stop.by}: {stop.reason}"
            resume = f'fleet rollout resume {commit} --reason "..."'
            waits[unit] = Blocker(Standing.HALTED, f"rollout {commit}", why, stop.since, "", resume)
        elif unit not in waits and is_waiting(unit) and (stopped := _stopped(kept, unit, result)) is not None:
            # It stands still, and goes by no steps now, or its commit was stopped: no row says anything of it.
            commit = short(stopped.commit)
            describe = f"fleet describe rollout {commit}"
            after = f'fleet rollout resume {commit} --reason "..."' if stopped.shut else describe
            stop = stopped.halted or stopped.paused or stopped.ended
            since = stop.since if stop is not None else wall
            why = f"{commit} waits: {stopped.stopped}"
            waits[unit] = Blocker(Standing.WAITS, f"rollout {commit}", why, since, "", after)
    return waits


def _lasting(reason: str) -> str:
    """What of a reason stays the same while it lasts: not how far those are that are waited for."""
    head, _, rest = reason.partition(": ")
    return head if " waits in step " in head else f"{head}: {re.split('[:;(]', rest, maxsplit=1)[0]}"


def _stopped(kept: Passages, unit: UnitName, result: Rendered) -> Passage | None:
    """The rollout that a unit waits for which no row leads."""
    shut = (one for one in kept.all if one.shut and one.commit == result.commit)
    return with_row(kept, unit.overlay) or next(shut, None)
