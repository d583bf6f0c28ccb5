"""Commands of the machine that a hub runs on, or shall run on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fleet.cli.client import Client
from fleet.cli.commands.options import Hub


def hub(
    *,
    repo: str = "",
    branch: str = "",
    data_dir: Path | None = None,
    listen: str = "",
    credentials: Path | None = None,
    allow_address: tuple[str, ...] = (),
    poll_seconds: float | None = None,
) -> int:
    """Run the hub; each flag is also FLEET_<NAME> in the environment."""
    from fleet.cli.hub import hub as handler

    given = {
        "repo": repo,
        "branch": branch,
        "data_dir": data_dir,
        "listen": listen,
        "credentials": credentials,
        "allow_address": allow_address,
        "poll_seconds": poll_seconds,
    }
    return handler({name: value for name, value in given.items() if value not in ("", None, ())})


def recover(
    *,
    confirm: bool = False,
    list_digest: Annotated[str, Parameter("--list", help="the list as it was shown before")] = "",
    unheard: Annotated[bool, Parameter(help="also while clusters were not heard yet", negative="")] = False,
    hub: Hub = "",
) -> int:
    """After a lost data directory: show what the clusters hold; --confirm lets the hub write again."""
    from fleet.cli.recover import recover as handler

    return handler(Client(hub), confirm=confirm, seen=list_digest, unheard=unheard)


def backup(file: Path, *, data_dir: Path | None = None, with_key: bool = False) -> int:
    """Write the hub's state into one file, also while it runs; the key stays out unless --with-key."""
    from fleet.cli.backup import backup as handler

    return handler(file, data_dir=data_dir, with_key=with_key)


def restore(file: Path, *, data_dir: Path | None = None, replace: bool = False, upgrade: bool = False) -> int:
    """Put a backup into a data directory that no hub uses; it observes only until fleet recover --confirm."""
    from fleet.cli.backup import restore as handler

    return handler(file, data_dir=data_dir, replace=replace, upgrade=upgrade)


def doctor(*, root: Path = Path(), data_dir: Path | None = None, clusters: bool = True) -> int:
    """Check renderer, hub, disk, key, state, credentials and clocks; --no-clusters asks no cluster."""
    from fleet.cli.doctor import doctor as handler

    return handler(root, sys.stdout, data_dir=data_dir, ask_clusters=clusters)


def demo(*, script: bool = False, clusters: int = 30, listen: str = "127.0.0.1:8080") -> int:
    """Hub and simulated clusters in one process on the example repo; --script plays and checks a story."""
    from fleet.cli.demo import demo as handler

    return handler(script=script, clusters=clusters, listen=listen)


def version() -> int:
    """Print the version."""
    from fleet import __version__

    sys.stdout.write(f"fleet {__version__}\n")
    return 0


def completion(shell: Literal["bash", "zsh", "fish"]) -> int:
    """Print a completion script: eval "$(fleet completion bash)"."""
    from fleet.cli.app import app

    sys.stdout.write(app.generate_completion(shell=shell))
    return 0
