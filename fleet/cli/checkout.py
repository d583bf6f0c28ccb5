"""What the commands on a checkout share: revisions of the local repo, and reading the fleet from the work tree."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from fleet.errors import UsageInvalid

_REVISION = re.compile(r"[0-9a-f]{7,40}\Z")


def revision_of(root: Path, name: str) -> str:
    """A commit id for what a person wrote: an id as it is, else what git calls by that name in this checkout."""
    if _REVISION.match(name):
        return name
    if name.startswith("-"):
        raise UsageInvalid(f"{name} is no commit")
    command = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageInvalid(f"git cannot be asked for {name}", why=type(error).__name__) from error
    if found.returncode != 0:
        raise UsageInvalid(
            f"{name} names no commit here", where=str(root.resolve()), next_step="give a commit id, HEAD or a branch"
        )
    return found.stdout.strip()
