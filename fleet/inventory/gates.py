"""Gates of rollouts: from the file to their values."""

from __future__ import annotations

from fleet.core.problems import Origin
from fleet.core.rollout_policy import Gate, HttpCheck, JobCheck, PrometheusCheck
from fleet.inventory.gate_schema import GatePart


def gate_of(part: GatePart, origin: Origin, soak_seconds: float) -> Gate:
    """A gate with its line. soak_seconds: of its step."""
    interval, timeout, window = part.seconds_in(soak_seconds)
    return Gate(part.name, _check_of(part), origin, interval, timeout, window, part.retries)


def _check_of(part: GatePart) -> PrometheusCheck | HttpCheck | JobCheck:
    if (asked := part.prometheus) is not None:
        return PrometheusCheck(asked.url, asked.query, asked.below, asked.above, asked.credential or "")
    if (got := part.http) is not None:
        return HttpCheck(got.url, got.status, got.contains, got.credential or "")
    assert part.job is not None  # the schema wants one of three
    return JobCheck(part.job.path, part.job.cluster or "")
