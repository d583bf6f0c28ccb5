"""`fleet status`: the fleet at a glance, and what needs a person."""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.client import Client
from fleet.cli.output import EXIT_DEGRADED, age, clean, show, table

_COLUMNS = ("clusters", "onMain", "waiting", "suspended", "held", "drifted", "degraded", "unreachable")


def status(client: Client, output: str) -> int:
    """Print the overview; 6 when something needs a person."""
    document = client.get("/api/v1/status")
    if output != "table":
        show(document, output, (), sys.stdout)
    else:
        sys.stdout.write(_text_of_revision(document["revision"]) + "\n\n")
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
        return clean(f"{text}, not fetched since {age(revision.get('fetchedAgeSeconds'))}: {revision['fetchMessage']}")
    return clean(f"{text}, fetched {age(revision.get('fetchedAgeSeconds'))} ago")


def _errors(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [problem for problem in document["problems"] if problem["severity"] == "error"]


def _needs(document: dict[str, Any]) -> None:
    out = sys.stdout
    if document["needsPerson"]:
        out.write("\nNeeds a person\n")
        width = max(len(line["what"]) for line in document["needsPerson"])
        for line in document["needsPerson"]:
            out.write(f"  {age(line.get('ageSeconds')):<4} {clean(line['what']).ljust(width)}  {line['next']}\n")
    if errors := _errors(document):
        out.write("\nIn the repo (fleet validate)\n")
        for problem in errors:
            out.write(f"  {problem['reason']}: {clean(problem['what'])} ({problem['where']})\n")
    for relaxed in document["relaxed"]:
        out.write(f"\nRelaxed by this hub's configuration: {relaxed}\n")
