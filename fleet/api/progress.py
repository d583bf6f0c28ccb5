"""How far a commit has come: the one in force, or one before it that a later one superseded."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from fleet.access.policy import Role
from fleet.api.models_fleet import CommitProgress, CommitUnit
from fleet.api.queries import CommitQuery
from fleet.api.route import Call, Route
from fleet.core.fleet import Unknown
from fleet.core.ids import Revision, UnitName, short
from fleet.core.problems import Severity
from fleet.core.status import WELL, Sync
from fleet.core.summaries import is_at_head, unit_summary
from fleet.core.view import View
from fleet.errors import SourceError

_ALL = "all"  # instead of a unit


def commit_progress(
    view: View, commit: str, now: float, *, older: Revision | None = None, later: Collection[Revision] = ()
) -> CommitProgress:
    """Done only when every unit of the fleet holds the commit's result or a later one, Synced and Healthy.

    commit: as it was asked for; older: the commit of that name, where the one in force contains it; later: the
    commits that contain it, of those that units hold.
    """
    head = view.head.commit
    is_head = bool(head) and head.startswith(commit)
    older = None if is_head else older
    if not is_head and older is None:
        branch = view.head.branch
        why = f"no commit of {branch}, as it was fetched last, is called {commit}" if head else "no commit was read yet"
        total, text = len(view.entries()), f"{why}; fleet status"
        return CommitProgress(
            commit=commit, known=False, superseded_by="", done=False, units=total, there=0, missing=[], message=text
        )
    missing = [*_not_taken(view), *_missing(view, now, None if is_head else frozenset(later)), *_unknown(view)]
    missing += _unread(view)
    is_taken = view.fleet is not None and view.fleet.commit == head
    total = len(view.entries()) + len(_unsaid(view))
    there = total - sum(1 for one in missing if one.unit != _ALL) if is_taken or not is_head else 0
    asked = head if older is None else older
    return CommitProgress(
        commit=asked,
        known=True,
        superseded_by="" if is_head else head,
        done=not missing and (not is_head or (is_taken and not view.rendering)),
        units=total,
        there=there,
        missing=missing,
        message=_words(view, asked, there, total, is_head=is_head),
    )


def _words(view: View, commit: Revision, there: int, total: int, *, is_head: bool) -> str:
    if is_head:
        return f"{short(commit)} is in force, and on {there} of {total} units"
    text = (
        f"{short(commit)} is superseded by {short(view.head.commit)}; {there} of {total} units hold it or a later one"
    )
    passage = next((one for one in view.passages.all if one.commit == commit), None)
    if passage is None or not passage.outcome:
        return text
    why = f": {passage.ended.reason}" if passage.ended is not None else ""
    return f"{text}; its rollout is over, {passage.outcome}{why}"


def _missing(view: View, now: float, later: frozenset[Revision] | None) -> Iterator[CommitUnit]:
    """Units that do not hold it. later: where not the commit in force is meant, the commits that contain that one."""
    # What is at the head holds the inventory in force, which is an earlier one where the head is refused as a whole.
    is_in_force = later is None or (view.fleet is not None and view.fleet.commit in later)
    for name in sorted(view.entries()):
        summary = unit_summary(view, name, now)
        is_there = (is_in_force and is_at_head(view, name)) or _holds(view, name, later)
        is_there = is_there and name not in view.kept
        if is_there and summary.sync is Sync.SYNCED and summary.health in WELL:
            continue
        waits = next((link.reason for link in summary.blocked_by), "")
        reason = waits or summary.message or f"{summary.sync}, {summary.health}"
        if name in view.rendering and later is None:
            reason = "not rendered yet"
        report = view.units.get(name)
        if later is not None and not is_there and report is not None:
            reason = f"holds {short(report.commit)}, from before it; {reason}"
        yield CommitUnit(unit=str(name), reason=reason)


def _holds(view: View, name: UnitName, later: frozenset[Revision] | None) -> bool:
    """Whether a unit holds a result that came with one of these commits."""
    report = view.units.get(name)
    return later is not None and report is not None and report.bundle is not None and report.commit in later


def _unsaid(view: View) -> list[UnitName]:
    """Units that the commit in force does not say, and that nothing is known of from before."""
    found = view.fleet.unknown.units if view.fleet else ()
    return sorted(name for name in found if name not in view.kept)


def _unknown(view: View) -> Iterator[CommitUnit]:
    for name in _unsaid(view):
        assert view.fleet is not None
        yield CommitUnit(unit=str(name), reason=view.fleet.unknown.units[name].what)


def _unread(view: View) -> Iterator[CommitUnit]:
    """What the commit in force has in files that cannot be read, beside the units that are kept or named anyway."""
    unknown = view.fleet.unknown if view.fleet else Unknown()
    named = {unknown.covers(name) for name in (*view.kept, *unknown.units)}
    for problem in unknown.problems():
        if problem not in named:
            yield CommitUnit(unit=_ALL, reason=f"what it places is not known: {problem.what}")


def _not_taken(view: View) -> Iterator[CommitUnit]:
    """The commit in force as a whole, where fleet.yaml itself cannot be read, or names another installation."""
    fleet = view.fleet
    refused = [problem for problem in fleet.problems if problem.severity is Severity.ERROR] if fleet else []
    if fleet is not None and fleet.commit != view.head.commit and refused:
        yield CommitUnit(unit=_ALL, reason=f"the commit is not taken over: {refused[-1].what}")


async def _progress(call: Call) -> CommitProgress:
    view, asked, ancestry = call.parts.view, call.query(CommitQuery).commit, call.parts.ancestry
    head = view.head.commit
    if not head or head.startswith(asked) or ancestry is None:
        return commit_progress(view, asked, call.parts.wall())
    try:
        older = await ancestry.find(asked, head)
    except SourceError:  # a mirror that lost what it had: nothing can be told of the commit
        older = None
    held = {report.commit for name, report in view.units.items() if not is_at_head(view, name)}
    held |= {view.fleet.commit} if view.fleet is not None else set()
    later = await ancestry.containing(older, held, head) if older is not None else frozenset[Revision]()
    return commit_progress(view, asked, call.parts.wall(), older=older, later=later)


ROUTES = (
    Route("GET", "/api/v1/progress", "How far a commit has come", Role.VIEWER, _progress, query=CommitQuery,
          answer=CommitProgress),
)  # fmt: skip
