"""`fleet recover`: after a lost data directory, what the clusters hold; `--confirm` lets the hub write again."""

from __future__ import annotations

import sys

from fleet.cli.client import Client
from fleet.cli.output import say, table


def recover(client: Client, *, confirm: bool, seen: str) -> int:
    """Show the rebuilt records; with `confirm` these, and no others, count from now on.

    seen: the digest of an earlier look's list, which it must still be; "" for what is shown now.
    """
    found = client.get("/api/v1/recovery")
    items, digest = found["items"], found.get("listDigest", "")
    if not items:
        sys.stdout.write("No cluster waits for a recovery.\n")
        return 0
    rows = [
        [item["unit"], str(item["objects"]), item.get("commit", "")[:7] or "-", item.get("then", "")] for item in items
    ]
    table(rows, ("UNIT", "OBJECTS", "COMMIT", "THEN"), sys.stdout)
    if not confirm:
        sys.stdout.write(
            "\nThis is what the hub found by its marks; its state was lost, or another cluster was accepted. "
            "Nothing is written there until you confirm:\n"
            f"  fleet recover --confirm --list {digest[:6]}\n"
        )
        return 0
    say(client.call("POST", "/api/v1/fleet:recover", {"listDigest": seen or digest})["message"])
    return 0
