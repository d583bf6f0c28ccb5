"""Roles, each with all rights of those below it: viewer reads, operator acts, admin hands out access."""

from __future__ import annotations

from enum import StrEnum

from fleet.errors import NotAllowed
from fleet.values import dataclass


class Role(StrEnum):
    """From the smallest to the largest."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


_RANK = {Role.VIEWER: 0, Role.OPERATOR: 1, Role.ADMIN: 2}


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request, as verified; `name` goes into the audit log."""

    name: str
    role: Role
    token_id: str


def demand(caller: Caller, role: Role, what: str) -> None:
    """Raise NotAllowed unless the caller's role covers `role`."""
    if _RANK[caller.role] < _RANK[role]:
        raise NotAllowed(
            f"{what} needs the role {role}",
            where=f"token {caller.name}",
            why=f"this token has the role {caller.role}",
            next_step=f"fleet token create NAME --role {role}",
        )
