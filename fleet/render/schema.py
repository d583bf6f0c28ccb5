"""The part of the slim schema that one build can ask for: each process of kustomize reads its schema anew.

A kind that no input file names has no object to be merged, so that its definition is not asked for. Where an input may
name a kind otherwise than by its letters, the build gets the whole schema.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from pathlib import Path

import orjson

from fleet.core.documents import Document, documents_at, mapping_at, parse_document, text_at
from fleet.values import dataclass

SLIM_SCHEMA = Path(__file__).with_name("slim.json")  # made by tests/render/slim/make_slim.py
_KIND = "x-kubernetes-group-version-kind"
_REFERENCE = re.compile(rb'"#/definitions/([^"]+)"')
_WORD = re.compile(rb"[A-Z][A-Za-z]+")  # any kind of Kubernetes' own
_MADE_BY_GENERATORS = frozenset({b"ConfigMap", b"Secret"})
# Escapes and lines that go on inside quotes, UTF-16, tags that decode, and what puts a text together from others.
_OTHER_SPELLINGS = (
    *(rb"\x", rb"\u", rb"\U", b"\\\r", b"\\\n", b"\0", b"!!", b"!<", b"%TAG"),
    *(b"vars", b"delimiter", b"fieldSpecs", b"configurations"),
)
_PARTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Schema:
    """The whole, cut into definitions: by name, what each refers to, and names by the kind they describe."""

    whole: bytes
    definitions: Mapping[str, Document]
    references: Mapping[str, frozenset[str]]
    by_kind: Mapping[bytes, frozenset[str]]


def schema_for(contents: Iterable[bytes]) -> bytes:
    """The slim schema for a build of files with these contents."""
    schema = _schema()
    text = b"\n".join(contents)
    if any(spelling in text for spelling in _OTHER_SPELLINGS):
        return schema.whole
    words = set(_WORD.findall(text))
    words.update(word.removesuffix(b"List") for word in tuple(words))
    return _part(_MADE_BY_GENERATORS | (words & schema.by_kind.keys()))


@lru_cache(maxsize=_PARTS_KEPT)
def _part(kinds: frozenset[bytes]) -> bytes:
    """The definitions of these kinds, and all that they refer to."""
    schema = _schema()
    found: set[str] = set()
    left = [name for kind in kinds for name in schema.by_kind.get(kind, ())]
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left.extend(schema.references[name])
    return orjson.dumps({"definitions": {name: schema.definitions[name] for name in sorted(found)}})


@cache
def _schema() -> _Schema:
    whole = SLIM_SCHEMA.read_bytes()
    definitions = {name: mapping_at(node) for name, node in mapping_at(parse_document(whole), "definitions").items()}
    by_kind: dict[bytes, set[str]] = {}
    for name, node in definitions.items():
        for described in documents_at(node, _KIND):
            by_kind.setdefault(text_at(described, "kind").encode(), set()).add(name)
    return _Schema(
        whole,
        definitions,
        {
            name: frozenset(found.decode() for found in _REFERENCE.findall(orjson.dumps(node)))
            for name, node in definitions.items()
        },
        {kind: frozenset(names) for kind, names in by_kind.items()},
    )
