"""What `fleet doctor` thinks of what it found: plain functions from figures to a line and what to do. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from statistics import median

from fleet.ports.state import BOTH_KEYS, UNREADABLE
from fleet.render.measures import lacking
from fleet.values import dataclass

_MIB = 1 << 20
DISK_MISS_BYTES, DISK_WARN_BYTES = 500 * _MIB, 2_048 * _MIB
ENDS_SOON_SECONDS = 14 * 86_400.0
SKEW_WARN_SECONDS, SKEW_MISS_SECONDS = 5.0, 60.0
_RENEWAL_LATE_SHARE = 0.05  # of the time that is left for it; a hub that was down a while is not late
_DESCRIPTORS_PER_CLUSTER, _DESCRIPTORS_ALWAYS = 12, 200


class Level(Enum):
    """How a check came out, best first."""

    OK = "ok"
    WARN = "warn"
    MISS = "MISS"


@dataclass(frozen=True, slots=True)
class Check:
    """One line, and what to do about it where it is not well."""

    level: Level
    what: str
    next_step: str = ""


def judge_disk(folder: Path, free: int, total: int, parts: Mapping[str, int]) -> Check:
    """Room in the data directory, in bytes; parts: what takes it."""
    taken = ", ".join(f"{name} {_size(size)}" for name, size in parts.items() if size)
    what = f"data in {folder}: {_size(free)} of {_size(total)} free" + (f"; {taken}" if taken else "")
    if free >= DISK_WARN_BYTES:
        return Check(Level.OK, what)
    level = Level.MISS if free < DISK_MISS_BYTES else Level.WARN
    return Check(level, what, "make room, or lower FLEET_CACHE_LIMIT_MIB; with a full disk the hub stops writing")


def judge_descriptors(limit: int, clusters: int) -> Check:
    """Open files that the process may have, against what so many clusters need."""
    need = _DESCRIPTORS_ALWAYS + _DESCRIPTORS_PER_CLUSTER * clusters
    if limit >= need or limit < 0:  # -1: no limit
        return Check(Level.OK, f"open files: {limit} allowed, {need} are enough for {clusters} clusters")
    return Check(
        Level.WARN,
        f"open files: {limit} allowed, {clusters} clusters may need {need}",
        f"raise the limit for the hub: ulimit -n {need}, or LimitNOFILE={need} in its unit",
    )


def judge_builds(measures: Sequence[str]) -> Check:
    """What shuts builds in on this machine, as a render worker says it."""
    could = lacking(measures)
    if not could:
        return Check(Level.OK, f"builds are shut in: {', '.join(measures)}")
    return Check(
        Level.WARN,
        f"builds could {could}: this system does not let a process give it up",
        "see Builds in docs/operating.md for what the system must have",
    )


def judge_end(what: str, until: float, now: float, renew: str) -> Check:
    """Something that ends: a certificate or token. Times are wall-clock seconds."""
    if until - now >= ENDS_SOON_SECONDS:  # of the year 9999 perhaps, whose last day is in no calendar farther east
        return Check(Level.OK, f"{what} is good for {_days(until - now)}")
    day = datetime.fromtimestamp(until, UTC).astimezone().strftime("%d %b %Y %H:%M %Z")
    if until <= now:
        return Check(Level.MISS, f"{what} ended {_days(now - until)} ago, {day}", renew)
    return Check(Level.WARN, f"{what} ends in {_days(until - now)}, {day}", renew)


def judge_renewed(name: str, until: float, due: float, now: float, renew: str) -> Check:
    """A token that the hub renews by itself from `due` on. Times are wall-clock seconds."""
    if until <= now or now < due:
        check = judge_end(f"credential {name}: token", until, now, renew)
        day = datetime.fromtimestamp(due, UTC).astimezone().strftime("%d %b %Y")
        return check if until <= now else Check(Level.OK, f"{check.what}; the hub renews it from {day} on")
    what = f"credential {name}: its token ends in {_days(until - now)} and was to be renewed {_days(now - due)} ago"
    late = now - due > _RENEWAL_LATE_SHARE * (until - due)
    return (
        Check(Level.WARN, what, f"fleet status says why, where the hub runs; or {renew}")
        if late
        else Check(Level.OK, what)
    )


def judge_clocks(skews: Mapping[str, float]) -> Sequence[Check]:
    """Clocks of API servers against our own, in seconds ahead of it, by cluster.

    Where most of them differ alike it is our own clock that is wrong, and said once.
    """
    if not skews:
        return []
    common = median(skews.values())
    if len(skews) > 1 and abs(common) >= SKEW_WARN_SECONDS:
        level = Level.MISS if abs(common) >= SKEW_MISS_SECONDS else Level.WARN
        return [
            Check(
                level,
                f"the clock of this machine is {_skew(-common)} of most of {len(skews)} clusters",
                "set it by NTP: windows, soak times and the ends of tokens are judged by it",
            )
        ]
    checks: list[Check] = []
    for name, skew in sorted(skews.items()):
        if abs(skew) >= SKEW_WARN_SECONDS:
            level = Level.MISS if abs(skew) >= SKEW_MISS_SECONDS else Level.WARN
            next_step = (
                f"set the clocks of the control plane of {name} by NTP: its tokens and certificates depend on it"
            )
            checks.append(Check(level, f"the clock of {name} is {_skew(skew)} of this machine", next_step))
    return checks or [Check(Level.OK, f"clocks of {len(skews)} clusters agree with this machine's")]


def _skew(seconds: float) -> str:
    return f"{abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}"


def _days(seconds: float) -> str:
    return f"{seconds / 86_400:.0f} days" if seconds >= 2 * 86_400 else f"{seconds / 3_600:.1f} hours"


def _size(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / _MIB:.1f} MiB"


def judge_lost_key(here: str, names: Sequence[str], missing: Sequence[str]) -> Check:
    """Why the state does not open. here: the key that is, in words; names: of all that it needs, as far as it says."""
    lack = f"key {', '.join(missing)}" if missing else "another key"
    if len(names) > 1:
        return Check(Level.MISS, f"the key is being exchanged, and the state needs {lack} as well", BOTH_KEYS)
    what = f"{here} does not open the state" if here else "the key of the encrypted store is gone"
    step = "put the kept copy of the key there, or fleet restore a backup that holds it"
    return Check(Level.MISS, f"{what}: the state needs {lack}", step)


def judge_keys(needs: Mapping[str, int], unreadable: Sequence[str]) -> Iterator[Check]:
    """What the keys beside the one that seals are needed for. needs: entries of the store by key, by its name."""
    for name, count in needs.items():
        if count:
            step = "leave it in the key file; a running hub seals them anew within seconds"
            yield Check(Level.WARN, f"key {name} is needed: {count} entries of the store lie under it", step)
        else:
            what = (
                f"key {name} is needed no more by any entry: take it out of the key file, and keep the first key of all"
            )
            yield Check(Level.OK, f"{what} elsewhere")
    if unreadable:
        what = f"{len(unreadable)} entries of the store open with no key: {', '.join(unreadable[:3])}"
        yield Check(Level.MISS, what, UNREADABLE)
