"""Validation of built-in kinds: required fields, values, and what may not change (422 with causes)."""

from __future__ import annotations

from fleet.core.documents import Document
from fleet.sim import crds
from fleet.sim.kinds import Kind
from fleet.sim.statuses import Cause


def validate(kind: Kind, document: Document, old: Document | None, subresource: str) -> list[Cause]:
    """What is wrong with the object, in the server's order and words."""
    if kind.resource == crds.RESOURCE and not subresource:
        return crds.definition_causes(document, old)
    return []
