"""What a plan says of values: each line of a text that comes or goes, and each value apart from the one before."""

from __future__ import annotations

import difflib
from collections import Counter
from typing import Any

import pytest
from core.test_change import config, plan, result, secret, web, workload
from hypothesis import given
from hypothesis import strategies as st

from fleet.cli.output import clean_line
from fleet.core.documents import Json, canonical
from fleet.core.field_diff import FieldDrift
from fleet.core.planning.field_words import FOLDED, WHOLE, Folding, field_in_words
from fleet.core.planning.groups import groups_of
from fleet.core.planning.markdown import markdown_of
from fleet.core.planning.words import lines_of


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


@pytest.mark.parametrize(
    ("one", "other"), [("\tb", " b"), ("b\u200b", "b\u200c"), ("b ", "b"), ("b\t", "b"), ("a b", "a\u2009b")]
)
def test_lines_that_look_alike_are_told_by_two_texts(one: str, other: str) -> None:
    gone, come = told({"args": f"{one}\nx"}, {"args": f"{other}\nx"})[1:]
    assert gone.startswith('  -"')
    assert come.startswith('  +"')
    for shown in (clean_line, str.strip, lambda text: "".join(filter(str.isprintable, text))):
        assert shown(gone[3:]) != shown(come[3:])
    assert told({"args": f"{one}\nx"}, {"args": "c\nx"})[2] == "  +c", "twin: what looks otherwise is not quoted"


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


def test_of_a_pod_with_several_containers_each_variable_is_told_with_its_container() -> None:
    """A reviewer would read one line of both as the one container that is known to them."""

    def pods(value: str, other: str) -> dict[str, Any]:
        containers = [{"name": name, "env": [{"name": "LOG", "value": value}]} for name in ("a", "b")]
        containers[1]["env"] = [{"name": "LOG", "value": other}]
        return workload(pod={"containers": containers})

    def of(other: str) -> list[str]:
        found = plan([web(result(pods("info", "info")), result(pods("debug", other)))])
        return [line for group in groups_of(found.units) for line in lines_of(group, found, WHOLE)]

    for other in ("debug", "warn"):
        words = " ".join(of(other))
        assert "env a/LOG info -> debug" in words
        assert f"env b/LOG info -> {other}" in words


def test_an_init_container_is_told_apart_and_a_container_alone_needs_no_name() -> None:
    def pods(value: str, **more: Any) -> dict[str, Any]:
        env = [{"name": "LOG", "value": value}]
        return workload(pod={"containers": [{"name": "a", **({} if more else {"env": env})}], **more})

    def of(before: dict[str, Any], after: dict[str, Any]) -> str:
        found = plan([web(result(before), result(after))])
        return " ".join(line for group in groups_of(found.units) for line in lines_of(group, found, WHOLE))

    assert "env LOG info -> debug" in of(pods("info"), pods("debug"))

    def init(value: str) -> list[dict[str, Any]]:
        return [{"name": "wait", "env": [{"name": "LOG", "value": value}]}]

    told = of(pods("", initContainers=init("info")), pods("", initContainers=init("debug")))
    assert "env init/wait/LOG info -> debug" in told


# Values


def drift(before: Json, after: Json, folding: Folding = FOLDED) -> str:
    return field_in_words(FieldDrift("spec.x", before, after), folding, is_several=False).removeprefix("spec.x ")


ARGS = ["serve", "--config=/etc/web/config.yaml", "--log-format=json", "--require-auth=true"]
URL = "https://billing.internal.acme.example:8443/api/v2/orders"
NGINX = (
    "    location /admin { proxy_pass http://admin.internal.acme.example:80; proxy_set_header Host $host; auth_request"
)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (ARGS, [*ARGS[:-1], "--require-auth=false"], '…equire-auth=true"] -> …equire-auth=false"]'),
        (f"{URL}?replicas=1", f"{URL}?replicas=0", "…rs?replicas=1 -> …rs?replicas=0"),
        (URL, f"{URL}/old", "…pi/v2/orders -> …pi/v2/orders/old"),
        ("3", 3, '"3" -> 3'),
        ("true", True, '"true" -> true'),
        ("", '""', '"" -> "\\"\\""'),
        ("a", "a ", '"a" -> "a "'),
        ("a b", "a\tb", '"a b" -> "a\\tb"'),
        ("a b", "a\u00a0b", '"a b" -> "a\\xa0b"'),
        ("ab", "a\u200bb", '"ab" -> "a\\u200bb"'),
        # Twins: these are as they were.
        (f"{URL}?replicas=1", "https://other", f"{URL[:47]}… -> https://other"),
        ("30s", "10s", "30s -> 10s"),
        ("", "10s", '"" -> 10s'),
        ("a b", "a  b", "a b -> a  b"),
        ([1], [2], "[1] -> [2]"),
    ],
)
def test_a_value_is_told_apart_from_the_one_before(before: Json, after: Json, words: str) -> None:
    assert drift(before, after) == words


