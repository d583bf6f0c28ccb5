"""Problems of a fleet repo as people read them: the line itself, what is wrong with it, what follows, what to do."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable
from typing import TextIO

from fleet.cli.output import WIDTH, Item, clean
from fleet.core.problems import Problem
from fleet.errors import RenderError
from fleet.ports.source import PLAIN_MODES, Snapshot

LinesOf = Callable[[str], list[str]]
_FIELD = 8
_RENDER_REASONS = frozenset(kind.__name__ for kind in RenderError.__subclasses__())


def write_problem(problem: Problem, lines_of: LinesOf, out: TextIO) -> None:
    """One problem with its code frame. `lines_of` gives the lines of a file; [] where it cannot be read."""
    out.write(f"{problem.severity.value}[{problem.reason}] {clean(problem.what)}\n")
    out.write(f"  --> {clean(str(problem.origin))}\n")
    _write_frame(problem, lines_of(problem.origin.path) if problem.origin.line else [], out)
    # A render error is found in one file and comes from another; elsewhere several places share the blame.
    word = "from" if problem.reason in _RENDER_REASONS else "also"
    said = [(word, str(origin)) for origin in problem.also]
    said += [("why", problem.why), ("effect", problem.effect), ("next", problem.next_step)]
    for name, text in said:
        if text:
            _write_field(name, text, out)
    out.write("\n")


def file_lines(snapshot: Snapshot, path: str) -> list[str]:
    """The lines of a file; [] of what is none: links and submodules."""
    entry = snapshot.tree.get(path)
    if entry is None or entry.mode not in PLAIN_MODES:
        return []
    return snapshot.read(path).decode(errors="replace").splitlines()


def _write_frame(problem: Problem, lines: list[str], out: TextIO) -> None:
    number = problem.origin.line
    if not 0 < number <= len(lines):
        return
    first = number - 1 if number > 1 and lines[number - 2].strip() else number
    gutter = len(str(number))
    out.write(f" {'':>{gutter}} |\n")
    for shown in range(first, number + 1):
        text = clean(lines[shown - 1].expandtabs(1))
        out.write(f" {shown:>{gutter}} | {text[: WIDTH - gutter - 4]}".rstrip() + "\n")
    if problem.column:
        marks = "^" * max(1, min(problem.length or 1, WIDTH))
        pointer = " " * (problem.column - 1) + marks
        out.write(f" {'':>{gutter}} | {pointer} {clean(problem.label)}".rstrip() + "\n")
    out.write(f" {'':>{gutter}} |\n")


def _write_field(name: str, text: str, out: TextIO) -> None:
    wrapped = textwrap.wrap(clean(text), WIDTH - _FIELD - 2, break_long_words=False, break_on_hyphens=False)
    for index, line in enumerate(wrapped):
        out.write(f"  {name if index == 0 else '':<{_FIELD}}{line}\n")


def problem_item(problem: Problem) -> Item:
    """For -o json and yaml."""
    found: Item = {
        "severity": problem.severity.value,
        "reason": problem.reason,
        "what": problem.what,
        "path": problem.origin.path,
        "line": problem.origin.line,
    }
    if problem.column:
        found["column"] = problem.column
    if problem.also:
        found["also"] = [{"path": origin.path, "line": origin.line} for origin in problem.also]
    optional = (("label", problem.label), ("why", problem.why), ("effect", problem.effect), ("next", problem.next_step))
    return found | {name: text for name, text in optional if text}


def counted(count: int, noun: str) -> str:
    """`1 error`, `2 errors`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def worst_first(problems: Iterable[Problem]) -> list[Problem]:
    """Errors before warnings, then by file and line."""
    return sorted(problems, key=lambda problem: (problem.severity.value, problem.origin, problem.what))
