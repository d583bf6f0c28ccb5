"""`fleet audit`: the log that a hub keeps."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

audit_app = App(name="audit", help="The hub's audit log: checked, or written out.")


@audit_app.command(name="verify")
def audit_verify(
    *,
    heads: Annotated[tuple[Path, ...], Parameter(["--heads"])] = (),
    export: Path | None = None,
    data_dir: Path | None = None,
) -> int:
    """Find what was changed, dropped or moved; --heads FILE: text with heads from the hub's log or the clusters."""
    from fleet.cli.audit import verify as handler

    return handler(data_dir, heads, export, sys.stdout)


@audit_app.command(name="export")
def audit_export(*, data_dir: Path | None = None) -> int:
    """Write the whole log, one JSON object a line; verify --export FILE checks it."""
    from fleet.cli.audit import export as handler

    return handler(data_dir, sys.stdout)
