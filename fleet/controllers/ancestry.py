"""Which commits of the tracked branch contain which: asked for by the API, answered by Git."""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.ids import Revision
from fleet.errors import SourceError
from fleet.ports.source import Source
from fleet.values import dataclass, field

KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Ancestry:
    """One instance per hub. Histories do not change: what was told once is remembered."""

    source: Source
    _known: dict[tuple[Revision, Revision], bool] = field(default_factory=dict[tuple[Revision, Revision], bool])

    async def find(self, prefix: str, head: Revision) -> Revision | None:
        """The one commit that begins so and that `head` contains; None where there is none. Raises SourceError."""
        found = await self.source.named(prefix)
        return found if found is not None and await self._contains(head, found) else None

    async def containing(self, older: Revision, among: Iterable[Revision], head: Revision) -> frozenset[Revision]:
        """Those that contain a commit, and that `head` contains; one of which that cannot be told is none of them.

        However many are asked about, Git is asked once, and only for what was not told before.
        """
        asked = frozenset(among)
        if any((newer, older) not in self._known for newer in asked):
            try:
                line = await self.source.since(older, head)
            except SourceError:
                return frozenset(newer for newer in asked if self._known.get((newer, older)))
            if len(self._known) + len(asked) > KEPT:
                self._known.clear()
            self._known.update({(newer, older): newer in line for newer in asked})
        return frozenset(newer for newer in asked if self._known.get((newer, older)))

    async def _contains(self, newer: Revision, older: Revision) -> bool:
        key = (newer, older)
        if key not in self._known:
            if len(self._known) >= KEPT:
                self._known.clear()
            self._known[key] = await self.source.is_ancestor(older, newer)
        return self._known[key]
