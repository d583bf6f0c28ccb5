"""`fleet cluster`: the inventory and the way into its clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Output, Reason, Root

cluster_app = App(name="cluster", help="Clusters of the inventory and their identities.")


@cluster_app.command(name="add")
def cluster_add(
    name: str,
    *,
    context: str = "",
    environment: str = "",
    location: str = "",
    labels: Annotated[tuple[str, ...], Parameter(["--label"])] = (),
    root: Root = Path(),
) -> int:
    """Read a cluster as you, and write its file: mode observe, identity recorded."""
    from fleet.cli.cluster import add as handler

    return handler(root, name, context=context, environment=environment, location=location, labels=labels)


@cluster_app.command(name="grant")
def cluster_grant(
    name: str,
    *,
    context: str = "",
    read_only: bool = False,
    cluster_admin: bool = False,
    yes: Annotated[bool, Parameter(["--yes", "-y"])] = False,
    to: Path | None = None,
    server: str = "",
    duration: str = "90d",
    revoke: bool = False,
    output: Output = "table",
    root: Root = Path(),
    hub: Hub = "",
) -> int:
    """As you, give the hub a service account with the least role for what is rendered; again: a new token.

    -o yaml prints the objects for review. --to FILE: the kubeconfig goes there, not to the hub. --server URL: where
    the hub finds the API server. --revoke takes it all away again.
    """
    from fleet.cli.durations import seconds_of
    from fleet.cli.grant import Wish
    from fleet.cli.grant import grant as handler

    seconds = int(seconds_of(duration))
    wish = Wish(name, context, read_only, cluster_admin, yes, to, server, seconds, hub, revoke)
    return handler(root, wish, output=output)


@cluster_app.command(name="identity")
def cluster_identity(name: str, *, accept: str = "", reason: Reason = "", hub: Hub = "") -> int:
    """Show the recorded identity; --accept IDENTITY takes another one, audited."""
    from fleet.cli.cluster import identity as handler

    return handler(Client(hub), name, accept=accept, reason=reason)


@cluster_app.command(name="remove")
def cluster_remove(name: str, *, root: Root = Path()) -> int:
    """Take a cluster's file out of the checkout; merging that detaches it and leaves its objects."""
    from fleet.cli.cluster import remove as handler

    return handler(root, name)
