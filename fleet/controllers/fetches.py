"""Which orders have had their fetch: a sync is carried out by what Git held after it was asked for.

The day's clock tells at once, and may be put back; so it is remembered of each order, and a fetch that began after the
order was first seen counts whatever the clock says (R24).
"""

from __future__ import annotations

from collections.abc import Iterable

from fleet.core.view import Head
from fleet.ports.state import OperationRow


class Fetches:
    """One instance per hub."""

    def __init__(self, head: Head) -> None:
        self._head = head
        self._behind: dict[str, int] = {}  # by order: the fetch that must be surpassed

    def have_followed(self, row: OperationRow) -> bool:
        """Whether a fetch that began after this order is over, good or not."""
        begun = self._behind.setdefault(row.id, self._head.fetches_begun)
        if row.requested_at <= self._head.tried_at:
            begun = self._behind[row.id] = -1
        return begun < self._head.fetches_over

    def keep(self, rows: Iterable[OperationRow]) -> None:
        """Forget all other orders."""
        self._behind = {row.id: self._behind[row.id] for row in rows if row.id in self._behind}
