"""Commands on a checkout of a fleet repo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from fleet.cli.commands.options import Hub, Output, Root, parameter_of
from fleet.cli.plan_options import BASE, HEAD, KUBE, OUTPUT, ROOT


def validate(path: Path = Path(), *, build: bool = True, output: Output = "table") -> int:
    """Check the fleet repo in a checkout: inventory and, unless --no-build, all builds."""
    from fleet.cli.builds import check_builds
    from fleet.cli.validate import validate as handler

    return handler(path, sys.stdout, output=output, checks=[check_builds] if build else [])


def init(path: Path = Path(), *, name: str = "default", explain: bool = False) -> int:
    """Make a fleet repo that works, from nothing or from what lies there; --explain says what was not understood."""
    from fleet.cli.init import init as handler

    return handler(path, sys.stdout, name=name, explain=explain)


def schema(kind: Literal["Fleet", "Cluster", "Overlay"]) -> int:
    """Print the JSON Schema of a kind."""
    from fleet.cli.schema import schema as handler

    return handler(kind, sys.stdout)


def render(unit: str, *, why: bool = False, root: Root = Path()) -> int:
    """Print what Git says for a unit; --why shows its path and variables with file and line."""
    from fleet.cli.render import render as handler

    return handler(root, unit, why=why)


def diff(target: str, *, context: str = "", root: Root = Path(), output: Output = "table") -> int:
    """Compare a unit or a cluster with the live objects, by your own kubeconfig; 0 same, 1 different, 2 error."""
    from fleet.cli.diff import diff as handler

    return handler(root, target, context=context, output=output)


def plan(
    *,
    base: Annotated[str, parameter_of(BASE)] = BASE.default,
    head: Annotated[str, parameter_of(HEAD)] = HEAD.default,
    kube: Annotated[str, parameter_of(KUBE)] = KUBE.default,
    live: Annotated[bool, Parameter("--live", help="ask for the clusters too; writes nothing")] = False,
    through: Annotated[
        str,
        Parameter("--through", help="with --live: hub or kubeconfig alone; without it the hub for unknown contexts"),
    ] = "",
    timeout: Annotated[str, Parameter("--timeout", help="with --live: for each cluster, as 30s")] = "30s",
    root: Annotated[Path, parameter_of(ROOT)] = Path(ROOT.default),
    hub: Hub = "",
    output: Annotated[str, parameter_of(OUTPUT)] = OUTPUT.default,
) -> int:
    """Show what a change does to the whole fleet, before it is merged; 0 no change, 1 change, 2 error."""
    from fleet.cli.durations import seconds_of
    from fleet.cli.plan import plan as handler

    seconds = seconds_of(timeout) if live else 0.0
    return handler(root, base=base, head=head, kube=kube, output=output, live_seconds=seconds, hub=hub, through=through)


def promote(
    overlay: str,
    *,
    earlier: Annotated[str, Parameter("--from", help="the environment that proved it")],
    later: Annotated[str, Parameter("--to", help="the environment that gets it")],
    branch: Annotated[str, Parameter("--branch", help="its name; without it promote/OVERLAY-ENV-COMMIT")] = "",
    without_evidence: Annotated[bool, Parameter("--without-evidence", help="ask no hub; needs --reason")] = False,
    reason: Annotated[str, Parameter("--reason", help="why without evidence; goes into the commit")] = "",
    root: Root = Path(),
    hub: Hub = "",
) -> int:
    """Hand the images of one environment to the next: one commit on a new branch, with the evidence. Never pushes."""
    from fleet.cli.promote import Wish, reason_of
    from fleet.cli.promote import promote as handler

    why = reason_of(without_evidence=without_evidence, reason=reason)
    return handler(root, Wish(overlay, earlier, later, branch, why, hub), sys.stdout)


def compare(
    *,
    overlay: Annotated[str, Parameter("--overlay", help="the overlay whose clusters are compared")],
    root: Root = Path(),
    output: Annotated[str, Parameter(["--output", "-o"], help="table, json or yaml")] = "table",
) -> int:
    """Show where an overlay differs between its clusters, and by which line; 0 same, 1 different, 2 error."""
    from fleet.cli.compare import compare as handler

    return handler(root, overlay, sys.stdout, output=output)


def blame(
    target: Annotated[str, Parameter(help="KIND/NAME")],
    *,
    cluster: Annotated[str, Parameter("--cluster", help="the cluster that it is on")],
    namespace: Annotated[str | None, Parameter(["--namespace", "-n"], help="where several are called so")] = None,
    field: Annotated[str, Parameter("--field", help="a field, as spec.replicas, or all below it")] = "",
    live: Annotated[bool, Parameter("--live", help="ask the cluster by your kubeconfig, and no hub")] = False,
    timeout: Annotated[str, Parameter("--timeout", help="with --live, as 30s")] = "30s",
    root: Root = Path(),
    hub: Hub = "",
    output: Annotated[str, Parameter(["--output", "-o"], help="table, json or yaml")] = "table",
) -> int:
    """Show the line that gives an object or its field, with commit and author; 1 where that is unknown."""
    from fleet.cli.blame import Asked
    from fleet.cli.blame import blame as handler
    from fleet.cli.durations import seconds_of

    seconds = seconds_of(timeout) if live else 0.0
    return handler(root, Asked(target, cluster, namespace, field, hub, seconds), sys.stdout, output=output)


def preflight(
    *,
    kube: Annotated[str, Parameter("--kube", help="the version to ask about, 1.N")],
    root: Root = Path(),
    output: Annotated[str, Parameter(["--output", "-o"], help="table, json, yaml or sarif")] = "table",
) -> int:
    """List what a version of Kubernetes does not serve any more, with file and line."""
    from fleet.cli.preflight import preflight as handler

    return handler(root, kube, sys.stdout, output=output)
