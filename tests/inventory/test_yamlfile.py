"""Reading YAML with places and limits."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.inventory.yamlfile import DEPTH_LIMIT, FILE_LIMIT_BYTES, YamlRefused, read_documents


def values(text: str | bytes) -> list[object]:
    return [document.value for document in read_documents(text.encode() if isinstance(text, str) else text)]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "twice, first in line 1"),
        ("a: [\n", 2, ""),
        ("a: 1\n---\nb: {x: 1, x: 2}\n", 3, "twice"),
        ("a: *b\n", 1, "no anchor"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", 3, "merge keys"),
        ("80: a\n", 1, 'quote it: "80"'),
        ("yes: a\n", 1, "quote it"),
        ("[a]: b\n", 1, "as a key"),
        ("a: !!python/name:os.system x\n", 1, "tag"),
        ("a: .inf\n", 1, "JSON lacks"),
        ("a: 1e999\n", 1, "JSON lacks"),
        ("a: 99999999999999999999999\n", 1, "64 bits"),
        ("[" * 500, 1, "nested deeper"),
        ("a: \x01", 1, "character"),
        (b"a: \xff", 1, "UTF-8"),
        ("x" * (FILE_LIMIT_BYTES + 1), 1, "limit"),
        ("---\n" * 3000, 1, "documents"),
    ],
)
def test_what_is_refused_is_named_with_its_line(text: str | bytes, line: int, words: str) -> None:
    with pytest.raises(YamlRefused) as caught:
        values(text)
    assert words in caught.value.what
    assert caught.value.line >= line


def test_growing_aliases_are_refused_before_they_grow() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(YamlRefused, match="aliases counted in full"):
        values("\n".join(rows))


def test_plain_aliases_are_read() -> None:
    assert values("a: &x [1, {b: 2}]\nc: *x\n") == [{"a": [1, {"b": 2}], "c": [1, {"b": 2}]}]


def test_scalars_are_read_as_kustomize_reads_them() -> None:
    text = "a: 010\nb: 0x1f\nc: 1e3\nd: 2026-01-02\ne: '5'\nf: yes\ng: =\nh: 1:30\ni: ~\nj: 1_000\nk: 0o17\nl: -.5\n"
    assert values(text) == [
        {
            "a": 8,
            "b": 31,
            "c": 1000.0,
            "d": "2026-01-02",
            "e": "5",
            "f": True,
            "g": "=",
            "h": "1:30",
            "i": None,
            "j": 1000,
            "k": 15,
            "l": -0.5,
        }
    ]


def test_places_are_those_of_keys_and_items() -> None:
    (document,) = read_documents(b"a:\n  - b: 1\n  - c:\n      d: 2\n")
    spot = document.spot.at(("a", 1, "c", "d"))
    assert (spot.key_line, spot.key_column, spot.line, spot.column) == (4, 7, 4, 10)
    assert document.spot.at(("a", 1)).line == 3
    assert document.spot.at(("a", 9, "x")).key_line == 1


def test_documents_before_the_broken_one_are_given() -> None:
    seen: list[object] = []
    reading = read_documents(b"a: 1\n---\nb: [\n")
    seen.append(next(reading).value)
    with pytest.raises(YamlRefused):
        next(reading)
    assert seen == [{"a": 1}]


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    with contextlib.suppress(YamlRefused):
        list(read_documents(raw))


def test_the_depth_limit_is_where_it_says() -> None:
    assert values("[" * DEPTH_LIMIT + "]" * DEPTH_LIMIT)
    with pytest.raises(YamlRefused, match="nested deeper"):
        values("[" * (DEPTH_LIMIT + 2) + "]" * (DEPTH_LIMIT + 2))
