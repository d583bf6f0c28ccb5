"""The part of the slim schema that one build can ask for: each process of kustomize reads its schema anew.

A kind that no input names has no object to be merged, so that its definition is not asked for. Where an input may name
a kind otherwise than by its letters, the build gets the whole slim schema; where it may name a definition, kustomize's
own, as the slim one has other names for them.
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
_UPPER_ESCAPE = re.compile(rb"\\[NLP]")  # of a line break in quotes, right before a word
_MADE_BY_GENERATORS = frozenset({b"ConfigMap", b"Secret", b"ServiceAccount"})
# All that follows is looked for in lower case: kustomize knows its fields in any case.
# Escapes, lines that go on inside quotes, letters that fold to s and k, and what puts a text together from others.
_OTHER_SPELLINGS = (
    *(rb"\x", rb"\u", b"\\\r", b"\\\n", b"\\\xc2\x85", b"\\\xe2\x80\xa8", b"\\\xe2\x80\xa9"),
    *(b"\xc5\xbf", b"\xe2\x84\xaa"),
    *(b"vars", b"delimiter", b"fieldspecs", b"configurations", b"x-kubernetes-identity", b"x-kubernetes-object-ref"),
)
# What makes a name or a text that stands nowhere, and what can carry it to the place of a kind.
_COMPOSING = (b"nameprefix", b"namesuffix", b"prefixtransformer", b"suffixtransformer", b"secretgenerator")
_CARRYING = re.compile(rb"fieldpaths|\bcopy\b|\bmove\b")
# A comment that refers to a definition, and where a patch may hide one: UTF-16, tags that decode, escapes of `$ref`.
_NAMING_A_DEFINITION = (b"$ref", b"\0", b"!!", b"!<", b"%tag")
_ESCAPED_REFERENCE = re.compile(rb"\$r?e?\\[\r\n\xc2\xe2]|\\(?:x|u00|u000000)(?:24|5c|65|66|72)")
_PARTS_KEPT = 256


@dataclass(frozen=True, slots=True)
class _Schema:
    """The whole, cut into definitions: by name, what each refers to, and names by the kind they describe."""

    whole: bytes
    definitions: Mapping[str, Document]
    references: Mapping[str, frozenset[str]]
    by_kind: Mapping[bytes, frozenset[str]]


def schema_for(contents: Iterable[bytes]) -> bytes | None:
    """The slim schema for a build with these inputs; None: only kustomize's own will do."""
    text = b"\n".join(contents)
    lower = text.lower()
    if _may_name_a_definition(lower):
        return None
    if _may_hide_a_kind(lower):
        return _schema().whole
    words = {*_WORD.findall(text), *_WORD.findall(_UPPER_ESCAPE.sub(b" ", text) if b"\\" in text else b"")}
    words.update(word.removesuffix(b"List") for word in tuple(words))
    return _part(_MADE_BY_GENERATORS | (words & _schema().by_kind.keys()))


def _may_name_a_definition(lower: bytes) -> bool:
    if any(sign in lower for sign in _NAMING_A_DEFINITION):
        return True
    return b"\\" in lower and _ESCAPED_REFERENCE.search(lower) is not None


def _may_hide_a_kind(lower: bytes) -> bool:
    if any(spelling in lower for spelling in _OTHER_SPELLINGS):
        return True
    # A file that is not UTF-8 becomes base64, which may read as a kind; so may any value of a Secret.
    composes = any(name in lower for name in _COMPOSING) or not _is_utf8(lower)
    return composes and _CARRYING.search(lower) is not None


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


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
