"""Which refusals become an entry of the audit log: each that is new, and seldom again while it stays (R43).

Anybody may knock a thousand times a second, and a bad commit concerns a thousand units: what is not written is
counted, and the count stands in the next entry. Pure but for what it remembers; the time is handed in.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Mapping
from enum import StrEnum

from fleet.core.audit import AuditEntry
from fleet.core.refusals import rule_of
from fleet.values import dataclass

REPEAT_SECONDS = 3600.0  # the same refusal again
CHANGED_SECONDS = 60.0  # the same with other words
HOUR_SECONDS = 3600.0
ENTRIES_AN_HOUR = 500  # of all boundaries but the API
API_ENTRIES_AN_HOUR = 250
CALLER_ENTRIES_AN_HOUR = 25  # of one caller of the API for one reason: nobody can use up what others' entries need
KEPT = 5000
_LONGEST_TEXT = 500
_Share = tuple[str, ...]


class Boundary(StrEnum):
    """Where it was refused."""

    GIT = "git"  # the Git host, or a commit as a whole
    REPO = "repo"  # a file of the fleet repo
    RENDER = "render"
    CLUSTER = "cluster"  # an entry, its credential, its address, what answers there
    UNIT = "unit"  # an object on a cluster
    DELETION = "deletion"  # held for a person
    API = "api"
    HUB = "hub"  # what its own configuration names


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusal. reason: a class name of fleet/errors.py, or that of a hold; object: what it is about, if no unit."""

    boundary: Boundary
    reason: str
    message: str
    actor: str = "hub"
    cluster: str = ""
    unit: str = ""
    object: str = ""
    commit: str = ""

    @property
    def rule(self) -> str:
        """The rule that it keeps; "" for a failure."""
        return rule_of(self.reason)


@dataclass(slots=True)
class _Told:
    at: float
    words: tuple[str, str]
    more: int = 0


def _shares_of(refusal: Refusal) -> Mapping[_Share, int]:
    """What an entry is taken from, with how many entries that gives in an hour."""
    if refusal.boundary is not Boundary.API:
        return {("",): ENTRIES_AN_HOUR}
    own = (Boundary.API, refusal.actor, refusal.reason)
    return {(Boundary.API,): API_ENTRIES_AN_HOUR, own: CALLER_ENTRIES_AN_HOUR}


class RefusalLog:
    """Remembers what was written lately."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, ...], _Told] = OrderedDict()
        self._hour, self._passed_over = 0.0, 0
        self._written = Counter[_Share]()  # in this hour

    def take(self, refusal: Refusal, now: float) -> AuditEntry | None:
        """The entry to write; None for a failure that keeps no rule, and for what was written lately."""
        if not refusal.rule:
            return None
        key = (refusal.boundary, refusal.reason, refusal.actor, refusal.cluster, refusal.unit, refusal.object)
        words = (refusal.message, refusal.commit)
        told = self._told.get(key)
        if told is not None and 0 <= now - told.at < (REPEAT_SECONDS if told.words == words else CHANGED_SECONDS):
            told.more += 1
            return None
        if not self._may_write(refusal, now):
            return None
        self._told[key] = _Told(now, words)
        self._told.move_to_end(key)
        if len(self._told) > KEPT:
            self._told.popitem(last=False)
        return self._entry(refusal, told.more if told else 0, now)

    def _may_write(self, refusal: Refusal, now: float) -> bool:
        if not 0 <= now - self._hour < HOUR_SECONDS:
            self._hour = now
            self._written.clear()
        shares = _shares_of(refusal)
        if any(self._written[share] >= most for share, most in shares.items()):
            self._passed_over += 1
            return False
        self._written.update(shares.keys())
        return True

    def _entry(self, refusal: Refusal, more: int, now: float) -> AuditEntry:
        text = "".join(char if char.isprintable() else " " for char in refusal.message)[:_LONGEST_TEXT]
        again = f"; {more} times more since it was written last" if more else ""
        others, self._passed_over = self._passed_over, 0
        left_out = f"; {others} other refusals were only counted" if others else ""
        return AuditEntry(
            at=now,
            actor=refusal.actor,
            action="refuse",
            cluster=refusal.cluster,
            unit=refusal.unit,
            object=refusal.object[:_LONGEST_TEXT],
            commit=refusal.commit,
            reason=f"{refusal.reason} ({refusal.rule}): {text}{again}{left_out}",
            outcome="refused",
        )
