"""What shuts a build in beside its limits, by name, and what it could do where one may not be had (R27)."""

from __future__ import annotations

from collections.abc import Collection

OWN_NETWORK = "own network"
OWN_FILES = "own files only"
NO_SOCKETS = "no sockets"


def lacking(measures: Collection[str]) -> str:
    """What builds could do where these measures alone are in force; "" for nothing that is forbidden to them."""
    network = () if OWN_NETWORK in measures or NO_SOCKETS in measures else ("reach the network",)
    files = () if OWN_FILES in measures else ("read what the hub's user can read",)
    return " and ".join((*network, *files))
