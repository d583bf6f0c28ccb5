"""Which budget of deletions is in force, kept over restarts: the shell around core/budgets.py (R9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from fleet.core.budgets import Budgets, decode_budgets, encode_budgets
from fleet.core.fleet import Fleet
from fleet.core.sync_policy import Budget
from fleet.errors import StateDamaged
from fleet.ports.state import State

BUDGETS = "budgets"  # value of the state


class BudgetInForce:
    """One instance per hub; used by the loop of commits alone."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._known: Budgets | None = None  # None: not read from the state yet
        self._next = Budgets()

    async def take(self, fleet: Fleet) -> tuple[Fleet, Mapping[str, str]]:
        """A commit's inventory with the budget that counts now, and what is to be written before it counts.

        Nothing is to be written where the budget was fetched before. A commit that says nothing says no budget either
        (R5). Raises StateError.
        """
        if self._known is None:
            self._known = await self._read()
        self._next = self._known
        if fleet.unknown.everything is not None:
            return fleet, {}
        now = self._state.run_time()
        self._next = self._known.with_budget(fleet.budget, now)
        values = {BUDGETS: encode_budgets(self._next)} if self._next != self._known else {}
        return replace(fleet, budget=self._next.in_force(now)), values

    def saved(self) -> None:
        """What `take` gave last is durable."""
        self._known = self._next

    def now(self) -> Budget | None:
        """What counts now; None where nothing was taken yet."""
        if self._known is None or not self._known.fetched:
            return None
        return self._known.in_force(self._state.run_time())

    async def _read(self) -> Budgets:
        text = await self._state.get_value(BUDGETS)
        try:
            return decode_budgets(text) if text else Budgets()
        except ValueError as error:
            raise StateDamaged(
                "which budgets of deletions were in force cannot be read",
                why=str(error),
                next_step="restore a backup of the data directory",
            ) from error
