"""`fleet rollout`: one commit on its way through its clusters."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Reason, Root

rollout_app = App(
    name="rollout", help="Stop, move and approve the rollout of a commit; put back in Git what went back."
)


@rollout_app.command(name="pause")
def rollout_pause(commit: str, *, reason: Reason, hub: Hub = "") -> int:
    """Release nothing more of it for now."""
    from fleet.cli.rollout import order

    return order(Client(hub), commit, "pause", reason=reason)


@rollout_app.command(name="resume")
def rollout_resume(
    commit: str,
    *,
    overlay: Annotated[str, Parameter("--overlay", help="what was taken back of this one alone begins again")] = "",
    reason: Reason,
    hub: Hub = "",
) -> int:
    """Go on after a pause, a halt, an abort or a rollback."""
    from fleet.cli.rollout import resume

    return resume(Client(hub), commit, reason=reason, overlay=overlay)


@rollout_app.command(name="promote")
def rollout_promote(
    commit: str,
    *,
    step: Annotated[str, Parameter("--step", help="the step that you saw; past any other it does not go")] = "",
    reason: Reason,
    hub: Hub = "",
) -> int:
    """Go past the step it stands at, without the clusters that are not Healthy; never past an approval."""
    from fleet.cli.rollout import promote

    return promote(Client(hub), commit, reason=reason, step=step)


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


@rollout_app.command(name="revert")
def rollout_revert(
    commit: str,
    *,
    overlay: Annotated[str, Parameter("--overlay", help="the overlay that goes back")],
    to: Annotated[str, Parameter("--to", help="the commit whose results its clusters hold; else the one before")] = "",
    onto: Annotated[str, Parameter("--onto", help="what it is merged into")] = "HEAD",
    branch: Annotated[str, Parameter("--branch", help="make this branch instead of printing a patch")] = "",
    root: Root = Path(),
) -> int:
    """Print the patch that puts an overlay back in Git, for `git apply -3`; with --branch a commit. Never pushes."""
    from fleet.cli.revert import Wish, revert

    return revert(root, Wish(commit, overlay, to, onto, branch), sys.stdout.buffer, sys.stderr)
