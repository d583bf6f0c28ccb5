"""Filters and pages of lists: kubectl's label selectors, words, positions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from fleet.api.queries import PageQuery
from fleet.errors import RequestInvalid

T = TypeVar("T")

_REQUIREMENT = re.compile(r"\s*(!?)([A-Za-z0-9./_-]+)(?:\s*(==|=|!=)\s*([^,()\s]*)|\s+(in|notin)\s*(\([^()]*\)))?\s*")


def selects(selector: str) -> Callable[[Mapping[str, str]], bool]:
    """kubectl's label selector (equality, set and existence) as a test; raises RequestInvalid."""
    tests: list[Callable[[Mapping[str, str]], bool]] = []
    position = 0
    while position < len(selector):
        found = _REQUIREMENT.match(selector, position)
        if found is None or found.end() == position or selector[found.end() : found.end() + 1] not in ("", ","):
            raise RequestInvalid(
                f"the label selector is not understood from {selector[position:]!r} on",
                next_step="write it as kubectl does: env=prod,tier!=db, or env in (dev,staging)",
            )
        tests.append(_test_of(bool(found[1]), found[2], found[3] or found[5] or "", found[4] or found[6] or ""))
        position = found.end() + 1
    return lambda labels: all(test(labels) for test in tests)


def _test_of(negated: bool, key: str, operator: str, text: str) -> Callable[[Mapping[str, str]], bool]:
    values = frozenset(word.strip() for word in text.strip("()").split(","))
    match operator:
        case "":
            return lambda labels: (key in labels) is not negated
        case "!=" | "notin":
            return lambda labels: labels.get(key) not in values
        case _:
            return lambda labels: key in labels and labels[key] in values


def page_of(items: Sequence[T], query: PageQuery) -> tuple[Sequence[T], str]:
    """One page by position, and the token of the next one."""
    text = query.continue_
    if text and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise not_ours()
    start = int(text or 0)
    end = start + query.limit
    return items[start:end], str(end) if end < len(items) else ""


def not_ours() -> RequestInvalid:
    """A continue token that no page gave."""
    return RequestInvalid("the continue token is none of ours", next_step="list from the start again")


def words_of(text: str) -> frozenset[str]:
    """A comma-separated filter, case-insensitive."""
    return frozenset(word.strip().lower() for word in text.split(",") if word.strip())
