"""Commands that read from the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Output, Root, Selector, Timeout


def get(
    kind: str,
    *names: str,
    output: Output = "table",
    selector: Selector = "",
    q: str = "",
    health: str = "",
    sync_state: Annotated[str, Parameter("--sync")] = "",
    cluster: str = "",
    overlay: str = "",
    environment: str = "",
    hub: Hub = "",
) -> int:
    """List clusters, units, overlays, holds, rollouts, events or operations, worst first."""
    from fleet.cli.get import get as handler

    filters = {
        "labelSelector": selector,
        "q": q,
        "health": health,
        "sync": sync_state,
        "cluster": cluster,
        "overlay": overlay,
        "environment": environment,
    }
    return handler(Client(hub), kind, names, output, filters)


def describe(kind: str, name: str, *, output: Output = "table", hub: Hub = "") -> int:
    """Show one cluster, unit, overlay, hold or rollout with its reasons."""
    from fleet.cli.describe import describe as handler

    return handler(Client(hub), kind, name, output)


def status(*, output: Output = "table", hub: Hub = "") -> int:
    """Show the fleet at a glance, and what needs a person."""
    from fleet.cli.overview import status as handler

    return handler(Client(hub), output)


def history(
    *,
    cluster: str = "",
    overlay: str = "",
    unit: str = "",
    limit: int = 50,
    audit: bool = False,
    watch: Annotated[bool, Parameter(["--watch", "-w"])] = False,
    output: Output = "table",
    hub: Hub = "",
) -> int:
    """Show the timeline, or with --audit the audit log."""
    from fleet.cli.history import history as handler

    filters = {"cluster": cluster, "overlay": overlay, "unit": unit}
    return handler(Client(hub), filters=filters, limit=limit, audit=audit, watch=watch, output=output)


def wait(*, commit: str, timeout: Timeout = "5m", root: Root = Path(), hub: Hub = "") -> int:
    """Wait until every target observed a commit; REV may be HEAD or a branch of this checkout."""
    from fleet.cli.act import wait_for_commit
    from fleet.cli.checkout import revision_of
    from fleet.cli.durations import seconds_of

    return wait_for_commit(Client(hub), revision_of(root, commit), timeout_seconds=seconds_of(timeout))
