"""How earlier rollouts of each overlay went, for forecasts: read when one is under way, written as they end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from fleet.core.forecast import Course, course_of, decode_courses, encode_courses, is_through, kept_with
from fleet.core.ids import OverlayName
from fleet.core.passage import Passages, Row
from fleet.core.rollout_facts import RowFacts
from fleet.ports.state import State

log = structlog.get_logger("rollouts")
PREFIX = "courses/"  # value of the state, by overlay

Courses = Mapping[OverlayName, tuple[Course, ...]]


class Histories:
    """Owned by the loop of rollouts; `known` holds those of overlays under way."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.known: dict[OverlayName, tuple[Course, ...]] = {}

    async def read(self, overlays: Iterable[OverlayName]) -> None:
        """Know these, and forget all others."""
        wanted = set(overlays)
        for overlay in [name for name in self.known if name not in wanted]:
            del self.known[overlay]
        for overlay in sorted(wanted - self.known.keys()):
            text = await self._state.get_value(PREFIX + overlay)
            try:
                self.known[overlay] = decode_courses(text) if text else ()
            except ValueError as error:  # only forecasts are made of them
                log.warning("history of an overlay is not readable, it begins anew", overlay=overlay, why=str(error))
                self.known[overlay] = ()

    def added(self, before: Passages, after: Passages, facts: Mapping[OverlayName, RowFacts]) -> Courses:
        """Histories with the rows that came through their last step between two looks."""
        earlier = {(one.commit, overlay): row for one in before.all for overlay, row in one.rows.items()}
        found: dict[OverlayName, tuple[Course, ...]] = {}
        for passage in after.all:
            for overlay, row in passage.rows.items():
                had = earlier.get((passage.commit, overlay))
                if row is had or overlay not in facts or not _came_through(had, row, facts[overlay]):
                    continue
                course = course_of(row, facts[overlay])
                if course is not None:
                    found[overlay] = kept_with(self.known.get(overlay, ()), course)
        return found


def values_of(courses: Courses) -> dict[str, str]:
    """As values of the state."""
    return {PREFIX + overlay: encode_courses(kept) for overlay, kept in courses.items()}


def _came_through(before: Row | None, after: Row, facts: RowFacts) -> bool:
    return is_through(after, facts.stages) and (before is None or not is_through(before, facts.stages))
