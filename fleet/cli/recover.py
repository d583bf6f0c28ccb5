"""`fleet recover`: after a lost data directory, what the clusters hold; `--confirm` lets the hub write again."""

from __future__ import annotations

import sys

from fleet.cli.client import Client
from fleet.cli.output import say, table


def recover(client: Client, *, confirm: bool) -> int:
    """Show the rebuilt records; with `confirm` they count from now on."""
    items = client.get("/api/v1/recovery")["items"]
    if not items:
        sys.stdout.write("No cluster waits for a recovery.\n")
        return 0
    rows = [[item["unit"], str(item["objects"]), item.get("commit", "")[:7] or "-"] for item in items]
    table(rows, ("UNIT", "OBJECTS", "COMMIT"), sys.stdout)
    if not confirm:
        sys.stdout.write(
            "\nThis is what the hub found by its marks; its state was lost, or another cluster was accepted. "
            "Nothing is written there until you confirm:\n"
            "  fleet recover --confirm\n"
        )
        return 0
    say(client.call("POST", "/api/v1/fleet:recover", {})["message"])
    return 0
