"""What is worth a line in the timeline of what a look at all rollouts brought. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fleet.core.advance import Advance
from fleet.core.forecast import forecast, said
from fleet.core.gating import gate_news
from fleet.core.ids import OverlayName, Revision, short
from fleet.core.passage import Passage, Passages
from fleet.core.view import Outlook

NAMED = 5  # clusters in one line


def news_of(
    before: Passages, after: Passages, found: Mapping[Revision, Advance], outlook: Outlook
) -> Iterable[tuple[str, Revision]]:
    """Each line with its commit. found: what was decided, of rollouts under way; outlook: what it was decided on."""
    known = {passage.commit: passage for passage in before.all}
    for passage in after.all:
        earlier, name = known.get(passage.commit), short(passage.commit)
        if passage is earlier:
            continue
        if earlier is None or (earlier.outcome and not passage.outcome):
            yield f"rollout of {name} begins: {', '.join(sorted(passage.rows))}", passage.commit
        if earlier is not None and earlier.outcome and (stop := passage.ended) is not None and passage.shut:
            for overlay in sorted({*passage.overlays} - {*earlier.overlays}):
                why = f"its rollout was {passage.outcome} by {stop.by}: {stop.reason}"
                resume = f'fleet rollout resume {name} --reason "..."'
                yield f"{overlay} {name} is not released: {why} ({resume} lets all of it in again)", passage.commit
        for overlay, row in passage.rows.items():
            had = earlier.rows.get(overlay) if earlier is not None else None
            yield from ((text, passage.commit) for text in gate_news(f"{overlay} {name}", had, row))
            for step in sorted(row.passed - (had.passed if had is not None else frozenset())):
                yield f"{overlay} {name}: step {step} is over", passage.commit
        yield from _begun(earlier, passage, outlook)
        now = found.get(passage.commit)
        if now is not None:
            yield from ((text, passage.commit) for text in _releases(now))
        if passage.halted is not None and (earlier is None or earlier.halted is None):
            at = f" at {passage.halted.unit or passage.halted.place}" if passage.halted.place else ""
            yield f"rollout of {name} halted{at}: {passage.halted.reason}", passage.commit
        if passage.outcome and (earlier is None or not earlier.outcome):
            why = f" by {passage.ended.by}: {passage.ended.reason}" if passage.ended is not None else ""
            yield f"rollout of {name} {passage.outcome}{why}", passage.commit


def _begun(earlier: Passage | None, passage: Passage, outlook: Outlook) -> Iterable[tuple[str, Revision]]:
    """Steps whose turn has come, with the forecast of their commit at that moment."""
    begun = [
        f"{overlay} {short(passage.commit)}: step {step} begins"
        for overlay, row in sorted(passage.rows.items())
        for step in row.opened
        if earlier is None or overlay not in earlier.rows or step not in earlier.rows[overlay].opened
    ]
    if begun and not passage.outcome:
        found = forecast(passage, outlook.facts, outlook.courses, outlook.clock)
        ends = f"; {said(found)}" if found.low is not None else ""
        yield from ((text + ends, passage.commit) for text in begun)


def _releases(now: Advance) -> Iterable[str]:
    by_overlay: dict[OverlayName, list[str]] = {}
    for unit in now.releases:
        by_overlay.setdefault(unit.overlay, []).append(str(unit.cluster))
    for overlay, clusters in by_overlay.items():
        more = f" and {len(clusters) - NAMED} more" if len(clusters) > NAMED else ""
        yield f"{overlay} {short(now.passage.commit)} goes to {', '.join(clusters[:NAMED])}{more}"
