"""`fleet token`: who may speak to the API."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub, Output

token_app = App(name="token", help="Tokens for the API.")


@token_app.command(name="create")
def token_create(
    name: str, *, role: Literal["viewer", "operator", "admin"], expires: str = "30d", hub: Hub = ""
) -> int:
    """Print a new token, once."""
    from fleet.cli.keys import token_create as handler

    return handler(Client(hub), name, role, expires)


@token_app.command(name="list")
def token_list(*, output: Output = "table", hub: Hub = "") -> int:
    """Names, roles and ends of tokens."""
    from fleet.cli.keys import token_list as handler

    return handler(Client(hub), output)


@token_app.command(name="revoke")
def token_revoke(name: str, *, hub: Hub = "") -> int:
    """Revoke a token; in effect within 5 s."""
    from fleet.cli.keys import token_revoke as handler

    return handler(Client(hub), name)
