"""Looks for secrets in anything that leaves a process: as they are, encoded, and in pieces.

A text counts as found in base64 at any of its three alignments, in hex, URL-coded, escaped as JSON does it, broken over
lines, and when only a half of it is there. What is searched must be bytes as they were written.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

_SHORTEST = 12  # bytes of a piece; shorter ones are found by chance
_BETWEEN = b" \t\r\n\"'\\,+|"  # what may stand between the pieces of a text that was broken up


@dataclass(frozen=True, slots=True)
class Found:
    """One place where a secret shows."""

    secret: str
    form: str
    place: str
    around: bytes


def forms_of(secret: bytes) -> dict[str, bytes]:
    """What to look for, by form; each at least 12 bytes long."""
    half = len(secret) // 2
    found = {
        "plain": secret,
        "first half": secret[:half],
        "second half": secret[half:],
        "hex": secret.hex().encode(),
        "HEX": secret.hex().upper().encode(),
        "URL-coded": "".join(f"%{byte:02X}" for byte in secret).encode(),
        "url-coded": "".join(f"%{byte:02x}" for byte in secret).encode(),
        "quoted": quote(secret, safe="").encode(),
        "quoted as a path": quote(secret).encode(),
        "JSON": json.dumps(secret.decode("latin-1"))[1:-1].encode(),
        "reversed": secret[::-1],
    }
    for shift in range(3):
        # The characters that depend on what stands before and after are left out.
        coded = base64.b64encode(b"\0" * shift + secret)
        start, end = -(-shift * 8 // 6), (shift + len(secret)) * 8 // 6
        found[f"base64, shifted by {shift}"] = coded[start:end]
        found[f"base64 of URLs, shifted by {shift}"] = base64.urlsafe_b64encode(b"\0" * shift + secret)[start:end]
    return {form: text for form, text in found.items() if len(text) >= _SHORTEST}


@dataclass(slots=True)
class Search:
    """Secrets by name, and how much was searched."""

    secrets: Mapping[str, bytes]
    searched: dict[str, int] = field(default_factory=dict[str, int])  # bytes by kind of source

    _forms: list[tuple[str, str, bytes, bytes]] = field(init=False)

    def __post_init__(self) -> None:
        self._forms = [
            (name, form, text, _joined(text))
            for name, secret in self.secrets.items()
            for form, text in forms_of(secret).items()
        ]

    def look(self, kind: str, place: str, content: bytes) -> list[Found]:
        """All secrets in one text, also where it is packed or broken over lines."""
        self.searched[kind] = self.searched.get(kind, 0) + len(content)
        found: list[Found] = []
        for text in _readings(content):
            joined = _joined(text)
            for name, form, whole, bare in self._forms:
                for written, needle in ((text, whole), (joined, bare)):
                    if len(needle) >= _SHORTEST and (at := written.find(needle)) >= 0:
                        found.append(Found(name, form, place, written[max(0, at - 60) : at + len(needle) + 20]))
                        break
        return found

    def look_in_files(self, kind: str, root: Path) -> list[Found]:
        """Names and contents of all files below a directory."""
        found: list[Found] = []
        for path in sorted(root.rglob("*")):
            found += self.look(kind, f"name of {path}", path.name.encode(errors="replace"))
            if path.is_file() and not path.is_symlink():
                found += self.look(kind, str(path), path.read_bytes())
        return found


def _joined(text: bytes) -> bytes:
    """Without what may stand between the pieces of a broken text."""
    return text.translate(None, _BETWEEN)


def _readings(content: bytes) -> Iterator[bytes]:
    """As it is, and opened where it is packed as a whole."""
    yield content
    try:
        yield gzip.decompress(content) if content[:2] == b"\x1f\x8b" else zlib.decompress(content)
    except (OSError, EOFError, zlib.error):
        return
