"""`fleet recover`: after a lost data directory, what the clusters hold; `--confirm` lets the hub write again."""

from __future__ import annotations

import sys

from fleet.cli.client import Client
from fleet.cli.output import say, table

_SHOWN = 3  # clusters that were not heard


def recover(client: Client, *, confirm: bool, seen: str, unheard: bool) -> int:
    """Show the rebuilt records; with `confirm` these, and no others, count from now on.

    seen: the digest of an earlier look's list, which it must still be; "" for what is shown now. unheard: also where
    clusters were not heard yet that may know of results that were taken back.
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
    if found.get("unheard"):
        more = len(found["unheard"]) - _SHOWN
        names = ", ".join(found["unheard"][:_SHOWN]) + (f" and {more} more" if more > 0 else "")
        say(f"Not heard yet: {names}. What a rollback took back may stand there alone, and would come again:")
        say("wait until they are, or confirm with --unheard.")
    if not confirm:
        sys.stdout.write(
            "\nThis is what the hub found by its marks; its state was lost, or another cluster was accepted. "
            "Nothing is written there until you confirm:\n"
            f"  fleet recover --confirm --list {digest[:6]}\n"
        )
        return 0
    say(client.call("POST", "/api/v1/fleet:recover", {"listDigest": seen or digest, "unheard": unheard})["message"])
    return 0
