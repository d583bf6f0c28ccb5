"""`fleet plan`: what a change does to the whole fleet, before it is merged; no cluster and no hub is asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from fleet import __version__
from fleet.cli.loop import run_quietly
from fleet.cli.output import clean, clean_line, print_error, show
from fleet.cli.planning import compare_commits
from fleet.cli.problems import worst_first, write_problem
from fleet.core.ids import short
from fleet.core.planning.apis import minor_of
from fleet.core.planning.fleet_plan import FleetPlan, plan_of
from fleet.core.planning.groups import groups_of
from fleet.core.planning.words import FOLDED, WHOLE, Folding, heading, lines_of, remarks, summary, title_of
from fleet.errors import FleetError, UsageInvalid

EXIT_SAME, EXIT_DIFFERENT, EXIT_ERROR = 0, 1, 2
FORMS = ("terminal", "wide", "markdown", "json", "sarif")
_INDENT = "   "


def plan(root: Path, *, base: str, head: str, kube: str, output: str, live_seconds: float = 0.0, hub: str = "") -> int:
    """Print the plan; 0 no change, 1 change, 2 error: also when a part of the change cannot be told.

    live_seconds: ask the clusters too, each for so long at most, and the hub how earlier rollouts went; 0: nobody is
    asked.
    """
    if output not in FORMS:
        raise UsageInvalid(f"-o {output} is no form of a plan", next_step=f"one of {', '.join(FORMS)}")
    minor = minor_of(kube) if kube else 0
    try:
        compared = run_quietly(compare_commits(root, base, head, live_seconds=live_seconds))
        if live_seconds:
            from fleet.cli.past import estimating

            found = plan_of(compared, kube=minor, estimate=estimating(hub))
        else:
            found = plan_of(compared, kube=minor)
    except FleetError as error:
        print_error(error)
        return EXIT_ERROR
    match output:
        case "markdown":
            from fleet.core.planning.markdown import markdown_of

            sys.stdout.write(clean(markdown_of(found)))
        case "json":
            from fleet.core.planning.document import document_of

            show(document_of(found), "json", (), sys.stdout)
        case "sarif":
            from fleet.core.planning.sarif import problems_of, sarif_of

            show(sarif_of(problems_of(found), __version__), "json", (), sys.stdout)
        case _:
            write_terminal(found, sys.stdout, WHOLE if output == "wide" else FOLDED)
    return code_of(found)


def code_of(found: FleetPlan) -> int:
    """How the command ends."""
    if found.is_unknown:
        return EXIT_ERROR
    return EXIT_DIFFERENT if found.is_different else EXIT_SAME


def write_terminal(found: FleetPlan, out: TextIO, folding: Folding) -> None:
    """As people read it; colour only adds to what the signs say."""
    paint = _paint(out)
    out.write(clean_line(heading(found)) + "\n")
    for group in groups_of(found.units):
        out.write(f"\n{clean_line(title_of(group, found))}\n")
        for line in lines_of(group, found, folding):
            out.write(paint(_INDENT + clean_line(line)) + "\n")
    for problem in worst_first(found.problems):
        out.write("\n")
        write_problem(problem, lambda _: [], out)
    out.write("".join(f"{line}\n" for line in _footer(found)))


def _footer(found: FleetPlan) -> Iterator[str]:
    yield ""
    if found.is_different:
        yield f"{'In all':<11} {clean_line(summary(found))}"
    for word, text in remarks(found):
        yield f"{word:<11} {clean_line(text)}"
    if found.is_different:
        if found.live is None:
            yield f"{'Not shown':<11} immutable fields, other owners, drift: needs the clusters (fleet plan --live)"
        digest = short(found.digest)
        yield f"Plan {digest}" + (f". Approve in advance: fleet approve plan {digest}" if found.holds else "")


_COLOURS = {"+": "32", "~": "33", "-": "31"}


def _paint(out: TextIO) -> Callable[[str], str]:
    """Colours by sign on a terminal, nothing elsewhere."""
    if not out.isatty() or "NO_COLOR" in os.environ:
        return lambda line: line

    def paint(line: str) -> str:
        colour = _COLOURS.get(line.strip()[:1])
        return f"\x1b[{colour}m{line}\x1b[0m" if colour else line

    return paint
