"""Several field sets as one: each answer as if all had been looked through."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis.strategies import builds, dictionaries, just, lists, recursive, sampled_from

from fleet.core.fieldset import Entry, holds, touches
from fleet.core.owners import Owners

ELEMENTS = ["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"', "i:0"]
SETS = recursive(
    dictionaries(sampled_from([*ELEMENTS, "."]), just({}), max_size=3),
    lambda below: dictionaries(sampled_from(ELEMENTS), below, max_size=3),
    max_leaves=12,
)
ENTRIES = lists(
    builds(
        Entry,
        manager=sampled_from("mnop"),
        operation=just("Apply"),
        subresource=just(""),
        api_version=just("v1"),
        fields=SETS,
        time=sampled_from(["", "2026-11-25T09:00:00Z", "2026-11-26T09:00:00Z"]),
    ),
    max_size=5,
)
PATHS = lists(sampled_from(ELEMENTS), max_size=4).map(tuple)


@given(ENTRIES, PATHS)
def test_all_sets_at_once_say_what_each_of_them_says(entries: list[Entry], path: tuple[str, ...]) -> None:
    owners = Owners(entries)
    touching = [entry for entry in entries if touches(entry.fields, path)]
    assert owners.hold(path) == any(holds(entry.fields, path) for entry in entries)
    assert owners.touch(path) == bool(touching)
    newest = owners.newest(path)
    assert (newest.time if newest else None) == max((entry.time for entry in touching), default=None)
    assert newest is None or any(entry is newest for entry in touching)


@given(ENTRIES, PATHS)
def test_parts_are_what_some_set_names_right_below(entries: list[Entry], path: tuple[str, ...]) -> None:
    named: set[str] = set()
    for entry in entries:
        here: Any = entry.fields
        for element in path:
            here = here.get(element, {})
        named |= here.keys() - {"."}
    assert set(Owners(entries).parts(path)) == named
