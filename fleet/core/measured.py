"""From an answer to a reading: good, bad, or none, in words. Pure; bodies are never shown, they may hold secrets."""

from __future__ import annotations

import math

from fleet.core.documents import Json, mapping_at, parse
from fleet.core.gates import Read, Word
from fleet.core.rollout_policy import HttpCheck, PrometheusCheck

_MOST_SERIES = 1000
_NOT_ASKED = frozenset({401, 403, 407, 408, 425, 429})  # who asked was refused or slowed: nothing about the change
_TEXT_LIMIT = 160


def judge_http(check: HttpCheck, status: int, body: bytes, *, has_end: bool = True) -> Read:
    """A health check: the answer is what it should be, or it is not.

    has_end: the body says where it ends; of one that a closed connection ended, nobody knows what is missing.
    """
    if status != check.status and status in _NOT_ASKED:
        return _none(f"status {status}: whoever asks is refused or slowed down, see its credential")
    if status != check.status:
        return Read(Word.BAD, f"status {status}, not {check.status}")
    if check.contains and check.contains not in body.decode("utf-8", "replace"):
        if not has_end:
            return _none(
                f"status {status}, and {check.contains!r:.60} is not in what came before the connection closed"
            )
        return Read(Word.BAD, f"status {status}, but {check.contains!r:.60} is not in its body")
    return Read(Word.GOOD, f"status {status}" + (f" with {check.contains!r:.60}" if check.contains else ""))


def judge_prometheus(check: PrometheusCheck, status: int, body: bytes) -> Read:
    """An instant query. Each value must be within the bounds; no value, no number or a partial result is none."""
    try:
        answer = parse(body)
    except ValueError:
        return _none(f"status {status}, and its answer is no JSON: is there a Prometheus at this address?")
    if not isinstance(answer, dict) or answer.get("status") not in ("success", "error"):
        return _none(f"status {status}, and its answer is none of Prometheus")
    if status != 200 or answer.get("status") != "success":
        return _none(f"status {status}: {_shown(answer.get('error'))}")
    if warnings := answer.get("warnings"):
        first = warnings[0] if isinstance(warnings, list) else warnings
        return _none(f"its result may be partial: {_shown(first)}")
    data = mapping_at(answer, "data")
    values = _values(data.get("resultType"), data.get("result"))
    if isinstance(values, str):
        return _none(values)
    if not all(map(math.isfinite, values)):
        return _none("NaN or Inf: the query has no number now")
    worst = max(values, key=lambda value: _excess(check, value))
    among = f", the worst of {len(values)}" if len(values) > 1 else ""
    broken = _broken(check, worst)
    if broken:
        return Read(Word.BAD, f"{worst:g}{among}, not {broken}")
    return Read(Word.GOOD, f"{worst:g}{among}")


def _values(kind: Json, result: Json) -> list[float] | str:
    """All values of an instant query's answer, or in words why there are none."""
    try:
        if kind == "scalar" and isinstance(result, list):
            return [_number(result)]
        if kind == "vector" and isinstance(result, list):
            if len(result) > _MOST_SERIES:
                return f"{len(result)} series, more than {_MOST_SERIES}: aggregate them in the query"
            values = [_number(series["value"]) for series in result if isinstance(series, dict)]
            if len(values) != len(result):
                return "its answer is none of Prometheus"
            return values or "no series: the query finds nothing now"
    except (KeyError, IndexError, TypeError, ValueError):
        return "its answer is none of Prometheus"
    return f"the query gives a {_shown(kind)}, and not a number"


def _number(sample: Json) -> float:
    """The value of `[time, "value"]`; raises IndexError, TypeError, ValueError."""
    if not isinstance(sample, list) or not isinstance(sample[1], str):
        raise TypeError("no sample")
    return float(sample[1])


def _excess(check: PrometheusCheck, value: float) -> float:
    """How far a value is out of the bounds: the larger, the worse."""
    over = value - check.below if check.below is not None else -math.inf
    under = check.above - value if check.above is not None else -math.inf
    return max(over, under)


def _broken(check: PrometheusCheck, value: float) -> str:
    if check.below is not None and not value < check.below:
        return f"below {check.below:g}"
    if check.above is not None and not value > check.above:
        return f"above {check.above:g}"
    return ""


def _shown(value: Json) -> str:
    text = "".join(char for char in str(value or "no reason given") if char.isprintable())
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}..."


def _none(why: str) -> Read:
    return Read(Word.NONE, why)
