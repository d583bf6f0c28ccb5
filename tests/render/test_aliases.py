"""Growth by aliases is counted as if it were expanded, and nothing is."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis.strategies import integers, lists

from fleet.render.aliases import GROWTH_LIMIT, grown_at


def bomb(levels: int, width: int = 10) -> bytes:
    lines = ["l0: &l0 [a, b]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * width)}]" for n in range(1, levels + 1)]
    return "\n".join(lines).encode()


def size_of(value: Any) -> int:
    if isinstance(value, list):
        return 1 + sum(map(size_of, value))
    if isinstance(value, dict):
        return 1 + sum(1 + size_of(item) for item in value.values())  # its keys are values too
    return 1


def test_a_bomb_is_found_at_the_line_where_it_grows_too_large() -> None:
    assert grown_at(bomb(3)) == 0
    assert grown_at(bomb(9)) == 5 + 1 - 0
    assert grown_at(bomb(60)) == 6  # what it stands for has sixty digits


@settings(max_examples=200)
@given(widths=lists(integers(0, 6), max_size=5), limit=integers(0, 300))
def test_it_is_counted_as_it_would_be_expanded(widths: list[int], limit: int) -> None:
    lines = ["l0: &l0 [a, b]"]
    lines += [f"l{n}: &l{n} [{', '.join(['x', *[f'*l{n - 1}'] * width])}]" for n, width in enumerate(widths, 1)]
    raw = "\n".join(lines).encode()
    whole = yaml.safe_load(raw)
    written = sum(1 for event in yaml.parse(raw) if isinstance(event, yaml.NodeEvent | yaml.CollectionStartEvent)
                  and not isinstance(event, yaml.AliasEvent))  # fmt: skip
    assert (grown_at(raw, limit) == 0) == (size_of(whole) - written <= limit)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [1, 2]\nb: *a\n",
        "base: &base {a: 1}\nmore: {<<: *base, b: 2}\n",
        "glob: '*.yaml'\nurl: http://x/?a=1&b=2\n",
        "#!/bin/sh\nif a && b; then rm -- *; fi\n",
        "x: &x 1\n--- \ny: *x\n",  # anchors end with their document: whoever reads it says so
        "\x00\x01&*",
    ],
)
def test_what_does_not_grow_is_no_matter(text: str) -> None:
    assert grown_at(text.encode()) == 0


def test_what_stands_for_itself_is_refused() -> None:
    assert grown_at(b"a: &a\n  - 1\n  - *a\n") == 3


def test_a_long_file_with_many_small_aliases_passes() -> None:
    text = "base: &base {a: 1, b: 2}\n" + "".join(f"k{n}: *base\n" for n in range(5_000))
    assert grown_at(text.encode()) == 0
    assert GROWTH_LIMIT > 5_000 * 5


def test_a_long_text_that_stands_for_more_than_memory_holds_is_found() -> None:
    text = f"long: &long {'x' * 500_000}\n" + "".join(f"k{n}: *long\n" for n in range(20_000))
    assert 1 < grown_at(text.encode()) < 100
    assert grown_at(f"script: &script {'x' * 5_000}\na: *script\nb: *script\n".encode()) == 0
