"""What a plan says of values: each line of a text that comes or goes, and each value apart from the one before."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Any

import pytest
from core.test_change import config, plan, result, web, workload
from hypothesis import given
from hypothesis import strategies as st

from fleet.core.planning.groups import groups_of
from fleet.core.planning.words import FOLDED, WHOLE, Folding, lines_of


def told(before: dict[str, str], after: dict[str, str], folding: Folding = WHOLE) -> list[str]:
    """What is said of a ConfigMap whose values change, without its name."""
    found = plan([web(result(config("cfg", **before)), result(config("cfg", **after)))])
    return [
        line[len("~ ConfigMap shop/cfg  ") :]
        for group in groups_of(found.units)
        for line in lines_of(group, found, folding)
    ]


# Lines of a text


@pytest.mark.parametrize("start", ["", "--", "++", "-", "+", "---", "+++", "@@", "-- ", "@@ -1 +1 @@"])
@pytest.mark.parametrize("form", [FOLDED, WHOLE])
def test_a_line_that_begins_as_a_diff_does_is_told_like_any_other(start: str, form: Folding) -> None:
    kept = "serve\n--port=80\n"
    line = f"{start}require-auth"
    assert told({"args": kept + line + "\n"}, {"args": kept}, form) == ["data.args:", f"  -{line}"]
    assert told({"args": kept}, {"args": kept + line + "\n"}, form) == ["data.args:", f"  +{line}"]
    changed = told({"args": f"{line}=a\n{kept}"}, {"args": f"{line}=b\n{kept}"}, form)
    assert changed == ["data.args:", f"  -{line}=a", f"  +{line}=b"]


def test_only_where_all_lines_are_the_same_the_line_ends_differ() -> None:
    assert told({"args": "a\r\nb"}, {"args": "a\nb"}) == ["data.args:", "  line ends differ"]
    assert told({"args": "a\nb"}, {"args": "a\nb\n"}) == ["data.args:", "  line ends differ"]
    assert "  line ends differ" not in told({"args": "a\n---\nb"}, {"args": "a\nb"})


def test_the_same_lines_of_two_texts_are_told_of_both() -> None:
    found = told({"a": "x\n1\n", "b": "x\n1\n"}, {"a": "x\n2\n", "b": "x\n2\n"})
    assert found == ["data.a:", "  -1", "  +2", "data.b:", "  -1", "  +2"]


LINES = st.lists(
    st.sampled_from(["--", "++", "---", "+++", "@@", "@@ -1 +1 @@", "-", "+", ""]).flatmap(
        lambda start: st.sampled_from(["", "a", " b", "=c"]).map(lambda end: start + end)
    ),
    min_size=2,
    max_size=7,
)


@given(LINES, LINES)
def test_every_line_that_comes_or_goes_is_told(before: list[str], after: list[str]) -> None:
    was, now = "\n".join(before), "\n".join(after)
    if was == now:
        return
    expected: Counter[str] = Counter()
    matcher = difflib.SequenceMatcher(None, was.splitlines(), now.splitlines())
    for kind, at, end, other, other_end in matcher.get_opcodes():
        if kind != "equal":
            expected.update(f"  -{line}" for line in was.splitlines()[at:end])
            expected.update(f"  +{line}" for line in now.splitlines()[other:other_end])
    assert Counter(told({"text": was}, {"text": now})[1:]) == (expected or Counter(["  line ends differ"]))


# Fields


def test_a_text_of_many_lines_is_one_field_and_its_lines_are_counted_as_lines() -> None:
    was, now = "\n".join(f"a{at}" for at in range(9)), "\n".join(f"b{at}" for at in range(9))
    found = told({"text": was, "z": "1"}, {"text": now, "z": "2"}, FOLDED)
    assert found == ["data.text:", *(f"  -a{at}" for at in range(6)), "  and 12 more lines", "data.z 1 -> 2"]
    many = {f"k{at}": was for at in range(FOLDED.fields + 2)}
    assert told(many, dict.fromkeys(many, now), FOLDED)[-1] == "and 2 more fields"


def test_the_same_change_of_a_variable_of_two_containers_is_told_once() -> None:
    def pods(value: str, other: str) -> dict[str, Any]:
        containers = [{"name": name, "env": [{"name": "LOG", "value": value}]} for name in ("a", "b")]
        containers[1]["env"] = [{"name": "LOG", "value": other}]
        return workload(pod={"containers": containers})

    def of(other: str) -> list[str]:
        found = plan([web(result(pods("info", "info")), result(pods("debug", other)))])
        return [line for group in groups_of(found.units) for line in lines_of(group, found, WHOLE)]

    assert " ".join(of("debug")).count("env LOG info -> debug") == 1
    assert "env LOG info -> warn" in " ".join(of("warn")), "twin: it is not the same"
