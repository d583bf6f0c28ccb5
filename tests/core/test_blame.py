"""What trials prove about a field: one origin, pieces, or nothing; and when a timeline says when a commit came."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.core.blame import (
    Fact,
    Part,
    Span,
    Trial,
    arrival_of,
    fact_replaced,
    judge_trials,
    leaves_below,
    leaves_of,
    pieces_of,
    probe_for,
    replaced,
    spans_of,
)

WORDS = st.text("abcxyz", min_size=2, max_size=4)


def span(line: int, start: int = 0, end: int = 3) -> Span:
    return Span("a.yaml", start, end, line)


def trial(line: int, text: str, became: str | None, probe: str = "qPz") -> Trial:
    return Trial(span(line, line * 10, line * 10 + len(text)), text, probe, became)


def test_the_one_text_that_the_field_follows_is_its_origin() -> None:
    verdict = judge_trials("web", [trial(1, "web", "web"), trial(2, "web", "qPz"), trial(3, "web", None)])
    assert verdict.is_whole
    assert [part.source for part in verdict.parts] == [trial(2, "web", "").source]


def test_two_texts_that_it_follows_are_none() -> None:
    verdict = judge_trials("web", [trial(1, "web", "qPz"), trial(2, "web", "qPz")])
    assert (verdict.parts, verdict.why) == ((), "2 lines set it alike")
    assert len(verdict.candidates) == 2


def test_what_breaks_the_build_is_named_before_what_was_cleared() -> None:
    verdict = judge_trials("web", [trial(1, "web", "web"), trial(2, "web", None)])
    assert [source.line for source in verdict.candidates if isinstance(source, Span)] == [2]
    assert "build fails" in verdict.why


def test_a_field_that_came_out_otherwise_proves_nothing() -> None:
    assert judge_trials("reg/web:1", [trial(1, "web", "qPz"), trial(2, "reg", "other")]).parts == ()


def test_pieces_are_told_in_their_order_and_the_rest_is_unknown() -> None:
    both = [trial(2, "1.8", "reg/web:qPz"), trial(1, "reg/web", "qPz:1.8")]
    verdict = judge_trials("reg/web:1.8", both)
    assert [(part.text, part.start) for part in verdict.parts] == [("reg/web", 0), ("1.8", 8)]
    assert verdict.is_whole
    assert not judge_trials("reg/web:1.8", both[:1]).is_whole
    assert judge_trials("reg/web:1.8", both[:1]).why


def test_a_piece_of_a_longer_piece_of_the_same_line_is_not_told_twice() -> None:
    trials = [
        Trial(span(1, 0, 7), "reg/web", "qPz", "qPz:1"),
        Trial(span(1, 4, 7), "web", "qPz", "reg/qPz:1"),
    ]
    assert judge_trials("reg/web:1", trials).parts == (Part(span(1, 0, 7), "reg/web", 0),)


def test_two_lines_that_give_the_same_piece_are_none() -> None:
    verdict = judge_trials("reg/web:1", [trial(1, "web", "reg/qPz:1"), trial(2, "web", "reg/qPz:1")])
    assert verdict.parts == ()
    assert len(verdict.candidates) == 2


@given(WORDS, st.lists(st.sampled_from(["probe", "value", "other", None]), max_size=6))
def test_a_line_is_named_only_if_it_alone_is_followed(value: str, outcomes: list[str | None]) -> None:
    became = {"probe": "qPz", "value": value, "other": "else", None: None}
    trials = [trial(line, value, became[outcome]) for line, outcome in enumerate(outcomes, start=1)]
    verdict = judge_trials(value, trials)
    followed = [one.source for one in trials if one.became == "qPz"]
    assert [part.source for part in verdict.parts] == (followed if len(followed) == 1 else [])
    assert bool(verdict.parts) is not bool(verdict.why)


@given(st.lists(WORDS, min_size=1, max_size=5), st.data())
def test_a_value_joined_from_pieces_is_explained_by_exactly_them(words: list[str], data: st.DataObject) -> None:
    value = "-".join(words)
    trials: list[Trial] = []
    known = data.draw(st.lists(st.booleans(), min_size=len(words), max_size=len(words)))
    for at, (word, is_known) in enumerate(zip(words, known, strict=True)):
        became = "-".join("qPz" if other == at else text for other, text in enumerate(words))
        trials += [trial(at, word, became)] if is_known and len(words) > 1 else []
    verdict = judge_trials(value, trials)
    assert sorted(part.start for part in verdict.parts) == [
        len("-".join([*words[:at], ""])) for at in range(len(words)) if known[at] and len(words) > 1
    ]
    assert verdict.is_whole is (len(words) > 1 and all(known))


@given(st.text("ab 1:=\n", max_size=40), st.sampled_from(["a", "ab", "1", "a=b", ":"]))
def test_a_text_is_found_where_it_stands_by_itself_and_replaced_there_alone(content: str, text: str) -> None:
    raw = content.encode()
    for found in spans_of({"f": raw}, text):
        assert raw[found.start : found.end].decode() == text
        assert found.line == content[: found.start].count("\n") + 1
        changed = replaced(raw, [(found, "PROBE")]).decode()
        assert changed == content[: found.start] + "PROBE" + content[found.end :]
        for side in (content[found.start - 1 : found.start], content[found.end : found.end + 1]):
            assert not (side.isalnum() and text.isalnum())


def test_a_number_is_tried_with_a_number_and_a_path_is_understood_as_people_write_it() -> None:
    assert probe_for("3", "salt").isdigit()
    assert not probe_for("3s", "salt").isdigit()
    leaves = leaves_of({"spec": {"containers": [{"name": "web", "image": "x", "args": ["a"]}]}, "a": {"b/c": 1}})
    for wanted in ("spec.containers[name=web].image", "spec.containers[web].image", "spec.containers[0].image"):
        assert [leaf.value for leaf in leaves_below(leaves, wanted)] == ["x"], wanted
    assert [leaf.shown for leaf in leaves_below(leaves, "a")] == ["a[b/c]"]
    assert len(leaves_below(leaves, "spec")) == 3
    assert leaves_below(leaves, "spe") == []


def test_a_template_is_taken_apart_around_its_variables_and_a_fact_is_replaced_by_its_kind() -> None:
    assert pieces_of("https://${domain}/x${level:=info}") == ["https://", "/x", "info"]
    assert pieces_of("plain") == ["plain"]
    facts = {"name": "eu-1", "variables": {"n": 3, "list": ["a", "b"]}}
    assert fact_replaced(facts, Fact(("variables", "n")).path, "77") == {
        **facts,
        "variables": {"n": 77, "list": ["a", "b"]},
    }
    changed = fact_replaced(facts, ("variables", "list", 1), "q")
    assert changed == {**facts, "variables": {"n": 3, "list": ["a", "q"]}}


@given(st.lists(st.sampled_from([True, False, None]), max_size=7))
def test_a_commit_came_with_the_first_that_has_it_if_the_one_before_is_known_to_lack_it(
    contains: list[bool | None],
) -> None:
    at = arrival_of(contains)
    if at is None:
        ready = [here for here, one in enumerate(contains) if one is not False]
        assert not ready or ready[0] == 0 or contains[ready[0]] is None
    else:
        assert contains[at] is True
        assert contains[:at] == [False] * at
        assert at > 0
