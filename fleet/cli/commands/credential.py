"""`fleet credential`: the kubeconfigs of the hub."""

from __future__ import annotations

from pathlib import Path

from cyclopts import App

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Output

credential_app = App(name="credential", help="Kubeconfigs that the hub keeps, encrypted.")


@credential_app.command(name="add")
def credential_add(name: str, file: Path, *, hub: Hub = "") -> int:
    """Give the hub a kubeconfig (- reads standard input)."""
    from fleet.cli.keys import credential_add as handler

    return handler(Client(hub), name, file)


@credential_app.command(name="list")
def credential_list(*, output: Output = "table", hub: Hub = "") -> int:
    """Names of the kubeconfigs that the hub keeps."""
    from fleet.cli.keys import credential_list as handler

    return handler(Client(hub), output)


@credential_app.command(name="remove")
def credential_remove(name: str, *, hub: Hub = "") -> int:
    """The hub forgets a kubeconfig."""
    from fleet.cli.keys import credential_remove as handler

    return handler(Client(hub), name)
