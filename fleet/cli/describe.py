"""`fleet describe cluster|unit|overlay|hold|rollout NAME`: one thing with its reasons, and what comes next."""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import age, say, show, table, until, when
from fleet.cli.rollout import describe as describe_rollout
from fleet.errors import UsageInvalid

Item = dict[str, Any]


def describe(client: Client, kind: str, name: str, output: str) -> int:
    """Print one thing."""
    kind = kind.removesuffix("s")
    paths = {"cluster": "clusters", "unit": "units", "overlay": "overlays", "hold": "holds", "rollout": "rollouts"}
    if kind not in paths:
        raise UsageInvalid(f"{kind} is nothing to describe", next_step=f"one of {', '.join(paths)}")
    item = client.get(f"/api/v1/{paths[kind]}/{name}")
    if output != "table":
        show(item, output, (), sys.stdout)
        return 0
    match kind:
        case "unit":
            _unit(item)
        case "cluster":
            _cluster(client, item)
        case "hold":
            _hold(item)
        case "rollout":
            describe_rollout(item)
        case _:
            _overlay(client, item)
    return 0


def _fact(word: str, text: str) -> None:
    if text:
        say(f"{word:<11}{text}")


def _state(item: Item) -> str:
    status = item["status"]
    return (
        f"{item['metadata']['name']}   {status['sync']}, {status['health']}, seen {age(status.get('ageSeconds'))} ago"
    )


def _problem(status: Item) -> None:
    if status.get("message"):
        reason = f"{status['reason']}: " if status.get("reason") else ""
        _fact("why", reason + status["message"])
    _fact("next", status.get("nextStep", ""))


def _unit(item: Item) -> None:
    spec, status = item["spec"], item["status"]
    say(_state(item))
    applied = f", applied {when(status['appliedAt'])}: {status['changed']} changed" if status.get("appliedAt") else ""
    _fact("commit", f"{status.get('commit', '')[:7] or '-'}{applied}, {status['objectCount']} objects")
    if status.get("targetCommit") and status["targetCommit"] != status.get("commit"):
        _fact("target", status["targetCommit"][:7])
    _fact("path", f"{spec['path']}  by {spec['pathFrom']}")
    for name, origin in sorted(spec.get("variables", {}).items()):
        _fact("variable", f"{name}  by {origin}")
    _problem(status)
    for link in status.get("blockedBy", []):
        if status.get("message", "") and link["reason"].endswith(status["message"]):
            continue  # said already
        _fact(link["state"], f"{link['scope']}: {link['reason']}" + (f"  {link['next']}" if link.get("next") else ""))
    for warning in status.get("warnings", []):
        _fact("warning", warning)
    objects = sorted(status.get("objects") or [], key=_badness)
    if objects:
        sys.stdout.write("\n")
        rows = [[_object_name(entry), entry["sync"], entry["health"], entry.get("message", "")] for entry in objects]
        table(rows, ("OBJECT", "SYNC", "HEALTH", "MESSAGE"), sys.stdout)
    drifts = [(entry, drift) for entry in objects for drift in entry.get("drift", [])]
    if drifts:
        sys.stdout.write("\nDrift\n")
        for entry, drift in drifts:
            values = (
                "changed"
                if drift["masked"]
                else f"live {_short(drift.get('live'))}  repo {_short(drift.get('desired'))}"
            )
            by = f"  by {drift['manager']}" if drift.get("manager") else ""
            say(f"  {_object_name(entry)}  {drift['path']}  {values}{by}")


def _badness(entry: Item) -> tuple[int, int, str]:
    order = ("Degraded", "Missing", "Unknown", "Progressing", "Suspended", "Healthy")
    rank = order.index(entry["health"]) if entry["health"] in order else len(order)
    return (rank, entry["sync"] == "Synced", _object_name(entry))


