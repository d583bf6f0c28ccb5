"""`fleet preflight --kube 1.N`: which objects of the whole fleet that version of Kubernetes does not serve any more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from fleet import __version__
from fleet.cli.checkout import Checkout, local_renderer, open_checkout, render_all
from fleet.cli.output import Item, show
from fleet.cli.places import Places
from fleet.cli.problems import counted, file_lines, problem_item, worst_first, write_problem
from fleet.core.fleet import OverlayState, Unit
from fleet.core.ids import ObjectRef
from fleet.core.objects import Bundle
from fleet.core.planning.apis import NEWEST_KNOWN, ApiNotice, judge_apis, minor_of
from fleet.core.planning.sarif import sarif_of
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.targets import ClusterIndex
from fleet.errors import FleetError, KindNotServed, UsageInvalid
from fleet.inventory.resolve import clusters_in_words
from fleet.ports.render import request_of
from fleet.source.local import prefix_of

FORMS = ("table", "json", "yaml", "sarif")


def preflight(root: Path, kube: str, out: TextIO, *, output: str = "table") -> int:
    """Write what breaks, with file and line; 0 nothing does, 1 something does or cannot be told."""
    if output not in FORMS:
        raise UsageInvalid(f"-o {output} is not for preflight", next_step=f"one of {', '.join(FORMS)}")
    minor = minor_of(kube)
    checkout = open_checkout(root)
    units = [unit for unit in checkout.fleet.units.values() if unit.overlay.state is OverlayState.PRESENT]
    problems, failed = asyncio.run(_look(checkout, units, minor))
    problems, unread = worst_first(problems), checkout.fleet.unknown.problems()
    # One object may be told at several places.
    broken = len({problem.what for problem in problems if problem.severity is Severity.ERROR})
    deprecated = len({problem.what for problem in problems}) - broken
    match output:
        case "table":
            for problem in problems:
                write_problem(problem, lambda path: file_lines(checkout.tree, path), out)
            for problem in unread:
                write_problem(problem, lambda path: file_lines(checkout.tree, path), out)
            out.write(_summary(checkout, minor, broken, deprecated, failed, len(unread)))
        case "sarif":
            found = sarif_of([*problems, *unread], __version__, inside=prefix_of(root))
            show(found, "json", (), out)
        case _:
            show(_report(minor, problems, failed, unread), output, (), out)
    return 1 if broken or failed or unread else 0


async def _look(checkout: Checkout, units: list[Unit], minor: int) -> tuple[list[Problem], int]:
    """Problems of all units, the same one once; and how many units cannot be rendered."""
    places = Places(checkout.tree)
    found: dict[tuple[ApiNotice, Origin], list[Unit]] = {}
    failed = 0
    async with local_renderer() as (renderer, _):
        for unit, bundle in zip(units, await render_all(checkout, units, renderer), strict=True):
            if isinstance(bundle, FleetError):
                failed += 1
                continue
            notices = _notices(bundle, minor)
            closure = renderer.closure(checkout.tree, request_of(unit)) if notices else None
            files = closure.files.keys() - closure.patch_files if closure else frozenset[str]()
            refs = [item.ref for item in bundle.objects]
            for notice in notices:
                origin = places.of(notice.ref, notice.api_version, files, refs) or Origin(unit.path)
                found.setdefault((notice, origin), []).append(unit)
    index = ClusterIndex(checkout.fleet.clusters)
    return [_problem(notice, origin, users, index) for (notice, origin), users in found.items()], failed


def _notices(bundle: Bundle, minor: int) -> Sequence[ApiNotice]:
    objects: list[tuple[ObjectRef, str]] = [(item.ref, item.api_version) for item in bundle.objects]
    return judge_apis(objects, minor)


def _problem(notice: ApiNotice, origin: Origin, units: Sequence[Unit], index: ClusterIndex) -> Problem:
    overlays = sorted({str(unit.name.overlay) for unit in units})
    clusters = list({unit.name.cluster: unit.cluster for unit in units}.values())
    return Problem(
        severity=Severity.ERROR if notice.is_removed else Severity.WARNING,
        reason=KindNotServed.__name__,
        what=f"{notice.ref}: {notice.message}",
        origin=origin,
        why="" if origin.line else "where it is written cannot be told: this is what is built",
        effect=f"{', '.join(overlays)} {clusters_in_words(clusters, index)}",
    )


def _summary(checkout: Checkout, minor: int, broken: int, deprecated: int, failed: int, unread: int) -> str:
    unknown = f", {counted(failed, 'unit')} not looked at: fleet validate tells why" if failed else ""
    unknown += f", and not what {counted(unread, 'problem')} above hide{'' if unread > 1 else 's'}" if unread else ""
    newer = f"; removals after 1.{NEWEST_KNOWN} may not be known here" if minor > NEWEST_KNOWN else ""
    return (
        f"Kubernetes 1.{minor}: {counted(broken, 'object')} not served, {deprecated} deprecated in "
        f"{counted(len(checkout.fleet.units), 'unit')}{unknown}{newer}\n"
    )


def _report(minor: int, problems: Sequence[Problem], failed: int, unread: Sequence[Problem]) -> Item:
    return {
        "apiVersion": "fleet.internal/v1",
        "kind": "PreflightReport",
        "kubernetes": f"1.{minor}",
        "problems": [problem_item(problem) for problem in problems],
        "unitsNotLookedAt": failed,
        "notRead": [problem_item(problem) for problem in unread],
    }
