"""What the last sight of a Job says of why it went."""

from __future__ import annotations

from typing import Any

import pytest

from fleet.core.jobs import failed_and_left, has_failed


def seen(*, end: str = "Failed", lifetime: Any = 60, deleted: str = "2026-01-01T00:01:00Z") -> dict[str, Any]:
    """One that ended at midnight."""
    metadata = {"deletionTimestamp": deleted} if deleted else {}
    condition = {"type": end, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    spec = {} if lifetime is None else {"ttlSecondsAfterFinished": lifetime}
    return {"metadata": metadata, "spec": spec, "status": {"conditions": [condition]}}


@pytest.mark.parametrize(
    ("job", "by_itself"),
    [
        (seen(), True),
        (seen(deleted="2026-01-01T00:00:59Z"), True),  # clocks that differ
        (seen(lifetime=0, deleted="2026-01-01T00:00:00Z"), True),
        (seen(deleted="2026-01-01T00:00:50Z"), False),  # a person
        (seen(deleted=""), False),
        (seen(deleted="soon"), False),
        (seen(lifetime=None), False),
        (seen(lifetime="60"), False),
        (seen(end="Complete"), False),
        ({}, False),
    ],
)
def test_only_one_that_failed_and_is_deleted_once_its_lifetime_is_over_went_by_itself(
    job: dict[str, Any], *, by_itself: bool
) -> None:
    assert failed_and_left(job) is by_itself


def test_a_job_has_failed_by_its_own_word_alone() -> None:
    assert has_failed(seen())
    assert not has_failed(seen(end="FailureTarget"))
    assert not has_failed(seen(end="Complete"))
