"""Server-sent events of the timeline: `Last-Event-ID` resumes, the token is checked again all the time (R37).

A stream whose place another caller got ends as one whose token was revoked, within 5 s: its client comes again (R41).
Beside the timeline each rollout under way is sent whole, as event `rollout` without an id, when what it waits for
changes: at the beginning of a stream, then at most once a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from aiohttp import web
from aiohttp_sse import EventSourceResponse, sse_response

from fleet.access.policy import Role
from fleet.api.rollouts import RolloutOut, rollout_out
from fleet.api.route import Call, Route
from fleet.api.timeline import event_out
from fleet.core.view import View
from fleet.errors import NotAuthenticated, RequestInvalid
from fleet.ports.state import Ring
from fleet.values import dataclass

CHECK_SECONDS = 4.0  # a revoked token ends its streams within 5 s (R35, R38)
STREAMS_LIMIT = 400  # of the 512 connections
PAGE = 200
BATCH_SECONDS = 0.15  # the store writes events in batches of 100 ms
SLOW_SECONDS = 10.0  # a reader that takes longer is dropped; Last-Event-ID gives it what it missed (R41)
ROLLOUT_SECONDS = 1.0
# What passes by itself, and is no news.
_AGES = {
    "age_seconds": True,
    "forecast": {"after_seconds", "before_seconds", "ends_after", "ends_before"},
    "steps": {"__all__": {"held_up_by": {"__all__": {"age_seconds"}}, "gates": {"__all__": {"age_seconds"}}}},
}


@dataclass(slots=True, eq=False)
class _Place:
    """One open stream."""

    is_kept: bool = True  # False: another caller got it


class Places:
    """Who has a stream open. Where all are taken, the caller with the most gives the oldest to one who has fewer."""

    def __init__(self) -> None:
        self._taken: dict[str, list[_Place]] = {}

    @contextmanager
    def taken_by(self, caller: str) -> Generator[_Place]:
        """A place until the end of the block, or until another gets it. Raises RequestInvalid."""
        if sum(map(len, self._taken.values())) >= STREAMS_LIMIT:
            self._give_way_to(caller)
        place = _Place()
        self._taken.setdefault(caller, []).append(place)
        try:
            yield place
        finally:
            if place.is_kept:
                self._give_up(caller, place)

    def _give_way_to(self, caller: str) -> None:
        largest = max(self._taken, key=lambda each: len(self._taken[each]))
        own = len(self._taken.get(caller, ()))
        if len(self._taken[largest]) <= own + 1:  # else the two would take it from each other for ever
            raise RequestInvalid(
                f"{STREAMS_LIMIT} streams are open already",
                why=f"{own} of them are of {caller}, and nobody has more than {len(self._taken[largest])}",
                next_step="close some, or poll /api/v1/events",
            )
        place = self._taken[largest][0]
        place.is_kept = False
        self._give_up(largest, place)

    def _give_up(self, caller: str, place: _Place) -> None:
        self._taken[caller].remove(place)
        if not self._taken[caller]:
            del self._taken[caller]


class _Rollouts:
    """All rollouts that are under way or just ended, made at most once a second for all streams together."""

    def __init__(self) -> None:
        self._view: View | None = None
        self._version, self._made_at = -1, 0.0
        self._found: Mapping[str, tuple[str, str]] = {}

    def of(self, view: View, wall: float) -> Mapping[str, tuple[str, str]]:
        """By commit: what tells a change, and the text to send."""
        now = time.monotonic()
        is_other = view is not self._view
        if is_other or (view.version != self._version and now - self._made_at >= ROLLOUT_SECONDS):
            self._view, self._version, self._made_at = view, view.version, now
            before = frozenset[str]() if is_other else self._found.keys()
            self._found = {
                one.commit: _texts_of(rollout_out(view, one, wall))
                for one in view.passages.all
                if not one.outcome or one.commit in before
            }
        return self._found


def _texts_of(shown: RolloutOut) -> tuple[str, str]:
    return shown.model_dump_json(exclude=_AGES), shown.model_dump_json(by_alias=True)


_places = Places()
_rollouts = _Rollouts()


async def _stream(call: Call) -> web.StreamResponse:
    after = call.request.headers.get("Last-Event-ID", call.request.query.get("after", ""))
    if after and not (after.isascii() and after.isdigit() and len(after) < 19):
        raise RequestInvalid(
            "Last-Event-ID is no number",
            next_step="send the id of the last event read, or none to begin with what is new",
        )
    with _places.taken_by(call.caller.name) as place:
        return await _tell_news(call, int(after) if after else await _newest(call), place)


async def _tell_news(call: Call, last: int, place: _Place) -> web.StreamResponse:
    async with sse_response(call.request, send_timeout=SLOW_SECONDS) as response:
        told: dict[str, str] = {}
        while response.is_connected() and place.is_kept:
            try:
                await call.parts.tokens.caller_of(call.request.headers.get("Authorization", ""))
            except NotAuthenticated:
                break
            heard = call.parts.bells.news.count
            rows = await call.parts.state.events(after=last, limit=PAGE)
            for row in rows:
                text = event_out(row).model_dump_json(by_alias=True)
                if not await _is_sent(response, text, event=row.event.kind, id=str(row.id)):
                    return response
                last = row.id
            for commit, (key, text) in _rollouts.of(call.parts.view, call.parts.wall()).items():
                if told.get(commit) != key:
                    if not await _is_sent(response, text, event="rollout"):
                        return response
                    told[commit] = key
            if not rows:
                await _wait_for_news(call.parts.bells.news, heard)
    return response


async def _is_sent(response: EventSourceResponse, text: str, *, event: str, id: str | None = None) -> bool:
    """False where the reader is gone, or took so long that its connection was cut."""
    try:
        await response.send(text, id=id, event=event)
    except (TimeoutError, ConnectionResetError):
        return False
    return True


async def _newest(call: Call) -> int:
    rows = await call.parts.state.events(limit=1, newest_first=True)
    return rows[0].id if rows else 0


async def _wait_for_news(news: Ring, heard: int) -> None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await news.after(heard)
            await asyncio.sleep(BATCH_SECONDS)
    except TimeoutError:
        return


ROUTES = (Route("GET", "/api/v1/stream", "The timeline as server-sent events", Role.VIEWER, _stream),)
