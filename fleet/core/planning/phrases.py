"""Counts and names as all sentences of a plan write them."""

from __future__ import annotations

from collections.abc import Sequence

from fleet.core.ids import ClusterName
from fleet.values import dataclass

NAMES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Remark:
    """What a reviewer must know, under its heading word. next_step: to be copied as it is."""

    word: str
    text: str
    next_step: str = ""

    @property
    def line(self) -> str:
        """Both as one text."""
        return f"{self.text}; {self.next_step}" if self.next_step else self.text


def on_clusters(clusters: Sequence[ClusterName]) -> str:
    """A cluster by name, several by number."""
    return counted(len(clusters), "cluster") if len(clusters) > 1 else "".join(clusters)


def some_of(names: Sequence[str]) -> str:
    """The first few, the others counted."""
    more = f", {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def counted(count: int, noun: str) -> str:
    """`1 unit`, `3 units`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
