"""`fleet approve plan DIGEST`: what a plan deletes is approved before the merge, bound to the plan's digest."""

from __future__ import annotations

from pathlib import Path

from fleet.cli.client import Client
from fleet.cli.loop import run_quietly
from fleet.cli.output import say
from fleet.cli.plan import compare_commits
from fleet.core.ids import short
from fleet.core.planning.fleet_plan import plan_of
from fleet.errors import PreconditionFailed, UsageInvalid

DIGEST_LENGTH = 7


def approve_plan(client: Client, root: Path, digest: str, *, base: str, head: str, reason: str) -> int:
    """Make the plan anew, and approve it where it still has the digest that was shown."""
    if len(digest) < DIGEST_LENGTH:
        raise UsageInvalid("the digest of the plan is missing", next_step="fleet approve plan DIGEST, from fleet plan")
    found = plan_of(run_quietly(compare_commits(root, base, head)))
    if not found.digest.startswith(digest):
        raise PreconditionFailed(
            "the plan is another one now",
            why=f"you saw {short(digest)}, it is {short(found.digest)}",
            next_step="look again: fleet plan",
        )
    if found.is_unknown:
        raise PreconditionFailed(
            f"plan {short(found.digest)} cannot be approved",
            why="a part of the change cannot be told",
            next_step="correct what fleet plan names; what the base cannot say, a person decides after the merge",
        )
    answer = client.call(
        "POST", f"/api/v1/plans/{found.digest}:approve", {"text": found.text.decode(), "reason": reason}
    )
    leaving = f", {len(answer['leaving'])} units leave" if answer["leaving"] else ""
    say(f"plan {short(found.digest)} approved: {answer['deletions']} objects go{leaving}, if commit and cluster still")
    say(f"  say the same when it is merged; it lapses {answer['expiresAt']}")
    return 0
