"""`fleet plan`: what a change does to the whole fleet, before it is merged; no cluster and no hub is asked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fleet.cli.loop import run_quietly
from fleet.cli.opening import opened
from fleet.cli.output import print_error
from fleet.errors import FleetError, UsageInvalid

if TYPE_CHECKING:
    from fleet.cli.planning_hub import Asking
    from fleet.core.planning.fleet_plan import Comparison, FleetPlan

EXIT_SAME, EXIT_DIFFERENT, EXIT_ERROR = 0, 1, 2
FORMS = ("terminal", "wide", "markdown", "json", "sarif")


def plan(
    root: Path,
    *,
    base: str,
    head: str,
    kube: str,
    output: str,
    live_seconds: float = 0.0,
    hub: str = "",
    through: str = "",
) -> int:
    """Print the plan; 0 no change, 1 change, 2 error: also when a part of the change cannot be told.

    live_seconds: ask the clusters too, each for so long at most, and the hub how earlier rollouts went; 0: nobody is
    asked. through: as in `Asking`.
    """
    if output not in FORMS:
        raise UsageInvalid(f"-o {output} is no form of a plan", next_step=f"one of {', '.join(FORMS)}")
    if through and not live_seconds:
        raise UsageInvalid(f"--through {through} says by whom clusters are asked", next_step="add --live")
    minor = 0
    if kube:
        from fleet.core.planning.apis import minor_of

        minor = minor_of(kube)
    try:
        if live_seconds:
            from fleet.cli.past import estimating
            from fleet.cli.planning_hub import Asking, through_of

            asking = Asking(live_seconds, hub, through_of(through))
            compared, estimate = run_quietly(compare_commits(root, base, head, live=asking)), estimating(hub)
        else:
            compared, estimate = run_quietly(compare_commits(root, base, head)), None
        from fleet.core.planning.fleet_plan import plan_of

        found = plan_of(compared, kube=minor, estimate=estimate)
    except FleetError as error:
        print_error(error)
        return EXIT_ERROR
    from fleet.cli.plan_forms import write

    write(found, output, sys.stdout, root)
    return code_of(found)


def code_of(found: FleetPlan) -> int:
    """How the command ends."""
    if found.is_unknown:
        return EXIT_ERROR
    return EXIT_DIFFERENT if found.is_different else EXIT_SAME


async def compare_commits(root: Path, base: str, head: str, *, live: Asking | None = None) -> Comparison:
    """Compare two commits; base "": origin's main; head "": the working tree merged into base.

    live: ask for the clusters too; None: nobody is asked.

    Raises SourceError, UsageInvalid, RendererMissing; what is wrong inside a commit is in the result.
    """
    # A dry-run needs the values of Secrets, which are kept nowhere: what holds any is built anew for it.
    async with opened(root, base, head, needs_values=live is not None) as sides:
        from fleet.cli.planning import compare  # what judges is imported while git and the render worker are at work

        return await compare(sides, live)