def test_a_long_line_is_told_apart_from_the_one_before() -> None:
    was, now = (f"server {{\n{NGINX} {value};\n}}\n" for value in ("/auth", "off"))
    words = ["data.conf:", "  -…uth_request /auth;", "  +…uth_request off;"]
    assert told({"conf": was}, {"conf": now}, FOLDED) == words
    assert drift(was, now) == "spec.x: -…uth_request /auth; +…uth_request off;"
    whole = told({"conf": was}, {"conf": now})
    assert whole == ["data.conf:", f"  -{NGINX} /auth;", f"  +{NGINX} off;"]
    other = told({"conf": f"a\n{NGINX}{NGINX}"}, {"conf": "a\nb"}, FOLDED)
    assert other == ["data.conf:", f"  -{NGINX[:98]}…", "  +b"], "twin: no other line begins so"


LENGTHS = st.sampled_from([0, 34, 35, 36, 45, 46, 47, 48, 49, 98, 99, 100, 101, 120])
BEGINNINGS = LENGTHS.map(lambda count: "".join(f"{at:03}" for at in range(50))[:count])
ENDS = st.one_of(st.text('ab \t"\u00a0…目', max_size=4), st.text("abc", max_size=60))
TEXTS = st.tuples(BEGINNINGS, ENDS).map("".join)
LISTS: st.SearchStrategy[Json] = st.lists(TEXTS).map(lambda texts: [*texts])
VALUES: st.SearchStrategy[Json] = st.one_of(TEXTS, st.integers(0, 3), st.booleans(), st.just("1"), LISTS)


@given(BEGINNINGS, VALUES, VALUES)
def test_two_values_that_differ_are_told_by_two_texts_within_the_width(beginning: str, one: Json, other: Json) -> None:
    for before, after in ((one, other), (f"{beginning}{one}", f"{beginning}{other}")):
        if canonical(before) == canonical(after):
            continue
        was, now = drift(before, after).split(" -> ")
        assert was != now
        assert was.strip() == was
        assert now.strip() == now
        assert (was + now).isprintable()
        assert max(len(was), len(now)) <= FOLDED.value_length
        whole = [text if isinstance(text, str) else canonical(text).decode() for text in (before, after)]
        if all(text.isprintable() and text.strip() == text for text in whole) and whole[0] != whole[1] and all(whole):
            assert drift(before, after, WHOLE) == " -> ".join(whole)


@given(BEGINNINGS, st.lists(st.text("abc", max_size=9), min_size=1, max_size=3), st.text("abc", max_size=9))
def test_no_line_that_goes_is_told_as_one_that_comes(beginning: str, before: list[str], after: str) -> None:
    was, now = [beginning + line for line in before], beginning + after
    if now in was:
        return
    old, new = ({"text": "\n".join(["first", *lines, "last"])} for lines in (was, [now]))
    lines = told(old, new, FOLDED)[1:]
    assert max(map(len, lines)) <= FOLDED.line_length + len("  ")
    gone = {line[3:] for line in lines if line.startswith("  -")}
    assert gone.isdisjoint({line[3:] for line in lines if line.startswith("  +")})
    assert told(old, new, WHOLE)[1:] == [*(f"  -{line}" for line in was), f"  +{now}"]


def test_no_width_tells_a_value_of_a_secret() -> None:
    found = [
        line
        for folding in (FOLDED, WHOLE)
        for group in groups_of([web(result(secret("s", URL + "?a")), result(secret("s", URL + "?b")))])
        for line in lines_of(group, plan([]), folding)
    ]
    assert found == ["~ Secret shop/s  data.password changed"] * 2


# A comment


def test_a_comment_says_where_it_left_out_the_end_of_a_line() -> None:
    def comment(repository: str, note: str) -> list[str]:
        before, after = (result(workload(image=f"{repository}@sha256:{value * 64}")) for value in "ab")
        return markdown_of(plan([web(before, after)], notes=(note,))).splitlines()

    cut = comment(f"reg/{'x' * 199}", "y" * 601)
    (line,) = [line for line in cut if line.startswith("! Deployment")]
    assert (len(line), line[-1]) == (300, "…")
    assert f"- **Note:** {'y' * 599}…" in cut
    whole = "\n".join(comment("reg/x", "y" * 600))
    assert f"reg/x@sha256:{'a' * 64} -> {'b' * 64}" in whole
    assert "…" not in whole, "twin: nothing was left out"
