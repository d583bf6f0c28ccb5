"""Answers made comparable: what differs from run to run becomes a stable placeholder, numbered by first appearance.

Equal values get equal placeholders, so that "the same resourceVersion as before" stays visible.
"""

from __future__ import annotations

import re
from typing import Any

_UID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_TIME = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_IP = re.compile(r"\b10\.\d{1,3}\.\d{1,3}\.\d{1,3}\b")
_TOO_OLD = re.compile(r"resource version: (\d+) \(\d+\)")
_TOO_LARGE = re.compile(r"Too large resource version: \d+, current: \d+")
_VERSION_KEYS = ("resourceVersion",)


class Normaliser:
    """Rewrites answers of one case; it remembers what it has seen."""

    def __init__(self, words: dict[str, str], generated: list[str]) -> None:
        self._words = words
        self._generated = [re.compile(rf"\b{re.escape(prefix)}[a-z0-9]{{5,10}}\b") for prefix in generated]
        self._known: dict[tuple[str, Any], str] = {}
        self._counts: dict[str, int] = {}

    def rewrite(self, value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {self._text(name): self.rewrite(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.rewrite(item, key) for item in value]
        if key in _VERSION_KEYS and value not in ("", "0", None):
            return self._placeholder("rv", value)
        if key == "nodePort" and isinstance(value, int):
            return self._placeholder("port", value)
        if key == "continue" and value:
            return "<continue>"
        if isinstance(value, str):
            return self._text(value)
        return value

    def _text(self, text: str) -> str:
        for word, instead in self._words.items():
            text = text.replace(word, instead)
        for pattern in self._generated:
            text = pattern.sub(lambda found: self._placeholder("name", found[0]), text)
        text = _UID.sub(lambda found: self._placeholder("uid", found[0]), text)
        text = _TOO_OLD.sub(r"resource version: \1 (<current>)", text)
        text = _TOO_LARGE.sub("Too large resource version: <asked>, current: <current>", text)
        text = _IP.sub(lambda found: self._placeholder("ip", found[0]), text)
        return _TIME.sub("<time>", text)

    def _placeholder(self, kind: str, value: Any) -> str:
        if (kind, value) not in self._known:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._known[kind, value] = f"<{kind}-{self._counts[kind]}>"
        return self._known[kind, value]
