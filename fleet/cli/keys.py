"""Tokens and credentials: `fleet token create|list|revoke`, `fleet credential add|list|remove`."""

from __future__ import annotations

import sys
from pathlib import Path

from fleet.cli.client import Client
from fleet.cli.durations import seconds_of
from fleet.cli.output import Column, say, show, when
from fleet.errors import UsageInvalid


def token_create(client: Client, name: str, role: str, expires: str) -> int:
    """Print a new token, once; nothing else goes to standard output."""
    answer = client.call("POST", "/api/v1/tokens", {"name": name, "role": role, "expiresSeconds": seconds_of(expires)})
    say(answer["token"])
    say(f"token {name}, {role}, until {when(answer['expiresAt'])}; it is not shown again", sys.stderr)
    return 0


def token_list(client: Client, output: str) -> int:
    """Names, roles and ends of tokens."""
    columns: tuple[Column, ...] = (
        ("TOKEN", lambda item: str(item["name"])),
        ("ROLE", lambda item: str(item["role"])),
        ("EXPIRES", lambda item: when(item.get("expiresAt"))),
        ("REVOKED", lambda item: when(item.get("revokedAt"))),
    )
    show(client.get("/api/v1/tokens"), output, columns, sys.stdout)
    return 0


def token_revoke(client: Client, name: str) -> int:
    """Revoke by name."""
    say(client.call("DELETE", f"/api/v1/tokens/{name}")["message"])
    return 0


def credential_add(client: Client, name: str, file: Path) -> int:
    """Give the hub a kubeconfig, from a file or with - from standard input; it is kept encrypted."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageInvalid(
            f"{file} cannot be read", why=type(error).__name__, next_step="name a kubeconfig, or - for standard input"
        ) from error
    client.call("PUT", f"/api/v1/credentials/{name}", {"kubeconfig": text})
    say(f"credential {name} is kept, encrypted")
    return 0


def credential_list(client: Client, output: str) -> int:
    """Names, and of those in use when they end."""
    columns: tuple[Column, ...] = (
        ("CREDENTIAL", lambda item: str(item["name"])),
        ("ADDED", lambda item: when(item.get("addedAt"))),
        ("ENDS", lambda item: when(item.get("endsAt"))),
        ("RENEWED BY THE HUB", lambda item: when(item.get("renewAt"))),
    )
    show(client.get("/api/v1/credentials"), output, columns, sys.stdout)
    return 0


def credential_remove(client: Client, name: str) -> int:
    """The hub forgets a kubeconfig."""
    say(client.call("DELETE", f"/api/v1/credentials/{name}")["message"])
    return 0
