"""Did-you-mean: the known word that a mistyped one is closest to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_CUTOFF = 0.6
_LONGEST = 200  # beyond this a word is no typing mistake, and comparing gets dear


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The closest of the known words, or None if none is close. A difference of case alone always counts."""
    words = list(known)
    if not word or len(word) > _LONGEST:
        return None
    for candidate in words:
        if candidate.lower() == word.lower():
            return candidate
    found = difflib.get_close_matches(word.lower(), [w.lower() for w in words], n=1, cutoff=_CUTOFF)
    return next((w for w in words if w.lower() == found[0]), None) if found else None


def hint(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """`did you mean X?`, or what is said where nothing is close."""
    close = nearest(word, known)
    return f"did you mean {close}?" if close is not None else otherwise
