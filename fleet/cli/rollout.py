"""`fleet rollout pause|resume|promote|abort|approve`, `fleet rollback`, and how a rollout is described."""

from __future__ import annotations

import sys

from fleet.cli.act import Item, until_ended
from fleet.cli.client import Client
from fleet.cli.output import age, say, table, when
from fleet.core.forecast import span

WAIT_SECONDS = 30.0


def order(client: Client, commit: str, kind: str, *, reason: str, step: str = "") -> int:
    """Order something of a rollout, and wait until it is carried out; 1 when it was refused."""
    body = {"step": step, "reason": reason} if kind == "approve" else {"reason": reason}
    return _until_ended(client, client.call("POST", f"/api/v1/rollouts/{commit}:{kind}", body))


def resume(client: Client, commit: str, *, reason: str, overlay: str) -> int:
    """Let a rollout go on, or what was taken back of it begin again: of one overlay, or of all."""
    body = {"overlay": overlay, "reason": reason}
    return _until_ended(client, client.call("POST", f"/api/v1/rollouts/{commit}:resume", body))


def promote(client: Client, commit: str, *, reason: str, step: str) -> int:
    """Go past the step where a rollout stands, which is shown; one that stands at another by then is left alone."""
    stands: dict[str, list[str]] = {}
    for overlay, name in _stands(client.get(f"/api/v1/rollouts/{commit}")).items():
        stands.setdefault(name, []).append(overlay)
    for name, overlays in stands.items():
        at = f"at step {name}" if name else "behind its last step"
        say(f"stands {at}: {', '.join(sorted(overlays))}")
    body = {"step": step or (next(iter(stands)) if len(stands) == 1 else ""), "reason": reason}
    return _until_ended(client, client.call("POST", f"/api/v1/rollouts/{commit}:promote", body))


def _stands(item: Item) -> dict[str, str]:
    """The step where each overlay stands: its first that is not over, "" behind the last, where it may halt too."""
    steps = item.get("steps", [])
    first = {step["overlay"]: step["name"] for step in reversed(steps) if step["state"] != "done"}
    return {step["overlay"]: first.get(step["overlay"], "") for step in steps}


def rollback(client: Client, overlay: str, *, to: str, reason: str) -> int:
    """Take an overlay's latest rollout back, and say how Git can be made to agree."""
    operation = client.call("POST", f"/api/v1/overlays/{overlay}:rollback", {"to": to, "reason": reason})
    code = _until_ended(client, operation)
    if code == 0:
        newest = client.get("/api/v1/rollouts", {"limit": "500"})["items"]
        offers = [line for item in newest for line in _offers(item, overlay)]
        for line in offers[:2]:  # of the newest rollout that went back
            say(line)
    return code


def _offers(item: Item, overlay: str = "") -> list[str]:
    """How Git is made to agree with what clusters hold again: the commands for each overlay that went back, or one."""
    found: list[str] = []
    for revert in item.get("reverts", []):
        name, commit = revert["overlay"], item["commit"][:7]
        if overlay in ("", name) and revert["to"]:
            command = f"fleet rollout revert {commit} --overlay {name} --to {revert['to'][0][:7]}"
            found += [
                f"in Git       {command} | git apply -3     {name} as its clusters hold it",
                f"             {command} --branch revert/{name}-{commit}     the same as a branch",
            ]
    return found


def _until_ended(client: Client, operation: Item) -> int:
    late = f"not carried out within {WAIT_SECONDS:g} s; fleet get operations"
    return until_ended(client, operation, late, timeout_seconds=WAIT_SECONDS)


def describe(item: Item) -> None:
    """One rollout: what it waits for, which clusters hold it up and since when, and what can be done."""
    commit = item["commit"][:7]
    say(f"{commit}   {', '.join(item['overlays'])}; started {when(item.get('startedAt'))}")
    why = f": {item['why']}" if item.get("why") else ""
    word = item["state"].upper() if item["state"] in ("halted", "paused") else item["state"]
    stands = ". Nothing goes on by itself." if word.isupper() else ""
    say(f"{word}{why}{stands}")
    if ends := _ends(item):
        say(ends)
    for approval in item.get("approvals", []):
        say(f"step {approval['step']} approved by {', '.join(approval['by'])}")
    if item.get("steps"):
        sys.stdout.write("\n")
        rows = [
            [step["overlay"], step["name"], f"{step['done']}/{step['total']}", step["state"], _why(step)]
            for step in item["steps"]
        ]
        table(rows, ("OVERLAY", "STEP", "DONE", "STATE", "WHY"), sys.stdout)
    gates = [_gate(step, gate) for step in item.get("steps", []) for gate in step.get("gates", [])]
    if gates:
        sys.stdout.write("\n")
        table(gates, ("OVERLAY", "STEP", "GATE", "WANTS", "STATE", "READ", "READING"), sys.stdout)
    sys.stdout.write("\n")
    for line in (*_next_of(item, commit), *_offers(item)):
        say(line)


def _ends(item: Item) -> str:
    """When it ends, with the basis of that; "" once it is over."""
    found = item.get("forecast")
    if not found:
        return ""
    if found.get("endsAfter") is None:
        return found["basis"]
    first = f" {found['after']}" if found.get("after") else ""
    return f"ends in {span(found['afterSeconds'], found['beforeSeconds'])}{first} (80 %, {found['basis']})"


def _why(step: Item) -> str:
    held = [
        f"{entry['cluster']} {age(entry.get('ageSeconds'))}: {entry['why']}" for entry in step.get("heldUpBy", [])[:3]
    ]
    more = len(step.get("heldUpBy", [])) - 3
    return "; ".join([step.get("why", ""), *held, *([f"{more} more"] if more > 0 else [])]).removeprefix("; ")


def _gate(step: Item, gate: Item) -> list[str]:
    read = age(gate.get("ageSeconds")) if gate.get("readAt") else "-"
    return [step["overlay"], step["name"], gate["name"], gate["wants"], gate["state"], read, gate.get("reading", "")]


def _next_of(item: Item, commit: str) -> list[str]:
    overlay = item.get("failed") or (item["overlays"][0] if len(item["overlays"]) == 1 else "OVERLAY")
    asked = dict.fromkeys(step["name"] for step in item.get("steps", []) if step.get("asks"))
    approve = [f"agree        fleet rollout approve {commit} --step {step}" for step in asked]
    match item["state"]:
        case "halted":
            return [
                "fix forward  merge a newer commit; it takes over and starts at the first step",
                *approve,
                f'go back      fleet rollback {overlay} --reason "..."',
                f'go on        fleet rollout resume {commit} --reason "..."     asks again',
            ]
        case "paused" | "aborted" | "rolled back":
            return [f'go on        fleet rollout resume {commit} --reason "..."']
        case "runs":
            return [*approve, f'stop it      fleet rollout pause {commit} --reason "..."']
        case _:
            return [f'go back      fleet rollback {overlay} --reason "..."']
