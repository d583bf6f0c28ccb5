"""`fleet rollout`: one commit on its way through its clusters."""

from __future__ import annotations

from cyclopts import App

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Reason

rollout_app = App(name="rollout", help="Stop, move and approve the rollout of a commit.")


@rollout_app.command(name="pause")
def rollout_pause(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Release nothing more of it for now."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "pause", reason=reason)


@rollout_app.command(name="resume")
def rollout_resume(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Go on after a pause, a halt, an abort or a rollback."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "resume", reason=reason)


@rollout_app.command(name="promote")
def rollout_promote(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Go past the step it stands at, without the clusters that are not Healthy; never past an approval."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "promote", reason=reason)


@rollout_app.command(name="abort")
def rollout_abort(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Release nothing more of it, under any commit; what was released stays."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "abort", reason=reason)


@rollout_app.command(name="approve")
def rollout_approve(commit: str, *, step: str, reason: Reason = "", hub: Hub = "") -> int:
    """Approve a step of it, once for all overlays that have it."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "approve", reason=reason, step=step)
