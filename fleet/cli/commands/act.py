"""Commands that have the hub do something."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Reason, Root, Timeout
from fleet.errors import UsageInvalid


def sync(
    unit: str,
    *,
    override: bool = False,
    reason: Reason = "",
    wait: bool = True,
    timeout: Timeout = "5m",
    hub: Hub = "",
) -> int:
    """Fetch, then make a unit equal to Git now; --override passes windows and rollout order, never holds."""
    from fleet.cli.act import sync as handler
    from fleet.cli.durations import seconds_of

    return handler(Client(hub), unit, override=override, reason=reason, wait=wait, timeout_seconds=seconds_of(timeout))


def refresh(*, hub: Hub = "") -> int:
    """Ask the hub to look into Git now."""
    from fleet.cli.act import refresh as handler

    return handler(Client(hub))


def suspend(scope: str, name: str = "", *, reason: Reason, until: str = "", hub: Hub = "") -> int:
    """Stop writes to the fleet, a cluster, an overlay or a unit."""
    from fleet.cli.act import suspend as handler

    return handler(Client(hub), scope, name, reason=reason, until=until)


def resume(
    scope: str,
    name: str = "",
    *,
    owner: Annotated[str, Parameter("--owner", help="lift what this one suspended; left out: what you did")] = "",
    everybodys: Annotated[bool, Parameter("--all", negative="", help="lift what anybody suspended")] = False,
    reason: Reason = "",
    hub: Hub = "",
) -> int:
    """Let a suspended scope go on: lifts your own suspension, and says whose still stand."""
    from fleet.cli.act import resume as handler

    return handler(Client(hub), scope, name, reason=reason, owner=owner, everybodys=everybodys)


def approve(
    hold: str,
    digest: str = "",
    *,
    list_digest: Annotated[str, Parameter("--list", help="the list of the hold, as it was shown")] = "",
    base: Annotated[str, Parameter("--base", help="of a plan: as in fleet plan")] = "",
    head: Annotated[str, Parameter("--head", help="of a plan: as in fleet plan")] = "",
    root: Root = Path(),
    reason: Reason = "",
    hub: Hub = "",
) -> int:
    """Approve exactly the list of a hold that was shown; `plan DIGEST` before the merge; or an override (`op-...`)."""
    if hold == "plan":
        from fleet.cli.approve_plan import approve_plan

        return approve_plan(Client(hub), root, digest, base=base, head=head, reason=reason)
    from fleet.cli.act import approve as handler
    from fleet.cli.act import approve_override

    if hold.startswith("op-"):
        return approve_override(Client(hub), hold, reason=reason)
    if digest or base or head or not list_digest:
        raise UsageInvalid(
            f"what of {hold} is approved is not said", next_step=f"fleet approve {hold} --list DIGEST, as it was shown"
        )
    return handler(Client(hub), hold, list_digest=list_digest, reason=reason)


def reject(hold: str, *, reason: Reason, hub: Hub = "") -> int:
    """Keep what a hold would delete; of an approved one, what is not gone yet."""
    from fleet.cli.act import reject as handler

    return handler(Client(hub), hold, reason=reason)


def wipe(
    name: str,
    *,
    reason: Reason,
    confirm: Annotated[str, Parameter("--confirm", help="the name once more, where nobody can type it")] = "",
    hub: Hub = "",
) -> int:
    """Delete what fleet owns of a unit (OVERLAY@CLUSTER) or a cluster that left Git; asks for its name."""
    from fleet.cli.wipe import wipe as handler

    return handler(Client(hub), name, confirm=confirm, reason=reason)


def rollback(overlay: str, *, reason: Reason, to: str = "", hub: Hub = "") -> int:
    """Give the clusters of an overlay back what they held before its latest rollout (--to: that commit)."""
    from fleet.cli.rollout import rollback as handler

    return handler(Client(hub), overlay, to=to, reason=reason)
