"""Jobs that removed themselves, by how they were seen last.

The controller for `ttlSecondsAfterFinished` deletes in the foreground: whoever watches is shown the Job with its end
and the time of its deletion before it is gone. What a person deletes carries an earlier one, or none.
"""

from __future__ import annotations

from datetime import datetime

from fleet.core.documents import Document, documents_at, mapping_at, text_at

_SKEW_SECONDS = 2.0  # between the clocks of controller and API server, which write these times, by whole seconds


def has_failed(job: Document) -> bool:
    """Whether it ended as failed; a Job never goes on after that."""
    return _failed_at(job) is not None


def failed_and_left(job: Document) -> bool:
    """Whether it failed and is deleted because its time is over."""
    ended, lifetime = _failed_at(job), mapping_at(job, "spec").get("ttlSecondsAfterFinished")
    deleted = _time(text_at(job, "metadata", "deletionTimestamp"))
    if ended is None or deleted is None or not isinstance(lifetime, int):
        return False
    return deleted >= ended + lifetime - _SKEW_SECONDS


def _failed_at(job: Document) -> float | None:
    """By the cluster's clock; 0.0 where it is not said when."""
    for condition in documents_at(job, "status", "conditions"):
        if text_at(condition, "type") == "Failed" and text_at(condition, "status") == "True":
            return _time(text_at(condition, "lastTransitionTime")) or 0.0
    return None


def _time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None
