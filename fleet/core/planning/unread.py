"""What no plan can tell of a change, because a hub knows more than the base says, or takes nothing of it over (R5)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fleet.core.differences import still_called
from fleet.core.fleet import Fleet
from fleet.core.problems import Problem, Severity


def renamed(before: Fleet, after: Fleet) -> tuple[Problem, ...]:
    """The problem that a hub has with a commit of another name, none of which it takes over."""
    if before.unknown.everything is not None or after.unknown.everything is not None or not before.clusters:
        return ()
    problem = still_called(before.name, after).unknown.everything if before.name != after.name else None
    return (problem,) if problem is not None else ()


def taken_unread(before: Fleet, after: Fleet) -> tuple[Problem, ...]:
    """One problem for each cluster, overlay or file that could not be read before and is not there afterwards.

    One that is mended is there afterwards, and its units are told. One that is broken on both sides is kept.
    """
    if after.unknown.everything is not None or after.unknown.unnamed:
        return ()  # while a file is not known, nothing is known to be gone
    return tuple(replace(problem, severity=Severity.ERROR) for problem in _taken(before, after))


def _taken(before: Fleet, after: Fleet) -> Iterator[Problem]:
    for name, problem in sorted(before.unknown.clusters.items()):
        if name not in after.clusters and name not in after.unknown.clusters:
            yield _told(problem, f"cluster {name}")
    for name, problem in sorted(before.unknown.overlays.items()):
        if name not in after.overlays and name not in after.unknown.overlays:
            yield _told(problem, f"overlay {name}")
    there = {one.origin.path for one in (*after.clusters.values(), *after.overlays.values())}
    there |= {one.origin.path for one in (*after.unknown.clusters.values(), *after.unknown.overlays.values())}
    for problem in before.unknown.unnamed:
        if problem.origin.path not in there:
            yield _told(problem, f"what {problem.origin.path} defines")


def _told(problem: Problem, what: str) -> Problem:
    return replace(
        problem,
        what=f"{what} is taken away, and the base cannot read it: {problem.what}",
        why="the hub goes on by what it read last, and lets go of that with this change: no plan can list it",
        next_step="mend the file on the base first, so that the plan of taking it away lists what goes",
    )
