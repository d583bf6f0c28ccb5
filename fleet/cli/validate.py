"""`fleet validate`: the inventory of a checkout, and whether each unit's build finds what it names.

Nothing is built and no cluster is asked: kustomizations are read as the hub reads them before it builds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TextIO

from fleet.cli.output import Item, show
from fleet.cli.problems import counted, file_lines, problem_item, worst_first, write_problem
from fleet.core.fleet import Fleet, Overlay, Unit
from fleet.core.problems import Origin, Problem, Severity
from fleet.core.targets import ClusterIndex
from fleet.errors import FleetError, UsageInvalid
from fleet.inventory.load import load_fleet
from fleet.inventory.resolve import clusters_in_words
from fleet.inventory.worktree import WorkingTree
from fleet.ports.source import Snapshot
from fleet.render.closure import read_closure
from fleet.render.inputs import Closure
from fleet.render.reader import Reader
from fleet.render.tools import charts_allowed
from fleet.render.tree import CommitTree

Check = Callable[[Snapshot, Fleet], Sequence[Problem]]


def validate(root: Path, out: TextIO, *, output: str = "table", checks: Sequence[Check] = ()) -> int:
    """Write all problems, worst first, and a line that counts them. 0: no errors, 1: errors.

    checks: further looks at the same snapshot. Raises UsageInvalid where there is no fleet repo.
    """
    tree = WorkingTree(root)
    loaded = load_fleet(tree)
    fleet = loaded.fleet
    if not (fleet.problems or fleet.clusters or fleet.overlays):
        raise UsageInvalid(
            "no fleet repo here",
            where=str(root),
            why="there is no fleet.yaml, no Cluster below clusters/ and no overlay below overlays/",
            next_step="fleet init",
        )
    found = [*fleet.problems, *build_problems(tree, fleet)]
    for check in checks:
        found.extend(check(tree, fleet))
    problems = worst_first(found)
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    if output == "table":
        for problem in problems:
            write_problem(problem, lambda path: file_lines(tree, path), out)
        out.write(
            f"{counted(errors, 'error')}, {counted(len(problems) - errors, 'warning')} in "
            f"{counted(len(fleet.clusters), 'cluster')}, {counted(len(fleet.overlays), 'overlay')}, "
            f"{counted(len(fleet.units), 'unit')}\n"
        )
    else:
        show(_report(fleet, problems, errors, loaded.skipped), output, (), out)
    return 1 if errors else 0


def _report(fleet: Fleet, problems: Sequence[Problem], errors: int, skipped: int) -> Item:
    return {
        "apiVersion": "fleet.internal/v1",
        "kind": "ValidationReport",
        "problems": [problem_item(problem) for problem in problems],
        "summary": {
            "errors": errors,
            "warnings": len(problems) - errors,
            "clusters": len(fleet.clusters),
            "overlays": len(fleet.overlays),
            "units": len(fleet.units),
            "skippedDocuments": skipped,
        },
    }


def build_problems(snapshot: Snapshot, fleet: Fleet) -> list[Problem]:
    """What each build would stumble over before it starts: missing files, paths that lead out, remote bases.

    Units of one overlay that fail alike are told once.
    """
    tree, reader, charts = CommitTree(snapshot), Reader(), charts_allowed(os.environ)
    closures: dict[tuple[str, tuple[str, ...]], Closure] = {}
    failing: dict[tuple[str, str, str], list[Unit]] = {}
    for unit in fleet.units.values():
        if not unit.path:
            continue
        key = (unit.path, unit.components)
        closure = closures.get(key)
        if closure is None:
            closure = closures[key] = read_closure(tree, reader, *key, charts=charts)
        if closure.error is not None:
            failing.setdefault((unit.overlay.name, str(closure.error), closure.error.where), []).append(unit)
    index = ClusterIndex(fleet.clusters)
    return [
        _build_problem(snapshot, fleet, index, units, closures[units[0].path, units[0].components])
        for units in failing.values()
    ]


def _build_problem(
    snapshot: Snapshot, fleet: Fleet, index: ClusterIndex, units: Sequence[Unit], closure: Closure
) -> Problem:
    error = closure.error
    assert error is not None  # only closures with one come here
    overlay = units[0].overlay
    origin = _origin_of(error.where or units[0].path)
    label = "; ".join(part for part in (error.why, error.next_step.partition(" Else ")[0]) if part)
    line = (file_lines(snapshot, origin.path)[origin.line - 1 : origin.line] or [""])[0] if origin.line else ""
    mention = error.what.partition(" ")[0]
    column = line.find(mention) + 1
    return Problem(
        severity=Severity.ERROR,
        reason=error.reason,
        what=f"{overlay.name} cannot be rendered {clusters_in_words([unit.cluster for unit in units], index)}",
        origin=origin,
        also=_from(snapshot, closure, origin),
        why="" if column else f"{error.what}: {error.why}",
        effect=_effect(fleet, overlay, len(units)),
        next_step=_next_step(error, origin, overlay, bool(column)),
        column=column,
        length=len(mention) if column else 0,
        label=label if column else "",
    )


def _effect(fleet: Fleet, overlay: Overlay, count: int) -> str:
    here = "on this one" if count == 1 else f"on these {count}"
    others = len(fleet.overlays) - 1
    rest = f", {counted(others, 'other overlay')} go on" if others else ""
    return f"if merged: {overlay.name} stays as it is {here}, nothing is deleted{rest}"


def _next_step(error: FleetError, origin: Origin, overlay: Overlay, in_frame: bool) -> str:
    if in_frame and origin.line:
        return f"correct line {origin.line}, then: fleet validate"
    return error.next_step or f"correct {overlay.directory or origin.path}, then: fleet validate"


def _origin_of(where: str) -> Origin:
    path, mark, line = where.rpartition(":")
    return Origin(path, int(line)) if mark and line.isdigit() else Origin(where)


def _from(snapshot: Snapshot, closure: Closure, origin: Origin) -> tuple[Origin, ...]:
    """The line of the unit's own kustomization that leads to the one with the error."""
    file = closure.kustomizations.get(closure.root, "")
    directory = origin.path.rpartition("/")[0]
    if not file or directory == closure.root:
        return ()
    last = directory.rpartition("/")[2]
    for number, line in enumerate(file_lines(snapshot, file), start=1):
        if last and line.strip().removeprefix("- ").strip("\"' ").rstrip("/").endswith(last):
            return (Origin(file, number),)
    return (Origin(file),)
