"""When a credential ends, when the hub renews it, and what is said of both. Pure.

Only a token of a service account that the hub keeps itself is renewed: `fleet cluster grant` gives one, with the right
to ask for the next. What lies in a file or a mounted Secret is renewed by whoever put it there, and only read again.
"""

from __future__ import annotations

from enum import StrEnum

from fleet.core.ids import ClusterName
from fleet.values import dataclass

RENEW_AT = 2 / 3  # of its life: with the 90 days of a grant a person has 30 days to see a failure
SOON_SECONDS = 14 * 86_400.0
SHORTEST_SECONDS = 600  # no API server issues a token for less
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 6 * 3_600.0


class Place(StrEnum):
    """Where a credential lies."""

    STORED = "stored"  # encrypted, in the hub's own state
    FILE = "file"  # in the directory of credentials, a mounted Secret for instance


@dataclass(frozen=True, slots=True)
class Ends:
    """What a credential says of its own end. Times are wall-clock seconds, 0.0 where there is none.

    what: the part of it that ends first; account: NAMESPACE/NAME of the service account whose token it is, or "".
    """

    what: str = "token"
    at: float = 0.0
    issued: float = 0.0
    account: str = ""

    @property
    def life_seconds(self) -> int:
        """How long the next token shall live: as long as this one."""
        return max(SHORTEST_SECONDS, round(self.at - self.issued))


@dataclass(frozen=True, slots=True)
class CredentialState:
    """One credential in use, as it is shown. renew_at: 0.0 where the hub does not renew it."""

    name: str
    cluster: ClusterName
    place: Place
    ends: Ends  # what of it ends first
    token: Ends = Ends()  # of its token, whatever else there is
    renew_at: float = 0.0
    problem: str = ""  # why the last renewal failed
    reason: str = ""  # its error's class
    passing: bool = False  # it may pass by itself
    next_step: str = ""
    failures: int = 0  # in a row
    tried_at: float = 0.0
    failed_since: float = 0.0


def renewal_due(token: Ends, place: Place) -> float:
    """When the hub renews a token the first time; 0.0 where it does not."""
    if place is not Place.STORED or not token.account or not token.issued or token.at <= token.issued:
        return 0.0
    return token.issued + RENEW_AT * (token.at - token.issued)


def next_renewal(state: CredentialState) -> float:
    """Wall-clock time of the next try; 0.0 where the hub does not renew it.

    After a failure the pauses double, but so that a credential near its end is tried at least ten times before it; what
    has ended can hardly renew itself any more, and is tried now and then because clocks differ.
    """
    due = renewal_due(state.token, state.place)
    if not due or not state.failures:
        return due
    left = state.token.at - state.tried_at
    pause = min(_FIRST_PAUSE * 2.0 ** min(state.failures - 1, 12), _LONGEST_PAUSE)
    if left > 0:
        pause = min(pause, max(left / 10, _FIRST_PAUSE / 2))
    return max(due, state.tried_at + pause)


@dataclass(frozen=True, slots=True)
class Ending:
    """A line of what ends soon, or has ended. at: when; failed: a renewal was tried and did not work."""

    at: float
    what: str
    next_step: str
    failed: bool = False


def judge_ending(state: CredentialState, now: float) -> Ending | None:
    """What a person is to know of a credential, None where nothing: it has no end, or it is renewed in time."""
    renew = state.next_step or f"fleet cluster grant {state.cluster}"
    what = f"credential {state.name} of {state.cluster}" if state.name != state.cluster else f"credential {state.name}"
    if state.problem and not (state.passing and now < _worry_at(state.token)):
        return Ending(state.token.at, f"{what} is not renewed: {state.problem}", renew, failed=True)
    renewed = state.renew_at and state.ends.what == "token" and now < state.ends.at
    if not state.ends.at or renewed:
        return None
    if state.ends.at - now >= SOON_SECONDS:
        return None
    part = "" if state.ends.what == "token" else f", its {state.ends.what}"
    if state.place is Place.FILE:
        renew = f"put a newer one in its place: fleet cluster grant {state.cluster} --to FILE"
    return Ending(state.ends.at, what + part, renew)


def _worry_at(token: Ends) -> float:
    """From when on a person is told of failures that may pass by themselves: half the time that is left for them."""
    return token.at - (token.at - token.issued) * (1 - RENEW_AT) / 2
