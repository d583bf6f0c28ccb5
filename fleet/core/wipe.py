"""A wipe: what a person has deleted instead of let go, once Git does not want it any more (decisions/0015). Pure.

It is the reason of deletions (V1) and nothing else: they go by the one way that all deletions go, and without permits,
so that every one of them is asked about with its exact list.
"""

from __future__ import annotations

from fleet.core.ids import Revision, UnitName
from fleet.core.results import EMPTY_BUNDLE
from fleet.core.status import Sync, UnitReport

WIPE = "wipe"  # kind of its operations


def key_of(unit: UnitName, commit: Revision) -> str:
    """What an operation is bound to: a unit that came back and leaves again by another commit is not wiped by it."""
    return f"{WIPE} {unit} {commit}"


def is_over(report: UnitReport | None, commit: Revision) -> bool:
    """Whether a unit owns nothing any more that may be deleted; what is never to be (`prune: disabled`) may be left.

    commit: by which it left. Before that it may have held the empty bundle and kept everything (`prune: false`).
    """
    if report is None or report.detached or report.holds:
        return False
    if (report.commit, report.bundle) != (commit, EMPTY_BUNDLE.digest):
        return False
    return report.sync is Sync.SYNCED and all(status.sync is Sync.SYNCED for status in report.objects)


def words_of(report: UnitReport | None) -> str:
    """How a wipe that is over ended."""
    left = len(report.objects) if report is not None else 0
    stays = f"; {left} that are never to be deleted stay, without our marks" if left else ""
    return f"all that fleet owned there is deleted{stays}"
