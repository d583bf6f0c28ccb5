"""Numbers in texts that others wrote."""

from __future__ import annotations

_MOST = 9


def number_in(text: str) -> int | None:
    """The number that a text of one to nine ASCII digits says, else None.

    `str.isdigit` takes more for digits than `int` does (`²`), and `int` refuses thousands of them: a tenant who writes
    either would end the worker of a cluster (R18).
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST else None
