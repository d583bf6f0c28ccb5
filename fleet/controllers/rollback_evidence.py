"""What the audit log says of rollbacks and of orders to rollouts (R43): before anything goes back, and how it went.

A rollback has two entries for each unit: which bundle it leaves for which, by whom or by whose policy, and why.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from fleet.controllers.board import Board
from fleet.core.audit import AuditEntry, goes_to, rollback_text
from fleet.core.ids import Revision, UnitName
from fleet.core.results import Rendered
from fleet.core.rollout_orders import about_of
from fleet.errors import FleetError
from fleet.ports.state import OperationRow, State
from fleet.values import dataclass

ROLLBACK = "rollback"
NOTHING_BEFORE = "refused: it has nothing to go back to, and keeps it"


@dataclass(frozen=True, slots=True)
class Deed:
    """One rollback that is about to be carried out. commit: whose results are taken back; by: a person, or the hub."""

    commit: Revision
    by: str
    reason: str
    back: Mapping[UnitName, Rendered]
    stays: Sequence[UnitName] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """One instance per hub. wall: seconds since the epoch."""

    state: State
    board: Board
    wall: Callable[[], float]

    async def around(self, deeds: Iterable[Deed], act: Callable[[], Awaitable[bool]]) -> bool:
        """Carry rollbacks out: nothing goes back that the log does not have (raises StateError). act: whether it did.

        What a hub that is killed meanwhile had begun, the next one ends by what was released.
        """
        begun = [entry for deed in deeds for entry in self._entries(deed)]
        await self._write(entry for entry in begun if not entry.outcome)
        try:
            is_done = await act()
        except FleetError as error:
            await self._write(replace(entry, outcome=self._outcome(entry, error)) for entry in begun)
            raise
        outcome = "done" if is_done else "superseded"  # what it was decided on is another thing: it is decided anew
        await self._write(replace(entry, outcome=entry.outcome or outcome) for entry in begun)
        return is_done

    async def ended(self, row: OperationRow, outcome: str, message: str) -> None:
        """The last word on a person's order, before it ends (V5)."""
        said = outcome if outcome == "done" else f"{outcome}: {message}"
        await self.state.write(
            AuditEntry(
                at=self.wall(),
                actor=row.actor,
                action=row.kind,
                object=about_of(row.kind, row.target),
                reason=row.reason,
                outcome=said,
            )
        )

    def _entries(self, deed: Deed) -> Iterable[AuditEntry]:
        held = self.board.books.held
        for unit in [*deed.back, *deed.stays]:
            if unit not in held:
                continue
            to = deed.back.get(unit)
            yield AuditEntry(
                at=self.wall(),
                actor=deed.by,
                action=ROLLBACK,
                cluster=unit.cluster,
                identity=self.board.identities.of(unit.cluster) or "",
                unit=str(unit),
                object=rollback_text(held[unit].bundle, to.bundle if to is not None else ""),
                commit=deed.commit,
                reason=deed.reason,
                outcome="" if to is not None else NOTHING_BEFORE,
            )

    def _outcome(self, entry: AuditEntry, error: FleetError) -> str:
        """How one went where telling of it failed: what is released is durable."""
        held = self.board.books.held.get(UnitName.parse(entry.unit))
        is_there = held is not None and goes_to(entry.object, held.bundle)
        return entry.outcome or ("done" if is_there else f"failed: {error.reason}")

    async def _write(self, entries: Iterable[AuditEntry]) -> None:
        """In their order, in as few transactions as the state makes of them."""
        now = self.wall()
        await asyncio.gather(*(self.state.write(replace(entry, at=now)) for entry in entries))
