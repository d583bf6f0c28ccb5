"""Which budget of deletions is in force: the newest, and an hour after its first fetch where it is a looser one (R9).

Else one commit could loosen the budget and delete by it. A tighter one counts at once. An approval needs no budget.
"""

from __future__ import annotations

import json
from dataclasses import replace

from fleet.core.sync_policy import Budget
from fleet.values import dataclass

HOUR_SECONDS = 3600.0
MOST = 50  # changes of the budget within an hour that are remembered one by one


@dataclass(frozen=True, slots=True)
class Fetched:
    """A budget, and when the hub first fetched it, as run time (`State.run_time`)."""

    at: float
    budget: Budget


@dataclass(frozen=True, slots=True)
class Budgets:
    """What the repo said, the newest last, as far back as it still counts."""

    fetched: tuple[Fetched, ...] = ()

    def with_budget(self, budget: Budget, now: float) -> Budgets:
        """With what the repo says now; the same where it said so already."""
        if self.fetched and self.fetched[-1].budget == budget:
            return self
        found = [*self._counting(now), Fetched(now, budget)]
        if len(found) > MOST:  # the two oldest as one that is as strict as both
            first, second, *rest = found
            found = [replace(second, budget=stricter(first.budget, second.budget)), *rest]
        return Budgets(tuple(found))

    def in_force(self, now: float) -> Budget:
        """What counts for deletions now; there must be one."""
        first, *rest = self._counting(now)
        budget = first.budget
        for each in rest:
            budget = stricter(budget, each.budget)
        return budget

    def _counting(self, now: float) -> tuple[Fetched, ...]:
        """The newest, and each that was the newest at some time within the hour."""
        later = self.fetched[1:]
        return (
            *(each for each, next_ in zip(self.fetched, later, strict=False) if next_.at > now - HOUR_SECONDS),
            *self.fetched[-1:],
        )


def stricter(one: Budget, other: Budget) -> Budget:
    """The less of both."""
    return Budget(
        min(one.objects, other.objects),
        min(one.share, other.share),
        min(one.share_from, other.share_from),
        min(one.clusters, other.clusters),
    )


def encode_budgets(budgets: Budgets) -> str:
    """As one text for the state."""
    return json.dumps(
        [
            [each.at, each.budget.objects, each.budget.share, each.budget.share_from, each.budget.clusters]
            for each in budgets.fetched
        ]
    )


def decode_budgets(text: str) -> Budgets:
    """The other way round; raises ValueError."""
    try:
        return Budgets(
            tuple(
                Fetched(float(at), Budget(int(objects), float(share), int(share_from), int(clusters)))
                for at, objects, share, share_from, clusters in json.loads(text)
            )
        )
    except TypeError as error:
        raise ValueError(f"budgets are not in the form they were written in: {error}") from error
