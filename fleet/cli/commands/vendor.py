"""`fleet vendor`: copies of what lies elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

from cyclopts import App

from fleet.cli.commands.options import Root
from fleet.errors import UsageInvalid

vendor_app = App(name="vendor", help="Copies of remote bases and charts inside the repo, with a digest lock.")


@vendor_app.default
def vendor(*, check: bool = False, offline: bool = False, root: Root = Path()) -> int:
    """--check compares the copies with the lock and with where they came from; 1 if anything differs."""
    from fleet.cli.vendor import check as handler

    if not check:
        raise UsageInvalid("nothing is said to be vendored", next_step="fleet vendor base URL, chart NAME, or --check")
    return handler(root, sys.stdout, offline=offline)


@vendor_app.command(name="base")
def vendor_base(url: str, *, to: str = "", root: Root = Path()) -> int:
    """Copy a remote base, as a kustomization names it with ?ref=, and all that it reads into the repo."""
    from fleet.cli.vendor import vendor_base as handler

    return handler(root, url, to, sys.stdout)


@vendor_app.command(name="chart")
def vendor_chart(
    name: str, *, version: str, repo: str = "", file: Path | None = None, to: str = "", root: Root = Path()
) -> int:
    """Put a chart's archive into the repo, from --repo URL or --file ARCHIVE; --to is the chartHome, else charts/."""
    from fleet.cli.vendor import vendor_chart as handler

    if bool(repo) == (file is not None):
        raise UsageInvalid("a chart comes from one place", next_step="give --repo URL or --file ARCHIVE")
    return handler(root, name, version, repo, to, file, sys.stdout)
