"""A plan as it is printed: for people, for a pull request, for programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from fleet import __version__
from fleet.cli.output import clean, clean_line, show
from fleet.cli.problems import worst_first, write_problem
from fleet.core.ids import short
from fleet.core.planning.field_words import FOLDED, WHOLE, Folding
from fleet.core.planning.fleet_plan import FleetPlan
from fleet.core.planning.groups import groups_of
from fleet.core.planning.remarks import remarks
from fleet.core.planning.words import heading, lines_of, summary, title_of

_INDENT = "   "


def write(found: FleetPlan, form: str, out: TextIO, root: Path) -> None:
    """Write it in one of the forms; root: of the checkout that it is of."""
    match form:
        case "markdown":
            from fleet.core.planning.markdown import markdown_of

            out.write(clean(markdown_of(found)))
        case "json":
            from fleet.core.planning.document import document_of

            show(document_of(found), "json", (), out)
        case "sarif":
            from fleet.core.planning.sarif import problems_of, sarif_of
            from fleet.source.local import prefix_of

            show(sarif_of(problems_of(found), __version__, inside=prefix_of(root)), "json", (), out)
        case _:
            _write_terminal(found, out, WHOLE if form == "wide" else FOLDED)


def _write_terminal(found: FleetPlan, out: TextIO, folding: Folding) -> None:
    """As people read it; colour only adds to what the signs say."""
    paint = _paint(out)
    out.write(clean_line(heading(found)) + "\n")
    for group in groups_of(found.units, folded=folding is not WHOLE):
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
    for remark in remarks(found):
        yield f"{remark.word:<11} {clean_line(remark.line)}"
    if found.is_different:
        if found.live is None:
            yield f"{'Not shown':<11} most immutable fields, other owners, drift: need the clusters: fleet plan --live"
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
