"""Which request each unit needs, both ways: what a changed path concerns, and what nobody needs any more."""

from __future__ import annotations

from fleet.core.ids import UnitName
from fleet.ports.render import RenderRequest
from fleet.values import dataclass, field


@dataclass(slots=True)
class Wanted:
    """Of the commit in force."""

    of_unit: dict[UnitName, RenderRequest] = field(default_factory=dict[UnitName, RenderRequest])
    users: dict[RenderRequest, set[UnitName]] = field(default_factory=dict[RenderRequest, set[UnitName]])

    def put(self, unit: UnitName, request: RenderRequest) -> RenderRequest | None:
        """Note a unit's request; returns the earlier one if nobody uses it any more."""
        earlier = self.drop(unit) if self.of_unit.get(unit) != request else None
        self.of_unit[unit] = request
        self.users.setdefault(request, set()).add(unit)
        return earlier

    def drop(self, unit: UnitName) -> RenderRequest | None:
        """Forget a unit; returns its request if nobody uses it any more."""
        request = self.of_unit.pop(unit, None)
        if request is None:
            return None
        users = self.users[request]
        users.discard(unit)
        if users:
            return None
        del self.users[request]
        return request
