"""Conditions of a status."""

from __future__ import annotations

from fleet.core.documents import Document, at


def condition(kind: str, status: str, reason: str, message: str, *, now: str) -> Document:
    """One that begins now."""
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": now,
    }


def kept(before: Document | None, new: Document) -> Document:
    """The new condition, with the old time where its status stays."""
    if before is not None and before.get("status") == new.get("status"):
        return {**new, "lastTransitionTime": at(before, "lastTransitionTime")}
    return new
