"""Documents that are nested too deeply to be compared or kept: folded, alike wherever they come from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis.strategies import booleans, dictionaries, integers, lists, none, recursive, sampled_from, text
from kube.hostile import SHORT, World, as_json
from kube.test_transport import MAPS, WEB, always, configmaps

from fleet.core.documents import canonical, is_deeper
from fleet.errors import AnswerInvalid, NestedTooDeep
from fleet.kube import levels as levels_of
from fleet.kube.levels import LEVELS, read_document

LOOKS = (150, LEVELS, LEVELS + 1, 254, 255, 600, 1000, 1001, 1024, 1025, 5000)
names = text(sampled_from('{}[],:"\\\nxä'), max_size=6)
documents = recursive(
    none() | booleans() | integers(-(2**53), 2**53) | names,
    lambda inner: lists(inner, max_size=3) | dictionaries(names, inner, max_size=3),
    max_leaves=30,
)


def nested(levels: int, leaf: str = "1") -> bytes:
    """An object of so many levels, with texts full of brackets on its way down."""
    return b'{"b":"\\"}]{[","a":' * levels + leaf.encode() + b"}" * levels


def folded_from(levels: int, leaf: str = "1") -> list[Any]:
    """The same object by itself, in an event and in a list, as they are read."""
    raw = nested(levels, leaf)
    event = read_document(b'{"type":"ADDED","object":' + raw + b"}", 1)
    page = read_document(b'{"metadata":{},"items":[{"x":[1]},' + raw + b',{"y":{}}]}', 2)["items"]
    assert isinstance(page, list)
    assert (page[0], page[2]) == ({"x": [1]}, {"y": {}})  # whatever stands beside it
    return [read_document(raw), event["object"], page[1]]


@pytest.mark.parametrize("levels", LOOKS)
def test_a_document_is_folded_below_its_limit_alike_by_itself_in_an_event_and_in_a_list(levels: int) -> None:
    first, *others = folded_from(levels)
    assert others == [first, first]
    assert not is_deeper(first, LEVELS)
    assert is_deeper(first, min(levels, LEVELS) - 1)
    assert canonical(first)
    assert (json.loads(nested(levels)) == first if levels < 500 else False) is (levels <= LEVELS)


@pytest.mark.parametrize("levels", [level for level in LOOKS if level > LEVELS])
def test_what_differs_below_the_limit_still_differs(levels: int) -> None:
    assert folded_from(levels, "1")[0] != folded_from(levels, "2")[0]
    assert folded_from(levels)[0] != folded_from(levels + 1)[0]


@given(document=dictionaries(names, documents, max_size=4), limit=integers(2, 5), outer=integers(0, 2))
def test_all_above_the_limit_stays_and_nothing_is_below_it(document: Any, limit: int, outer: int) -> None:
    whole = document
    for _ in range(outer):
        whole = {"x": whole}
    raw = json.dumps(whole).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(levels_of, "LEVELS", limit)
        found: Any = read_document(raw, outer)
        parsed = json.loads(levels_of._folded_text(raw, limit + outer))
    for _ in range(outer):
        found, parsed = found["x"], parsed["x"]
    assert _cut(found, limit) == _cut(parsed, limit) == _cut(document, limit)
    assert not is_deeper(found, limit)
    assert not is_deeper(parsed, limit)


def _cut(value: Any, levels: int) -> Any:
    """The same without what is in maps and lists below these levels."""
    if isinstance(value, dict | list) and not levels:
        return None
    if isinstance(value, dict):
        found = {name: _cut(inner, levels - 1) for name, inner in value.items()}
        return {name: None if _is_fold(inner) else inner for name, inner in found.items()}
    if isinstance(value, list):
        return [None if _is_fold(inner) else inner for inner in (_cut(inner, levels - 1) for inner in value)]
    return value


def _is_fold(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("fleet: nested too deeply")


@pytest.mark.parametrize(
    "broken", [nested(1500)[:-1], b"[" * 1500, b"]" * 1500, b'{"a":"' + b"[" * 1500, nested(1500) + b"}"]
)
def test_what_is_no_whole_document_is_none_when_it_is_nested_deeply(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_document(broken)


@pytest.mark.timeout(30)
def test_what_follows_the_last_bracket_is_looked_at_once() -> None:
    """It was looked through from each of its bytes again: a megabyte held up the hub for hours."""
    for broken in (b"[" * 1500 + b"a" * 1_000_000, b'{"a":' * 1500 + b'""' * 500_000, b'{"a":' * 1500 + b'"' * 999_999):
        with pytest.raises(ValueError, match=r"."):
            read_document(broken)
    assert read_document(nested(1500) + b" " * 1_000_000) == read_document(nested(1500))


def test_a_text_of_more_brackets_than_may_be_looked_at_is_not_folded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels_of, "_MOST_BRACKETS", 4000)
    assert read_document(nested(1300, "[]"))
    with pytest.raises(ValueError, match="depth"):
        read_document(nested(1300, json.dumps([[]] * 3000)))


@pytest.mark.parametrize("levels", [LEVELS, 300, 1500])
async def test_a_nested_object_is_read_and_listed_beside_the_others(world: World, levels: int) -> None:
    value = nested(levels - 1).decode()
    deep = json.dumps({**WEB, "data": 0})[:-2] + value + "}"
    page = json.dumps(configmaps("a", "b"))[:-2] + ", " + deep + "]}"
    listed, single = as_json({}), as_json({})
    listed.body, single.body = page.encode(), deep.encode()
    always(world, listed, single)
    async with world.connected(limits=SHORT) as kube:
        items = (await kube.list(MAPS)).items
        found = await kube.get(MAPS, "shop", "web")
    assert [item["metadata"]["name"] for item in items] == ["a", "b", "web"]  # type: ignore[index, call-overload]
    assert items[2] == found
    assert ("nested too deeply" in json.dumps(found)) is (levels > LEVELS)


async def test_what_was_not_read_whole_is_not_written_back(world: World) -> None:
    always(world, as_json(WEB))
    body = canonical(read_document(nested(300)))
    async with world.connected(limits=SHORT) as kube:
        sent = len(world.server.asked)
        for dry_run in (True, False):
            with pytest.raises(NestedTooDeep, match="web"):
                await kube.apply(MAPS, "shop", "web", body, dry_run=dry_run)
            with pytest.raises(NestedTooDeep, match="web"):
                await kube.patch(MAPS, "shop", "web", body, "application/json-patch+json", dry_run=dry_run)
        assert len(world.server.asked) == sent


async def test_what_was_read_whole_is_written_back(world: World) -> None:
    always(world, as_json(WEB))
    body = canonical({**read_document(nested(LEVELS - 1)), "c": "nested too deeply"})
    async with world.connected(limits=SHORT) as kube:
        assert (await kube.apply(MAPS, "shop", "web", body)).object == WEB
        assert (await kube.patch(MAPS, "shop", "web", body, "application/merge-patch+json")).object == WEB


async def test_a_list_that_is_broken_where_it_is_nested_is_no_list(world: World) -> None:
    broken = as_json({})
    broken.body = json.dumps(configmaps("a"))[:-2].encode() + b", " + nested(1500)[:-2] + b"]}"
    always(world, broken)
    async with world.connected(limits=SHORT) as kube:
        with pytest.raises(AnswerInvalid, match="no whole JSON"):
            await kube.list(MAPS)
