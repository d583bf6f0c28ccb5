"""Sync windows that never open: what waits for them waits for ever. A warning, because closing all may be meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from fleet.core.fleet import Overlay
from fleet.core.problems import Problem, Severity
from fleet.core.sync_policy import SyncPolicy, Window, WindowKind
from fleet.core.windows import never_opens


def shut_for_ever(fleet: SyncPolicy, overlays: Iterable[Overlay]) -> Iterator[Problem]:
    """Each list of windows that never opens: the fleet's once, and those of overlays that have their own."""
    if never_opens(fleet.windows):
        yield _shut("the windows of the fleet", fleet.windows)
    for overlay in overlays:
        if overlay.sync.windows != fleet.windows and never_opens(overlay.sync.windows):
            yield _shut(f"the windows of overlay {overlay.name}", overlay.sync.windows)


def _shut(what: str, windows: tuple[Window, ...]) -> Problem:
    denied = [window for window in windows if window.kind is WindowKind.DENY]
    allowed = "every allow window" if len(denied) < len(windows) else "all the time"
    places = tuple(dict.fromkeys(window.origin for window in reversed(windows)))  # its own come last
    return Problem(
        Severity.WARNING,
        "FieldInvalid",
        f"{what} never open",
        places[0],
        also=places[1:],
        why=f"deny windows ({', '.join(window.schedule for window in denied[:3])}) cover {allowed} of 400 days",
        effect="new results wait there for ever, but for an override; objects stay as they are",
        next_step="shorten a deny window, or add an allow window outside of them",
    )
