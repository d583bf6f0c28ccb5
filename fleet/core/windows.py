"""Sync windows: cron, length and time zone; deny wins over allow; any allow window closes the rest of the time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from fleet.core.fleet import Unit
from fleet.core.sync_policy import Window, WindowKind
from fleet.values import dataclass

_STEPS = 64  # boundaries looked at for the next change
_FROM = datetime(2024, 1, 1, tzinfo=UTC).timestamp()  # of a leap year: whether windows open at all hangs on no clock
_REACH_DAYS = 400
_FAR_SECONDS = 50 * 366 * 86_400.0  # what lies beyond is never; a calendar ends somewhere
_LOOKS = 10_000  # boundaries in that time: more than one an hour
_GOES_BACK_SECONDS = 7200.0
_NO_TIME = timedelta()
_REPEATED = 8  # starts that a clock change may give once more


@dataclass(frozen=True, slots=True)
class Open:
    """Syncs may run. until: wall clock of the next closing, None if not foreseen."""

    until: float | None = None


@dataclass(frozen=True, slots=True)
class Closed:
    """Syncs wait. until: wall clock of the next opening, None if there is none that can be foreseen."""

    until: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class WindowInvalid:
    """A schedule or zone that cannot be read."""

    why: str


def check_window(window: Window) -> WindowInvalid | None:
    """Whether a window can be read at all; None if so."""
    try:
        CronSim(window.schedule, datetime(2000, 1, 1, tzinfo=ZoneInfo(window.time_zone)))
    except CronSimError as error:
        return WindowInvalid(f"schedule {window.schedule!r}: {error}")
    except (KeyError, ValueError, OSError):
        return WindowInvalid(f"time zone {window.time_zone!r} is not known")
    return None


def judge_windows(windows: Sequence[Window], now_wall: float) -> Open | Closed:
    """Whether syncs may run now (seconds since the epoch). A window that cannot be read counts as closed (R5).

    A window is a start by its schedule, in its zone's local time, and a true length in seconds: a clock change
    inside it neither shortens nor lengthens it. A start that a clock change skips happens right after the gap.
    """
    if not windows:
        return Open()
    for window in windows:
        if invalid := check_window(window):
            return Closed(None, invalid.why)
    reason = _closed_by(windows, now_wall)
    at: float | None = now_wall
    for _ in range(_STEPS):
        at = _next_open(windows, at) if reason else _next_closed(windows, at)
        if at is None or bool(_closed_by(windows, at)) != bool(reason):
            break
    else:
        at = None
    return Closed(at, reason) if reason else Open(at)


def closed_by(windows: Sequence[Window], now_wall: float) -> str:
    """Why nothing new is written now, and until when where that can be foreseen, in words; "" where it is."""
    if not windows or isinstance(state := judge_windows(windows, now_wall), Open):
        return ""
    until = f" until {datetime.fromtimestamp(state.until, UTC).isoformat()}" if state.until else ""
    return f"{state.reason}{until}"


def shut_of(units: Iterable[Unit], now_wall: float) -> str:
    """Which of these units wait for a window, until when and what lets them go on, in words; "" for none."""
    found = [(unit.name, judge_windows(unit.overlay.sync.windows, now_wall)) for unit in units]
    shut = sorted((str(name), state) for name, state in found if isinstance(state, Closed))
    if not shut:
        return ""
    (first, state), more = shut[0], len(shut) - 1
    who = f"{first} and {more} more wait" if more else f"{first} waits"
    until = f" until {datetime.fromtimestamp(state.until, UTC).isoformat()}" if state.until else ""
    return f"{who} for a window{until}, {state.reason}; a commit that opens `windows` is the only way past it"


@lru_cache(maxsize=1024)
def never_opens(windows: tuple[Window, ...]) -> bool:
    """Whether deny windows cover all that is allowed, over 400 days and more. False where that cannot be told."""
    if not windows or any(check_window(window) is not None for window in windows):
        return False
    at, last = _FROM, None
    for _ in range(_LOOKS):
        if not _closed_by(windows, at):
            return False
        following = _next_open(windows, at)
        if following is None or following > _FROM + _FAR_SECONDS:
            return True
        # A schedule may begin years from here: the days count from its first start on.
        at, last = following, last or following + _REACH_DAYS * 86_400
        if at > last:
            return True
    return False


def _closed_by(windows: Sequence[Window], at: float) -> str:
    """Why syncs may not run at this time; "" if they may."""
    for window in windows:
        if window.kind is WindowKind.DENY and _end_of_active(window, at) is not None:
            return f"in a deny window ({window.schedule}, {window.time_zone})"
    allowing = [window for window in windows if window.kind is WindowKind.ALLOW]
    if allowing and all(_end_of_active(window, at) is None for window in allowing):
        return "outside all allow windows"
    return ""


def _end_of_active(window: Window, at: float) -> float | None:
    """When the window that is active at this time ends; None if it is not active. The start belongs to it."""
    last = _last_start(window, at)
    if last is None:
        return None
    end = last + window.duration_seconds
    return end if at < end else None


def _last_start(window: Window, at: float) -> float | None:
    """The latest start up to this time, itself included."""
    zone = ZoneInfo(window.time_zone)
    after = datetime.fromtimestamp(int(at) + 1, UTC).astimezone(zone)
    found = next(CronSim(window.schedule, after, reverse=True), None)
    last = found.timestamp() if found is not None else None
    early = datetime.fromtimestamp(at - _GOES_BACK_SECONDS, UTC).astimezone(zone)
    if not after.fold and (early.utcoffset() or _NO_TIME) <= (after.utcoffset() or _NO_TIME):
        return last
    # In the hour that comes twice, the second time, and after it: what began later in it, the first time, lies behind,
    # and is read as ahead by the words of the clock, or passed over. No zone goes back by more than two hours.
    begun = takewhile(lambda start: start <= at, (start.timestamp() for start in CronSim(window.schedule, early)))
    return max([*begun, *([last] if last is not None else [])], default=None)


def _next_start(window: Window, at: float) -> float | None:
    here = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(window.time_zone))
    # In the hour that comes twice the schedule names times of the first one again, which are over, and may miss some.
    starts = (start.timestamp() for start in islice(CronSim(window.schedule, here), _REPEATED))
    found = next((start for start in starts if start > at), None)
    while found is not None and (earlier := _last_start(window, found - 1)) is not None and earlier > at:
        found = earlier
    return found


def _next_open(windows: Sequence[Window], at: float) -> float | None:
    """The earliest time at which a closed state may end: when the deny windows in force do, else an allow starts."""
    denied = [end for window in windows if window.kind is WindowKind.DENY and (end := _end_of_active(window, at))]
    if denied:
        return max(denied)
    starts = [_next_start(window, at) for window in windows if window.kind is WindowKind.ALLOW]
    return min((start for start in starts if start is not None), default=None)


def _next_closed(windows: Sequence[Window], at: float) -> float | None:
    """The earliest time at which an open state may end: a deny window starts, or the allow windows in force end."""
    found = [_next_start(window, at) for window in windows if window.kind is WindowKind.DENY]
    ends = [end for window in windows if window.kind is WindowKind.ALLOW and (end := _end_of_active(window, at))]
    return min((time for time in [*found, max(ends, default=None)] if time is not None), default=None)
