"""`fleet history`: one timeline with filters, live with -w; `--audit` for the audit log."""

from __future__ import annotations

import sys
from typing import Any

from fleet.cli.client import Client
from fleet.cli.get import EVENTS
from fleet.cli.output import Column, say, show, when

AUDIT: tuple[Column, ...] = (
    ("TIME", lambda item: when(item.get("at"))),
    ("ACTOR", lambda item: str(item["actor"])),
    ("ACTION", lambda item: str(item["action"])),
    ("WHERE", lambda item: str(item.get("unit") or item.get("cluster", ""))),
    ("OBJECT", lambda item: str(item.get("object", ""))),
    ("OUTCOME", lambda item: str(item.get("outcome") or "-")),
    ("REASON", lambda item: str(item.get("reason", ""))),
)


def history(client: Client, *, filters: dict[str, str], limit: int, audit: bool, watch: bool, output: str) -> int:
    """Print the newest lines, oldest first."""
    if audit:
        document = client.pages("/api/v1/audit", {"limit": "1000"})
        document["items"] = document["items"][-limit:]
        show(document, output, AUDIT, sys.stdout)
        return 0
    document = client.get("/api/v1/events", {**filters, "limit": str(limit), "newestFirst": "true"})
    document["items"].reverse()
    show(document, output, EVENTS, sys.stdout)
    if watch:
        for event in client.events():
            if _matches(event, filters):
                say("  ".join(cell(event) for _, cell in EVENTS))
                sys.stdout.flush()
    return 0


def _matches(event: dict[str, Any], filters: dict[str, str]) -> bool:
    unit = str(event.get("unit", ""))
    return (
        filters.get("cluster", "") in ("", event.get("cluster", ""))
        and filters.get("unit", "") in ("", unit)
        and filters.get("overlay", "") in ("", unit.partition("@")[0])
    )
