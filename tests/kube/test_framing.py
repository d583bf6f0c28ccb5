"""Lines out of chunks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis.strategies import binary, integers, lists

from fleet.errors import AnswerInvalid
from fleet.kube.framing import Lines

pieces = binary(max_size=20).map(lambda raw: raw.replace(b"\n", b"x"))


@given(lines=lists(pieces, max_size=8), cuts=lists(integers(0, 200), max_size=8))
def test_lines_come_out_whole_whatever_the_chunks(lines: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(line + b"\n" for line in lines)
    places = sorted({0, len(whole), *(cut for cut in cuts if cut < len(whole))})
    framed = Lines(1 << 20)
    found = [line for a, b in pairwise(places) for line in framed.feed(whole[a:b])]
    assert found == [line for line in lines if line and not line.isspace()]
    assert framed.is_whole


def test_a_line_that_was_begun_is_not_whole() -> None:
    framed = Lines(100)
    assert framed.feed(b"abc\nde") == [b"abc"]
    assert not framed.is_whole
    assert framed.feed(b"f\n") == [b"def"]
    assert framed.is_whole


@given(limit=integers(1, 50), over=integers(0, 3), chunk=integers(1, 10))
def test_a_line_is_as_long_as_the_limit_and_no_longer(limit: int, over: int, chunk: int) -> None:
    sent = b"x" * (limit + over) + b"\n"
    framed, found = Lines(limit), list[bytes]()

    def feed() -> None:
        for place in range(0, len(sent), chunk):
            found.extend(framed.feed(sent[place : place + chunk]))

    if over:
        with pytest.raises(AnswerInvalid):
            feed()
    else:
        feed()
        assert found == [b"x" * limit]
