"""Which request each unit needs, both ways: what a changed path concerns, and what nobody needs any more.

With the rights that its result is judged by: they are no part of the request, because they change no bundle (R29).
"""

from __future__ import annotations

from fleet.core.fleet import TeamRights
from fleet.core.ids import UnitName
from fleet.ports.render import RenderRequest
from fleet.values import dataclass, field


@dataclass(slots=True)
class UnitRequests:
    """Of the commit in force."""

    of_unit: dict[UnitName, RenderRequest] = field(default_factory=dict[UnitName, RenderRequest])
    users: dict[RenderRequest, set[UnitName]] = field(default_factory=dict[RenderRequest, set[UnitName]])
    teams: dict[UnitName, TeamRights | None] = field(default_factory=dict[UnitName, "TeamRights | None"])

    def is_as(self, unit: UnitName, request: RenderRequest, team: TeamRights | None) -> bool:
        """Whether a result that was found for this unit still is its result, as long as no file changes."""
        return self.of_unit.get(unit) == request and self.teams[unit] == team

    def put(self, unit: UnitName, request: RenderRequest, team: TeamRights | None) -> RenderRequest | None:
        """Note a unit's request; returns the earlier one if nobody uses it any more."""
        earlier = self.drop(unit) if self.of_unit.get(unit) != request else None
        self.of_unit[unit], self.teams[unit] = request, team
        self.users.setdefault(request, set()).add(unit)
        return earlier

    def drop(self, unit: UnitName) -> RenderRequest | None:
        """Forget a unit; returns its request if nobody uses it any more."""
        request = self.of_unit.pop(unit, None)
        if request is None:
            return None
        del self.teams[unit]
        users = self.users[request]
        users.discard(unit)
        if users:
            return None
        del self.users[request]
        return request
