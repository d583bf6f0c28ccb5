"""`fleet status`: the fleet at a glance, and what needs a person."""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import EXIT_DEGRADED, age, clean_line, say, show, table

_COLUMNS = ("clusters", "onMain", "waiting", "suspended", "held", "drifted", "degraded", "unreachable")


def status(client: Client, output: str) -> int:
    """Print the overview; 6 when something needs a person."""
    document = client.get("/api/v1/status")
    if output != "table":
        show(document, output, (), sys.stdout)
    else:
        say(_text_of_revision(document["revision"]))
        sys.stdout.write("\n")
        rows = [
            [row["environment"] or "-", *(str(row[key] or "-") for key in _COLUMNS)] for row in document["environments"]
        ]
        header = ["", *(_heading(key) for key in _COLUMNS)]
        table(rows, header, sys.stdout)
        _needs(document)
    return EXIT_DEGRADED if document["needsPerson"] or _errors(document) else 0


def _heading(key: str) -> str:
    return "ON MAIN" if key == "onMain" else key.upper()


def _text_of_revision(revision: dict[str, Any]) -> str:
    if not revision["commit"]:
        reason = revision.get("fetchMessage") or "not fetched yet"
        return f"{revision['branch']}: no commit yet: {reason}"
    by = f" ({revision['author']})" if revision.get("author") else ""
    subject = f' "{revision["subject"]}"' if revision.get("subject") else ""
    text = f"{revision['branch']} {revision['commit'][:7]}{subject}{by}"
    if revision.get("fetchMessage"):
        return f"{text}, not fetched since {age(revision.get('fetchedAgeSeconds'))}: {revision['fetchMessage']}"
    return f"{text}, fetched {age(revision.get('fetchedAgeSeconds'))} ago"


def _errors(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [problem for problem in document["problems"] if problem["severity"] == "error"]


def _needs(document: dict[str, Any]) -> None:
    if document["needsPerson"]:
        sys.stdout.write("\nNeeds a person\n")
        width = min(56, max(len(line["what"]) for line in document["needsPerson"]))
        for line in document["needsPerson"]:
            say(f"  {age(line.get('ageSeconds')):<4} {clean_line(line['what']).ljust(width)}  {line['next']}")
    if document["endsSoon"]:
        sys.stdout.write("\nEnds soon\n")
        width = min(56, max(len(line["what"]) for line in document["endsSoon"]))
        for line in document["endsSoon"]:
            left = age(line["inSeconds"]) if line["inSeconds"] > 0 else "over"
            say(f"  {left:<4} {clean_line(line['what']).ljust(width)}  {line['next']}")
    if errors := _errors(document):
        sys.stdout.write("\nIn the repo (fleet validate)\n")
        for problem in errors:
            say(f"  {problem['reason']}: {problem['what']} ({problem['where']})")
    for relaxed in document["relaxed"]:
        sys.stdout.write("\n")
        say(f"Relaxed by this hub's configuration: {relaxed}")