def _object_name(entry: Item) -> str:
    place = f"{entry['namespace']}/{entry['name']}" if entry["namespace"] else entry["name"]
    return f"{entry['kind']} {place}"


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _cluster(client: Client, item: Item) -> None:
    spec, status = item["spec"], item["status"]
    say(_state(item))
    _fact("env", " ".join(filter(None, (spec.get("environment", ""), spec.get("location", "")))))
    _fact("mode", spec["mode"])
    _fact("file", spec.get("origin", ""))
    _fact("identity", status.get("identity", ""))
    _fact("version", status.get("version", ""))
    _credential(status.get("credential"))
    _problem(status)
    units = client.pages("/api/v1/units", {"cluster": item["metadata"]["name"]})["items"]
    if units:
        sys.stdout.write("\n")
        rows = [
            [unit["metadata"]["name"], unit["status"]["sync"], unit["status"]["health"],
             unit["status"].get("commit", "")[:7] or "-", unit["status"].get("message", "")]
            for unit in units
        ]  # fmt: skip
        table(rows, ("UNIT", "SYNC", "HEALTH", "COMMIT", "MESSAGE"), sys.stdout)


def _credential(held: Item | None) -> None:
    """When it ends, and who renews it."""
    if held is None:
        return
    end = until(held.get("endsAt"))
    renews = f", renewed by the hub on {when(held['renewAt'])}" if held.get("renewAt") else ""
    if held.get("message"):
        renews = f", {held['message']}"
    elif not renews and end:
        renews = ", read again when its file changes" if held["place"] == "file" else ", not renewed by the hub"
    _fact("credential", f"{held['name']}, its {held['what']} {end or 'has no end'}{renews}")
    _fact("next", held.get("nextStep", ""))


def _overlay(client: Client, item: Item) -> None:
    spec, status = item["spec"], item["status"]
    say(f"{item['metadata']['name']}   {status['synced']} of {status['units']} units synced")
    _fact("directory", spec["directory"])
    _fact("file", spec["origin"])
    _fact("after", ", ".join(spec.get("dependsOn", [])))
    for note in spec.get("ignoreDifferences", []):
        ends = f", until {note['until']}" if note["until"] else ""
        words = " ".join(filter(None, (note["reason"], f"({note['owner']})" if note["owner"] else "")))
        _fact("ignores", f"{note['what']}  by {note['origin']}{ends}" + (f": {words}" if words else ""))
    units = client.pages("/api/v1/units", {"overlay": item["metadata"]["name"]})["items"]
    sys.stdout.write("\n")
    rows = [
        [unit["spec"]["cluster"], unit["status"]["sync"], unit["status"]["health"], unit["status"].get("message", "")]
        for unit in units
    ]
    table(rows, ("CLUSTER", "SYNC", "HEALTH", "MESSAGE"), sys.stdout)


def _hold(item: Item) -> None:
    name, digest = item["metadata"]["name"], item["listDigest"][:6]
    state = item.get("decision") or "waits for a person"
    say(f"{name}  {item['overlay']} on {', '.join(item['clusters'])} {item['would']}; {state}")
    for message in item["messages"]:
        _fact("why", message)
    _fact("commit", item["commit"][:7])
    _fact("lapses", when(item.get("expiresAt")))
    if item["deletions"]:
        sys.stdout.write("\n")
        rows = [[entry["unit"], entry["object"], "; ".join(entry["goesWith"])] for entry in item["deletions"]]
        table(rows, ("UNIT", "WOULD DELETE", "GOES WITH IT"), sys.stdout)
    if not item.get("decision"):
        sys.stdout.write("\n")
        does = "deletes exactly this list" if item["deletions"] else "lets them go"
        back = "put it back in Git" + (
            ", or annotate it    fleet.internal/prune: disabled" if item["deletions"] else ""
        )
        say(f"approve    fleet approve {name} --list {digest}        {does}, or asks again")
        say(f'reject     fleet reject {name} --reason "..."       keeps it; asked again with the next commit')
        say(f"for good   {back}")
    elif item["decision"] == "approved":
        sys.stdout.write("\n")
        say(f'take back  fleet reject {name} --reason "..."       keeps what is not gone yet')
