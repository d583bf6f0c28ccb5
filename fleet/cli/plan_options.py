"""What `fleet plan` takes: declared once, for the parser and for the way around it.

The parser library takes as long to import as all the rest of a small plan. Plain words need none of it: each an option
with its value, said once. Whatever is not as plain as that goes to the parser, which also says what is wrong.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fleet.values import dataclass

_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./@~^:][A-Za-z0-9_./@~^:-]*\Z")


@dataclass(frozen=True, slots=True)
class Option:
    """An option with a value."""

    names: tuple[str, ...]
    help: str
    default: str = ""


BASE = Option(("--base",), "a commit, origin's main without it")
HEAD = Option(("--head",), "a commit, without it the working tree merged into the base")
KUBE = Option(("--kube",), "tell APIs that Kubernetes 1.N deprecates or removed")
ROOT = Option(("--root",), "the checkout", ".")
OUTPUT = Option(("--output", "-o"), "terminal, wide, markdown, json or sarif", "terminal")
OPTIONS = {"base": BASE, "head": HEAD, "kube": KUBE, "root": ROOT, "output": OUTPUT}
_BY_NAME = {name: word for word, option in OPTIONS.items() for name in option.names}


def plain_options(words: Sequence[str]) -> Mapping[str, str] | None:
    """All options with their values; None: these words are for the parser."""
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        name, value = _BY_NAME.get(word), next(rest, "")
        if name is None or name in found or not _PLAIN_VALUE.match(value):
            return None
        found[name] = value
    return {name: found.get(name, option.default) for name, option in OPTIONS.items()}
