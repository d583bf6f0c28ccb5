"""What the handlers need, put together by wiring.py."""

from __future__ import annotations

from collections.abc import Callable

from fleet.access.tokens import Tokens
from fleet.controllers.ancestry import Ancestry
from fleet.controllers.plan_approvals import PlanApprovals
from fleet.core.refusal_log import Refusal
from fleet.core.view import View
from fleet.ports.state import Bells, State
from fleet.values import dataclass


@dataclass(frozen=True, slots=True)
class ApiParts:
    """Handed to each handler; handlers read the view, and write nothing but the state."""

    view: View
    state: State
    tokens: Tokens
    bells: Bells
    wall: Callable[[], float]
    check_kubeconfig: Callable[[str, bytes], None]  # raises CredentialRefused for what the hub will not use (R30)
    ready: Callable[[], str]  # "" when the loops run and the state can be written, else why not
    refused: Callable[[Refusal], None]  # counts a refusal, and has it written to the audit log
    plans: PlanApprovals | None = None  # None: this process keeps no approvals of plans
    ancestry: Ancestry | None = None  # None: of commits before the one in force nothing can be told
    webhook_secret: bytes = b""  # empty: the webhook route answers 404 (R39)
