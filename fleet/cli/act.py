"""Actions: sync, suspend, resume, approve, reject, refresh; and `fleet wait`."""

from __future__ import annotations

import sys
import time
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import EXIT_FAILURE, EXIT_TIMEOUT, say, table
from fleet.errors import HubUnreachable, UsageInvalid

Item = dict[str, Any]
_SCOPES = {"fleet": "fleet", "cluster": "clusters", "overlay": "overlays", "unit": "units"}


def sync(client: Client, unit: str, *, override: bool, reason: str, wait: bool, timeout_seconds: float) -> int:
    """Ask for a sync; with `wait` until it ended, 1 if it was refused, 5 if it took too long."""
    operation = client.call("POST", f"/api/v1/units/{unit}:sync", {"override": override, "reason": reason})
    if not wait:
        say(f"{operation['id']} asked for; fleet get operations")
        return 0
    if waits := operation.get("message"):
        say(f"{operation['id']} {waits}: fleet approve {operation['id']}")
    late = f"{unit} is not synced within {timeout_seconds:g} s; it goes on: fleet describe unit {unit}"
    return until_ended(client, operation, late, what=f"{unit} ", timeout_seconds=timeout_seconds)


def until_ended(client: Client, operation: Item, late: str, *, what: str = "", timeout_seconds: float) -> int:
    """Wait for an operation and say how it ended: 0 done, 1 refused, 5 where it took too long (`late` is said)."""
    end = time.monotonic() + timeout_seconds
    while time.monotonic() < end:
        operation = client.get(f"/api/v1/operations/{operation['id']}")
        if operation.get("outcome"):
            say(f"{what}{operation['outcome']}: {operation.get('message', '')}")
            return 0 if operation["outcome"] == "done" else EXIT_FAILURE
        time.sleep(0.2)
    say(late, sys.stderr)
    return EXIT_TIMEOUT


def _scope_path(scope: str, name: str) -> str:
    kind = _SCOPES.get(scope.removesuffix("s") if scope != "fleet" else scope)
    if kind is None or (kind == "fleet") == bool(name):
        raise UsageInvalid(
            f"{scope} {name} is no scope", next_step="write fleet, cluster NAME, overlay NAME or unit NAME"
        )
    return f"/api/v1/{kind}" + (f"/{name}" if name else "")


def suspend(client: Client, scope: str, name: str, *, reason: str, until: str) -> int:
    """Stop writes to a scope."""
    answer = client.call("POST", _scope_path(scope, name) + ":suspend", {"reason": reason, "until": until})
    say(f"{answer['scope']} is suspended: {answer['reason']}; fleet resume {answer['scope']}")
    return 0


def resume(client: Client, scope: str, name: str, *, reason: str, owner: str, everybodys: bool) -> int:
    """Lift the suspensions of a scope that are the caller's own, or as said."""
    body = {"reason": reason, "owner": owner, "all": everybodys}
    answer = client.call("POST", _scope_path(scope, name) + ":resume", body)
    say(answer["message"])
    return 0


def approve(client: Client, hold: str, *, list_digest: str, reason: str) -> int:
    """Approve exactly the list that was shown."""
    if not list_digest:
        raise UsageInvalid(
            "a hold is approved by the list that was shown", next_step=f"fleet describe hold {hold} says the command"
        )
    answer = client.call("POST", f"/api/v1/holds/{hold}:approve", {"listDigest": list_digest, "reason": reason})
    only = ", if they are still as they were shown" if answer["deletions"] else ""
    say(f"{hold} approved: {answer['would'].replace('would', 'to', 1)}{only}")
    return 0


def approve_override(client: Client, operation: str, *, reason: str) -> int:
    """Approve an override that somebody else asked for."""
    client.call("POST", f"/api/v1/operations/{operation}:approve", {"reason": reason})
    say(f"{operation} approved; fleet get operations shows how it ends")
    return 0


def reject(client: Client, hold: str, *, reason: str) -> int:
    """Keep what the hold would delete; of an approved one, what is not gone yet."""
    answer = client.call("POST", f"/api/v1/holds/{hold}:reject", {"reason": reason})
    if not (gone := answer.get("gone")):
        say(f"{hold} rejected: nothing is deleted; it comes back with the next commit")
        return 0
    say(f"{hold} rejected after it was approved: what is left stays; it comes back with the next commit")
    rows = [[one["unit"], one["object"], "had gone or was on its way"] for one in gone]
    rows += [[one["unit"], one["object"], "is deleted no more"] for one in answer["deletions"]]
    table(rows, ("UNIT", "OBJECT", "NOW"), sys.stdout)
    return 0


def refresh(client: Client) -> int:
    """Ask the hub to look into Git now."""
    client.call("POST", "/api/v1/fleet:refresh", {})
    say("Git is asked now")
    return 0


def wait_for_commit(client: Client, commit: str, *, timeout_seconds: float) -> int:
    """Return only when every target observed the commit; then 0, else 5 with the reason per unit."""
    client.call("POST", "/api/v1/fleet:refresh", {})
    started, progress, lost = time.monotonic(), dict[str, Any](), ""
    while True:
        try:
            progress, lost = client.get("/api/v1/progress", {"commit": commit}), ""
        except HubUnreachable as error:  # it restarts, and goes on where it was
            lost = f"{error.what}: {error.why}"
        took = time.monotonic() - started
        if progress.get("done") and not lost:
            later = f" or a later one (in force is {progress['supersededBy'][:7]})" if progress["supersededBy"] else ""
            say(f"{progress['commit'][:7]}{later} is on all {progress['units']} units, {took:.0f} s")
            return 0
        if took >= timeout_seconds:
            break
        time.sleep(0.25)
    if lost:
        say(lost, sys.stderr)
        return EXIT_TIMEOUT
    say(progress["message"], sys.stderr)
    for line in progress["missing"]:
        say(f"  {line['unit']}: {line['reason']}", sys.stderr)
    return EXIT_TIMEOUT
