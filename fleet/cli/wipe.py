"""`fleet wipe`: deletes what fleet owns of a unit or a cluster that left Git, once its name was typed."""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import say, table
from fleet.errors import UsageInvalid

_SHOWN = 3


def wipe(client: Client, name: str, *, confirm: str, reason: str) -> int:
    """Show what would go, have the name typed (or given by `confirm`), and ask the hub for it."""
    path = f"/api/v1/{'units' if '@' in name else 'clusters'}/{name}:wipe"
    leaving = [unit for unit in client.get("/api/v1/leaving")["items"] if _is_meant(unit["unit"], name)]
    if not leaving:
        client.call("POST", path, {"confirm": "", "reason": reason})  # the hub says why there is nothing to wipe
        raise UsageInvalid(f"nothing of {name} is leaving", next_step=f"fleet wipe {name}")
    rows = [[unit["unit"], unit["commit"][:7], str(len(unit["objects"])), _some(unit["objects"])] for unit in leaving]
    table(rows, ("UNIT", "LEFT AT", "OBJECTS", "FLEET OWNS"), sys.stdout)
    answer = client.call("POST", path, {"confirm": confirm or _typed(name), "reason": reason})
    for operation in answer["items"]:
        say(f"{operation['id']} {operation['target']} is wiped; what it deletes is asked about: fleet get holds")
    return 0


def _is_meant(unit: str, name: str) -> bool:
    return unit == name or ("@" not in name and unit.partition("@")[2] == name)


def _some(objects: list[Any]) -> str:
    more = len(objects) - _SHOWN
    return ", ".join(objects[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _typed(name: str) -> str:
    if not sys.stdin.isatty():
        raise UsageInvalid(
            f"{name} is not confirmed", why="nobody is there to type its name", next_step=f"--confirm {name}"
        )
    sys.stdout.write(f"These are deleted, not let go. Type {name} to go on: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip()
