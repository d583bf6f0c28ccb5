"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from fleet.cli.plan_options import Option

Output = Annotated[str, Parameter(["--output", "-o"], help="table, wide, json, yaml, name or jsonpath=EXPRESSION")]
Hub = Annotated[str, Parameter("--hub", help="address of the hub (FLEET_HUB)")]
Reason = Annotated[str, Parameter("--reason", help="goes into the audit log")]
Selector = Annotated[str, Parameter(["--selector", "-l"], help="labels, as region=eu,tier!=canary")]
Timeout = Annotated[str, Parameter("--timeout", help="as 30s, 5m")]
Root = Annotated[Path, Parameter("--root", help="the checkout")]


def parameter_of(option: Option) -> Parameter:
    """An option for the parser."""
    return Parameter(option.names, help=option.help)
